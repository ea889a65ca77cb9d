"""Runs that train the networks that their method needs, before they begin."""

import json
import pathlib
import shutil
import types

import numpy as np
import pytest

import dam_tf
from dam_tf.base.errors import UserError
from dam_tf.config.experts import POOL_TRAINING, ExpertTraining, expert_config
from dam_tf.config.settings import read_config, replace
from dam_tf.runs.first import check_training
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.run import distill
from dam_tf.training import experts as training
from dam_tf.training.experts import train_missing
from tests.methods.pools import config_of
from tests.tiny_data import make_data, save_npz
from tests.tools.running import call

pytestmark = pytest.mark.usefixtures("eagerly")


def asking(name="dance", folder="", **changes):
    """Settings of a run of no iterations that has two networks trained."""
    given = {"distillation__iterations": 0, "evaluation__batch_size": 7}
    given |= {"method__train_networks": 2, "method__train_epochs": 1}
    return config_of(name, folder, **{**given, **changes})


def run(config, folder, **keep):
    return distill(config, folder, data=make_data(), train=train_missing, **keep)


def files(folder):
    return {p.name: p.read_bytes() for p in pathlib.Path(folder).glob("*.*")}


def networks_of(folder):
    """The fingerprint that a run keeps of the networks that it matched through."""
    return json.loads((folder / "provenance.json").read_text())["networks"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a run, and of the networks that it had trained."""
    folder = tmp_path_factory.mktemp("made")
    run(asking(folder=folder / "pool"), folder / "run")
    return folder / "run", folder / "pool"


def test_one_command_trains_what_the_next_finds(tmp_path):
    data = save_npz(tmp_path / "tiny.npz", make_data()).replace(f"{tmp_path}/", "")
    small = ["--set=network.width=4", "--set=network.depth=1", f"--dataset={data}"]
    words = [*small, "--method=dance", "--iterations=0", "--batch_real=4"]
    words += ["--set=distillation.jit=none", "--seed=5", "--set=evaluation.momentum=0"]
    words += ["--set=method.train_networks=2", "--set=method.train_epochs=1"]
    first = call("distill", *words, folder=tmp_path)
    assert first.returncode == 0, first.stderr
    pool = tmp_path / "runs" / "npz-tiny.npz_pool"
    assert f"Training 2 networks of 1 epoch first, into {pool}" in first.stderr
    kept, own = files(pool), RunFolder(tmp_path / "runs/npz-tiny.npz_ipc1_dance_seed5")
    assert own.settings().method.pool == str(pool)
    again = call("distill", *words, "--ipc=2", "--seed=6", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "Training" not in again.stderr and files(pool) == kept


def test_they_are_those_of_the_command(made, tmp_path):
    """Whatever the run says of evaluation and of its seed."""
    by_command = expert_config(asking(), (), POOL_TRAINING)
    few = {"evaluation__epochs": 1, "distillation__seed": 0}
    how = ExpertTraining(2, kept="ends")
    training.train_experts(
        replace(by_command, **few), how, tmp_path / "pool", data=make_data()
    )
    assert files(tmp_path / "pool") == files(made[1])
    own = {"evaluation__loss": "mse", "distillation__seed": 4}
    run(asking(folder=tmp_path / "pool", **own), tmp_path / "run")
    assert networks_of(tmp_path / "run") == networks_of(made[0])


def test_functions_take_it_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = make_data()
    method = dam_tf.methods.MTT(
        train_networks=1, train_epochs=2, steps=1, expert_epochs=1
    )
    given = {"network": dam_tf.NetworkConfig(width=4, depth=1), "jit": "none"}
    given |= {"method": method, "iterations": 0, "output_dir": "run"}
    dam_tf.distill(data.train.images, data.train.labels, **given)
    (folder,) = pathlib.Path("runs").iterdir()
    assert folder.name.endswith("_experts")
    settings = read_config("run/config.toml").method
    assert settings.experts == str(folder.absolute()) and settings.train_networks == 1
    with np.load(folder / "expert-0000.npz") as file:
        assert {"state/0", "state/1", "state/2"} <= set(file), "to be followed"


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 3])
def test_what_was_killed_goes_on(kills, made, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    save, left = training.save_expert, [None] * kills

    def save_or_die(*arguments):
        save(*arguments)
        if left:
            left.pop()
            raise Killed

    monkeypatch.setattr(training, "save_expert", save_or_die)
    config = asking(folder=tmp_path / "pool")
    for _ in range(kills):
        with pytest.raises(Killed):
            run(config, tmp_path / "run", resume=True)
        assert not (tmp_path / "run").exists(), "nothing but networks is written yet"
    run(config, tmp_path / "run", resume=True)
    assert files(tmp_path / "pool") == files(made[1])
    assert networks_of(tmp_path / "run") == networks_of(made[0])


def test_a_run_is_repeated_from_its_own_settings(made, tmp_path):
    """Which have the depth that the data decided; its networks are not trained anew."""
    config, before = read_config(made[0] / "config.toml"), files(made[1])
    run(config, tmp_path / "again")
    run(replace(config, distillation__seed=3), tmp_path / "other")
    assert files(made[1]) == before
    assert networks_of(tmp_path / "again") == networks_of(made[0])


def test_more_networks_are_added_and_a_run_keeps_its_own(made, tmp_path):
    first, pool = (shutil.copytree(one, tmp_path / one.name) for one in made)
    more = asking(folder=pool, method__train_networks=3)
    run(more, tmp_path / "more")
    before = files(made[1])
    assert files(pool).keys() - before.keys() == {"expert-0002.npz"}
    assert files(pool)["expert-0001.npz"] == before["expert-0001.npz"]
    with pytest.raises(UserError, match=r"with method\.train_networks = 4"):
        run(replace(more, method__train_networks=4), first, resume=True)
    assert "expert-0003.npz" not in files(pool)


REFUSED = {
    "a class of fewer images": ({"distillation__ipc": 10}, "has 9 training images"),
    "formation": ({"distillation__formation": "factor:3"}, "cannot be cut into 3 x 3"),
    "students' epochs": (
        {"method__name": "mtt", "method__expert_epochs": 4},
        r"have 1 epochs, .* needs 4; train them with --set=method\.train_epochs=4$",
    ),
    "network": ({"network__depth": 9}, "depth"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_trained(what, tmp_path):
    changes, message = REFUSED[what]
    where = "experts" if "method__name" in changes else "pool"
    config = replace(asking(), **changes)
    more = {"method__train_networks": 2, "method__train_epochs": 1}
    config = replace(config, **more, **{f"method__{where}": str(tmp_path / "pool")})
    with pytest.raises(UserError, match=message) as error:
        run(config, tmp_path / "run")
    assert "\n" not in str(error.value) and not [*tmp_path.iterdir()]


OTHERWISE = {
    "epochs": ({"method__train_epochs": 2}, "with evaluation.epochs = 2"),
    "seed": ({"method__train_seed": 1}, "with distillation.seed = 1"),
    "more of other epochs": (
        {"method__train_networks": 3, "method__train_epochs": 2},
        "with evaluation.epochs = 2",
    ),
    "augmentation": ({"augmentation__crop": 0.5}, "with augmentation.crop = 0.5"),
}


@pytest.mark.parametrize("what", OTHERWISE)
def test_networks_that_were_trained_otherwise_are_not_taken_unasked(
    what, made, tmp_path
):
    changes, message = OTHERWISE[what]
    config, before = asking(folder=made[1], **changes), files(made[1])
    with pytest.raises(UserError, match=f"{message}.*folder as method.pool") as error:
        run(config, tmp_path / "run")
    assert "--set=method.train_networks=" in str(error.value)
    assert files(made[1]) == before and not (tmp_path / "run").exists()


def test_they_are_taken_as_they_are_where_that_is_asked_for(made, tmp_path):
    config = asking(folder=made[1], method__train_epochs=2, method__train_networks="")
    run(config, tmp_path / "run")
    assert networks_of(tmp_path / "run") == networks_of(made[0])


def test_networks_of_other_data_or_another_network_are_refused(made, tmp_path):
    before = files(made[1])
    with pytest.raises(UserError, match=r"width is 4, not 8"):
        run(asking(folder=made[1], network__width=8), tmp_path / "run")
    for more in ({}, {"method__train_networks": 3}):
        config, others = asking(folder=made[1], **more), make_data(seed=1)
        with pytest.raises(UserError, match="the pixels of the training images differ"):
            distill(config, tmp_path / "run", data=others, train=train_missing)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("Dear")
    with pytest.raises(UserError, match=r"not of a study.*folder as method\.pool"):
        run(asking(folder=tmp_path / "letters"), tmp_path / "run")
    assert files(made[1]) == before and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("seed", "depth", "message"),
    [(1, 1, "was made of other images"), (0, None, r"with network\.depth = 2")],
)
def test_a_resumed_run_of_other_data_is_refused_before_anything_is_trained(
    seed, depth, message, made, tmp_path
):
    """Or of another network. Its networks are gone, and others would be trained."""
    folder = shutil.copytree(made[0], tmp_path / "run")
    config = asking(folder=tmp_path / "pool", network__depth=depth)
    others = make_data(seed=seed)
    with pytest.raises(UserError, match=message):
        distill(config, folder, data=others, train=train_missing, resume=True)
    assert not (tmp_path / "pool").exists()


def test_who_does_not_train_needs_networks_that_are_there(tmp_path):
    config = asking(folder=tmp_path / "pool")
    with pytest.raises(UserError, match="no networks in"):
        distill(config, tmp_path / "run", data=make_data())
    with pytest.raises(UserError, match=r"one worker; .*`python -m dam_tf pretrain`"):
        check_training(config, types.SimpleNamespace(count=2), make_data(), None)
    message = r"or have the run train them, with --set=method\.train_networks=10$"
    with pytest.raises(UserError, match=message):
        run(replace(config, method__pool="", method__train_networks=None), tmp_path)
