"""A search against trainings done by hand, stopped, resumed, on two devices."""

import dataclasses
import functools
import gc
import json
import signal
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.interruption import Interrupted
from dam_tf.config.settings import replace, save_config
from dam_tf.coresets.select import random_real_set
from dam_tf.data.loading import load_dataset
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.evaluation import evaluate as evaluation
from dam_tf.studies.search import proxies
from dam_tf.studies.search import search as architecture_search
from dam_tf.studies.search.data import divide
from dam_tf.studies.search.settings import SearchSettings
from dam_tf.studies.search.spaces import convnet_grid
from dam_tf.training.trainer import Trainer
from tests.tiny_data import make_data, save_npz, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

SPACE = convnet_grid([1], [4, 6], ["relu"], ["none"], ["avg"])
SETTINGS = SearchSettings(whole_epochs=3, validation=6, test_images=12)
PROXIES = ("random", "early_stopping")
DEVICES = [one.name for one in tf.config.list_logical_devices("CPU")]

# On one device, unless a test says otherwise.
search = functools.partial(architecture_search.search, devices=DEVICES[:1])


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    name = save_npz(folder / "tiny.npz", make_data())
    return tiny_config(
        dataset__name=name,
        evaluation__networks=1,
        evaluation__batch_size=8,
        evaluation__learning_rate=0.05,
        evaluation__augmentation="none",
    )


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    """A search that nothing interrupted."""
    folder = tmp_path_factory.mktemp("search")
    return search(config, SPACE, PROXIES, folder, SETTINGS), folder


def trials(folder):
    """The finished networks of a search, without the time that they took."""
    lines = [json.loads(x) for x in (folder / "trials.jsonl").read_text().splitlines()]
    for line in lines:
        line["result"].pop("seconds", None)
    return {json.dumps(line["trial"]): line["result"] for line in lines}


def without_time(results):
    return [
        {k: v for k, v in vars(result).items() if not k.startswith("seconds")}
        for result in results
    ]


def test_networks_are_those_of_an_evaluation(config, finished):
    """Of the same set: random images, and everything that was not held out."""
    _, folder = finished
    found = {
        (key[0], key[2]): r for k, r in trials(folder).items() if (key := json.loads(k))
    }
    data = load_dataset(config.dataset)
    parts = divide(data, SETTINGS, seed=0)
    preprocessing = fit_preprocessing("standardize", data.train.images)
    own = SPACE[1].config(config)
    drawn = random_real_set(parts.train, own, preprocessing)
    trainer = evaluation.trainer_of(drawn, own)
    held_out, test = asked(trainer, own.evaluation.epochs, parts)
    result = found["random", SPACE[1].name]
    assert (result["validation"], result["accuracy"]) == (held_out, test)
    train = parts.train.train
    trainer = Trainer(train.images, train.labels, 3, own, preprocessing)
    held_out, test = asked(trainer, 3, parts)
    result = found["whole", SPACE[1].name]
    assert (result["validation"], result["accuracy"]) == (held_out, test)


def asked(trainer, epochs, parts):
    """Trains one network epoch by epoch; its accuracies on the exam's two parts."""
    state = trainer.initial_state(0)
    for epoch in range(epochs):
        state, _ = trainer.train_epoch(state, 0, epoch)
    right = trainer.predict(state, parts.exam.images).argmax(1) == parts.exam.labels
    return tuple(round(float(p.mean()), 6) for p in np.split(right, [parts.held_out]))


def test_what_lies_in_the_folder(finished):
    results, folder = finished
    assert [result.proxy for result in results] == ["random", "early_stopping", "whole"]
    assert [result.images for result in results] == [6, 30, 30]
    assert len(trials(folder)) == 3 * 2
    lines = (folder / "results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [vars(result) for result in results]
    assert (folder / "scatter.png").read_bytes()[1:4] == b"PNG"
    rows = (folder / "table.md").read_text().splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        "| random",
        "| early_stopping",
        "| whole",
    ]
    assert results[-1].correlation in (None, 1.0)
    assert all(result.seconds > 0 for result in results)


def test_a_resumed_search_is_the_uninterrupted_one(
    config, finished, tmp_path, monkeypatch
):
    left = iter(range(3))
    with monkeypatch.context() as patched:
        for kind in (proxies.SetProxy, proxies.EarlyStopping, proxies.WholeSet):

            def stopped(self, *arguments, train=kind.train_and_test):
                if next(left, None) is None:
                    raise KeyboardInterrupt
                return train(self, *arguments)

            patched.setattr(kind, "train_and_test", stopped)
        with pytest.raises(KeyboardInterrupt):
            search(config, SPACE, PROXIES, tmp_path, SETTINGS)
    assert len(trials(tmp_path)) == 3
    with pytest.raises(UserError, match="continue it with --resume"):
        search(config, SPACE, PROXIES, tmp_path, SETTINGS)
    results = search(config, SPACE, PROXIES, tmp_path, SETTINGS, resume=True)
    assert without_time(results) == without_time(finished[0])
    assert trials(tmp_path) == trials(finished[1])


