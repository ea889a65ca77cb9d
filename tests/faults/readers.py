"""What reads files that others may have spoilt: a folder, its files, and a function.

A reader returns what it read, in a form that can be compared.
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from tests.faults.stopping import Workshop
from tests.faults.tools import TOOLS, Tool

FORMATS = ("png", "jpg", "gif", "bmp", "webp", "tif")
_MODES = {
    "png": ("L", "RGB", "RGBA", "P", "I;16", "LA", "1"),
    "jpg": ("L", "RGB", "CMYK"),
    "gif": ("P", "L"),
    "bmp": ("RGB", "L", "P"),
    "webp": ("RGB", "RGBA"),
    "tif": ("L", "RGB", "RGBA", "I;16", "P", "CMYK"),
}
_COMMANDS = (
    "distill",
    "cache",
    "evaluate",
    "report",
    "export",
    "continual",
    "ablate",
    "nas",
    "cost",
    "attention",
    "pretraining",
    "experts",
    "curves",
    "evolution",
)


@dataclasses.dataclass(frozen=True)
class Reader:
    """Something that reads a folder of files.

    Attributes:
        name: What the campaign calls it.
        folder: Where the files lie.
        files: Those that are mutated.
        read: Called with the folder; returns what was read.
        guarded: Suffixes of files whose checksums tell any change.
        writes: Whether it changes the folder, which is then a copy.
    """

    name: str
    folder: pathlib.Path
    files: tuple[pathlib.Path, ...]
    read: Callable[[pathlib.Path], Any]
    guarded: tuple[str, ...] = ()
    writes: bool = False


def make_readers(shop: Workshop) -> list[Reader]:
    """Makes the files, and returns all readers; TensorFlow runs in children only."""
    root = shop.root / "fuzzed"
    run = shop.reference(TOOLS["distill"]).folder / "run"
    readers = [_pictures(root / name, name) for name in FORMATS]
    npz = root / "npz"
    npz.mkdir(parents=True)
    shutil.copy(shop.data / "tiny.npz", npz)
    readers.append(_reader("npz", npz, "*.npz", _read_npz_data, (".npz",)))
    readers.append(tiny_imagenet(root / "tiny"))
    for name, folder in (("raw", run), ("rich", _rich_set(shop, root / "rich"))):
        copy = shutil.copytree(folder, root / name / "run")
        files = _files(copy, "distilled/*", "preprocessing/arrays.npz")
        guarded = (".npz", "-of-00001", "label.labels.txt")
        readers.append(Reader(f"{name} set", copy, files, _read_set, guarded))
    copy = root / "rich" / "run"
    readers.append(_reader("npz set", copy, "set.npz", _read_npz_set, (".npz",)))
    copy = shutil.copytree(run, root / "parts" / "run")
    readers += [
        _reader("checkpoint", copy, "checkpoints/*", _read_checkpoint, (".npz",)),
        _reader("snapshot", copy, "snapshots/*", _read_snapshots, (".npz",)),
        _reader("provenance", copy, "provenance.json", _read_provenance),
        _reader("settings", copy, "config.toml", _read_settings),
        _reader("json lines", copy, "*.jsonl", _read_lines),
    ]
    pool = shop.reference(TOOLS["pretraining"]).folder / "study" / "pool"
    copy = shutil.copytree(pool, root / "pool")
    readers.append(_reader("network", copy, "**/*.npz", _read_network, (".npz",)))
    buffers = shop.reference(TOOLS["continual"]).folder / "study" / "buffers"
    copy = shutil.copytree(buffers, root / "buffers")
    readers.append(_reader("buffer", copy, "*.npz", _read_buffer, (".npz",)))
    experts = shop.reference(TOOLS["experts"]).folder / "experts"
    copy = shutil.copytree(experts, root / "experts")
    readers.append(_reader("experts", copy, "expert*", _read_experts, (".npz",)))
    for name in _COMMANDS:
        readers.append(_command(shop, TOOLS[name]))
    return readers


def _reader(name, folder, pattern, read, guarded=()) -> Reader:
    return Reader(name, folder, _files(folder, pattern), read, guarded)


def _files(folder: pathlib.Path, *patterns: str) -> tuple[pathlib.Path, ...]:
    found = {path for pattern in patterns for path in folder.glob(pattern)}
    return tuple(sorted(path for path in found if path.is_file()))


def _command(shop: Workshop, tool: Tool) -> Reader:
    """A command that finds everything finished, and one of its files spoilt."""
    folder = shop.reference(tool if not tool.needs else TOOLS[tool.needs]).folder
    if tool.name in ("nas", "curves"):
        folder = shop.reference(tool).folder
    files = tuple(
        path
        for path in _files(folder, "**/*")
        if path.suffix != ".png" and "saved_model" not in path.parts
    )

    def read(copy: pathlib.Path) -> None:
        more = () if tool.needs and tool.name not in ("nas", "curves") else tool.again
        status = tool.run(shop.data, more)
        if status not in (0, 2):
            raise RuntimeError(f"{tool.name} ended with status {status}")
        if status == 2:
            raise Refused

    return Reader(f"command {tool.name}", folder, files, read, writes=True)


class Refused(Exception):
    """A command has refused its files, in one line."""


class PassedOver(Exception):
    """A file was passed over, and that was said."""


def _pictures(folder: pathlib.Path, suffix: str) -> Reader:
    rng = np.random.default_rng(1)
    for label in ("ant", "bee"):
        for split in ("train", "test"):
            for number, mode in enumerate(_MODES[suffix]):
                pixels = rng.integers(0, 256, [9, 8, 3], np.uint8)
                image = Image.fromarray(pixels)
                if mode == "I;16":
                    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
                elif mode != "RGB":
                    image = image.convert(mode)
                path = folder / split / label / f"{number}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                options: dict[str, Any] = {}
                if suffix in ("gif", "webp") and number == 0:
                    options = {"save_all": True, "append_images": [image.rotate(90)]}
                if suffix == "jpg" and number == 1:
                    exif = Image.Exif()
                    exif[0x0112] = 6
                    options = {"exif": exif, "progressive": True}
                if suffix == "tif" and number == 1:
                    options = {"compression": "tiff_lzw"}
                image.save(path, **options)

    def read(folder: pathlib.Path) -> Any:
        from dam_tf.config.sections import DatasetConfig
        from dam_tf.data.loading import load_dataset

        data = load_dataset(DatasetConfig(f"folder:{folder}", image_size=8))
        return data.train.images, data.test.images, data.class_names

    return Reader(suffix, folder, _files(folder, "**/*"), read)


def _read_npz_data(folder: pathlib.Path) -> Any:
    from dam_tf.config.sections import DatasetConfig
    from dam_tf.data.loading import load_dataset

    data = load_dataset(DatasetConfig(f"npz:{folder / 'tiny.npz'}"))
    return data.train.images, data.train.labels, data.test.images, data.test.labels


def tiny_imagenet(folder: pathlib.Path) -> Reader:
    """The texts of Tiny ImageNet: names, and which image has which class."""
    lines = []
    (folder / "val" / "images").mkdir(parents=True)
    for label in ("n01", "n02"):
        (folder / "train" / label / "images").mkdir(parents=True)
        for number in range(2):
            image = Image.new("RGB", (8, 8), (40 * number, 0, 0))
            image.save(folder / "train" / label / "images" / f"{number}.png")
            image.save(folder / "val" / "images" / f"{label}_{number}.png")
            lines.append(f"{label}_{number}.png\t{label}\t0\t0\t8\t8\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "words.txt").write_text("n01\tgoldfish, Carassius\nn02\tbull\nn03\tox\n")

    def read(folder: pathlib.Path) -> Any:
        from dam_tf.config.sections import DatasetConfig
        from dam_tf.data.loading import load_dataset

        settings = DatasetConfig("tiny_imagenet", str(folder), image_size=8)
        data = load_dataset(settings)
        return data.class_names, data.test.labels

    files = _files(folder, "words.txt", "val/val_annotations.txt")
    return Reader("tiny imagenet", folder, files, read)


def _rich_set(shop: Workshop, folder: pathlib.Path) -> pathlib.Path:
    """Writes a set that has all that a set may have."""
    from tests.faults.zygote import fork

    def write() -> int:
        from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
        from dam_tf.exports.formats import npz_arrays
        from dam_tf.synthetic.distilled_set import DistilledSet
        from dam_tf.synthetic.formation import decode
        from dam_tf.synthetic.recipe import Recipe

        rng = np.random.default_rng(2)
        stored = rng.random([2, 8, 8, 3], np.float32)
        images = np.asarray(decode(stored, "factor:2"))
        soft = np.full([len(images), 2], [0.75, 0.25], np.float32)
        recipe = Recipe(learning_rates=(0.1, 0.2), steps=2, batch_size=4)
        pixels = rng.integers(0, 256, [50, 8, 8, 3], np.uint8)
        one = DistilledSet(
            images, soft.argmax(axis=1), ("cat", "dog"),
            fit_preprocessing("standardize_zca", pixels), "pets", soft, stored,
            "factor:2", recipe, {"numpy": "2"},
        )  # fmt: skip
        one.save(folder)
        np.savez(folder / "set.npz", **npz_arrays(one))
        return 0

    folder.mkdir(parents=True)
    if (ended := fork(write, folder)).status:
        raise RuntimeError(ended.errors)
    return folder


def _read_set(folder: pathlib.Path) -> Any:
    from dam_tf.synthetic.distilled_set import DistilledSet

    return _parts(DistilledSet.load(folder))


def _read_npz_set(folder: pathlib.Path) -> Any:
    from dam_tf.synthetic.npz import load_npz

    return _parts(load_npz(folder / "set.npz"))


def _parts(found: Any) -> Any:
    parts = (found.images, found.labels, found.soft_labels, found.stored)
    seen = found.to_numpy("network")[0] if found.preprocessing else None
    return *parts, found.class_names, seen


def _read_experts(folder: pathlib.Path) -> Any:
    from dam_tf.networks.trajectories import Experts

    found = Experts(folder)
    epochs = range(found.epochs + 1)
    return [found.state(k, epoch) for k in range(len(found)) for epoch in epochs]


def _read_checkpoint(folder: pathlib.Path) -> Any:
    from dam_tf.runs.state import load_checkpoint

    untouched = folder.parent.parent / "raw" / "run" / "checkpoints"
    with np.load(max(untouched.glob("*.npz")), allow_pickle=False) as arrays:
        state = dict(arrays)
    found, _ = load_checkpoint(folder / "checkpoints", state)
    if found["iteration"] != state["iteration"]:
        raise PassedOver
    return [found[name] for name in sorted(found)]


def _read_snapshots(folder: pathlib.Path) -> Any:
    from dam_tf.runs.state import load_snapshots, state_files

    found = load_snapshots(folder / "snapshots", (3, 8, 8, 1))
    if found.keys() != state_files(folder / "snapshots").keys():
        raise PassedOver
    return [found[number] for number in sorted(found)]


def _read_provenance(folder: pathlib.Path) -> Any:
    from dam_tf.runs.provenance import read_provenance

    found = read_provenance(folder / "provenance.json")
    found.check_resumed(folder, found)
    return repr(found.flat())


def _read_settings(folder: pathlib.Path) -> Any:
    from dam_tf.config.settings import read_config, resolve, save_config

    config = read_config(folder / "config.toml")
    read_config(folder / "config.toml", of_a_run=True)
    save_config(resolve(config, (32, 32, 3)), folder / "again.toml")
    return repr(config)


def _read_lines(folder: pathlib.Path) -> Any:
    from dam_tf.base.json_lines import forget_after, read_json_lines
    from dam_tf.config.settings import read_config
    from dam_tf.evaluation.results import find_references
    from dam_tf.report.facts import read_run
    from dam_tf.runs.folder import RunFolder

    files = sorted(folder.glob("*.jsonl"))
    found = find_references(files, read_config(folder / "config.toml"))
    facts = read_run("run", RunFolder(folder))
    for line in facts.evaluations:
        facts.evaluate_command(line)
    keep = (folder / "metrics.jsonl").read_bytes()
    forget_after(folder / "metrics.jsonl", 4)
    (folder / "metrics.jsonl").write_bytes(keep)
    return found, facts.seconds_per_iteration, len(read_json_lines(files[0]))


def _read_network(folder: pathlib.Path) -> Any:
    from dam_tf.networks.pools import NetworkPool, read_network

    files = sorted(folder.rglob("*.npz"))
    for file in files:
        read_network(file)
    return NetworkPool(files).fingerprint


def _read_buffer(folder: pathlib.Path) -> Any:
    from dam_tf.studies.continual.study import _read_images

    found = [
        _read_images(file, (2 if "step-0" in file.name else 1, 8, 8, 1))
        for file in sorted(folder.glob("*.npz"))
    ]
    if any(images is None for images in found):
        raise PassedOver
    return found
