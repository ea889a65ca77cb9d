"""A run knows what made it, and refuses to go on or to be tested with anything else."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.config.settings import read_config
from dam_tf.coresets.select import select
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.data.real_data import RealData
from dam_tf.data.sources.memory import as_real_data
from dam_tf.evaluation.evaluate import evaluate
from dam_tf.networks.functional import FunctionalNetwork
from dam_tf.networks.pools import NetworkPool
from dam_tf.runs import provenance
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.run import distill
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.tiny_data import make_data, save_npz, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")


def pool_of(seed):
    """A pool of one network, whose weights are a function of `seed`."""
    network = FunctionalNetwork((8, 8, 1), 3, tiny_config().network)
    return NetworkPool([[w.numpy() for w in network.init(tf.constant([0, seed]))]])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of data that were given, not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    distill(tiny_config(), folder, data=make_data())
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def bytes_of(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files}


def go_on(run, **changes):
    config = tiny_config(distillation__iterations=8)
    return distill(config, run, resume=True, **{"data": make_data(), **changes})


def refused(run, message, **changes):
    before = bytes_of(run)
    with pytest.raises(UserError, match=message) as raised:
        go_on(run, **changes)
    assert "\n" not in str(raised.value)
    assert bytes_of(run) == before


def test_it_records_the_data_that_were_given(finished):
    assert read_config(finished / "config.toml").dataset.name == "tiny"
    stored = json.loads((finished / "provenance.json").read_text())
    assert stored["data"] == make_data().fingerprint
    assert stored["networks"] == "random"
    assert set(stored["versions"]) == {"dam_tf", "tensorflow", "keras", "numpy"}


def test_the_distilled_set_says_it_too(finished):
    made = DistilledSet.load(finished).provenance
    assert made["data"] == make_data().fingerprint
    assert made["numpy"] == np.__version__


def test_the_same_goes_on(run):
    assert go_on(run).images.shape == (6, 8, 8, 1)


@pytest.mark.parametrize(
    "data", [make_data(seed=1), make_data((9, 12, 16))], ids=["pixels", "one more"]
)
def test_other_images_are_refused(run, data):
    refused(run, "made of other images than those of 'tiny' now", data=data)


def test_what_differs_of_arrays_is_named_though_their_names_tell_them_apart(tmp_path):
    data, other = (
        as_real_data(some.train.images, some.train.labels)
        for some in (make_data(), make_data((9, 12, 16)))
    )
    distill(tiny_config(), tmp_path / "run", data=data)
    refused(tmp_path / "run", "class '2' has 16 training images, not 15", data=other)


def test_classes_in_another_order_are_refused(run):
    data = make_data()
    renamed = RealData(data.name, data.class_names[::-1], data.train, data.test)
    refused(run, "other images", data=renamed)


def test_a_pool_in_place_of_random_networks_is_refused(run):
    pool = pool_of(1)
    name = f"the pool of networks {pool.fingerprint[:12]}"
    refused(run, f"random networks, not with {name}; .*networks=", networks=pool)


def test_a_run_through_a_pool_needs_it_again(tmp_path):
    run, pool, other = tmp_path / "run", pool_of(1), pool_of(2)
    distill(tiny_config(), run, data=make_data(), networks=pool)
    name = f"started with the pool of networks {pool.fingerprint[:12]}, not with"
    refused(run, f"{name} random networks")
    refused(run, f"{name} the pool .*{other.fingerprint[:12]}", networks=other)
    go_on(run, networks=pool_of(1))


@pytest.mark.parametrize("name", ["dam_tf", "tensorflow", "keras", "numpy"])
def test_another_version_is_refused_by_its_name(run, name, monkeypatch):
    others = {**provenance.versions(), name: "99.0"}
    monkeypatch.setattr(provenance, "versions", lambda: others)
    refused(run, rf"with {name} 99\.0: the run was started with .*--overwrite")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network__norm": "batch"}, r"network\.norm = 'batch'"),
        ({"dataset__image_size": 8}, r"dataset\.image_size = 8.*started without$"),
        ({"distillation__classes_per_step": 2}, "step = 2.*started without$"),
        ({"method__power": 1.0}, r"method\.power = 1\.0"),
        ({"method__name": "dm"}, r"method\.\w+ = "),
        ({"distillation__seed": 3}, r"distillation\.seed = 3"),
    ],
)
def test_settings_given_only_on_resuming_are_refused(run, changes, message):
    before = bytes_of(run)
    with pytest.raises(UserError, match=message):
        distill(tiny_config(**changes), run, resume=True, data=make_data())
    assert bytes_of(run) == before


DAMAGED = [None, b"", b"{}", b"\xff", b'{"data": 1}', b"[]", b"null"]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_missing_or_damaged_record_is_named(run, content):
    path = run / "provenance.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    refused(run, "provenance.json")


@pytest.mark.parametrize("name", ["data", "data_name", "versions", "commit"])
def test_a_damaged_value_of_the_record_is_named(run, name):
    path = run / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: 3}))
    refused(run, "provenance.json is damaged")


def test_a_record_without_parts_tells_other_data_all_the_same(run):
    """As the first runs with a record have it."""
    path = run / "provenance.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps({k: known[k] for k in known if k != "identity"}))
    refused(run, "had the fingerprint [0-9a-f]{12}, now it is", data=make_data(seed=1))
    go_on(run)


def test_the_commit_is_kept_and_no_reason_to_refuse(run, monkeypatch):
    monkeypatch.setattr(provenance, "commit", lambda: "0123456789ab-dirty")
    go_on(run)
    stored = json.loads((run / "provenance.json").read_text())
    assert stored["commit"] == "0123456789ab-dirty"
    made = provenance.made_by(stored["versions"], stored["commit"])
    assert made.startswith("dam_tf ") and "(commit 0123456789ab-dirty), " in made


def test_another_preprocessing_is_refused_and_its_own_is_taken(run):
    data = make_data()
    own = fit_preprocessing("standardize", data.train.images)
    other = fit_preprocessing("zca", data.train.images)
    refused(run, "with another preprocessing than its own", preprocessing=other)
    go_on(run, preprocessing=own)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network__name": "vgg11", "network__depth": None}, "vgg11 is too deep"),
        ({"network__depth": 6}, "too"),
        ({"method__layers": [3]}, "names block 3, but the network has blocks 1 to 1"),
        ({"distillation__classes_per_step": 4}, "4 is more than the 3 classes"),
        ({"distillation__ipc": 10}, "ipc 10 is larger than class"),
    ],
)
def test_what_is_refused_costs_a_finished_run_nothing(run, changes, message):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    config = tiny_config(**changes)
    with pytest.raises(UserError, match=message):
        distill(config, run, overwrite=True, data=make_data())
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(UserError, match=message):
        distill(config, run.parent / "new", data=make_data())
    assert not (run.parent / "new").exists(), "it would block the corrected command"


def test_a_run_of_an_older_version_is_still_read(run, tmp_path):
    """dam_tf 0.1 wrote the settings of all methods for each."""
    config = dataclasses.replace(tiny_config(method__name="dm"))
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace('"datadam"', '"dm"'))
    assert RunFolder(run).settings().method == config.method


def test_labels_of_a_run_that_knew_adam_alone_go_on_with_it(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('[method]\nname = "ld"\n')
    assert RunFolder(tmp_path).settings().method.optimizer == "adam"
    assert read_config(file).method.optimizer is None, "the data decide it"


class TestEvaluation:
    """`evaluate` of a run's folder asks whether the data are the run's."""

    def test_other_data_are_refused(self, finished):
        config = RunFolder(finished).settings()
        for folder in (finished, finished / "distilled"):
            with pytest.raises(UserError, match="made of other images"):
                evaluate(folder, config, make_data(seed=1))

    def test_its_own_data_are_taken(self, finished, caplog):
        config = RunFolder(finished).settings({"evaluation.epochs": 1})
        assert len(evaluate(finished, config, make_data()).accuracies) == 2
        assert "was changed after the run" not in caplog.text

    def test_settings_that_are_not_those_of_the_run_are_said(self, run, caplog):
        file = run / "config.toml"
        file.write_text(file.read_text().replace("width = 8", "width = 9"))
        provenance.check_run_data(RunFolder(run), make_data())
        assert "config.toml was changed after the run" in caplog.text

    def test_a_set_alone_may_meet_any_data(self, finished):
        config = RunFolder(finished).settings({"evaluation.epochs": 1})
        distilled = DistilledSet.load(finished)
        assert evaluate(distilled, config, make_data(seed=1)).mean >= 0

    def test_a_coreset_knows_its_data_too(self, tmp_path):
        data = save_npz(tmp_path / "tiny.npz", make_data())
        pixels = {"selection__space": "pixels"}
        config = tiny_config(dataset__name=data, **pixels)
        select(config, tmp_path / "coreset")
        with pytest.raises(UserError, match="made of other images"):
            evaluate(tmp_path / "coreset", config, make_data(seed=1))


@pytest.mark.parametrize("left", ["config.toml", "provenance.json"])
def test_a_run_killed_before_its_first_checkpoint_starts_anew(run, finished, left):
    """Whether or not the kill came before the record of what made it."""
    for entry in run.iterdir():
        if entry.name not in ("config.toml", left):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    again = distill(tiny_config(), run, data=make_data(), resume=True)
    np.testing.assert_array_equal(again.images, DistilledSet.load(finished).images)
