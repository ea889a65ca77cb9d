"""A study knows its data, and is not continued with others."""

import dataclasses
import json

import pytest

from dam_tf.base.errors import UserError
from dam_tf.base.trials import Trials
from dam_tf.data.identity import Identity, keep_identity
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.data.real_data import RealData
from dam_tf.studies.ablation import ablations
from dam_tf.studies.ablation.study import run_ablation
from dam_tf.studies.attention.settings import AttentionConfig
from dam_tf.studies.attention.study import measure_attention
from dam_tf.studies.continual.settings import ContinualConfig
from dam_tf.studies.continual.study import continual_learning
from dam_tf.studies.cost import report as cost
from dam_tf.studies.rows import Base, find_rows
from dam_tf.studies.search import search as searching
from dam_tf.studies.search.spaces import convnet_grid
from dam_tf.training.pretraining import pretrain
from tests.tiny_data import make_data, tiny_config, tiny_overrides

STUDY = ContinualConfig(("random",), (2,), 1)
ATTENTION = AttentionConfig((1.0,), ("none",), (2,), (), (1,), 1)
PRETRAINING = ablations.Pretraining(1, 1, 1)
SPACE = convnet_grid([1], [4], ["relu"], ["none"], ["avg"])


def ablate(config, folder, data):
    run_ablation("loss", config, folder, data=data, resume=True)


def learn(config, folder, data):
    continual_learning(config, STUDY, folder, resume=True, data=data)


def measure(config, folder, data):
    measure_attention(config, ATTENTION, folder, resume=True, data=data)


def rank(config, folder, data):
    searching.load_dataset = lambda *_: data
    searching.search(config, SPACE, ["random"], folder, resume=True)


def train(config, folder, data):
    preprocessing = fit_preprocessing("standardize", data.train.images)
    pretrain(data, preprocessing, config, PRETRAINING, folder)


def settings_of(study, config, monkeypatch, folder):
    """What the study writes as its settings; it is stopped once it has begun."""
    kept = {}

    class Begun(Exception):
        pass

    def begin(trials):
        kept.update(trials._settings)
        raise Begun

    with monkeypatch.context() as patch:
        patch.setattr(Trials, "begin", begin)
        with pytest.raises(Begun):
            study(config, folder, make_data())
    return kept


@pytest.mark.parametrize("study", [ablate, learn, measure, rank, train])
def test_other_data_are_refused(study, tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "load_dataset", searching.load_dataset)
    config, folder = tiny_config(), tmp_path / "study"
    settings = settings_of(study, config, monkeypatch, folder)
    assert settings["data"]["class_names"] == ("circle", "cross", "square")
    assert not folder.exists()
    folder.mkdir()
    file = folder / "settings.json"
    same = make_data()
    renamed = dataclasses.replace(same, class_names=("circle", "cross", "star"))
    test = make_data(seed=1).test
    others = {
        "class 'square' is gone, class 'star' is new": renamed,
        "class 'cross' has 13 training images, not 12": make_data((9, 13, 15)),
        "the pixels of the test images differ": dataclasses.replace(same, test=test),
    }
    file.write_text(json.dumps(settings))
    for message, data in others.items():
        with pytest.raises(UserError, match=f"cannot resume .*{message}"):
            study(config, folder, data)
    file.write_text(json.dumps({k: v for k, v in settings.items() if k != "data"}))
    with pytest.raises(UserError, match=r"settings.json there does not say of which"):
        study(config, folder, same)
    assert [path.name for path in folder.iterdir()] == ["settings.json"]


def test_costs_of_other_data_are_not_put_together(tmp_path, monkeypatch):
    """Which data they are, the process that measures says."""
    monkeypatch.setattr(cost, "_MODULE", "tests.studies.cost_child")
    base, rows = Base(overrides=tiny_overrides()), find_rows(["dm"])
    trials = Trials(tmp_path, cost.report_settings(base.config(), 2))
    keep_identity(trials, make_data())
    trials.begin()
    with pytest.raises(UserError, match="class 'circle' has 2 training images, not 9"):
        cost.cost_report(rows, base, [2], tmp_path, 2, resume=True)


def test_moved_data_go_on_and_that_is_said(tmp_path, caplog):
    data = make_data()
    settings = {"dataset.name": "folder:/a"}
    trials = Trials(tmp_path, settings)
    keep_identity(trials, dataclasses.replace(data, name="folder:/a"))
    trials.run([1], lambda key: {}, "Testing")
    moved = Trials(tmp_path, {"dataset.name": "folder:/b"}, resume=True)
    with caplog.at_level("INFO", logger="dam_tf"):
        keep_identity(moved, dataclasses.replace(data, name="folder:/b"))
    assert "were folder:/a and are folder:/b now: the same" in caplog.text
    assert 1 in moved
    with pytest.raises(UserError, match=r"dataset\.name = 'digits'.*'folder:/a'"):
        Trials(tmp_path, {"dataset.name": "digits"}, resume=True)


def test_data_in_words():
    data = make_data()
    text = "tiny (TFDS tiny/1.0.0): 3 classes, train 36 (9 to 15 a class), test 15 (5 a"
    told = str(Identity.of(dataclasses.replace(data, source="TFDS tiny/1.0.0")))
    assert told == f"{text} class), 8x8x1"
    alone = str(Identity.of(RealData("tiny", data.class_names, data.train)))
    assert alone == "tiny: 3 classes, train 36 (9 to 15 a class), no test images, 8x8x1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ("cross", "circle", "square")}, "the classes are in another"),
        ({"image_shape": (16, 16, 3)}, "images are 16x16x3, not 8x8x1"),
        ({"test": ()}, "there are no test images now"),
        ({"train": (9, 1, 1)}, "class 'cross' has 1 training image, not 12 (and 1"),
        ({"name": "folder:/elsewhere", "source": "a disk"}, ""),
    ],
)
def test_each_difference_has_its_words(changes, message):
    before = Identity.of(make_data())
    found = before.differences(dataclasses.replace(before, **changes), tested=True)
    assert found.startswith(message) if message else not found


@pytest.mark.parametrize("name", ["name", "class_names", "train", "test_pixels"])
@pytest.mark.parametrize("value", [None, 3, ["a", 2], {}])
def test_a_damaged_identity_is_named(name, value):
    values = dataclasses.asdict(Identity.of(make_data()))
    with pytest.raises(ValueError, match=f"its '{name}' is "):
        Identity.from_dict({**values, name: value})
