"""What a study refuses, it refuses before anything in its folder has changed."""

import pathlib

import pytest

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import append_json
from dam_tf.config.settings import replace
from dam_tf.report import write_report
from dam_tf.runs.folder import find_runs
from dam_tf.studies.ablation.ablations import Pretraining
from dam_tf.studies.ablation.study import run_ablation
from dam_tf.studies.continual.settings import ContinualConfig
from dam_tf.studies.continual.study import continual_learning
from dam_tf.studies.pictures import (
    save_evolutions,
    save_grids,
    save_learning_curves,
    save_tsne,
)
from dam_tf.studies.search.search import search
from dam_tf.studies.search.settings import SearchSettings
from dam_tf.studies.search.spaces import convnet_grid
from tests.tiny_data import make_data, save_npz, save_run, tiny_config

DEEP = {"network__name": "vgg11"}  # for images of 8x8
LAYERS = {"method__layers": (1, 7)}
DRAWN = {"distillation__classes_per_step": 2}


def contents(folder: pathlib.Path) -> dict[pathlib.Path, bytes | None]:
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def dataset(tmp_path):
    return save_npz(tmp_path / "tiny.npz", make_data())


@pytest.fixture
def study(tmp_path):
    """The folder of a finished study of any kind, with a run and pictures in it."""
    folder = tmp_path / "study"
    save_run(folder / "mse" / "ipc2" / "seed0")
    for name in ("pool/settings.json", "settings.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    for name in ("buffers/dm.npz", "accuracy.png", "scatter.png", "network.npz"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"old")
    append_json(folder / "trials.jsonl", {"trial": "old", "result": {}})
    return folder


def ablate(config, folder, name="loss", **more):
    run_ablation(name, config, folder, overwrite=True, **more)


def learn(config, folder, memories=("random", "datadam"), steps=(2,)):
    study = ContinualConfig(memories, steps, orders=1)
    continual_learning(config, study, folder, overwrite=True)


def rank(config, folder, proxies=("random",), depths=(1,), **settings):
    space = convnet_grid(depths, [4], ["relu"], ["none"], ["avg"])
    search(config, space, proxies, folder, SearchSettings(**settings), overwrite=True)


@pytest.mark.parametrize(
    ("call", "changes", "more", "message"),
    [
        (ablate, {}, {"name": "los"}, "unknown ablation"),
        (ablate, {}, {"values": ["msee"]}, "unknown value of method.loss"),
        (ablate, {}, {"name": "layers", "values": ["9+mmd"]}, "unknown variant"),
        (ablate, {}, {"seeds": [1, 1]}, "seeds must name one or more"),
        (ablate, {}, {"ipcs": [2, 400]}, "ipc 400 is larger"),
        (ablate, {}, {"name": "initialization", "points": 0}, "points must be"),
        (ablate, {"method__name": "dm"}, {}, "unknown setting 'method.loss'"),
        (ablate, DEEP, {}, "vgg11 is too deep"),
        (ablate, LAYERS, {}, "method.layers names block 7"),
        (learn, {}, {"memories": ("random", "datadan")}, "did you mean 'datadam'"),
        (learn, {}, {"steps": (2, 4)}, "4 steps are more than the 3 classes"),
        (learn, {"distillation__ipc": 10}, {}, "ipc 10 is larger than class"),
        (learn, DEEP, {"memories": ("random",)}, "vgg11 is too deep"),
        (learn, LAYERS, {}, "method.layers names block 7"),
        (learn, DRAWN, {}, "classes_per_step 2 is more than the 1 classes"),
        (rank, {}, {"proxies": ()}, "proxies must name one or more"),
        (rank, {}, {"proxies": ("random", "nowhere")}, "nowhere"),
        (rank, {}, {"validation": 36}, "validation 36 leaves none"),
        (rank, {}, {"depths": (5,)}, "no architecture can be trained"),
        (rank, {"distillation__ipc": 10}, {}, "ipc 10 is larger than class"),
    ],
)
def test_a_finished_study_stays_as_it_is(dataset, study, call, changes, more, message):
    config = tiny_config(dataset__name=dataset)
    config = replace(config, **changes)
    before = contents(study)
    with pytest.raises(UserError, match=message):
        call(config, study, **more)
    assert contents(study) == before


@pytest.mark.parametrize("place", ["mse/ipc2/seed0", "pool"])
def test_files_of_somebody_else_where_a_run_would_lie(dataset, study, place):
    (study / place / "config.toml").unlink(missing_ok=True)
    (study / place / "settings.json").unlink(missing_ok=True)
    (study / place / "notes.txt").write_text("mine")
    before = contents(study)
    name = "networks" if place == "pool" else "loss"
    with pytest.raises(UserError, match="holds files that are not of a"):
        ablate(tiny_config(dataset__name=dataset), study, name)
    assert contents(study) == before


def test_no_number_of_pretraining_is_below_1():
    with pytest.raises(UserError, match="epochs must be at least 1, not 0"):
        Pretraining(epochs=0)


@pytest.mark.parametrize(
    ("save", "arguments", "message"),
    [
        (save_grids, (), "features.json is damaged"),
        (save_evolutions, (2, 8, [3]), "unknown iteration of --at"),
        (save_tsne, ({"network.name": "vgg11"}, None, 5.0, False, True), "too deep"),
        (save_learning_curves, ({"network.name": "vgg11"}, 2, False, True), "too deep"),
    ],
)
def test_pictures(dataset, study, tmp_path, save, arguments, message):
    names = ("0", "1", "2")
    save_run(tmp_path / "good", dataset, names)
    save_run(tmp_path / "bad", dataset, names)
    if save is save_grids:
        (tmp_path / "bad" / "distilled" / "features.json").write_text("{")
    before = contents(study)
    runs = find_runs([tmp_path / "good", tmp_path / "bad"])
    with pytest.raises(UserError, match=message):
        save(runs, study, *arguments)
    assert contents(study) == before
    with pytest.raises(UserError, match="is a file"):
        save(find_runs([tmp_path / "good"]), tmp_path / "tiny.npz", *arguments)


def test_a_page_that_is_a_folder(tmp_path, dataset):
    save_run(tmp_path / "run", dataset)
    before = contents(tmp_path)
    with pytest.raises(UserError, match="is a folder; name a file"):
        write_report([tmp_path / "run"], tmp_path / "run")
    with pytest.raises(UserError, match=r"tiny.npz is a file"):
        write_report([tmp_path / "run"], tmp_path / "tiny.npz" / "page.html")
    assert contents(tmp_path) == before
