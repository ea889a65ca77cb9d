"""What a run says of its time and of its images, while it goes on."""

import logging
import types

import numpy as np
import pytest

from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.runs import loop as loops
from dam_tf.runs import pace
from dam_tf.runs.pace import Pace
from dam_tf.runs.run import distill
from dam_tf.runs.runaway import Runaway
from dam_tf.synthetic.initial import in_model_space
from dam_tf.synthetic.synthetic_set import SyntheticSet
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(autouse=True)
def _said(caplog):
    with caplog.at_level(logging.INFO, logger="dam_tf"):
        yield


class TestPace:
    """Iterations of one second were measured, for a run of 1,000."""

    def begin(self, monkeypatch):
        """Returns a function that lets the run go on to an iteration, by a time."""
        now = types.SimpleNamespace(seconds=0.0)
        monkeypatch.setattr(pace.time, "perf_counter", lambda: now.seconds)
        one = Pace(0, 1000, 1.0)
        one.on_train_begin()

        def goes(iteration, seconds):
            now.seconds = seconds
            one.on_train_batch_end(iteration)

        return goes

    def test_what_was_measured_is_said_and_kept(self, monkeypatch, caplog):
        goes = self.begin(monkeypatch)
        assert "1,000 iterations will take about 17 minutes (1 s each)" in caplog.text
        for iteration in range(5, 1001, 5):
            goes(iteration, 1.2 * iteration)
        assert len(caplog.records) == 1

    @pytest.mark.parametrize("factor", [0.5, 2.0])
    def test_it_is_corrected_once(self, monkeypatch, caplog, factor):
        goes = self.begin(monkeypatch)
        for iteration in range(5, 1001, 5):
            goes(iteration, factor * iteration)
        _, second = (record.getMessage() for record in caplog.records)
        done = {0.5: 20, 2.0: 5}[factor]
        left = pace.in_words(factor * (1000 - done))
        expected = f"An iteration takes {factor:.3g} s, not 1: about {left} are left."
        assert second == expected

    def test_one_that_changes_is_not_corrected_all_the_time(self, monkeypatch, caplog):
        goes = self.begin(monkeypatch)
        for iteration in range(1, 1000):
            goes(iteration, iteration**1.5)
        assert len(caplog.records) <= 1 + np.log2(1000**1.5 / 10) + 1


def test_the_time_is_the_median_of_some_iterations(monkeypatch):
    """The first after compiling is slow, and one in between; all others take 0.5 s."""
    spans = iter([9.0, 0.6, 0.5, 0.5, 7.0, 0.5, 0.5, 0.5, 0.5, 0.5])
    clock, done = types.SimpleNamespace(now=0.0), []

    def run(self, count):
        done.append(count)
        clock.now += count * next(spans)

    one = types.SimpleNamespace(state="before", iteration=0)
    one.start = lambda last: None
    one._workers = types.SimpleNamespace(of_chief=lambda values: values)
    one.run = types.MethodType(run, one)
    one._timed = types.MethodType(loops.CompiledLoop._timed, one)
    monkeypatch.setattr(loops.time, "perf_counter", lambda: clock.now)
    assert loops.CompiledLoop.rehearse(one, 1000) == 0.5
    assert done == [1] * 7, "three seconds' worth, and two to compile and to guess"
    assert one.state == "before"


class TestRunaway:
    @pytest.fixture
    def watching(self):
        data = make_data()
        preprocessing = fit_preprocessing("standardize", data.train.images)
        one = Runaway(data, preprocessing, 7.0)
        real = in_model_space(data.train.images, preprocessing)
        images = np.resize(real, [3, 2, *data.image_shape])
        one.set_model(types.SimpleNamespace(synthetic=SyntheticSet(images)))
        return one

    def grow(self, watching, times):
        """Makes one of the images so many times as large."""
        stored = watching.model.synthetic.stored
        values = stored.numpy()
        values[3] *= times / np.sqrt(np.mean(np.square(values[3])))
        stored.assign(values)

    @pytest.mark.parametrize("times", [1, 11, 60])
    def test_what_the_paper_s_settings_lead_to_is_no_alarm(
        self, watching, times, caplog
    ):
        self.grow(watching, times)
        watching.on_epoch_end(500)
        assert not caplog.records

    def test_one_image_is_enough_and_is_said_once(self, watching, caplog):
        self.grow(watching, 1e6)
        for iteration in (10, 20):
            watching.on_epoch_end(iteration)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "by iteration 10, values of one are 1,000,000 times" in caplog.text
        assert "smaller distillation.learning_rate than 7." in caplog.text


def test_a_run_with_a_huge_learning_rate_warns_and_ends(tmp_path, caplog):
    config = tiny_config(distillation__learning_rate=1e6)
    distilled = distill(config, tmp_path / "run", data=make_data())
    assert np.isfinite(distilled.images).all() and np.abs(distilled.images).max() > 1e3
    assert caplog.text.count("The images run away") == 1
