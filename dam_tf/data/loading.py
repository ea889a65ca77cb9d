"""From settings to `RealData`: pick the source, then memory or the cache on disk."""

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from dam_tf.base.memory import check_memory, memory_bytes
from dam_tf.base.messages import log
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.cache.disk_cache import build_cache, cache_folder, open_cache
from dam_tf.data.catalog import lookup
from dam_tf.data.hints import check_no_folder
from dam_tf.data.real_data import (
    RealData,
    Split,
    check_class_names,
    read_into,
    sorted_split,
)
from dam_tf.data.source import Contents, Source, SplitContents
from dam_tf.data.sources import arrays as array_source
from dam_tf.data.sources import tfds as tfds_source
from dam_tf.data.sources import tree as tree_source
from dam_tf.data.sources.folders import folder_tree
from dam_tf.data.sources.known_folders import (
    holds_imagenet,
    imagenet_tree,
    tiny_imagenet_tree,
)

LARGEST_IN_MEMORY = 2 << 30  # bytes; above, cache = "auto" keeps images on disk


def load_dataset(
    config: DatasetConfig, check: Callable[[RealData | Contents], None] = lambda _: None
) -> RealData:
    """Reads a data set, or opens its cache on disk.

    Args:
        config: The settings of section `dataset`.
        check: Called once classes and the shape of the images are known, before any
            image is read; raises a `UserError` where they do not suit.

    Returns:
        The images of its splits, uint8, sorted by class. Images that
        `config.cache` keeps on disk are memory-mapped and read-only.

    Raises:
        UserError: the data set is unknown, missing, or holds something unreadable.

    Example:
        >>> data = load_dataset(DatasetConfig(name="digits"))
        >>> data.image_shape, data.num_classes
        ((8, 8, 1), 10)
    """
    source = open_source(config)
    for level, line in source.notes:
        log.log(level, "%s", line)
    key = f"{source.identity} {config.image_size} {config.max_classes}"
    folder = cache_folder(source.name, key, config.data_dir)
    if config.cache != "memory":
        whole = config.cache == "verify"
        if cached := open_cache(folder, source.name, verify=whole):
            check(cached)
            return dataclasses.replace(cached, source=source.origin)
    contents = source.look()
    check_class_names(contents.class_names)
    check(contents)
    if config.cache in ("disk", "verify") or (
        config.cache == "auto" and _size(contents) > LARGEST_IN_MEMORY
    ):
        built = build_cache(
            folder,
            source.name,
            contents,
            unchanged=lambda: open_source(config).identity == source.identity,
        )
        return dataclasses.replace(built, source=source.origin)
    check_memory(
        f"keeping the images of {source.name} with dataset.cache={config.cache}",
        lambda _: _size(contents),
        {},
        memory_bytes(),
        "keep them on disk (--set=dataset.cache=disk), or give a smaller --image_size",
    )
    splits = {
        name: _in_memory(contents, split, f"{source.name} {name}")
        for name, split in contents.splits().items()
    }
    names, origin = contents.class_names, source.origin
    return RealData(source.name, names, **splits, source=origin)


def checked_data(
    data: RealData | None,
    config: DatasetConfig,
    check: Callable[[RealData | Contents], None],
) -> RealData:
    """Returns `data`, or what `config` names if None, once `check` has accepted it."""
    if data is None:
        return load_dataset(config, check)
    check(data)
    return data


def open_source(config: DatasetConfig) -> Source:
    """Returns the source that `config.name` stands for, not yet looked at."""
    entry = lookup(config.name)
    image_size = config.image_size or entry.image_size
    match entry.kind:
        case "digits":
            return array_source.digits_source(config)
        case "npz":
            check_no_folder(entry.path)
            return array_source.npz_source(entry, config)
        case "folder":
            tree = folder_tree(entry, config)
        case "tiny_imagenet":
            tree = tiny_imagenet_tree(entry, config)
        case "imagenet" if not entry.tfds or holds_imagenet(entry, config):
            tree = imagenet_tree(entry, config)
        case _:
            return tfds_source.tfds_source(entry, config)
    source = tree_source.tree_source(entry.name, tree, image_size)
    if entry.path:  # its name says where it lies
        return source
    place = os.path.commonpath([files[0] for files in tree.train])
    return dataclasses.replace(source, origin=f"files in {place}")


def _in_memory(contents: Contents, split: SplitContents, description: str) -> Split:
    images = np.empty([int(split.counts.sum()), *contents.image_shape], np.uint8)
    read_into(images, split, description)
    return sorted_split(images, split.counts)


def _size(contents: Contents) -> int:
    images = sum(int(split.counts.sum()) for split in contents.splits().values())
    return images * int(np.prod(contents.image_shape))
