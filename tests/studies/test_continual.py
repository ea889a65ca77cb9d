"""Continual learning: what is remembered at each step, and what is trained on."""

import itertools

import numpy as np
import pytest
from PIL import Image

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.data.real_data import RealData, sorted_split
from dam_tf.evaluation import evaluate as evaluation
from dam_tf.studies.continual import study as continual
from dam_tf.studies.continual.settings import ContinualConfig, split_classes
from dam_tf.studies.continual.study import class_order, continual_learning
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.studies.five_classes import (
    IPC,
    NAMES,
    classes_of,
    config,
    five_classes,
    study,
)

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def evaluated(monkeypatch):
    """Replaces training by a note of what would be trained on, and tested."""
    seen = []

    def note(distilled, config, data):
        seen.append((distilled, config, data))
        labels = data.test.labels
        return evaluation.Evaluation.of([labels], labels, data.num_classes)

    monkeypatch.setattr(continual, "evaluate", note)
    return seen


def test_the_buffer_grows_by_the_classes_of_each_step(evaluated, tmp_path):
    memories = study("random", "herding", steps=(2, 3), orders=2)
    continual_learning(config(), memories, tmp_path, data=five_classes())
    assert len(evaluated) == 2 * 2 * (2 + 3)
    trials = [line["trial"] for line in read_json_lines(tmp_path / "trials.jsonl")]
    assert [tuple(trial) for trial in trials] == memories.keys()
    for (steps, order, _, step), (buffer, _, data) in zip(
        trials, evaluated, strict=True
    ):
        expected = class_order(0, order, 5)
        count = sum(map(len, split_classes(expected, steps)[: step + 1]))
        seen = expected[:count]
        assert buffer.class_names == data.class_names == tuple(NAMES[k] for k in seen)
        assert buffer.labels.tolist() == np.repeat(range(count), IPC).tolist()
        assert classes_of(buffer.images) == np.repeat(seen, IPC).tolist()
        assert classes_of(data.test.images / 255) == np.repeat(seen, 3).tolist()


def test_old_buffers_are_not_touched_and_old_data_are_gone(
    evaluated, tmp_path, monkeypatch
):
    given = []

    def note(data, config, preprocessing):
        given.append(data.class_names)
        return original(data, config, preprocessing)

    original = continual.coreset
    monkeypatch.setattr(continual, "coreset", note)
    continual_learning(
        config(), study("random", steps=(3,)), tmp_path, data=five_classes()
    )
    parts = split_classes(class_order(0, 0, 5), 3)
    assert given == [tuple(NAMES[k] for k in part) for part in parts]
    buffers = [buffer.images for buffer, _, _ in evaluated]
    for earlier, later in itertools.pairwise(buffers):
        np.testing.assert_array_equal(later[: len(earlier)], earlier)


def test_stored_images_are_what_a_step_counts(evaluated, tmp_path):
    formed = config(distillation__formation="factor:2", distillation__ipc=1)
    memories = study("random", "dm", steps=(2,))
    continual_learning(formed, memories, tmp_path, data=five_classes())
    lines = read_json_lines(tmp_path / "trials.jsonl")
    assert [line["result"]["images"] for line in lines] == [3, 5, 3, 5]
    # A coreset is of real images; those of a class that is distilled are four.
    counts = [np.bincount(buffer.labels).tolist() for buffer, _, _ in evaluated]
    assert counts == [[1] * 3, [1] * 5, [4] * 3, [4] * 5]


@pytest.mark.parametrize("statistics", ["first_step", "all"])
def test_what_preprocessing_is_fitted_to(statistics, evaluated, tmp_path):
    data = five_classes()
    continual_learning(
        config(dataset__preprocessing="standardize"),
        study("random", statistics=statistics),
        tmp_path,
        data=data,
    )
    first = split_classes(class_order(0, 0, 5), 2)[0]
    classes = first if statistics == "first_step" else range(5)
    pixels = np.concatenate([data.train.class_images(k) for k in classes]) / 255
    for buffer, _, _ in evaluated:
        arrays = buffer.preprocessing.arrays()
        assert arrays["mean"].ravel() == pytest.approx(pixels.mean(), rel=1e-5)
        assert arrays["deviation"].ravel() == pytest.approx(pixels.std(), rel=1e-4)


