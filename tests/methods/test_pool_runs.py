"""Runs that match through a pool: what they take, where they stop, what they keep."""

import shutil

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.settings import read_config, replace, resolve
from dam_tf.data.preprocessing.preprocessing import fit_to_data
from dam_tf.data.real_data import RealData, sorted_split
from dam_tf.networks.pools import NetworkPool
from dam_tf.networks.trajectories import Expert, Experts, save_expert
from dam_tf.report.page import write_report
from dam_tf.runs.distiller import create_distiller
from dam_tf.runs.run import distill
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.methods.pools import config_of, labels_in_numpy, trained_pool
from tests.replicas import two_replicas
from tests.runs.comparing import StopAt, final_state
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")
ALL = pytest.mark.parametrize("name", ["dance", "ncfm", "ncfm learned"])


@ALL
def test_a_run_that_was_stopped_goes_on_where_it_was(name, pool, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    more = {"distillation__formation": "factor:2", "distillation__ema_decay": 0.5}
    config = config_of(name, pool(), distillation__classes_per_step=2, **more)
    distilled = distill(config, whole, data=make_data())
    distill(config, parts, data=make_data(), callbacks=[StopAt(1)])
    assert final_state(parts)["iteration"] == 1
    distill(config, parts, data=make_data(), resume=True)
    one, two = final_state(whole), final_state(parts)
    assert one.keys() == two.keys() >= {"images", "images/average", "images/momentum"}
    for key, values in one.items():
        np.testing.assert_array_equal(values, two[key])
        assert not key.startswith("method/psi/velocity") or np.abs(values).max() > 0
    assert ("method/psi/weight/kernel_1" in one) == (name == "ncfm learned")
    assert distilled.images.shape == (3 * 2 * 4, 8, 8, 1)
    assert distilled.stored.shape == (3 * 2, 8, 8, 1)
    assert distilled.stored.min() > -1e-5 and distilled.stored.max() < 1 + 1e-5


@pytest.mark.parametrize("norm", [None, "batch"])
def test_the_pool_labels_what_was_matched_through_it(norm, pool, tmp_path):
    given = {"network__norm": norm, "distillation__formation": "factor:2"}
    config, found = config_of("dance", pool(norm), **given), {}
    for labels in ("hard", "soft"):
        run, one = tmp_path / labels, replace(config, method__labels=labels)
        distill(one, run, data=make_data(), callbacks=[StopAt(1)])
        stopped = DistilledSet.load(run)
        ended = distill(one, run, data=make_data(), resume=True)
        found[labels] = stopped, ended
        write_report([run], tmp_path / "page.html")
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert ("of the pool that it was" in page) == (labels == "soft")
    for hard, soft in zip(*found.values(), strict=True):
        np.testing.assert_array_equal(hard.images, soft.images)
        np.testing.assert_array_equal(hard.labels, soft.labels)
        assert hard.soft_labels is None
        expected = labels_in_numpy(soft, pool(norm))
        np.testing.assert_allclose(soft.soft_labels, expected, rtol=0, atol=1e-5)
    before, after = (one.soft_labels for one in found["soft"])
    assert np.abs(before - after).max() > 1e-4


def test_labels_of_a_pool_are_not_joined_to_hard_ones(pool, tmp_path):
    config = config_of("dance", pool(), distillation__iterations=0)
    distill(config, tmp_path / "one", data=make_data())
    changes = {"distillation__extends": str(tmp_path / "one"), "distillation__ipc": 3}
    more = replace(config, **changes, method__labels="soft")
    with pytest.raises(UserError, match=r"keeps its hard labels; .* `python -m dam_tf"):
        distill(more, tmp_path / "more", data=make_data())
    assert not (tmp_path / "more").exists()


@ALL
@pytest.mark.parametrize("drawn", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_two_devices_share_the_classes(name, drawn, pool, tmp_path):
    config = config_of(name, pool(), distillation__classes_per_step=drawn)
    runs = [
        distill(config, tmp_path / str(k), data=make_data(), strategy=strategy)
        for k, strategy in enumerate([None, two_replicas()])
    ]
    start = replace(config, distillation__iterations=0)
    start = distill(start, tmp_path / "start", data=make_data()).images
    np.testing.assert_allclose(runs[0].images, runs[1].images, rtol=0, atol=2e-5)
    assert np.abs(runs[0].images - start).max() > 1e-3
    one, two = (final_state(tmp_path / str(k)) for k in range(2))
    for key in (key for key in one if key.startswith("method/psi")):
        np.testing.assert_allclose(one[key], two[key], rtol=0, atol=2e-5)


def test_only_methods_that_flip_warn_of_classes_that_flips_make_alike(tmp_path, caplog):
    images = np.zeros([40, 8, 8, 1], np.uint8)
    images[:20, :, :2], images[20:, :, -2:] = 255, 255
    split = sorted_split(images, [20, 20])
    data = RealData("sides", ("left", "right"), split, split)
    pool = trained_pool(tmp_path / "pool", data=data)
    for name, warned in (("dance", False), ("ncfm", False), ("dm", True)):
        config = (
            config_of(name, pool) if name != "dm" else tiny_config(method__name=name)
        )
        config = replace(config, distillation__iterations=0)
        caplog.clear()
        distill(config, tmp_path / name, data=data)
        assert (
            any("flipped left to right" in line for line in caplog.messages) == warned
        )


def test_experts_are_a_pool_and_their_ends_alone_count(pool, tmp_path):
    """Each has three states, of which the first and the last are those of the pool."""
    experts = trained_pool(tmp_path / "experts", kept="all")
    one, other = Experts(experts), Experts(pool())
    assert one.whole and not other.whole
    for epoch in (0, 2):
        np.testing.assert_array_equal(one.state(1, epoch), other.state(1, epoch))
    found = [
        distill(config_of("dance", folder), tmp_path / str(k), data=make_data()).images
        for k, folder in enumerate([experts, pool()])
    ]
    np.testing.assert_array_equal(*found)


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


REFUSED = {
    "pool": ("", r"'dance' matches .* train some with `python -m dam_tf pretrain --da"),
    "pool there": ("nowhere", r"no networks in .*nowhere .*`python -m dam_tf pretrain"),
    "network": ({"network__width": 8}, r"^the networks in .*width is 4, not 8; train"),
    "preprocessing": (
        {"dataset__preprocessing": "none"},
        r"their preprocessing is 'standardize', not 'none'; .*dam_tf pretrain` and",
    ),
    "classes": ({"distillation__classes_per_step": 4}, "more than the 3 classes"),
    "formation": ({"distillation__formation": "factor:3"}, "cannot be cut into 3 x 3"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_suit_is_refused_before_anything_is_touched(what, pool, tmp_path):
    changed, message = REFUSED[what]
    changed = {"method__pool": changed} if isinstance(changed, str) else changed
    config = replace(config_of("dance", pool()), **changed)
    with pytest.raises(UserError, match=message) as error:
        distill(config, tmp_path / "run", data=make_data(), overwrite=True)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "^the networks in .*the pixels of the training images differ"),
        ({"size": 10}, "they saw images of 8x8x1, and the run has 10x10x1"),
        ({"per_class": (9, 12)}, "they tell 3 classes apart, and the run has 2"),
    ],
)
def test_a_pool_of_other_data_is_refused(changes, message, pool, tmp_path):
    """The finished run that was to be replaced is as it was."""
    config, run = config_of("ncfm", pool()), tmp_path / "run"
    distill(tiny_config(distillation__iterations=0), run, data=make_data())
    before = files(run)
    with pytest.raises(UserError, match=message):
        distill(config, run, data=make_data(**changes), overwrite=True)
    assert files(run) == before


def test_networks_that_do_not_fit_the_method_are_refused(pool, tmp_path):
    data = make_data()
    with pytest.raises(UserError, match=r"method 'ncfm' takes method\.pool"):
        config, other = config_of("ncfm", pool()), NetworkPool([[np.zeros(1)]])
        distill(config, tmp_path / "run", data=data, networks=other)
    with pytest.raises(UserError, match=r"'mtt' follows every epoch; train"):
        small = {"network__width": 4, "network__depth": 1, "method__name": "mtt"}
        config = tiny_config(**small, method__experts=str(pool()))
        distill(config, tmp_path / "run", data=data)
    old = shutil.copytree(pool("batch"), tmp_path / "old")  # as dam_tf kept them once
    for path in old.glob("expert-*.npz"):
        one = Expert(path)
        moments = {epoch: one.moment(epoch) for epoch in (0, one.epochs)}
        bare = {
            epoch: moment._replace(statistics=()) for epoch, moment in moments.items()
        }
        save_expert(path, one.names, one.shapes, bare)
    with pytest.raises(UserError, match="kept without the statistics of batch norm"):
        config = config_of("dance", old, network__norm="batch")
        distill(config, tmp_path / "run", data=data)
    assert not (tmp_path / "run").exists()


def test_a_run_is_resumed_with_its_own_pool_wherever_it_lies(pool, tmp_path):
    config, run = config_of("dance", pool()), tmp_path / "run"
    distill(config, run, data=make_data())
    moved = shutil.copytree(pool(), tmp_path / "1")
    fewer = shutil.copytree(pool(), tmp_path / "2")
    (fewer / "expert-0001.npz").unlink()
    with pytest.raises(UserError, match=r"started with the networks .*method\.pool$"):
        distill(
            replace(config, method__pool=str(fewer)), run, data=make_data(), resume=True
        )
    longer = {"distillation__iterations": 3, "method__pool": str(moved)}
    distill(replace(config, **longer), run, data=make_data(), resume=True)
    assert final_state(run)["iteration"] == 3


def test_a_program_of_its_own_is_refused(pool):
    config = config_of("dance", pool())
    layer = fit_to_data(config.dataset, make_data())
    images = np.zeros([3, 2, 8, 8, 1], np.float32)
    method = create_distiller(images, config, layer).method
    with pytest.raises(UserError, match="'dance' cannot be compiled into a program"):
        method.drawn_in_graph(None, [9, 12, 15], 0)


def test_whitened_images_move_by_a_tenth():
    given = {"distillation.ipc": 10, "method.name": "dance"}
    for zca_input in ("pixels", "standardized"):
        more = {"dataset.preprocessing": "zca", "dataset.zca_input": zca_input}
        found = resolve(read_config(overrides={**given, **more}), (32, 32, 3))
        assert found.distillation.learning_rate == pytest.approx(0.16)


def test_defaults_are_those_that_were_published():
    for name, ipc, expected in (
        ("dance", 10, (1.6, 10_000, 128, 0.5)),
        ("ncfm", 10, (0.01, 20_000, 1024, 0.9)),
    ):
        given = {"distillation.ipc": ipc, "method.name": name}
        found = resolve(read_config(overrides=given), (32, 32, 3)).distillation
        assert expected == (
            found.learning_rate,
            found.iterations,
            found.batch_real,
            found.momentum,
        )
