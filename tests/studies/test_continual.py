"""Continual learning: the protocol, what is remembered, and what a kill leaves."""

import itertools
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.data.real_data import RealData, Split, sorted_split
from dam_tf.evaluation import evaluate as evaluation
from dam_tf.studies.continual import study as continual
from dam_tf.studies.continual.settings import ContinualConfig, split_classes
from dam_tf.studies.continual.study import class_order, continual_learning
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.tiny_data import tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

NAMES = ("a", "b", "c", "d", "e")
IPC = 2


def five_classes() -> RealData:
    """Random images; every value of class k's training images is 50 k to 50 k + 9."""
    rng = np.random.default_rng(0)

    def split(count):
        parts = [rng.integers(50 * k, 50 * k + 10, (count, 8, 8, 1)) for k in range(5)]
        return sorted_split(np.concatenate(parts).astype(np.uint8), [count] * 5)

    return RealData("five", NAMES, split(6), split(3))


def config(**overrides):
    settings = {
        "distillation__ipc": IPC,
        "distillation__iterations": 2,
        "dataset__preprocessing": "none",
        "network__width": 4,
        "network__depth": 1,
        "evaluation__models": 1,
        "evaluation__epochs": 2,
        "selection__space": "pixels",
    }
    return tiny_config(**{**settings, **overrides})


def study(*memories, **changes):
    settings = {"memories": memories, "steps": (2,), "orders": 1}
    return ContinualConfig(**{**settings, **changes})


def classes_of(images: np.ndarray) -> list[int]:
    """The classes that real images of `five_classes` are of, told by their values."""
    return np.rint((images.mean(axis=(1, 2, 3)) * 255 - 4.5) / 50).astype(int).tolist()


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


@pytest.mark.parametrize(
    ("classes", "steps", "sizes"),
    [(100, 5, [20] * 5), (10, 3, [4, 3, 3]), (11, 4, [3, 3, 3, 2]), (3, 3, [1] * 3)],
)
def test_classes_are_split_evenly_and_stay_in_order(classes, steps, sizes):
    order = np.random.default_rng(0).permutation(classes).tolist()
    parts = split_classes(order, steps)
    assert [len(part) for part in parts] == sizes
    assert list(itertools.chain(*parts)) == order


def test_orders_are_functions_of_the_seed():
    orders = [tuple(class_order(seed, k, 50)) for seed in (0, 1) for k in range(3)]
    assert len(set(orders)) == 6
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert class_order(1, 2, 50) == list(orders[-1])


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
        config(evaluation__models=2),
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


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study of a coreset and a distillation that was never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    settings = config(distillation__checkpoint_every=1)
    continual_learning(settings, study("random", "dm"), folder, data=five_classes())
    return folder


def trial_lines(folder):
    return (folder / "trials.jsonl").read_text()


@pytest.mark.parametrize("moment", ["atomic_file", "evaluate", "_save"])
def test_a_killed_study_continues_to_the_same_results(
    moment, whole, tmp_path, monkeypatch
):
    """Killed over and over: before a buffer is kept, before training, distilling."""
    from dam_tf.runs import run as distillation

    home = distillation._Run if moment == "_save" else continual
    original = getattr(home, moment)
    settings, data = config(distillation__checkpoint_every=1), five_classes()
    for alive in range(9):
        left = [1 if alive else 0]

        def dies(*arguments, left=left, **named):
            left[0] -= 1
            if moment == "_save":
                original(*arguments, **named)
            if left[0] < 0:
                raise Killed
            return None if moment == "_save" else original(*arguments, **named)

        monkeypatch.setattr(home, moment, dies)
        try:
            continual_learning(
                settings, study("random", "dm"), tmp_path, resume=True, data=data
            )
            break
        except Killed:
            assert not (tmp_path / "accuracy.png").exists()
    assert alive >= 2
    assert trial_lines(tmp_path) == trial_lines(whole)
    assert read_json_lines(tmp_path / "results.jsonl") == read_json_lines(
        whole / "results.jsonl"
    )
    assert same_buffers(tmp_path, whole)
    assert not list(tmp_path.rglob("*.run"))


