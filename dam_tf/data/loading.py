"""From settings to `RealData`: pick the source, then memory or the cache on disk."""

import numpy as np

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


def load_dataset(config: DatasetConfig) -> RealData:
    """Reads a data set, or opens its cache on disk.

    Args:
        config: The settings of section `dataset`.

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
            return cached
    contents = source.look()
    check_class_names(contents.class_names)
    if config.cache in ("disk", "verify") or (
        config.cache == "auto" and _size(contents) > LARGEST_IN_MEMORY
    ):
        return build_cache(
            folder,
            source.name,
            contents,
            unchanged=lambda: open_source(config).identity == source.identity,
        )
    splits = {
        name: _in_memory(contents, split, f"{source.name} {name}")
        for name, split in contents.splits().items()
    }
    return RealData(source.name, contents.class_names, **splits)


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
    return tree_source.tree_source(entry.name, tree, image_size)


def _in_memory(contents: Contents, split: SplitContents, description: str) -> Split:
    images = np.empty([int(split.counts.sum()), *contents.image_shape], np.uint8)
    read_into(images, split, description)
    return sorted_split(images, split.counts)


def _size(contents: Contents) -> int:
    images = sum(int(split.counts.sum()) for split in contents.splits().values())
    return images * int(np.prod(contents.image_shape))
