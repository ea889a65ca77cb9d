"""What is said at the start of a run of the section augmentation and of real images."""

import logging
import pathlib

import numpy as np
import pytest

from dam_tf.commands.distill import _plan
from dam_tf.config.methods import METHODS
from dam_tf.data.real_data import RealData, sorted_split
from dam_tf.runs.run import distill
from tests.tiny_data import tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

SHOWN_AS_THEY_ARE = {"cafe", "dc", "dd", "frepo", "kip", "label_solve", "ld"}


def test_which_methods_vary_images():
    """As their publications do."""
    found = {name for name, kind in METHODS.items() if not kind.augments}
    assert found == SHOWN_AS_THEY_ARE
    found = {name for name, kind in METHODS.items() if not kind.reads_batches}
    assert found == {"mtt", "tesla"}


@pytest.mark.parametrize(("method", "warned"), [("dm", True), ("dc", False)])
def test_flips_are_warned_of_where_images_are_flipped(method, warned, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    images = np.random.default_rng(0).integers(0, 80, [40, 8, 8, 1]).astype(np.uint8)
    images[:20, :, :4] += 120
    images[20:, :, 4:] += 120
    split = sorted_split(images, [20, 20])
    data = RealData("sides", ("left", "right"), split, split)
    config = tiny_config(method__name=method, distillation__iterations=1)
    distill(config, tmp_path, data=data)
    said = any("flipped left to right" in line for line in caplog.messages)
    assert said == warned


@pytest.mark.parametrize(
    ("method", "said"),
    [("datadam", "6 iterations with 4 real images per class, seed 0"),
     ("tesla", "6 iterations, seed 0")],
)  # fmt: skip
def test_the_first_line_says_which_real_images_are_read(method, said):
    plan = _plan(tiny_config(method__name=method), pathlib.Path("runs/a"))
    assert f", {said}, into runs/a" in plan
