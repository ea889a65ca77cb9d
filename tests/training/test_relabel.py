"""Soft labels of a teacher: what they are, what keeps them, and what is refused."""

import logging
import shutil

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.experts import NETWORK
from dam_tf.config.settings import replace
from dam_tf.coresets import select as selecting
from dam_tf.coresets.select import random_real_set, select
from dam_tf.data.preprocessing.preprocessing import fit_to_data
from dam_tf.evaluation.evaluate import evaluate
from dam_tf.exports.formats import export
from dam_tf.methods.teacher import teacher_labels
from dam_tf.networks.trajectories import Expert, Experts
from dam_tf.report.facts import read_run
from dam_tf.report.page import write_report
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.provenance import read_provenance
from dam_tf.runs.run import distill
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.npz import load_npz
from dam_tf.training import relabel as relabelling
from dam_tf.training.relabel import relabel
from tests.methods.pools import labels_in_numpy, trained_pool
from tests.runs.comparing import StopAt
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pools")
    return {norm: trained_pool(folder / str(norm), norm) for norm in (None, "batch")}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(relabelling, "load_dataset", lambda settings: make_data())


@pytest.fixture
def run(tmp_path):
    config = tiny_config(distillation__iterations=0, distillation__ipc=2)
    distill(config, tmp_path / "run", data=make_data())
    return tmp_path / "run"


@pytest.mark.parametrize("norm", [None, "batch"])
@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_labels_are_the_mean_of_the_networks(norm, temperature, run, pools, tmp_path):
    new = relabel(run, pools[norm], tmp_path / "new", temperature)
    expected = labels_in_numpy(new, pools[norm], temperature)
    np.testing.assert_allclose(new.soft_labels, expected, rtol=0, atol=1e-5)
    old = DistilledSet.load(run)
    assert old.soft_labels is None
    np.testing.assert_array_equal(new.images, old.images)
    np.testing.assert_array_equal(new.labels, old.labels)


def test_each_network_is_read_once(run, pools, tmp_path, monkeypatch):
    read, stored = [], Expert.stored
    monkeypatch.setattr(
        Expert, "stored", lambda one, epoch: read.append(one.path) or stored(one, epoch)
    )
    relabel(run, pools["batch"], tmp_path / "new")
    assert sorted(read) == sorted(pools["batch"].glob("expert-*.npz"))


def test_a_set_with_them_is_kept_exported_and_says_so(run, pools, tmp_path):
    new = relabel(run, pools[None], tmp_path / "new")
    loaded = DistilledSet.load(tmp_path / "new")
    export(loaded, ["npz"], tmp_path / "export", tiny_config())
    for one in (loaded, load_npz(tmp_path / "export" / "npz" / "distilled.npz")):
        np.testing.assert_array_equal(one.soft_labels, new.soft_labels)
        np.testing.assert_array_equal(one.labels, new.labels)
    made = read_provenance(tmp_path / "new" / "provenance.json")
    assert made.labels.startswith("networks ") and made.labels.endswith("ature 1")
    assert loaded.provenance["labels"] == made.labels
    assert read_provenance(run / "provenance.json").labels == ""


def test_pictures_are_those_of_the_run_as_stored_too(pools, tmp_path):
    config = tiny_config(distillation__iterations=0, distillation__formation="factor:2")
    distill(config, tmp_path / "run", data=make_data())
    relabel(tmp_path / "run", pools[None], tmp_path / "new")
    for name in ("preview.png", "preview_stored.png"):
        old, new = (tmp_path / run / name for run in ("run", "new"))
        assert new.read_bytes() == old.read_bytes()


def test_an_unfinished_run_is_refused(pools, tmp_path):
    config = tiny_config(distillation__iterations=2, distillation__log_every=1)
    distill(config, tmp_path / "run", data=make_data(), callbacks=[StopAt(1)])
    with pytest.raises(UserError, match=r"1 of 2 iterations, .*, then relabel it"):
        relabel(tmp_path / "run", pools[None], tmp_path / "new")


def test_a_report_tells_what_the_images_and_the_labels_are_of(
    pools, tmp_path, monkeypatch
):
    monkeypatch.setattr(selecting, "load_dataset", lambda *_, **__: make_data())
    distill(tiny_config(), tmp_path / "run", data=make_data())
    select(tiny_config(selection__space="pixels"), tmp_path / "chosen")
    for name, new in (("run", "dam_tf distill"), ("chosen", "dam_tf coreset")):
        relabel(tmp_path / name, pools[None], tmp_path / "new", 2.5, overwrite=True)
        facts = read_run("new", RunFolder(tmp_path / "new"))
        first, _, last = facts.distill_command().splitlines()
        assert new in first and last.endswith("--teacher=FOLDER --temperature=2.5")
        write_report([tmp_path / "new"], tmp_path / "page.html")
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert "of a teacher: networks " in page and ", temperature 2.5<" in page
        assert ("coreset: herding" in page) == (name == "chosen")
        assert ("6 of 6" in page) is False and (">6<" in page) == (name == "run")


