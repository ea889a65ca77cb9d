"""What a report reads of a run, and the commands that it gives."""

import shlex

import pytest

from dam_tf.base.json_lines import append_json
from dam_tf.evaluation.results import Evaluation
from dam_tf.report.facts import read_run
from dam_tf.runs.folder import RunFolder
from tests.tiny_data import save_run


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"evaluation.epochs": 7, "evaluation.augmentation": "none"},
        {"network.name": "mlp"},
        {"network.name": "resnet18", "network.norm": "batch", "evaluation.networks": 1},
        {"augmentation.operations": ["flip", "crop"]},
        {"network.depth": ""},
    ],
)
def test_the_command_of_an_evaluation_has_its_settings(tmp_path, overrides):
    save_run(tmp_path / "a run")
    folder = RunFolder(tmp_path / "a run")
    wanted = folder.settings(overrides)
    line = Evaluation((0.5,)).record(str(folder.path), wanted)
    append_json(folder.evaluation, line)
    facts = read_run("a run", folder)
    words = shlex.split(facts.evaluate_command(facts.evaluations[-1]))
    assert words[:4] == ["python", "-m", "dam_tf", "evaluate"]
    distilled, *rest = words[4:]
    assert distilled == f"--distilled={folder.path}"
    given = dict(word.removeprefix("--set=").split("=", 1) for word in rest)
    assert folder.settings(given) == wanted
    assert bool(given) == bool(overrides)


def test_the_command_is_right_for_a_run_that_moved_with_its_data(tmp_path):
    save_run(tmp_path / "before", dataset="npz:/before.npz")
    moved = RunFolder((tmp_path / "before").rename(tmp_path / "after"))
    text = moved.config.read_text()
    moved.config.write_text(text.replace("npz:/before.npz", "npz:/after.npz"))
    facts = read_run("after", moved)
    command = facts.evaluate_command(facts.evaluations[-1])
    assert command == f"python -m dam_tf evaluate --distilled={tmp_path / 'after'}"


def test_the_time_is_that_of_all_stretches(tmp_path):
    save_run(tmp_path / "run")
    cost = tmp_path / "run" / "cost.jsonl"
    cost.write_text(
        '{"first": 0, "last": 2, "seconds": 8}\n{"first": 2, "last": 6, "seconds": 4}\n'
    )
    assert read_run("run", RunFolder(tmp_path / "run")).seconds_per_iteration == 2
    cost.unlink()
    assert read_run("run", RunFolder(tmp_path / "run")).seconds_per_iteration == 0.25
