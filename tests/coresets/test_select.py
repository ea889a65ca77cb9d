"""Coresets: each rule against its definition, and the tool that keeps them."""

import itertools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose
from dam_tf.config.settings import read_config
from dam_tf.coresets import select as selection
from dam_tf.coresets.select import coreset, random_real_set, select
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.data.rules import forgetting_counts, herding, k_center, most_forgotten
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.initial import initial_images
from tests.tiny_data import NAMES, make_data, save_npz, tiny_config

ROOT = pathlib.Path(__file__).resolve().parents[2]


def settings(method="herding", space="pixels", **overrides):
    return tiny_config(
        selection__method=method,
        selection__space=space,
        selection__epochs=2,
        **overrides,
    )


def rows_of(chosen, data):
    """Returns which training images the set holds, [classes, ipc]."""
    real = data.train.images.astype(np.float32) / 255
    rows = [np.flatnonzero((real == image).all((1, 2, 3)))[0] for image in chosen]
    return np.reshape(rows, [data.num_classes, -1])


class TestHerding:
    def by_trying_all(self, vectors, count):
        """iCaRL's algorithm 4, without normalisation, as it is written."""
        mean, chosen = vectors.mean(axis=0), []
        for step in range(1, count + 1):
            best, least = None, np.inf
            for candidate in range(len(vectors)):
                if candidate not in chosen:
                    total = vectors[candidate] + sum(vectors[c] for c in chosen)
                    distance = np.linalg.norm(mean - total / step)
                    if distance < least:
                        best, least = candidate, distance
            chosen.append(best)
        return chosen

    @pytest.mark.parametrize("seed", range(5))
    def test_equals_trying_all(self, seed):
        vectors = np.random.default_rng(seed).normal(3.0, 2.0, (30, 4))
        expected = self.by_trying_all(vectors, 30)
        assert herding(vectors, 30).tolist() == expected
        found = herding(vectors.astype(np.float32), 12)
        assert found.tolist() == expected[:12]

    def test_is_nearer_to_the_mean_than_random(self, rng):
        vectors = rng.standard_normal((300, 16))

        def error(rows):
            return np.linalg.norm(vectors[rows].mean(axis=0) - vectors.mean(axis=0))

        for count in (1, 5, 20):
            random = [error(rng.choice(300, count, False)) for _ in range(20)]
            assert error(herding(vectors, count)) < min(random)

    def test_takes_duplicates_only_once(self):
        assert sorted(herding(np.ones((4, 3), np.float32), 4)) == [0, 1, 2, 3]


class TestKCenter:
    def test_is_within_twice_the_best_cover(self, rng):
        points = rng.standard_normal((12, 2))

        def radius(centres):
            gaps = points[:, None] - points[list(centres)][None]
            return np.linalg.norm(gaps, axis=2).min(axis=1).max()

        for count in (1, 2, 3):
            best = min(map(radius, itertools.combinations(range(12), count)))
            assert radius(k_center(points, count)) <= 2 * best + 1e-9

    def test_takes_duplicates_only_once(self):
        assert sorted(k_center(np.zeros((4, 3)), 4)) == [0, 1, 2, 3]


HISTORIES = {  # right or wrong, epoch by epoch: how often forgotten
    "rrrr": 0,
    "wrrr": 0,
    "rrrw": 1,
    "rwrr": 1,
    "rwwr": 1,
    "rwrw": 2,
    "wrwr": 1,
    "wwww": np.inf,
    "wwwr": 0,
}


class TestForgetting:
    def test_equals_a_table(self):
        right = np.array([[mark == "r" for mark in text] for text in HISTORIES])
        found = forgetting_counts(epoch for epoch in right.T)
        assert found.tolist() == list(HISTORIES.values())

    def test_takes_epochs_one_at_a_time(self):
        """A training may reuse its buffer: what came before is not looked at again."""
        taken = []

        def epochs():
            for right in ([True, False], [False, True], [True, True]):
                taken.append(len(taken))
                yield np.array(right)

        assert forgetting_counts(epochs()).tolist() == [1, 0]
        assert taken == [0, 1, 2]

    def test_no_epoch(self):
        with pytest.raises(ValueError, match="no epoch"):
            forgetting_counts([])

    def test_most_forgotten_first_and_ties_by_the_generator(self):
        counts = np.array([1, np.inf, 0, 3, 1, 1, 1, np.inf, 1])
        orders = set()
        for seed in range(40):
            rows = most_forgotten(counts, 5, np.random.default_rng(seed))
            again = most_forgotten(counts, 5, np.random.default_rng(seed))
            assert rows.tolist() == again.tolist()
            assert counts[rows].tolist() == [np.inf, np.inf, 3, 1, 1]
            orders.add(tuple(rows))
        assert len({rows[0] for rows in orders}) == 2
        assert {row for rows in orders for row in rows[3:]} == {0, 4, 5, 6, 8}


CASES = [
    ("random", "pixels"),
    ("herding", "pixels"),
    ("herding", "random"),
    ("herding", "trained"),
    ("k-center", "pixels"),
    ("k-center", "trained"),
    ("forgetting", "trained"),
]


