"""Runs whose classes have different numbers of images: every method, or a refusal.

What a run leaves, tests and exports has the labels of these numbers.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from dam_tf import plots
from dam_tf.base.errors import UserError
from dam_tf.config.experts import ExpertTraining, expert_config
from dam_tf.config.settings import replace
from dam_tf.coresets.select import coreset, random_real_set
from dam_tf.data.preprocessing.preprocessing import fit_to_data
from dam_tf.evaluation import evaluate as evaluation
from dam_tf.exports.formats import export
from dam_tf.methods.registry import METHODS
from dam_tf.report.facts import read_run
from dam_tf.report.gallery import images_article
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.run import distill
from dam_tf.studies.benchmark import work
from dam_tf.studies.rows import Base, Row
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.npz import load_npz
from dam_tf.training import on_distilled
from dam_tf.training.experts import train_experts
from tests.methods.pools import trained_pool
from tests.replicas import two_replicas
from tests.runs.comparing import (
    StopAt,
    assert_nearly_same_run,
    assert_same_run,
)
from tests.synthetic.sets import assert_same
from tests.tiny_data import NAMES, make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

LIST, LABELS = "3,1,2", [0, 0, 0, 1, 2, 2]
SMALL = {"network__width": 4, "distillation__iterations": 1}
SMALL |= {"distillation__ipc": 1, "distillation__log_every": 1}
OWN = {
    "cafe": {"window": 2, "most_epochs": 1, "probe": 2},
    "cafe_dsa": {"window": 2, "most_epochs": 1, "probe": 2},
    "mtt": {"steps": 1},
    "tesla": {"steps": 1},
    "frepo": {"width": 4},
    "ncfm": {"frequencies": 8},
}
QUICK = ("dd", "kip", "ld")
REFUSING = {"dd": "each of whose steps takes as many images of every class"}


def settings(name="datadam", counts=LIST, **changes):
    own = {f"method__{key}": value for key, value in OWN.get(name, {}).items()}
    values = {**SMALL, **own, "distillation__images_per_class": counts, **changes}
    return tiny_config(method__name=name, **values)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """The settings that name a pool or experts, by method."""
    folder = tmp_path_factory.mktemp("networks")
    pool = {"method__pool": str(trained_pool(folder / "pool"))}
    config = expert_config(settings("mtt", method__experts=""))
    train_experts(config, ExpertTraining(1), folder / "experts", data=make_data())
    experts = {"method__experts": str(folder / "experts")}
    return {"dance": pool, "ncfm": pool, "mtt": experts, "tesla": experts}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run in proportion to 9, 12 and 15 real images, not to be changed."""
    path = tmp_path_factory.mktemp("unequal") / "run"
    config = settings("dm", "proportional", distillation__ipc=3)
    distill(config, path, data=make_data())
    return RunFolder(path)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK))
        for name in METHODS
    ],
)
def test_every_method_makes_an_iteration_or_refuses(name, networks, tmp_path):
    config = settings(name, **networks.get(name, {}))
    if name in REFUSING:
        with pytest.raises(UserError, match=REFUSING[name]):
            distill(config, tmp_path / "run", data=make_data())
        assert not (tmp_path / "run").exists()
        return
    found = distill(config, tmp_path / "run", data=make_data())
    assert len(found.images) == 6 and np.isfinite(found.images).all()
    if found.soft_labels is None:
        assert found.labels.tolist() == LABELS
    else:
        assert np.isfinite(found.soft_labels).all()
    assert_same(DistilledSet.load(tmp_path / "run"), found)


@pytest.mark.parametrize(
    "norm", ["batch", pytest.param("instance", marks=pytest.mark.slow)]
)
def test_a_run_that_was_stopped_goes_on_where_it_was(norm, tmp_path):
    two = {"distillation__iterations": 2, "distillation__ema_decay": 0.5}
    config = settings(network__norm=norm, **two)
    data, whole, parts = make_data(), tmp_path / "whole", tmp_path / "parts"
    distill(config, whole, data=data)
    distill(config, parts, data=data, callbacks=[StopAt(1)])
    for other in ("2,1,3", "equal"):
        changes = {"images_per_class": other, "ipc": 2}
        changes = {f"distillation__{key}": value for key, value in changes.items()}
        with pytest.raises(UserError, match=r"distillation\.images_per_class"):
            distill(replace(config, **changes), parts, resume=True, data=data)
    distill(config, parts, data=data, resume=True)
    assert_same_run(whole, parts)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "jit"), [("datadam", "xla"), ("cafe", "none")])
