"""What a cell does: makes a set, tests it by each protocol, goes on after a stop."""

import dataclasses
import json

import numpy as np
import pytest

from dam_tf.base.json_lines import append_json, read_json_lines
from dam_tf.config.schema import to_dict
from dam_tf.config.settings import replace
from dam_tf.evaluation.evaluate import evaluate
from dam_tf.evaluation.results import Evaluation
from dam_tf.studies.benchmark import work
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.recipe import Recipe
from tests.tiny_data import make_data, save_npz, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def config(tmp_path):
    dataset = save_npz(tmp_path / "tiny.npz", make_data())
    return tiny_config(dataset__name=dataset, distillation__iterations=2)


def make(folder, kind, config, plain=False, own=True, protocol=None):
    configs = to_dict(config), to_dict(protocol or config)
    return work.make(str(folder), kind, *configs, plain, own)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("method", {}),
        ("coreset", {"selection__space": "random"}),
        ("generator", {"method__name": "gmmn", "method__hidden": [4]}),
    ],
)
def test_a_set_of_each_kind_is_made_and_tested(kind, changes, config, tmp_path):
    made = replace(config, **changes)
    found = make(tmp_path / "cell", kind, made, plain=True, protocol=config)
    assert {len(one) for one in found["accuracies"].values()} == {2}
    assert set(found["accuracies"]) == {"common", "plain"}
    # They are those of the set in the folder, as anybody may test it.
    distilled = DistilledSet.load(tmp_path / "cell" / "run")
    expected = evaluate(distilled, config).accuracies
    np.testing.assert_allclose(found["accuracies"]["common"], expected, atol=1e-6)
    assert (found["stored_images"], found["time_lost"]) == (6, False)
    assert found["seconds"]["make"] > 0 and found["peak_memory"] > 2**20
    assert found.get("iterations") == (None if kind == "coreset" else 2)
    json.dumps(found)


def test_the_whole_set_is_trained_on(config, tmp_path):
    found = make(tmp_path / "cell", "whole", config, plain=True)
    assert set(found["accuracies"]) == {"common", "plain"}
    assert not (tmp_path / "cell" / "run").exists()


def test_soft_labels_and_recipes_are_tested_beside(config, tmp_path, monkeypatch):
    """Each protocol is told by what `evaluate` is called with."""
    seen = []

    def tell(distilled, settings, data):
        way = settings.evaluation.recipe, settings.evaluation.label_type
        seen.append((distilled, *way))
        return evaluate(distilled, settings, data)

    def with_recipe(config, run, data):
        one = work.distill(config, run.path, data=data)
        soft = np.full([6, 3], 0.1, np.float32)
        soft[np.arange(6), one.labels] = 0.8
        return dataclasses.replace(
            one, soft_labels=soft, recipe=Recipe((0.1,), steps=3)
        )

    monkeypatch.setattr(work, "evaluate", tell)
    monkeypatch.setitem(work._MAKERS, "method", with_recipe)
    found = make(tmp_path / "cell", "method", config)
    assert list(found["accuracies"]) == ["common", "hard", "own", "random_own"]
    common, hard, own, random = (one for one, *_ in seen)
    assert [recipe for _, recipe, _ in seen] == ["common", "common", "own", "own"]
    assert [kind for *_, kind in seen] == ["soft", "hard", "soft", "soft"]
    assert common is hard and common.soft_labels is not None
    assert own.recipe == random.recipe and random.soft_labels is None
    # Random real images stand in the places of images of their classes.
    real = make_data().train
    for image, label in zip(random.images, random.labels, strict=True):
        of_class = real.class_images(int(label)) / np.float32(255)
        assert (np.abs(of_class - image).reshape(len(of_class), -1).max(1) < 1e-5).any()
    assert not np.array_equal(random.images[0], random.images[1])


def test_kernel_methods_are_tested_by_their_regression(config, tmp_path, monkeypatch):
    # Their recipe has 5,000 steps.
    monkeypatch.setattr(work, "evaluate", lambda *_: Evaluation((0.5,)))
    made = replace(config, method__name="label_solve", distillation__batch_real=4)
    found = make(tmp_path / "cell", "method", made, protocol=config)
    assert len(found["accuracies"]["kernel"]) == 1
    assert {"hard", "own", "random_own"} < set(found["accuracies"])
    brief = make(tmp_path / "brief", "method", made, protocol=config, own=False)
    assert set(brief["accuracies"]) == {"common", "hard", "kernel"}


def test_what_is_done_is_not_done_again(config, tmp_path, monkeypatch):
    folder = tmp_path / "cell"
    first = make(folder, "method", config)
    append_json(folder / "times.jsonl", {"what": "make"})  # and a kill
    monkeypatch.setattr(work, "evaluate", None)
    found = make(folder, "method", config)
    assert found["accuracies"] == first["accuracies"]
    assert found["iterations"] == 2 and found["time_lost"]
    # A set of more iterations goes on, and is tested anew.
    monkeypatch.setattr(work, "evaluate", lambda *_: Evaluation((0.5, 0.5)))
    found = make(folder, "method", replace(config, distillation__iterations=4))
    assert found["iterations"] == 4
    assert found["accuracies"] == {"common": [0.5, 0.5]}
    spent = read_json_lines(folder / "times.jsonl")
    assert sum(line.get("seconds", 0) for line in spent) == pytest.approx(
        sum(found["seconds"].values()), abs=0.01
    )


def test_what_cannot_be_is_told_with_the_reason(config):
    cells = {
        "good": ("method", config),
        "deep": ("method", replace(config, method__name="datadam", method__layers=[9])),
        "many": ("coreset", replace(config, distillation__ipc=10)),
        "whole": ("whole", config),
    }
    given = {name: (kind, to_dict(one)) for name, (kind, one) in cells.items()}
    found = work.check(to_dict(config), given)
    assert set(found["refused"]) == {"deep", "many"}
    assert "layers" in found["refused"]["deep"]
    assert "ipc 10 is larger" in found["refused"]["many"]
    assert found["data"]["train"] == (9, 12, 15) and found["gpus"] == 0


@pytest.mark.slow
def test_processes_of_their_own(config, tmp_path):
    from dam_tf.studies.benchmark.study import Extent, run_benchmark
    from dam_tf.studies.rows import Base, Row

    base = Base(
        overrides={
            "dataset.name": config.dataset.name,
            "network.width": 4,
            "network.depth": 2,
            "evaluation.epochs": 2,
            "evaluation.networks": 2,
            "distillation.iterations": 2,
            "distillation.batch_real": 4,
        }
    )
    slow = {"method.step_size_rate": 1e-12}  # tiny images turn it negative
    rows = [Row("random", "random"), Row("dm", "dm"), Row("mtt", "mtt", slow)]
    extent = Extent(experts=1, expert_epochs=2)
    results = run_benchmark(rows, base, extent, tmp_path / "benchmark")
    assert [line.get("failed") for line in results] == 3 * [None]
    assert set(results[2]["accuracies"]) == {"common", "own", "random_own"}