def test_steps_draw_their_own_numbers_and_memories_share_them(evaluated, tmp_path):
    continual_learning(
        config(),
        study("random", "herding", steps=(3,), orders=2),
        tmp_path,
        data=five_classes(),
    )
    seeds = [config.distillation.seed for _, config, _ in evaluated]
    assert seeds[:3] == seeds[3:6] and seeds[6:9] == seeds[9:]
    assert len(set(seeds)) == 6


def test_accuracies_are_those_of_evaluate_and_are_summarised(tmp_path, monkeypatch):
    results = []

    def keep(*arguments):
        results.append(evaluation.evaluate(*arguments))
        return results[-1]

    monkeypatch.setattr(continual, "evaluate", keep)
    lines = continual_learning(
        config(evaluation__networks=2),
        study("random", "herding", orders=2),
        tmp_path,
        data=five_classes(),
    )
    expected = np.array([r.mean for r in results]).reshape(2, 2, 2)  # order, memory
    assert read_json_lines(tmp_path / "results.jsonl") == lines
    for number, line in enumerate(lines):
        assert line["memory"] == ("random", "herding")[number]
        assert (line["steps"], line["ipc"], line["orders"]) == (2, IPC, 2)
        assert line["classes"] == [3, 5]
        one = expected[:, number]
        assert line["accuracies"] == pytest.approx(one, abs=1e-6)
        assert line["accuracy"] == pytest.approx(one.mean(axis=0), abs=1e-6)
        assert line["deviation"] == pytest.approx(one.std(axis=0), abs=1e-6)
        assert line["config"]["selection"]["method"] == line["memory"]
    trials = [line["result"] for line in read_json_lines(tmp_path / "trials.jsonl")]
    for trial, result in zip(trials, results, strict=True):
        shares = result.per_class  # three test images each
        parts = [part.mean() for part in (shares[:3], shares[3:]) if len(part)]
        assert trial["accuracy_by_step"] == pytest.approx(parts, abs=1e-6)
    with Image.open(tmp_path / "accuracy.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 400


@pytest.mark.slow
def test_a_step_of_one_class(tmp_path):
    lines = continual_learning(
        config(), study("datadam", steps=(5,)), tmp_path, data=five_classes()
    )
    assert lines[0]["classes"] == [1, 2, 3, 4, 5]
    assert lines[0]["accuracy"][0] == 1


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"memories": ("randm",)}, {}, r"'randm' \(did you mean 'random'\?\)"),
        ({"steps": (6,)}, {}, "6 steps are more than the 5 classes"),
        ({}, {"distillation__ipc": 7}, "ipc 7 is larger than class 'a'"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_folder_is_made(
    changes, settings, message, tmp_path
):
    with pytest.raises(UserError, match=message):
        continual_learning(
            config(**settings),
            ContinualConfig(**{"memories": ("random",), "steps": (2,), **changes}),
            tmp_path / "new",
            data=five_classes(),
        )
    assert not (tmp_path / "new").exists()


def test_a_class_without_a_test_image(tmp_path):
    data = five_classes()
    counts = [3, 3, 0, 3, 3]
    test = sorted_split(data.test.images[: sum(counts)], counts)
    with pytest.raises(UserError, match="class 'c' has no test image"):
        continual_learning(
            config(),
            study("random"),
            tmp_path / "new",
            data=RealData("five", NAMES, data.train, test),
        )


def test_buffers_hold_pixels_whatever_the_preprocessing(evaluated, tmp_path):
    """What a method learned in model space is kept as pixels, exactly invertible."""
    continual_learning(
        config(dataset__preprocessing="standardize", distillation__iterations=0),
        study("datadam"),
        tmp_path,
        data=five_classes(),
    )
    buffer = evaluated[-1][0]
    assert isinstance(buffer, DistilledSet)
    assert classes_of(buffer.images) == np.repeat(class_order(0, 0, 5), IPC).tolist()
    np.testing.assert_allclose(
        buffer.images * 255, np.rint(buffer.images * 255), atol=1e-3
    )