def test_a_signal_stops_in_the_middle_of_a_training(config, tmp_path, monkeypatch):
    train, called = proxies.SetProxy.train_and_test, []

    def interrupted(self, own, test, on_progress):
        called.append(own)
        if len(called) == 2:
            signal.raise_signal(signal.SIGTERM)
        return train(self, own, test, on_progress)

    monkeypatch.setattr(proxies.SetProxy, "train_and_test", interrupted)
    with pytest.raises(Interrupted, match="continue with --resume") as stopped:
        search(config, SPACE, ["random"], tmp_path, SETTINGS)
    assert stopped.value.signal_number == signal.SIGTERM
    assert len(called) == 2 and len(trials(tmp_path)) == 1


def test_results_do_not_depend_on_devices(config, finished, tmp_path, monkeypatch):
    assert len(DEVICES) == 2
    used, together = set(), threading.Barrier(2, timeout=60)
    train = proxies.SetProxy.train_and_test

    def watched(self, *arguments):
        device = tf.constant(0).device
        if device not in used:
            together.wait()  # passes only while the other device trains, too
            used.add(device)
        return train(self, *arguments)

    monkeypatch.setattr(proxies.SetProxy, "train_and_test", watched)
    results = architecture_search.search(config, SPACE, PROXIES, tmp_path, SETTINGS)
    assert len(used) == 2
    assert without_time(results) == without_time(finished[0])
    assert trials(tmp_path) == trials(finished[1])


@pytest.mark.slow
def test_networks_do_not_pile_up(config, tmp_path):
    """TensorFlow keeps what it compiled last; nothing of those before."""

    def alive():
        gc.collect()
        kinds = (Trainer, keras.Model)
        return sum(isinstance(one, kinds) for one in gc.get_objects())

    brief = dataclasses.replace(SETTINGS, whole_epochs=1)
    space = convnet_grid([1], [2, 3, 4, 5, 6], ["relu"], ["none"], ["none"])
    search(config, space[:1], PROXIES, tmp_path / "one", brief, whole=False)
    before = alive()
    search(config, space, PROXIES, tmp_path / "more", brief, whole=False)
    assert alive() <= before


def test_only_the_chosen_ones_on_everything(config, finished, tmp_path):
    (result,) = search(config, SPACE, ["random"], tmp_path, SETTINGS, whole=False)
    full = finished[0][0]
    assert (result.chosen, result.performance) == (full.chosen, full.performance)
    assert result.correlation is None
    trained = [json.loads(key) for key in trials(tmp_path)]
    assert [key[2] for key in trained if key[0] == "whole"] == [result.chosen]
    assert not (tmp_path / "scatter.png").exists()


class TestRuns:
    @pytest.fixture
    def run(self, config, tmp_path):
        """A set like a distilled one, in a run's folder."""
        self.save(config, tmp_path / "run", seed=5)
        return str(tmp_path / "run")

    def save(self, config, folder, seed):
        own = replace(config, distillation__seed=seed)
        folder.mkdir(exist_ok=True)
        save_config(own, folder / "config.toml")
        random_real_set(load_dataset(config.dataset), own).save(folder)

    def test_a_run_is_a_proxy(self, config, run, tmp_path):
        arguments = config, SPACE[:1], [run, run], tmp_path / "search", SETTINGS
        (result,) = search(*arguments, whole=False)
        assert (result.proxy, result.images) == (run, 6)
        assert len(trials(tmp_path / "search")) == 2

    def test_one_that_was_made_anew_is_trained_on_anew(self, config, run, tmp_path):
        arguments = config, SPACE[:1], [run], tmp_path / "search", SETTINGS
        search(*arguments, whole=False)
        search(*arguments, whole=False, resume=True)
        assert len(trials(tmp_path / "search")) == 2
        self.save(config, tmp_path / "run", seed=6)
        search(*arguments, whole=False, resume=True)
        assert len(trials(tmp_path / "search")) == 3

    def test_one_of_other_data_is_refused(self, config, run, tmp_path):
        name = save_npz(tmp_path / "other.npz", make_data(size=10))
        other = replace(config, dataset__name=name)
        with pytest.raises(UserError, match="the distilled images are"):
            search(other, SPACE, [run], tmp_path / "search", SETTINGS)


