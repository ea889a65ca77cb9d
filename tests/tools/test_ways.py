"""A set that networks are trained on in several ways, each of which is named."""

import dataclasses
import re

import numpy as np
import pytest

from dam_tf.base.json_lines import read_json_lines
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.recipe import Recipe
from tests.tiny_data import make_data, save_npz, save_run
from tests.tools.running import call

KINDS = ["soft", "hard"]  # of labels
NETWORKS = ["--models=2", "--epochs=3"]
pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def runs(tmp_path):
    """Folder with the finished run `one`, which no network was trained on."""
    dataset = save_npz(tmp_path / "tiny.npz", make_data())
    save_run(tmp_path / "one", dataset, ("0", "1", "2"))
    for file in ("evaluation.jsonl", "confusion.png"):
        (tmp_path / "one" / file).unlink(missing_ok=True)
    return tmp_path


def test_a_set_is_tested_by_its_own_recipe_beside_the_common_protocol(runs):
    one = DistilledSet.load(runs / "one")
    recipe = Recipe((0.1, 0.2), steps=2, batches=((0, 2), (1, 3)))
    dataclasses.replace(one, recipe=recipe).save(runs / "one")
    arguments = ["--distilled=one", "--own_recipe", *NETWORKS]
    result = call("evaluate", *arguments, folder=runs)
    assert result.returncode == 0, result.stderr
    common, own = (
        re.search(f"^Test accuracy by {how}: .* over 2 networks$", result.stdout, re.M)
        for how in ("the common protocol", "its own recipe")
    )
    assert common and own and common.start() < own.start()
    first, second = read_json_lines(runs / "one" / "evaluation.jsonl")
    found = [line["config"]["evaluation"] for line in (first, second)]
    assert [one["recipe"] for one in found] == ["common", "own"]
    assert [one["epochs"] for one in found] == [3, 2]
    assert call("report", "one", "--output=page.html", folder=runs).returncode == 0
    page = (runs / "page.html").read_text(encoding="utf-8")
    assert "its own recipe" in page and "the common protocol" in page


def test_soft_labels_are_never_tested_alone(runs):
    one = DistilledSet.load(runs / "one")
    soft = 0.1 + 0.7 * np.eye(one.num_classes, dtype=np.float32)[one.labels]
    dataclasses.replace(one, soft_labels=soft).save(runs / "one")
    arguments = ["--distilled=one", "--set=evaluation.cutmix=0.5", *NETWORKS]
    result = call("evaluate", *arguments, folder=runs)
    assert result.returncode == 0, result.stderr
    places = [
        result.stdout.index(f"accuracy with {kind} labels, with CutMix of 50 % of batc")
        for kind in KINDS
    ]
    assert places == sorted(places)
    first, second = read_json_lines(runs / "one" / "evaluation.jsonl")
    found = [line["config"]["evaluation"] for line in (first, second)]
    assert [one["label_type"] for one in found] == KINDS
    arguments += ["--set=evaluation.label_type=hard"]
    result = call("evaluate", *arguments, folder=runs)
    assert "Test accuracy with CutMix of 50 % of batches: " in result.stdout
    third = read_json_lines(runs / "one" / "evaluation.jsonl")[2]
    assert third["accuracies"] == second["accuracies"]
    assert call("report", "one", "--output=page.html", folder=runs).returncode == 0
    page = (runs / "page.html").read_text(encoding="utf-8")
    assert page.count("CutMix of 50 %") == 3 and page.count("<td>hard</td>") == 2


def test_a_run_with_labels_of_its_pool_is_tested_by_hard_ones_too(runs):
    arguments = [f"--dataset=npz:{runs / 'tiny.npz'}", "--method=dance", *NETWORKS]
    names = ("jit=none", "iterations=1", "batch_real=2", "ipc=2")
    given = [f"distillation.{name}" for name in names]
    given += ["network.width=4", "network.depth=1", "method.labels=soft"]
    given += ["method.train_networks=1", "method.train_epochs=1"]
    given += ["evaluation.cutmix=0.5"]
    arguments += [f"--set={one}" for one in given]
    result = call("distill", *arguments, "--evaluate", "--output_dir=two", folder=runs)
    assert result.returncode == 0, result.stderr
    pattern = r"^Test accuracy with (\w+) labels, with CutMix of 50 % of batches: "
    told = re.findall(pattern, result.stdout, re.M)
    assert told == KINDS
    again = call("evaluate", "--distilled=two", folder=runs)
    assert again.returncode == 0, again.stderr
    lines = read_json_lines(runs / "two" / "evaluation.jsonl")
    assert [one["accuracies"] for one in lines[:2]] == [
        one["accuracies"] for one in lines[2:]
    ]
    assert [one["config"] for one in lines[:2]] == [one["config"] for one in lines[2:]]
