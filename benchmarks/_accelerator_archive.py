"""What a prepared folder holds, small: pictures, and programs that share files."""

import concurrent.futures
import hashlib
import io
import os
import pathlib
import shutil
import tarfile
import zipfile

import _contender  # noqa: F401, which lets this checkout be imported
import numpy as np

from dam_tf.base.errors import UserError

PROGRAMS = "programs.zip"
_SPLITS = ("train", "test")
_CONSTANTS, _PACKED = "constants.npz", "constants.packed.npz"
_TRIANGLE = "triangle.npy"  # apart, so that programs share it whatever else they have


def decode(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the pictures of a .tar.xz with `train/CLASS/*` and `test/CLASS/*`.

    Returns:
        `x_train` and `x_test`, uint8 `[n, height, width, 3]`, by class and within it by
        name; `y_train` and `y_test`, the names of their classes.

    Raises:
        UserError: it is no such archive.
    """
    files: dict[str, list[tuple[str, str, bytes]]] = {split: [] for split in _SPLITS}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                split, *rest = pathlib.PurePosixPath(member.name).parts or ("",)
                if member.isfile() and split in files and len(rest) == 2:
                    files[split].append((*rest, tar.extractfile(member).read()))
    except (OSError, EOFError, tarfile.TarError) as error:
        raise UserError(f"cannot read {path}: {error}; give a .tar.xz") from None
    found = {}
    for split, held in files.items():
        if not held:
            raise UserError(f"{path} lacks {split}/CLASS/*.jpg; give one that has them")
        held.sort()
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            pictures = list(pool.map(_decode, (content for *_, content in held)))
        if len(shapes := {picture.shape for picture in pictures}) > 1:
            raise UserError(
                f"pictures of {path} differ in size, {sorted(shapes)[:3]}; give some "
                "of one size"
            )
        found[f"x_{split}"] = np.stack(pictures)
        found[f"y_{split}"] = np.array([name for name, *_ in held])
    return found


def _decode(content: bytes) -> np.ndarray:
    import PIL.Image

    with PIL.Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def pack(programs: pathlib.Path, folder: pathlib.Path) -> dict[str, str]:
    """Writes the programs below `programs` into `folder / PROGRAMS`; spends them.

    A file that several programs have, the whitening above all, is in it once, and of a
    symmetric matrix only the triangle on and above its diagonal.

    Returns:
        Where each shared file lies, by its place below `programs`.
    """
    for path in programs.glob(f"*/{_CONSTANTS}"):
        if packed := _packed(path.read_bytes()):
            np.save(path.with_name(_TRIANGLE), packed.pop("triangle"))
            np.savez(path.with_name(_PACKED), **packed)
            path.unlink()
    first, shared = {}, {}
    for path in sorted(programs.glob("*/**/*")):
        if path.is_file():
            place = path.relative_to(programs).as_posix()
            kept = first.setdefault(hashlib.sha256(path.read_bytes()).digest(), place)
            if kept != place:
                shared[place] = kept
                path.unlink()
    with zipfile.ZipFile(folder / PROGRAMS, "w", zipfile.ZIP_LZMA) as file:
        for path in sorted(programs.glob("*/**/*")):
            if path.is_file():
                file.write(path, path.relative_to(programs))
    return shared


def unpack(
    folder: pathlib.Path, shared: dict[str, str], programs: pathlib.Path
) -> None:
    """Puts the programs of a prepared folder below `programs`, each whole again."""
    with zipfile.ZipFile(folder / PROGRAMS) as file:
        file.extractall(programs)
    for place, kept in shared.items():
        (programs / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(programs / kept, programs / place)
    for path in programs.glob(f"*/{_PACKED}"):
        triangle = path.with_name(_TRIANGLE)
        with np.load(path, allow_pickle=False) as arrays:
            whole = _whole(triangle=np.load(triangle, allow_pickle=False), **arrays)
        path.with_name(_CONSTANTS).write_bytes(whole)
        path.unlink()
        triangle.unlink()


def _packed(content: bytes) -> dict[str, np.ndarray] | None:
    """The bytes of an npz file, with a triangle for its largest symmetric matrix.

    Bytes, since not every version of Python writes the same arrays to the same file.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        squares = [one for one in map(arrays.get, arrays.files) if _is_symmetric(one)]
    if not squares:
        return None
    square = max(squares, key=len)
    head, _, tail = content.partition(square.tobytes())
    return {
        "head": np.frombuffer(head, np.uint8),
        "triangle": square[np.triu_indices(len(square))],
        "tail": np.frombuffer(tail, np.uint8),
    }


def _is_symmetric(array: np.ndarray) -> bool:
    square = array.ndim == 2 and len(array) == array.shape[1]
    return square and np.array_equal(array, array.T)


def _whole(head: np.ndarray, triangle: np.ndarray, tail: np.ndarray) -> bytes:
    size = int((8 * len(triangle) + 1) ** 0.5) // 2
    square = np.zeros([size, size], triangle.dtype)
    square[np.triu_indices(size)] = triangle
    square = np.where(np.tri(size, k=-1, dtype=bool), square.T, square)
    return head.tobytes() + square.tobytes() + tail.tobytes()