class TestCoreset:
    @pytest.mark.parametrize(("method", "space"), CASES)
    def test_real_images_of_each_class_and_the_same_again(self, method, space):
        data = make_data()
        config = settings(method, space, distillation__ipc=4)
        chosen = coreset(data, config)
        rows = rows_of(chosen.images, data)
        for label in range(3):
            assert len(set(rows[label])) == 4
            assert set(data.train.labels[rows[label]]) == {label}
        assert chosen.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert chosen.class_names == NAMES and chosen.name == "tiny"
        np.testing.assert_array_equal(coreset(data, config).images, chosen.images)

    @pytest.mark.parametrize(
        ("method", "space"),
        [("random", "pixels"), ("herding", "random"), ("forgetting", "trained")],
    )
    def test_the_seed_decides(self, method, space):
        first, second = (
            coreset(make_data(), settings(method, space, distillation__seed=seed))
            for seed in (0, 1)
        )
        assert np.abs(first.images - second.images).max() > 0

    def test_pixels_are_those_in_model_space(self):
        data = make_data()
        preprocessing = fit_preprocessing("zca", data.train.images)
        config = settings("herding", dataset__preprocessing="zca")
        found = rows_of(coreset(data, config).images, data)
        for label in range(3):
            pixels = data.train.class_images(label).astype(np.float32) / 255
            vectors = np.asarray(preprocessing(pixels)).reshape(len(pixels), -1)
            expected = herding(vectors, 2) + data.train.offsets[label]
            assert found[label].tolist() == expected.tolist()

    def test_the_trained_embedding_is_that_of_a_trained_network(self, monkeypatch):
        """One epoch after another on all images, then the layer before the logits."""
        data, calls = make_data(), []

        class Trainer:
            def __init__(
                self, images, labels, classes, config, preprocessing, *, purpose
            ):
                assert images is data.train.images and classes == 3
                assert purpose is Purpose.SELECTION_NETWORK, "not one that is tested"
                assert config.evaluation.epochs == 2
                self.count = len(images)

            def initial_state(self, index):
                return "state 0"

            def train_epoch(self, state, index, epoch):
                calls.append((state, int(epoch)))
                return f"state {len(calls)}", np.ones(self.count, bool)

            def embed(self, state, images):
                calls.append((state, len(images)))
                return images.reshape(len(images), -1)[:, :5].astype(np.float32)

        monkeypatch.setattr(selection, "Trainer", Trainer)
        coreset(data, settings("herding", "trained"))
        trained = [("state 0", 0), ("state 1", 1)]
        assert calls == [*trained, ("state 2", 9), ("state 2", 12), ("state 2", 15)]
        calls.clear()
        coreset(data, settings("herding", "random"))
        assert calls == [("state 0", 9), ("state 0", 12), ("state 0", 15)]
        calls.clear()
        coreset(data, settings("forgetting"))
        assert calls == trained

    def test_forgetting_takes_what_the_training_forgot(self, monkeypatch):
        data = make_data()
        right = np.ones([4, 36], bool)
        forgotten = [3, 7, 10, 20, 22, 35]  # two of each class
        right[2, forgotten] = False
        monkeypatch.setattr(selection._Network, "train", lambda self: iter(right))
        found = rows_of(coreset(data, settings("forgetting")).images, data)
        assert np.sort(found).ravel().tolist() == forgotten

    def test_random_is_the_random_baseline_and_start(self):
        data = make_data()
        config = settings("random", distillation__seed=5)
        images = coreset(data, config).images
        baseline = random_real_set(data, settings("herding", distillation__seed=5))
        np.testing.assert_array_equal(baseline.images, images)
        start = initial_images(
            data.train, NAMES, config.distillation, tf.keras.layers.Identity()
        )
        np.testing.assert_array_equal(start.reshape(images.shape), images)

    def test_ipc_beyond_a_class(self):
        with pytest.raises(UserError, match=r"ipc 10 .*'circle', which has 9") as error:
            coreset(make_data(), settings(distillation__ipc=10))
        assert "noise" not in str(error.value)


class TestSelect:
    @pytest.mark.parametrize(
        "change", [{"distillation__ipc": 10}, {"network__name": "vgg11"}]
    )
    def test_what_is_refused_leaves_no_folder(self, tmp_path, change):
        dataset = save_npz(tmp_path / "tiny.npz", make_data())
        config = tiny_config(dataset__name=dataset, network__depth=None, **change)
        with pytest.raises(UserError, match=r"ipc 10 is larger|vgg11 is too deep"):
            select(config, tmp_path / "coreset")
        assert not (tmp_path / "coreset").exists()

    def test_a_selection_that_fails_leaves_the_old_one(self, tmp_path, monkeypatch):
        dataset = save_npz(tmp_path / "tiny.npz", make_data())
        config = settings(dataset__name=dataset)
        first = select(config, tmp_path / "run")
        with pytest.raises(UserError, match="holds another run"):
            select(config, tmp_path / "run")

        def fail(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(selection, "coreset", fail)
        with pytest.raises(KeyboardInterrupt):
            select(config, tmp_path / "run", overwrite=True)
        kept = DistilledSet.load(tmp_path / "run")
        np.testing.assert_array_equal(kept.images, first.images)

    def test_the_settings_repeat_it(self, tmp_path):
        dataset = save_npz(tmp_path / "tiny.npz", make_data())
        config = settings("forgetting", dataset__name=dataset)
        first = select(config, tmp_path / "run")
        again = select(read_config(tmp_path / "run" / "config.toml"), tmp_path / "b")
        np.testing.assert_array_equal(again.images, first.images)
