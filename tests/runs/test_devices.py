"""Two devices, and what is computed on them, against one."""

import dataclasses
import pathlib
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.devices import Workers, create_strategy, split
from dam_tf.base.errors import UserError, WorkerLost
from dam_tf.config.settings import resolve
from dam_tf.coresets.select import random_real_set
from dam_tf.evaluation.evaluate import evaluate
from dam_tf.evaluation.scheduling import train_and_test
from dam_tf.runs.run import distill
from dam_tf.training.on_distilled import trainer_of
from tests.replicas import two_replicas
from tests.runs.comparing import assert_nearly_same_run, final_state
from tests.tiny_data import make_data, save_npz, tiny_config

GROUP_GRADIENT = "dam_tf.methods.group_gradient"

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHAPE = (5, 2, 8, 8, 1)


@pytest.fixture(scope="module")
def strategy():
    return two_replicas()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Five classes, which two devices cannot share evenly."""
    data = make_data((9, 12, 15, 6, 8))
    return save_npz(tmp_path_factory.mktemp("data") / "tiny.npz", data)


def calm_config(dataset, **overrides):
    """Images stay near 1, where a rounding error is far below 1e-5."""
    rate = {"distillation__learning_rate": 0.1, "distillation__ema_decay": 0.5}
    return tiny_config(dataset__name=dataset, **rate, **overrides)


class TestMirrored:
    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({}, marks=pytest.mark.slow, id="all classes"),
            pytest.param(
                {
                    "distillation__classes_per_step": 1,
                    "dataset__preprocessing": "zca",
                    "network__norm": "layer",
                    "network__depth": 1,
                    "distillation__iterations": 3,
                },
                id="fewer than devices",
            ),
        ],
    )
    def test_a_run_equals_that_of_one_device(
        self, strategy, dataset, tmp_path, monkeypatch, changes
    ):
        # At most two classes in a group, so that shares have several and have one.
        monkeypatch.setattr(f"{GROUP_GRADIENT}._SYNTHETIC_PIXELS", 2 * 2 * 64)
        config = calm_config(dataset, **changes)
        one = distill(config, tmp_path / "one")
        two = distill(config, tmp_path / "two", strategy=strategy)
        assert_nearly_same_run(tmp_path / "one", tmp_path / "two")
        np.testing.assert_allclose(one.images, two.images, rtol=0, atol=1e-5)
        assert np.abs(final_state(tmp_path / "two")["images/momentum"]).max() > 1e-3

    @pytest.mark.slow
    def test_a_run_goes_on_under_another_strategy(self, strategy, dataset, tmp_path):
        drawn = {"distillation__classes_per_step": 4}
        whole = calm_config(dataset, **drawn)
        part = calm_config(dataset, **drawn, distillation__iterations=3)
        distill(whole, tmp_path / "whole")
        distill(part, tmp_path / "parts", strategy=strategy)
        distill(whole, tmp_path / "parts", resume=True)
        one, two = final_state(tmp_path / "whole"), final_state(tmp_path / "parts")
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-5)

    def test_batch_norm_is_refused_and_costs_nothing(self, strategy, dataset, tmp_path):
        config = calm_config(dataset, distillation__iterations=0)
        distill(config, tmp_path / "run")
        batch = calm_config(dataset, network__norm="batch")
        with pytest.raises(UserError, match=r"'batch'.*--strategy=one_device"):
            distill(batch, tmp_path / "run", overwrite=True, strategy=strategy)
        assert final_state(tmp_path / "run")["iteration"] == 0

    @pytest.mark.parametrize(
        ("models", "together"),
        [
            pytest.param(1, None, marks=pytest.mark.slow),
            (3, 1),
            pytest.param(5, 2, marks=pytest.mark.slow),
        ],
    )
    def test_networks_are_those_of_one_device(
        self, strategy, dataset, models, together
    ):
        config = tiny_config(
            dataset__name=dataset,
            evaluation__networks=models,
            evaluation__networks_at_once=together,
            evaluation__epochs=20,
            network__depth=1,
        )
        data = make_data((9, 12, 15, 6, 8))
        chosen = random_real_set(data, config)
        config = resolve(config, data.image_shape)
        data = _with_test(data)
        one = evaluate(chosen, config, data)
        two = evaluate(chosen, config, data, strategy)
        assert len(two.accuracies) == models
        assert two.accuracies == one.accuracies
        np.testing.assert_array_equal(two.confusion, one.confusion)
        assert len(set(one.accuracies)) > 1 or models == 1

    def test_ctrl_c_stops_the_networks_of_all_devices(self, strategy, dataset):
        config = tiny_config(dataset__name=dataset, evaluation__epochs=100)
        data = make_data((9, 12, 15, 6, 8))
        trainer = trainer_of(random_real_set(data, config), config)
        calls, told = [], []

        def train(states, *_):
            calls.append(1)
            time.sleep(0.05)
            return states

        def interrupt(*_):
            told.append(1)
            if len(told) == 2:
                raise KeyboardInterrupt

        trainer.train = train
        before = threading.active_count()
        with pytest.raises(KeyboardInterrupt):
            train_and_test(trainer, data.test, config.evaluation, interrupt, strategy)
        while threading.active_count() > before:
            time.sleep(0.01)
        assert len(calls) < 20, "one of two networks went on to its end"


def _with_test(data):
    """The training images as test images, too: enough to tell networks apart."""
    return dataclasses.replace(data, test=data.train)


@pytest.mark.parametrize(("count", "parts"), [(5, 1), (5, 2), (6, 3), (2, 4), (7, 5)])
def test_shares_are_even_in_order_and_complete(count, parts):
    shares = split(count, parts)
    assert [place for share in shares for place in share] == list(range(count))
    assert len(shares) == parts
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


class TestStrategies:
    def test_without_gpus_it_is_one_device(self):
        assert create_strategy("auto").num_replicas_in_sync == 1

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("miror",), "did you mean 'mirrored'"),
            (("mirrored",), "needs GPUs.*--virtual_devices=2"),
            (("multiworker",), "needs the environment variable TF_CONFIG"),
            (("multiworker", 2, True), "start more of them"),
        ],
    )
    def test_what_cannot_be_had_is_said(self, arguments, words):
        with pytest.raises(UserError, match=words):
            create_strategy(*arguments)


class TestWorkersAsOneSeesThem:
    def test_work_is_spread_over_devices(self, strategy):
        devices = {}

        def work(item):
            devices[item] = tf.constant(item).device[-5:]
            return item * item

        found = Workers(strategy).spread(work, [3, 4, 5])
        assert found == {0: 9, 1: 16, 2: 25}
        assert devices == {3: "CPU:0", 4: "CPU:1", 5: "CPU:0"}

    def test_an_error_in_the_work_is_raised(self, strategy):
        with pytest.raises(ZeroDivisionError):
            Workers(strategy).spread(lambda item: 1 // item, [1, 0])

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (tf.errors.UnavailableError(None, None, "Socket closed"), WorkerLost),
            (
                tf.errors.InternalError(None, None, "Collective ops is aborted by: x"),
                WorkerLost,
            ),
            (
                tf.errors.ResourceExhaustedError(None, None, "out of memory"),
                tf.errors.ResourceExhaustedError,
            ),
        ],
    )
    def test_which_errors_mean_that_one_is_gone(self, error, expected):
        workers = Workers()
        with pytest.raises(type(error)), workers.watched():
            raise error
        workers.count = 2
        with pytest.raises(expected), workers.watched():
            raise error
