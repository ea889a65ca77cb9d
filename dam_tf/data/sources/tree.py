"""From listed image files (`folders.Tree`) to a `Source`: of one size and depth."""

import collections
import functools
import hashlib
import os

import numpy as np

from dam_tf.base.messages import log
from dam_tf.data.source import Chunks, Contents, Source, SplitContents
from dam_tf.data.sources.folders import Tree
from dam_tf.data.sources.listing import Files


def tree_source(name: str, tree: Tree, image_size: int | None) -> Source:
    """Returns the source of a tree; images are brought to `image_size`, if given."""
    look = functools.partial(_look, name, tree, image_size)
    return Source(name, _identity(tree), look, notes=tree.notes)


def _look(name: str, tree: Tree, image_size: int | None) -> Contents:
    from dam_tf.data.sources.image_batches import read_shapes

    splits = (tree.train, tree.test or ())
    shapes = read_shapes(
        [file for split in splits for files in split for file in files]
    )
    images = sum(map(len, tree.train))  # for training; they decide the size
    sizes = collections.Counter(map(tuple, shapes[:images, :2].tolist()))
    height, width = (
        (image_size, image_size)
        if image_size
        else max(sizes, key=lambda size: (sizes[size], size))
    )
    channels = int(shapes[:, 2].max())
    others = int(np.any(shapes[:, :2] != (height, width), axis=1).sum())
    if others:
        log.info(
            "%s: %d of %d images are of another size; resized to %dx%d (shorter side, "
            "then the centre)%s",
            name,
            others,
            len(shapes),
            height,
            width,
            "" if image_size else ", the most common size; dataset.image_size decides",
        )
    shape = (height, width, channels)
    return Contents(
        class_names=tree.class_names,
        image_shape=shape,
        train=_split_contents(tree.train, shape),
        test=None if tree.test is None else _split_contents(tree.test, shape),
    )


def _split_contents(
    files: tuple[Files, ...], shape: tuple[int, int, int]
) -> SplitContents:
    counts = np.array([len(of_class) for of_class in files], np.int64)
    labels = np.repeat(np.arange(len(files)), counts)

    def chunks(first: int) -> Chunks:
        from dam_tf.data.sources.image_batches import read_images

        done = first
        listed = [file for of_class in files for file in of_class]
        for images in read_images(listed[first:], shape):
            yield images, labels[done : done + len(images)]
            done += len(images)

    return SplitContents(counts, chunks)


def _identity(tree: Tree) -> str:
    digest = hashlib.sha256(repr(tree.class_names).encode())
    for split in (tree.train, tree.test or ()):
        for label, files in enumerate(split):
            for file in files:
                stat = os.stat(file)
                line = f"{label} {file} {stat.st_size} {stat.st_mtime_ns}\n"
                digest.update(os.fsencode(line))
        digest.update(b"\n")
    return digest.hexdigest()