def same_buffers(folder, other) -> bool:
    names = sorted(path.name for path in (folder / "buffers").iterdir())
    assert names == sorted(path.name for path in (other / "buffers").iterdir())
    for name in names:
        one, two = (np.load(f / "buffers" / name)["images"] for f in (folder, other))
        np.testing.assert_array_equal(one, two)
    return bool(names)


@pytest.mark.parametrize("damage", ["truncated", "garbage", "missing", "shape"])
def test_a_damaged_buffer_is_made_again(damage, whole, tmp_path, caplog):
    folder = shutil.copytree(whole, tmp_path / "study")
    path = folder / "buffers" / "dm_2-steps_order-0_step-0.npz"
    content = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(content[:-100])
        case "garbage":
            path.write_bytes(b"no images")
        case "missing":
            path.unlink()
        case "shape":
            np.savez(path, images=np.zeros([1, 8, 8, 1], np.float32))
    trials = folder / "trials.jsonl"
    kept = trials.read_text().splitlines(keepends=True)[:-1]
    trials.write_text("".join(kept))
    settings = config(distillation__checkpoint_every=1)
    continual_learning(
        settings, study("random", "dm"), folder, resume=True, data=five_classes()
    )
    assert trial_lines(folder) == trial_lines(whole)
    assert same_buffers(folder, whole)
    assert ("is damaged" in caplog.text) == (damage != "missing")


def test_a_resumed_study_may_grow(whole, tmp_path, evaluated):
    folder = shutil.copytree(whole, tmp_path / "study")
    settings = config(distillation__checkpoint_every=1)
    grown = study("random", "dm", "herding")
    continual_learning(settings, grown, folder, resume=True, data=five_classes())
    assert len(evaluated) == 2
    with pytest.raises(UserError, match=r"cannot resume .* distillation.ipc = 1"):
        continual_learning(config(distillation__ipc=1), grown, folder, resume=True)


def test_overwrite_forgets_buffers_and_results(whole, tmp_path, evaluated):
    folder = shutil.copytree(whole, tmp_path / "study")
    data = five_classes()
    dark = Split(data.train.images // 2, data.train.labels, data.train.offsets)
    changed = RealData(data.name, NAMES, dark, data.test)
    continual_learning(config(), study("random"), folder, overwrite=True, data=changed)
    assert len(list((folder / "buffers").iterdir())) == 2
    assert evaluated[-1][0].images.max() <= 105 / 255
    assert len(read_json_lines(folder / "results.jsonl")) == 1


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
    with pytest.raises(UserError, match="class 'c' of five has no test image"):
        continual_learning(
            config(),
            study("random"),
            tmp_path / "new",
            data=RealData("five", NAMES, data.train, test),
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"memories": ()}, "memory must name one or more, each once, not nothing"),
        ({"memories": ("dm", "dm")}, "each once, not dm,dm"),
        ({"steps": (5, 5)}, "each once, not 5,5"),
        ({"steps": (5, 0)}, "steps must be at least 1, not 0"),
        ({"orders": 0}, "orders must be at least 1, not 0"),
        ({"statistics": "frist_step"}, r"\(did you mean 'first_step'\?\)"),
    ],
)
def test_a_study_that_is_none(changes, message):
    with pytest.raises(UserError, match=message):
        ContinualConfig(**changes)


def test_settings_are_json_and_free_of_what_does_not_matter():
    one = ContinualConfig().settings(config())
    assert json.loads(json.dumps(one)) == one
    assert one == ContinualConfig(("dm",), (3,), 1).settings(
        config(
            dataset__data_dir="elsewhere",
            distillation__checkpoint_every=9,
            selection__method="random",
        )
    )
    assert one != ContinualConfig(statistics="all").settings(config())
    assert one != ContinualConfig().settings(config(distillation__seed=1))


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