def test_compiled_code_is_made_for_each_number(name, jit, tmp_path, compiled):
    config = settings(name, distillation__jit=jit, distillation__iterations=3)
    found = distill(config, tmp_path / "compiled", data=make_data())
    tf.config.run_functions_eagerly(True)
    expected = distill(config, tmp_path / "eager", data=make_data())
    np.testing.assert_allclose(found.images, expected.images, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("drawn", [None, 2])
def test_two_replicas_are_as_one(drawn, tmp_path, compiled):
    more = {"distillation__iterations": 3, "distillation__ema_decay": 0.5}
    config = settings(distillation__classes_per_step=drawn, **more)
    data = make_data()
    distill(config, tmp_path / "one", data=data)
    distill(config, tmp_path / "two", data=data, strategy=two_replicas())
    assert_nearly_same_run(tmp_path / "one", tmp_path / "two")


def test_what_a_run_leaves_tells_the_numbers(folder, tmp_path):
    one = DistilledSet.load(folder.path)
    # Shares of 9 images: 2.25, 3 and 3.75.
    assert (
        one.counts == (2, 3, 4) and one.labels.tolist() == [0] * 2 + [1] * 3 + [2] * 4
    )
    described = (folder.distilled / "dataset_info.json").read_text()
    assert "2 to 4 per class" in described
    shown = tmp_path / "shown.png"
    plots.save_grid(one.images, one.labels, NAMES, shown)
    assert folder.preview.read_bytes() == shown.read_bytes()
    text = "".join(images_article(read_run("run", folder)).itertext())
    assert "2 to 4 images per class, dm" in text
    first = one.first(3)
    assert first.counts == (2, 3, 3)
    np.testing.assert_array_equal(first.images, one.images[[*range(8)]])


def test_exports_have_their_labels(folder, tmp_path):
    one, config = DistilledSet.load(folder.path), folder.settings()
    paths = export(one, ["npz", "png", "tfrecord"], tmp_path / "out", config)
    assert_same(DistilledSet.load(paths["tfrecord"]), one)
    again = load_npz(paths["npz"] / "distilled.npz")
    np.testing.assert_array_equal(again.labels, one.labels)
    found = [len([*path.iterdir()]) for path in sorted(paths["png"].glob("train/*"))]
    assert found == [2, 3, 4]


def test_networks_are_trained_on_all_images(folder, monkeypatch):
    seen, estimated = [], []
    original = on_distilled.Trainer

    def noted(images, labels, *others, **more):
        seen.append(np.asarray(labels).tolist())
        return original(images, labels, *others, **more)

    monkeypatch.setattr(on_distilled, "Trainer", noted)
    config = replace(folder.settings(), evaluation__networks=1, evaluation__epochs=1)
    found = evaluation.evaluate(folder.path, config, make_data())
    assert seen == [[0] * 2 + [1] * 3 + [2] * 4] and 0 <= found.mean <= 1
    note = estimated.append
    monkeypatch.setattr(evaluation, "check_training", lambda *given: note(given[3]))
    evaluation.check_networks(folder.settings(), make_data())
    assert estimated == [9]


@pytest.mark.parametrize("rule", ["random", "herding", "k-center", "forgetting"])
def test_coresets(rule):
    given = {"selection__method": rule, "selection__space": "random"}
    config = settings(**given, selection__epochs=1)
    data = make_data()
    chosen = coreset(data, config)
    assert chosen.labels.tolist() == LABELS
    for k in range(3):  # real images of their class, each once
        own = chosen.images[chosen.labels == k]
        real = data.train.class_images(k).astype(np.float32) / 255
        places = [np.flatnonzero((real == one).all((1, 2, 3))) for one in own]
        assert len({int(place[0]) for place in places}) == len(own)


@pytest.mark.parametrize("formation", ["raw", "factor:2"])
def test_random_images_beside_a_set_are_as_many_of_each(formation):
    data, config = make_data((9, 2, 15)), tiny_config(distillation__ipc=2)
    layer = fit_to_data(config.dataset, data)
    labels = np.array([2, 0, 0, 0, 1])
    one = DistilledSet(np.zeros([5, 8, 8, 1]), labels, NAMES, layer, "tiny")
    if formation != "raw":
        made, order = np.zeros([20, 8, 8, 1]), np.repeat(labels, 4)
        one = dataclasses.replace(
            one, images=made, labels=order, stored=one.images, formation=formation
        )
    found = work._in_place_of(one, data, config)
    expected = sorted(labels) if formation != "raw" else labels.tolist()
    assert found.labels.tolist() == expected
    for image, label in zip(found.images, found.labels, strict=True):
        real = data.train.class_images(label).astype(np.float32) / 255
        assert (real == image).all((1, 2, 3)).any()


def test_noise_of_a_set_is_dealt_out(tmp_path):
    config = settings("dm", distillation__init="noise", distillation__iterations=0)
    assert distill(config, tmp_path / "run", data=make_data()).labels.tolist() == LABELS


REFUSED = {
    "4 numbers": ({"counts": "3,1,2,1"}, "has 4 numbers, and there are 3 classes"),
    "too few": ({"counts": "3,13,2"}, "13 images of class 'cross' start from 13 real"),
    "extends": (
        {"distillation__extends": "somewhere"},
        "is not for a run that extends another",
    ),
    "drawn, batch norm": (
        {"network__norm": "batch", "distillation__classes_per_step": 2},
        "is not for network.norm = 'batch' with classes_per_step",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_run_refuses(case, tmp_path):
    changes, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        distill(settings("dm", **changes), tmp_path / "run", data=make_data())
    assert not (tmp_path / "run").exists()


def test_what_cannot_have_them_refuses():
    overrides = {"distillation.images_per_class": LIST}
    assert Base(None, overrides).config(2).distillation.ipc == 2
    with pytest.raises(UserError, match="2 images per class on average, not 1"):
        Base(None, overrides).config(1)
    with pytest.raises(UserError, match="ipc 10 is not the mean"):
        Base(None, overrides).config(10)
    row = Row("tail", "dm", {"distillation.images_per_class": "proportional"})
    assert Base().config(10, row=row).distillation.ipc == 10


def test_a_set_without_the_setting_is_equal():
    chosen = random_real_set(make_data(), tiny_config())
    assert chosen.counts == (2, 2, 2) and chosen.ipc_text == "2"
