"""SAM, MMD and their gradients as a study measures them, beside formulas in NumPy."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.config.settings import replace, resolve
from dam_tf.methods.method import Task
from dam_tf.studies.attention import report, study
from dam_tf.studies.attention.measure import Measurement
from dam_tf.studies.attention.settings import AttentionConfig
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.tiny_data import NAMES, make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

POWERS, SHAPE = (1.0, 4.0), (8, 8, 1)
SMALL = AttentionConfig(POWERS, ("batch",), (4,), ("random",), (2,), networks=2)


def config_of(norm, **changes):
    return tiny_config(
        network__norm=norm,
        dataset__preprocessing="none",
        **{"network__depth": 2, "network__width": 4, **changes},
    )


def measurement_of(norm, **changes):
    config = resolve(config_of(norm, **changes), SHAPE)
    return Measurement(Task(config, SHAPE, NAMES), POWERS, 2, keras.layers.Identity())


def batches(count=3, seed=0):
    rng = np.random.default_rng(seed)
    shape = (2, 3, count, *SHAPE)
    return rng.integers(0, 256, shape).astype(np.uint8)


# The network and the losses once more, in NumPy and float64.


def maps_of(images, weights, norm):
    """Maps after both activations, and the embedding, of `[n, 8, 8, 1]`."""
    found, x = [], images.astype(np.float64)
    for kernel, bias, gamma, beta in (weights[:4], weights[4:8]):
        padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
        side = x.shape[1]
        x = bias + sum(
            padded[:, i : i + side, j : j + side] @ kernel[i, j]
            for i in range(3)
            for j in range(3)
        )
        over = (1, 2) if norm == "instance" else (0, 1, 2)
        mean, variance = x.mean(over, keepdims=True), x.var(over, keepdims=True)
        x = np.maximum(gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta, 0)
        found.append(x)
        x = x.reshape(len(x), side // 2, 2, side // 2, 2, -1).mean((2, 4))
    return found, x.reshape(len(x), -1)


def means_of(images, weights, norm):
    """The class means of the attention of each p and block, and of the embedding."""
    classes, count = images.shape[:2]
    maps, embedding = maps_of(images.reshape(-1, *SHAPE), weights, norm)
    attention = []
    for power in POWERS:
        for one in maps:
            a = (np.abs(one) ** power).sum(-1).reshape(len(one), -1)
            attention.append(a / np.linalg.norm(a, axis=1, keepdims=True))
    return [x.reshape(classes, count, -1).mean(1) for x in (*attention, embedding)]


def losses_of(one, other):
    gaps = [((a - b) ** 2).sum() for a, b in zip(one, other, strict=True)]
    return np.reshape(gaps[:-1], [len(POWERS), 2]), gaps[-1]


def numpy_weights(theta):
    return [np.asarray(value, np.float64) for value in theta]


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_floor_is_that_of_the_formula(norm):
    """Of 3 images a class, fewer than those of the largest batch."""
    measurement = measurement_of(norm, augmentation__operations=())
    theta, parameters = measurement.draw(tf.constant([0, 7]))
    real = batches()
    one, other = (measurement.real_vectors(x, parameters, theta) for x in real)
    found = measurement.between(one, other)
    weights = numpy_weights(theta)
    expected = losses_of(*(means_of(x / 255, weights, norm) for x in real))
    np.testing.assert_allclose(found["sam"], expected[0], rtol=1e-4)
    np.testing.assert_allclose(found["mmd"], expected[1], rtol=1e-4)
    assert measurement.terms.matched == (1,)
    same = measurement.between(one, one)
    assert not np.any(same["sam"]) and same["mmd"] == 0


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_gradients_are_those_of_finite_differences(norm):
    """Of a set of two images a class, in float64, pixel by pixel."""
    measurement = measurement_of(norm, augmentation__operations=())
    theta, parameters = measurement.draw(tf.constant([0, 7]))
    real = batches()[0]
    images = np.random.default_rng(1).normal(0.5, 0.5, (3, 2, *SHAPE))
    images = images.astype(np.float32)
    target = measurement.real_vectors(real, parameters, theta)
    found = measurement.of_set(target, images, parameters, theta)
    weights = numpy_weights(theta)
    goal = means_of(real / 255, weights, norm)

    def losses(x):
        sam, mmd = losses_of(goal, means_of(x, weights, norm))
        return np.array([*sam[:, 0], mmd]), sam, mmd  # the first block is matched

    exact = images.astype(np.float64)
    _, sam, mmd = losses(exact)
    np.testing.assert_allclose(found["sam"], sam, rtol=1e-4)
    np.testing.assert_allclose(found["mmd"], mmd, rtol=1e-4)
    gradients = np.zeros((3, exact.size))
    for place in range(exact.size):
        change = np.zeros(exact.size)
        change[place] = 1e-6
        change = change.reshape(exact.shape)
        gap = losses(exact + change)[0] - losses(exact - change)[0]
        gradients[:, place] = gap / 2e-6
    norms = np.linalg.norm(gradients, axis=1)
    sizes = norms / np.sqrt(6)  # images
    np.testing.assert_allclose(found["sam_gradient"], sizes[:2], rtol=1e-3)
    np.testing.assert_allclose(found["mmd_gradient"], sizes[2], rtol=1e-3)
    cosines = gradients[:2] @ gradients[2] / (norms[:2] * norms[2])
    np.testing.assert_allclose(found["cosine"], cosines, atol=1e-3)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_batch_as_a_set_has_no_loss(norm):
    """Augmentation included: each class has its own, which both see."""
    measurement = measurement_of(norm)
    theta, parameters = measurement.draw(tf.constant([0, 8]))
    real = batches()[0]
    target = measurement.real_vectors(real, parameters, theta)
    images = real.astype(np.float32) / 255
    found = measurement.of_set(target, images, parameters, theta)
    other = measurement.of_set(target, images[::-1], parameters, theta)
    for loss in ("sam", "mmd"):
        assert np.max(found[loss]) < 1e-9 < 1e-4 < np.min(other[loss])


def test_batches_have_no_image_twice():
    data = make_data()
    one = study._Study(tiny_config(), SMALL, {}, data)
    drawn = [one._batch(4, network, part) for network in (0, 1) for part in (0, 1)]
    for label in range(3):
        class_images = {x.tobytes() for x in data.train.class_images(label)}
        seen = [{x.tobytes() for x in batch[label]} for batch in drawn]
        assert all(len(some) == 4 and some <= class_images for some in seen)
        assert not seen[0] & seen[1] and not seen[2] & seen[3]
        assert seen[0] != seen[2], "each network has its own"


def a_set(shuffled=False):
    images = np.random.default_rng(3).random((6, *SHAPE), np.float32)
    labels = np.repeat([0, 1, 2], 2)
    order = np.array([3, 0, 4, 2, 1, 5]) if shuffled else np.arange(6)
    return DistilledSet(images[order], labels[order], NAMES)


def test_a_study_resumes_and_grows(tmp_path, monkeypatch):
    config, data = config_of("batch", network__depth=1), make_data()
    whole = study.measure_attention(
        config, SMALL, tmp_path / "whole", {"mine": a_set()}, data=data
    )
    assert [line["set"] for line in whole[::2]] == ["floor", "random", "mine"]
    assert {line["networks"] for line in whole} == {2}
    assert (tmp_path / "whole" / "figure.png").read_bytes()[1:4] == b"PNG"
    # As if it had been killed after three trials.
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    lines = (tmp_path / "whole" / "trials.jsonl").read_text().splitlines()
    (tmp_path / "killed" / "trials.jsonl").write_text("\n".join(lines[:3]) + "\n")
    for name in ("results.jsonl", "table.md"):
        (tmp_path / "killed" / name).unlink()
    monkeypatch.setattr(report, "draw", lambda *_: None)  # which takes a second
    again = study.measure_attention(
        config, SMALL, tmp_path / "killed", {"mine": a_set()}, True, data=data
    )
    assert again == whole
    for name in ("results.jsonl", "table.md", "trials.jsonl"):
        one, other = (tmp_path / x / name for x in ("killed", "whole"))
        assert one.read_text() == other.read_text()
    monkeypatch.setattr(Measurement, "of_set", None)  # nothing is measured again
    monkeypatch.setattr(Measurement, "between", None)
    less = AttentionConfig(POWERS, ("batch",), (4,), ("random",), (2,), networks=1)
    found = study.measure_attention(
        config, less, tmp_path / "whole", {}, True, data=data
    )
    assert [line["networks"] for line in found] == [1] * 4
    stored = read_json_lines(tmp_path / "whole" / "trials.jsonl")
    assert [line["trial"] for line in stored] == [json.loads(x)["trial"] for x in lines]


def test_the_order_of_a_set_counts_for_nothing():
    images = study.by_class(a_set(), "mine")
    np.testing.assert_array_equal(images.reshape(6, *SHAPE), a_set().images)
    shuffled = study.by_class(a_set(shuffled=True), "mine")
    for one, other in zip(images, shuffled, strict=True):
        assert {x.tobytes() for x in one} == {x.tobytes() for x in other}


def measured(network, sam, mmd, gradients=None):
    found = {"sam": [sam], "mmd": mmd}
    if gradients:
        names = ("sam_gradient", "mmd_gradient", "cosine")
        one, two, three = gradients
        found |= dict(zip(names, ([one], two, [three]), strict=True))
    name = ["dm", 10, "f"] if gradients else ["floor", 0, ""]
    return ["batch", 64, network, *name], found


def test_the_table_by_hand():
    """Two networks, three blocks of which two are matched, p = 4."""
    config = resolve(tiny_config(), (32, 32, 3))  # factors 100 and 0.01
    lines = report.summarize(
        [
            measured(0, [0.1, 0.3, 9.0], 2.0),
            measured(0, [0.2, 0.6, 9.0], 8.0, (0.02, 1.0, 0.5)),
            measured(1, [0.2, 0.4, 7.0], 4.0),
            measured(1, [0.6, 1.2, 7.0], 8.0, (0.04, 1.0, 0.3)),
        ],
        (4.0,),
        (1, 2),
        3,
        config,
    )
    floor, dm = lines
    assert floor["value"]["sam"] == pytest.approx([0.5, 0.1])
    assert "over_floor" not in floor
    assert dm["over_floor"]["1"] == pytest.approx([2.5, 0.5])
    assert dm["over_floor"]["sam"] == pytest.approx([2.5, 0.5])
    assert dm["over_floor"]["mmd"] == pytest.approx([3.0, 1.0])
    assert dm["gradient"]["sam"] == pytest.approx([3.0, 1.0])
    assert dm["gradient"]["ratio"] == pytest.approx([3.0, 1.0])
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in report.table(lines).splitlines()
        if line.startswith("| batch")
    ]
    dm = ["batch", "64", "dm, 10 a class"]
    sam = ["0.15 ± 0.05", "0.35 ± 0.05", "8 ± 1", "0.5 ± 0.1"]
    assert rows == [
        ["batch", "64", "MMD", "", "", "", "3 ± 1"],
        ["batch", "64", "SAM, p = 4", *sam],
        [*dm, "MMD", "", "", "", "3 ± 1"],
        [*dm, "SAM, p = 4", "2.5 ± 0.5", "2.5 ± 0.5", "1", "2.5 ± 0.5"],
        [*dm, "4", "3 ± 1", "1", "3 ± 1", "0.4 ± 0.1"],
    ]


def bad_set(**changes):
    parts = {"images": np.zeros((3, *SHAPE)), "labels": [0, 1, 2], "class_names": NAMES}
    return {"mine": DistilledSet(**{**parts, **changes})}


@pytest.mark.parametrize(
    ("changes", "parts", "sets", "message"),
    [
        ({}, {"batches": (5,)}, {}, "class 'circle' has 9; choose at most 4"),
        ({}, {"ipcs": (10,)}, {}, "ipc 10 is larger than class 'circle'"),
        ({}, {}, bad_set(images=np.zeros((3, 8, 8, 3))), "the distilled images are"),
        ({}, {}, bad_set(class_names=("a", "b", "c")), "other classes than tiny"),
        ({}, {}, bad_set(labels=[0, 1, 1]), "the classes of mine have 0 to 2 images"),
        ({}, {}, {"random": a_set()}, "sets must name one or more, each once"),
        ({"method__name": "dm"}, {}, {}, "method.name is 'dm', but attention"),
        ({"method__layers": ()}, {}, {}, "method.layers is empty"),
        ({"method__layers": (1, 7)}, {}, {}, "method.layers names block 7"),
        ({"distillation__formation": "factor:2"}, {}, {}, "is not for this study"),
        ({"network__name": "vgg11"}, {}, {}, "vgg11 is too deep"),
    ],
)
def test_what_is_refused_leaves_a_finished_study(
    tmp_path, changes, parts, sets, message
):
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / "trials.jsonl").write_text("")
    names = ("powers", "norms", "batches", "inits", "ipcs", "networks")
    own = AttentionConfig(**{**{n: getattr(SMALL, n) for n in names}, **parts})
    config = replace(tiny_config(), **changes)
    with pytest.raises(UserError, match=message):
        study.measure_attention(
            config, own, tmp_path, sets, overwrite=True, data=make_data()
        )
    assert (tmp_path / "settings.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"powers": (-1.0,)}, "method.power must be at least 0"),
        ({"powers": ()}, "powers must name one or more"),
        ({"norms": ("bacth",)}, "did you mean 'batch'"),
        ({"inits": ("randm",)}, "did you mean 'random'"),
        ({"networks": 0}, "networks must be at least 1, not 0"),
        ({"batches": (64, 64)}, "batches must name one or more, each once"),
    ],
)
def test_a_study_that_cannot_be(parts, message):
    with pytest.raises(UserError, match=message):
        AttentionConfig(**parts)
