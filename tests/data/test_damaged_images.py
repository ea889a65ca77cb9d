"""Damaged and dangerous files: one line names all; and files that only grumble."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest

from dam_tf.base.errors import UserError
from dam_tf.data.sources import image_files
from dam_tf.data.sources.image_batches import read_headers

NOISE = np.random.default_rng(0).integers(0, 256, [32, 32, 3], np.uint8)


def encoded(kind, **options):
    data = io.BytesIO()
    PIL.Image.fromarray(NOISE).save(data, kind, **options)
    return data.getvalue()


def refused(load, root) -> str:
    with pytest.raises(UserError) as caught:
        load(f"folder:{root}")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_are_named_whatever_fails(make_tree, load):
    root = make_tree()
    damaged = {
        "train/ant/empty.jpg": b"",
        "train/bee/page.jpg": b"\n<!DOCTYPE HTML><html>404</html>",
        "train/cat/cut.jpg": encoded("jpeg")[:-300],
        "test/ant/cut.png": encoded("png")[:-300],
    }
    for name, data in damaged.items():
        (root / name).write_bytes(data)
    said = refused(load, root)
    assert said.startswith("cannot read 4 images: ")
    assert said.endswith("; replace or remove them")
    for name, reason in zip(
        damaged,
        ["an empty file", "a web page", "damaged or cut", "damaged or cut"],
        strict=True,
    ):
        assert f"{root / name}: {reason}" in said


def test_damage_behind_headers_is_named_in_all_splits(make_tree, load, monkeypatch):
    monkeypatch.setattr("dam_tf.data.sources.image_batches.CHUNK", 2)
    root = make_tree()
    files = [root / f"train/{name}/9.jpg" for name in ("ant", "bee", "cat")]
    files += [root / "test/bee/9.jpg"]
    for file in files:
        file.write_bytes(encoded("jpeg")[:-300])
    said = refused(load, root)
    assert "cannot read 4 images" in said
    assert all(str(file) in said for file in files)
    for file in files[:3]:
        file.unlink()
    assert f"cannot read image {files[3]}: " in refused(load, root)


def test_ten_are_named_and_the_others_counted(make_tree, load):
    root = make_tree()
    for number in range(13):
        (root / f"train/bee/x{number:02}.jpg").write_bytes(b"")
    said = refused(load, root)
    assert "13 images" in said and said.count("x0") + said.count("x1") == 10
    assert "an empty file; and 3 more; replace" in said


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"<svg xmlns=''>", "SVG"),
        (b"%PDF-1.4", "PDF"),
        (b"nothing known", "no image that Pillow knows"),
        (b"x", "no image that Pillow knows"),
        (encoded("jpeg")[:100], "cut off"),
        (encoded("png")[:20], "cut off"),
        (encoded("gif")[:-300], "cut off"),
        (encoded("webp")[:-300], "cut off"),
        (encoded("tiff", compression="tiff_lzw")[:-300], "TIFF"),
    ],
)
def test_why(make_tree, load, data, reason):
    root = make_tree()
    (root / "train/ant/odd.jpg").write_bytes(data)
    said = refused(load, root)
    assert said.startswith(f"cannot read image {root / 'train/ant/odd.jpg'}: ")
    assert reason in said and said.endswith("; replace or remove it")


def bomb(side: int) -> bytes:
    """A PNG of one bit, of side x side pixels, all black."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", b"never read"), chunk(b"IEND", b"")]
    )


def test_bombs_are_refused_by_their_headers(make_tree, load, monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)  # of the user's program
    root = make_tree()
    for number in range(2):
        (root / f"train/ant/bomb{number}.png").write_bytes(bomb(20000))
    assert refused(load, root) == (
        f"cannot read 2 images: {root}/train/ant/bomb0.png, "
        f"{root}/train/ant/bomb1.png: 400,000,000 pixels, of which at most "
        "250,000,000 are read; replace or remove them"
    )


def test_large_photographs_are_read(tmp_path):
    (tmp_path / "large.png").write_bytes(bomb(15000))
    assert read_headers([str(tmp_path / "large.png")]).shapes.tolist() == [
        [15000, 15000, 1]
    ]


def test_memory_of_threads_is_limited(make_tree, load, monkeypatch):
    shares = []
    monkeypatch.setattr(image_files, "_decoded", image_files.Budget(64))
    original = image_files.Budget.share

    def share(self, amount):
        shares.append(amount)
        return original(self, amount)

    monkeypatch.setattr(image_files.Budget, "share", share)
    load(f"folder:{make_tree()}")
    assert shares == [64] * 16


def test_bytes_too_many_are_no_reason_to_grumble(make_tree, load, said, capfd):
    root, data = make_tree(), encoded("jpeg", quality=95)
    for number in range(20):
        grumble = data[:-2] + bytes(228) + data[-2:]
        (root / f"train/ant/x{number}.jpg").write_bytes(grumble)
    assert len(load(f"folder:{root}", image_size=8).train.images) == 30
    assert sum("20 of 36 images are of another size" in line for line in said()) == 1
    assert capfd.readouterr().err == ""


def test_truncated_files_are_refused_though_a_program_allows_them(
    make_tree, load, monkeypatch
):
    monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    root = make_tree()
    (root / "train/ant/cut.jpg").write_bytes(encoded("jpeg")[:-300])
    assert "cut.jpg: damaged or cut off" in refused(load, root)


def test_a_file_that_may_not_be_read(make_tree, load, monkeypatch):
    root = make_tree()
    file = root / "train/ant/0.png"
    real = open

    def fail(path, *rest, **options):
        if str(path) == str(file):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **options)

    monkeypatch.setattr("builtins.open", fail)
    assert f"{file}: Permission denied; replace" in refused(load, root)
