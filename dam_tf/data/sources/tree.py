"""From listed image files (`folders.Tree`) to a `Source`: of one size and depth."""

import collections
import contextlib
import functools
import hashlib
import os
from collections.abc import Sequence

import numpy as np

from dam_tf.base.messages import log
from dam_tf.data.source import Chunks, Contents, Source, SplitContents
from dam_tf.data.sources.decoding import DECODING
from dam_tf.data.sources.folders import Tree
from dam_tf.data.sources.image_batches import Headers, read_headers, read_images
from dam_tf.data.sources.image_files import Shape

_SAMPLE = 64  # files of which the identity holds the first bytes


def tree_source(name: str, tree: Tree, image_size: int | None) -> Source:
    """Returns the source of a tree; images are brought to `image_size`, if given."""
    look = functools.partial(_look, name, tree, image_size)
    return Source(name, _identity(tree), look, notes=tree.notes)


def _look(name: str, tree: Tree, image_size: int | None) -> Contents:
    """Reads headers, and says once what is done to images that are not like most."""
    files = {"train": _flat(tree.train), "test": _flat(tree.test or ())}
    headers = read_headers([*files["train"], *files["test"]])
    height, width = _common_size(headers.shapes[: len(files["train"])], image_size)
    shape = (height, width, int(headers.shapes[:, 2].max()))
    _say(name, headers, shape, image_size)
    see_through: collections.Counter[str] = collections.Counter()

    def contents(split: str, of_class: Sequence[Sequence[str]]) -> SplitContents:
        counts = np.array([len(files) for files in of_class], np.int64)
        labels = np.repeat(np.arange(len(counts)), counts)

        def chunks(first: int) -> Chunks:
            done, see_through[split] = first, 0
            later = files["test"] if split == "train" else ()
            for images, clear in read_images(files[split][first:], shape, later):
                yield images, labels[done : done + len(images)]
                done += len(images)
                see_through[split] += clear
            if (split == "test" or tree.test is None) and see_through.total():
                log.info(
                    "%s: %d images have transparent pixels, which are laid on white",
                    name,
                    see_through.total(),
                )

        return SplitContents(counts, chunks)

    return Contents(
        class_names=tree.class_names,
        image_shape=shape,
        train=contents("train", tree.train),
        test=None if tree.test is None else contents("test", tree.test),
    )


def _common_size(shapes: np.ndarray, image_size: int | None) -> tuple[int, int]:
    """Returns the height and width that most of `shapes` [n, 3] have, or are given."""
    if image_size:
        return image_size, image_size
    sizes = collections.Counter(map(tuple, shapes[:, :2].tolist()))
    return max(sizes, key=lambda size: (sizes[size], size))


def _say(name: str, headers: Headers, shape: Shape, given: int | None) -> None:
    height, width, channels = shape
    resized = (
        f"are of another size; resized to {height}x{width} (shorter side, then the "
        "centre)"
    )
    if not given:
        resized += ", the most common size; dataset.image_size decides"
    lines = {
        resized: np.any(headers.shapes[:, :2] != (height, width), axis=1),
        "are grey, and become colour as the others are": (
            headers.shapes[:, 2] < channels
        ),
        "have 16 bits; of their values, 65535 becomes white": headers.deep,
        "are animations or have several pages; the first frame is read": headers.more,
    }
    for what, images in lines.items():
        if images.any():
            log.info("%s: %d of %d images %s", name, images.sum(), len(images), what)


def _flat(split: Sequence[Sequence[str]]) -> list[str]:
    return [file for files in split for file in files]


def _identity(tree: Tree) -> str:
    """Returns a text of names, sizes and times; not of where the folder lies.

    Since archives may give all files the same time, and images without compression
    have the same size, the first bytes of some belong to it.
    """
    digest = hashlib.sha256(repr((DECODING, tree.class_names)).encode())
    splits = (tree.train, tree.test or ())
    files = [file for split in splits for file in _flat(split)]
    root = os.path.commonpath([min(files), max(files)])
    for split in splits:
        for label, of_class in enumerate(split):
            for file in of_class:
                stat = os.stat(file)
                line = f"{label} {file[len(root) :]} {stat.st_size} {stat.st_mtime_ns}"
                digest.update(os.fsencode(f"{line}\n"))
        digest.update(b"\n")
    for file in files[:: len(files) // _SAMPLE + 1]:
        # One that cannot be opened is named when headers are read.
        with contextlib.suppress(OSError), open(file, "rb") as stream:
            digest.update(stream.read(1 << 12))
    return digest.hexdigest()
