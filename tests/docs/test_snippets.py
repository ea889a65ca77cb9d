"""The blocks of the pages run, from top to bottom, each page in an empty folder.

What a reader would wait for is made small: few iterations, narrow networks, nothing
compiled. Data sets that would be downloaded are random images of as many classes.
"""

import dataclasses
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from dam_tf.commands import program
from dam_tf.config import settings
from dam_tf.data import catalog
from tests.docs import pages

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("eagerly")]

MOST = {  # of a setting
    "distillation.iterations": 3,
    "distillation.batch_real": 4,
    "evaluation.epochs": 2,
    "evaluation.networks": 2,
    "selection.epochs": 1,
    "network.width": 4,
}
SMALL = {  # flags that are no settings
    "cost": ["--iterations=2"],
    "nas": ["--whole_epochs=1", "--sample=2", "--test_images=20"],
    "visualize": ["--points=2"],
}
PER_CLASS, SIDE = 12, 32  # of the random images


@pytest.fixture
def small(monkeypatch):
    """Makes every configuration one that takes seconds."""
    build = settings.build

    def build_small(schema, values):
        config = build(schema, values)
        if schema is not settings.Config:
            return config
        for name, most in MOST.items():
            section, key = name.split(".")
            part = getattr(config, section)
            changed = {key: min(most, getattr(part, key))}
            if section == "distillation":
                changed["jit"] = "none"
            part = dataclasses.replace(part, **changed)
            config = dataclasses.replace(config, **{section: part})
        if config.dataset.preprocessing == "zca":
            data = dataclasses.replace(config.dataset, preprocessing="standardize")
            config = dataclasses.replace(config, dataset=data)
        return config

    monkeypatch.setattr(settings, "build", build_small)


@pytest.fixture
def stand_ins(monkeypatch, tmp_path_factory):
    """Puts random images in place of the data sets that are not here."""
    folder = tmp_path_factory.mktemp("data")
    for name, entry in catalog.CATALOG.items():
        if entry.kind == "digits":
            continue
        file = folder / f"{name}.npz"
        stand_in = catalog.Entry(name, "npz", path=str(file), flips=entry.flips)
        monkeypatch.setitem(catalog.CATALOG, name, stand_in)
        if name in ("cifar10", "cifar100"):  # what the blocks that run ask for
            np.savez(file, **random_arrays(entry.classes))


def random_arrays(classes):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), PER_CLASS)
    shape = [len(labels), SIDE, SIDE, 3]
    images = rng.integers(0, 256, shape).astype(np.uint8)
    return {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}


def run_command(words):
    match words:
        case ["make" | "source", *_]:
            pass
        case ["python", "-m", "dam_tf", name, *rest]:
            small = SMALL.get(name, [])
            if name == "visualize" and rest[0] != "curves":
                small = []
            assert program.run(name, [*rest, *small]) == 0
        case ["python", file, *rest] if file.startswith("tools/"):
            run_command(["python", "-m", "dam_tf", pathlib.Path(file).stem, *rest])
        case ["python", file, *rest]:
            environment = {**os.environ, "PYTHONPATH": ""}  # without dam_tf
            command = [sys.executable, str(pages.ROOT / file), *rest]
            subprocess.run(command, check=True, env=environment)


@pytest.mark.parametrize(
    "page",
    [page for page in pages.GUIDES if any(b.runs for b in pages.blocks(page))],
    ids=lambda page: page.name,
)
def test_the_blocks_of_a_page_run(page, small, stand_ins, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block in pages.blocks(page):
        if not block.runs:
            continue
        print(f"\n--- {block.where}")
        if block.language == "python":
            exec(compile(block.text, block.where, "exec"), names)
        if block.language == "sh":
            for words in pages.commands(block.text):
                run_command(words)