class TestEarlyStopping:
    class Recorder:
        """In place of `Trainer`: counts updates instead of doing them."""

        updates = 0

        def __init__(self, images, labels, classes, config, preprocessing):
            self.size, self.settings = len(images), config.evaluation

        def initial_state(self, index):
            return 0

        def train(self, states, indices, first, last):
            assert int(last) <= self.settings.epochs
            batch = min(self.settings.batch_size, self.size)
            per_epoch = len(range(0, self.size, batch))
            return [states[0] + per_epoch * int(last - first)]

        def train_batches(self, state, index, epoch, first, last):
            assert int(epoch) == self.settings.epochs - 1
            assert int(last) * min(self.settings.batch_size, self.size) <= self.size
            return state + int(last - first)

        def predict(self, state, images):
            type(self).updates = state
            return np.zeros([len(images), 3])

    @pytest.mark.parametrize("batch", [1, 4, 7, 36, 100])
    @pytest.mark.parametrize("ipc", [1, 3, 9])
    @pytest.mark.parametrize("epochs", [1, 5, 50])
    def test_as_many_updates_as_the_set(self, batch, ipc, epochs, monkeypatch):
        monkeypatch.setattr(proxies, "Trainer", self.Recorder)
        data = make_data()
        config = tiny_config(evaluation__batch_size=batch, evaluation__epochs=epochs)
        stopped = proxies.EarlyStopping(data, None, 3 * ipc)
        stopped.train_and_test(config, data.test, lambda *_: None)
        expected = epochs * len(range(0, 3 * ipc, batch))
        assert self.Recorder.updates == expected == stopped.updates(config)

    def test_whole_passes_are_the_whole_set(self, config):
        """6 updates of 8 images are 2 passes over 24 images."""
        data = make_data((8, 8, 8))
        own = SPACE[0].config(replace(config, evaluation__epochs=6))
        preprocessing = fit_preprocessing("standardize", data.train.images)
        progress = []
        stopped = proxies.EarlyStopping(data, preprocessing, 3)
        found = stopped.train_and_test(
            own, data.test, lambda epochs, done: progress.append((epochs, len(done)))
        )
        whole = proxies.WholeSet(data, preprocessing, 2)
        (expected,) = whole.train_and_test(own, data.test, lambda *_: None)
        np.testing.assert_array_equal(found, [expected])
        assert progress == [(1, 0), (2, 0), (2, 1)]


def test_what_images_are_too_small_for_is_left_out(config, tmp_path, caplog):
    space = convnet_grid([1, 4], [4], ["relu"], ["none"], ["avg"])
    architecture_search.log.propagate = True
    results = search(config, space, ["random"], tmp_path, SETTINGS)
    assert [result.architectures for result in results] == [1, 1]
    assert {result.chosen for result in results} == {space[0].name}
    assert "1 of 2 left out, such as: network.depth 4 is too deep" in caplog.text
    with pytest.raises(UserError, match="no architecture can be trained: "):
        search(config, space[1:], ["random"], tmp_path / "none", SETTINGS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 36}, "validation 36 leaves none of .* 36 training images"),
        ({"validation": 0}, "validation must be at least 1"),
        ({"whole_epochs": 0}, "whole_epochs must be at least 1"),
        ({"test_images": -1}, "test_images must be at least 1"),
    ],
)
def test_numbers_that_cannot_be(settings, message, config, tmp_path):
    with pytest.raises(UserError, match=message):
        search(config, SPACE, PROXIES, tmp_path, SearchSettings(**settings))


def test_images_are_divided_by_class():
    """Nothing is in two parts, and each class gives its share."""
    data = make_data((20, 40, 60))
    parts = divide(data, SearchSettings(validation=12, whole_images=60), seed=1)
    held_out = parts.exam.images[: parts.held_out]
    assert np.bincount(parts.exam.labels[: parts.held_out]).tolist() == [2, 4, 6]
    assert np.diff(parts.train.train.offsets).tolist() == [18, 36, 54]
    assert np.diff(parts.whole.train.offsets).tolist() == [10, 20, 30]
    as_rows = [
        {image.tobytes() for image in images}
        for images in (held_out, parts.train.train.images, data.train.images)
    ]
    assert as_rows[0] | as_rows[1] == as_rows[2]
    assert not as_rows[0] & as_rows[1]
    whole = parts.whole.train
    assert {image.tobytes() for image in whole.images} < as_rows[1]
    for part in (parts.train.train, whole):
        assert part.labels.tolist() == sorted(part.labels)
        for label in range(3):  # a class's pixels are near 80 times its number
            assert (part.class_images(label) // 80 == label).mean() > 0.85
    again = divide(data, SearchSettings(validation=12), seed=2)
    assert not np.array_equal(again.exam.images[:12], held_out)