def test_hard_labels_train_as_if_there_were_no_soft_ones(run, pools, tmp_path):
    new = relabel(run, pools[None], tmp_path / "new", temperature=4)
    config = tiny_config(evaluation__epochs=3, evaluation__networks=1)
    hard = replace(config, evaluation__label_type="hard")
    found = [
        evaluate(one, settings, make_data()).confusion
        for one, settings in (
            (DistilledSet.load(run), config),
            (new, hard),
        )
    ]
    np.testing.assert_array_equal(*found)


def test_how_often_networks_agree_with_hard_labels_is_said(
    run, pools, tmp_path, caplog
):
    with caplog.at_level(logging.INFO, logger="dam_tf"):
        new = relabel(run, pools[None], tmp_path / "new")
    agree = new.soft_labels.argmax(axis=1) == new.labels
    assert 0 < agree.sum() < len(agree)
    assert f"take {100 * agree.mean():.0f} % of the images for" in caplog.text


REFUSED = {
    "itself": ({"output_dir": "run"}, "is the run that is relabelled"),
    "temperature": ({"temperature": 0.0}, "the temperature must be above 0, not 0.0"),
    "nan": ({"temperature": float("nan")}, "must be above 0, not nan"),
    "teacher": ({"teachers": "nowhere"}, "no networks in .*nowhere"),
    "run": ({"run": "nowhere"}, "no run in .*nowhere"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_written(
    what, run, pools, tmp_path
):
    changes, message = REFUSED[what]
    given = {"run": run, "teachers": pools[None], "output_dir": tmp_path / "new"}
    for key, value in changes.items():
        given[key] = value if key == "temperature" else tmp_path / value
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message):
        relabel(**given, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_teacher_of_other_data_or_preprocessing_is_refused(
    run, tmp_path, monkeypatch
):
    other = trained_pool(tmp_path / "other", data=make_data(seed=1))
    with monkeypatch.context() as changed:
        changed.setattr(relabelling, "load_dataset", lambda _: make_data(seed=1))
        with pytest.raises(UserError, match="run was made of other images than those"):
            relabel(run, other, tmp_path / "new")
    with pytest.raises(UserError, match="the pixels of the training images differ"):
        relabel(run, other, tmp_path / "new")
    config = tiny_config(dataset__preprocessing="none", distillation__iterations=0)
    distill(config, tmp_path / "plain", data=make_data())
    with pytest.raises(UserError, match="preprocessing is 'standardize', not 'none'"):
        relabel(tmp_path / "plain", other, tmp_path / "new")


def test_labels_that_were_learned_or_given_are_not_replaced(run, pools, tmp_path):
    relabel(run, pools[None], tmp_path / "new")
    with pytest.raises(UserError, match="has soft labels already"):
        relabel(tmp_path / "new", pools[None], tmp_path / "again")


def test_networks_that_are_always_wrong_are_refused(run, pools, tmp_path, monkeypatch):
    def wrong(distilled, experts, temperature):
        classes = distilled.num_classes
        return np.eye(classes, dtype=np.float32)[(distilled.labels + 1) % classes]

    monkeypatch.setattr(relabelling, "teacher_labels", wrong)
    with pytest.raises(UserError, match="take none of these images for the class"):
        relabel(run, pools[None], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_statistics_of_batch_norm_must_be_there(run, pools, tmp_path):
    pool = tmp_path / "pool"
    shutil.copytree(pools["batch"], pool)
    for path in pool.glob("expert-*.npz"):
        with np.load(path) as file:
            kept = {k: v for k, v in file.items() if not k.startswith("statistics")}
        np.savez(path, **kept)
    with pytest.raises(UserError, match="kept without the statistics of batch norm"):
        relabel(run, pool, tmp_path / "new")


def test_random_real_images_can_be_labelled_too(pools):
    data, config = make_data(), tiny_config(distillation__ipc=2)
    layer = fit_to_data(config.dataset, data)
    chosen = random_real_set(data, config, layer)
    experts = Experts(pools[None], NETWORK)
    labels = teacher_labels(chosen, experts)
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=0, atol=1e-6)
