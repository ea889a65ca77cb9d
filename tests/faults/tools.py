"""The commands that a campaign stops and damages, on settings that take a second.

Each works in a folder of its own, whose parts have the same names in every trial, so
that two folders can be compared to the last bit.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from dam_tf.commands import program

_SMALL = (
    "--set=network.width=4",
    "--set=network.depth=1",
    "--set=distillation.jit=none",
)
_SHORT = (
    *_SMALL,
    "--batch_real=4",
    "--iterations=6",
    "--checkpoint_every=2",
    "--set=distillation.log_every=4",  # lines span checkpoints
)
_TESTED = ("--epochs=2", "--models=1")
_CLASSES = ("circle", "cross", "square")


@dataclasses.dataclass(frozen=True)
class Tool:
    """A command as the campaign starts it.

    Attributes:
        name: What the campaign calls it.
        command: One of `COMMANDS`.
        words: Its arguments; `{data}` is where the data sets lie.
        again: More arguments, with which one that was stopped is started again.
        needs: The tool whose finished folder lies there before.
        prepare: Called in the child first of all.
    """

    name: str
    command: str
    words: tuple[str, ...]
    again: tuple[str, ...] = ("--resume",)
    needs: str = ""
    prepare: Callable[[], None] = lambda: None

    def run(self, data: pathlib.Path, more: Sequence[str] = ()) -> int:
        """Runs it in this process, and returns the exit status."""
        self.prepare()
        words = [word.replace("{data}", str(data)) for word in (*self.words, *more)]
        return program.run(self.command, words)


def make_data(folder: pathlib.Path) -> None:
    """Writes the data sets: three classes of 8x8 images that differ in brightness."""
    rng = np.random.default_rng(0)
    splits = {}
    for split, count in (("train", 12), ("test", 5)):
        labels = np.repeat(np.arange(3), count)
        shade = rng.integers(0, 90, [3 * count, 8, 8, 1])
        images = (80 * labels[:, None, None, None] + shade).astype(np.uint8)
        splits |= {f"x_{split}": images, f"y_{split}": labels}
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = folder / "pictures" / split / _CLASSES[label] / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(path)
    np.savez(folder / "tiny.npz", **splits)


def _write_often() -> None:
    """Lets the build of a cache record its progress after every chunk of images."""
    from dam_tf.data import source
    from dam_tf.data.cache import cache_build
    from dam_tf.data.sources import image_batches

    cache_build._RECORD_BYTES = 1
    for module in (source, cache_build, image_batches):
        if hasattr(module, "CHUNK"):
            module.CHUNK = 4


def _measure_quickly() -> None:
    """Measures no process: it would import TensorFlow, for 10 seconds, each time."""
    from dam_tf.studies.cost import report, step

    def apart(module: str, function: str, arguments: tuple, on_progress=None):
        if function == "check":
            return step.check(*arguments)
        time.sleep(0.05)
        settings, iterations = arguments
        return {
            "seconds_per_step": 0.5 * settings.distillation.ipc,
            "deviation": 0.25,
            "iterations": iterations,
            "seconds_to_compile": 1.0,
            "peak_memory": 2**20,
            "memory_of": "process",
            "device": "none",
        }

    report.apart = apart


_NPZ, _OUT = "--dataset=npz:{data}/tiny.npz", "--output_dir=run"
_STUDY = (_NPZ, "--output_dir=study", *_SMALL, *_TESTED)

_TOOLS = (
    Tool(
        "distill",
        "distill",
        (_NPZ, _OUT, *_SHORT, "--snapshot_every=3", *_TESTED, "--evaluate"),
    ),
    Tool(
        "distill_dm",
        "distill",
        ("--dataset=folder:{data}/pictures", _OUT, *_SHORT, "--method=dm", "--ipc=2",
         "--classes_per_step=2", "--set=distillation.ema_decay=0.5",
         "--set=dataset.preprocessing=zca", "--init=k-center"),
    ),
    Tool(
        "ablate",
        "ablate",
        ("power", *_STUDY, "--batch_real=4", "--iterations=2", "--values=1,4",
         "--checkpoint_every=1"),
    ),
    Tool(
        "pretraining",
        "ablate",
        ("networks", *_STUDY, "--batch_real=4", "--iterations=1", "--ipc=1",
         "--values=random,0-20,20-40,40-60,60-80,>=80", "--pretrained=2",
         "--pretrain_epochs=1", "--pretrain_checkpoints=2"),
    ),
    Tool(
        "continual",
        "continual",
        (*_STUDY, "--batch_real=4", "--iterations=2", "--steps=2", "--ipc=1",
         "--memory=random,dm", "--orders=1", "--set=distillation.checkpoint_every=1"),
    ),
    Tool(
        "experts",
        "experts",
        (_NPZ, "--output_dir=experts", *_SMALL, "--experts=2", "--epochs=3",
         "--set=evaluation.batch_size=16"),
    ),
    Tool(
        "nas",
        "nas",
        (_NPZ, "--output_dir=study", *_TESTED,
         "--proxy=run,early_stopping", "--depths=1", "--widths=4",
         "--activations=relu,sigmoid", "--norms=none", "--poolings=avg",
         "--whole_epochs=1"),
        needs="distill",
    ),
    Tool(
        "cost",
        "cost",
        (_NPZ, "--output_dir=study", *_SMALL, "--method=datadam,dm", "--ipc=1,2",
         "--iterations=2"),
        prepare=_measure_quickly,
    ),
    Tool(
        "attention",
        "attention",
        (_NPZ, "--output_dir=study", *_SMALL, "--batch_real=4", "--powers=1,4",
         "--networks=2", "--init=random", "--ipc=1,2"),
    ),
    Tool(
        "cache",
        "coreset",
        ("--dataset=folder:{data}/pictures", "--data_dir=cache", _OUT, *_SMALL,
         "--set=dataset.cache=verify", "--method=random"),
        again=("--overwrite",),
        prepare=_write_often,
    ),
    Tool(
        "coreset",
        "coreset",
        (_NPZ, _OUT, *_SMALL, "--ipc=2", "--method=herding"),
        again=("--overwrite",),
    ),
    Tool(
        "export",
        "export",
        ("--distilled=run", "--output_dir=export", "--format=npz,png,tfrecord,parquet"),
        again=("--overwrite",),
        needs="distill",
    ),
    Tool("evaluate", "evaluate", ("--distilled=run",), again=(), needs="distill"),
    Tool("report", "report", ("run", "--output_dir=page"), again=(), needs="distill"),
    Tool(
        "curves",
        "visualize",
        ("curves", "--runs=run", "--output_dir=study", "--points=2", *_TESTED),
        needs="distill",
    ),
    Tool(
        "evolution",
        "visualize",
        ("evolution", "--runs=run", "--output_dir=pictures"),
        again=(),
        needs="distill",
    ),
    Tool(
        "grid",
        "visualize",
        ("grid", "--runs=run", "--output_dir=pictures"),
        again=(),
        needs="distill",
    ),
)  # fmt: skip
TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in _TOOLS}
