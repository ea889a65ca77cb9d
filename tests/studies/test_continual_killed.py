"""Continual learning that is killed, resumed, extended or replaced.

Distilling and training are replaced by fakes but for one whole study.
"""

import shutil

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.config.settings import save_config
from dam_tf.data.real_data import RealData, Split
from dam_tf.evaluation.evaluate import Evaluation
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.progress import Run
from dam_tf.studies.continual import study as continual
from dam_tf.studies.continual.study import continual_learning
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.studies.five_classes import IPC, NAMES, config, five_classes, study

pytestmark = pytest.mark.usefixtures("eagerly")

# Two memories in two steps: four buffers, two of them distilled, and four trainings.
MOMENTS = 4 + 2 + 4
DM_BUFFER = "dm_2-steps_order-0_step-0.npz"


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


class Fakes:
    """Stands for distilling and evaluating, and kills the study now and then.

    Attributes:
        kill_at: The moment that is the last, from 0; none if negative.
        distilled: Of each call, whether it found a run that it could continue.
        evaluated: The buffers.
    """

    def __init__(self, monkeypatch):
        self.kill_at, self.distilled, self.evaluated = -1, [], []
        self._keep = continual.atomic_file
        for name in ("distill", "evaluate", "atomic_file"):
            monkeypatch.setattr(continual, name, getattr(self, name))

    def distill(self, config, output_dir, resume, data, preprocessing):
        """Random images that the seed of the run decides."""
        run = RunFolder(output_dir)
        self.distilled.append(run.holds_run())
        run.path.mkdir(parents=True, exist_ok=True)
        save_config(config, run.config)
        self._live()
        labels = np.repeat(np.arange(data.num_classes), config.distillation.ipc)
        rng = np.random.default_rng(config.distillation.seed)
        images = rng.random((len(labels), *data.image_shape), np.float32)
        return DistilledSet(images, labels, data.class_names, preprocessing, data.name)

    def evaluate(self, distilled, config, data):
        """Answers that the pixels decide."""
        self._live()
        self.evaluated.append(distilled)
        rng = np.random.default_rng(distilled.images.view(np.uint32).sum())
        labels, classes = data.test.labels, data.num_classes
        answers = rng.integers(classes, size=len(labels))
        return Evaluation.of([answers], labels, classes)

    def atomic_file(self, path):
        self._live()
        return self._keep(path)

    def _live(self):
        self.kill_at -= 1
        if self.kill_at == -1:
            raise Killed


@pytest.fixture
def fakes(monkeypatch):
    return Fakes(monkeypatch)


@pytest.fixture
def whole(fakes, tmp_path):
    """A study of a coreset and a distillation that was never stopped."""
    learn(tmp_path / "whole")
    fakes.distilled.clear()
    fakes.evaluated.clear()
    return tmp_path / "whole"


def learn(folder, resume=False):
    continual_learning(
        config(distillation__checkpoint_every=1),
        study("random", "dm"),
        folder,
        resume=resume,
        data=five_classes(),
    )


def assert_same_study(folder, other):
    for name in ("trials.jsonl", "results.jsonl"):
        assert (folder / name).read_text() == (other / name).read_text()
    names = [sorted(p.name for p in (f / "buffers").iterdir()) for f in (folder, other)]
    assert names[0] == names[1] and len(names[0]) == 4, "and no run is left"
    for name in names[0]:
        one, two = (
            np.load(f / "buffers" / name, allow_pickle=False)["images"]
            for f in (folder, other)
        )
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_killed_study_continues_to_the_same_results(moment, whole, fakes, tmp_path):
    """Killed while distilling, before a buffer is kept, or before a training."""
    folder = tmp_path / "killed"
    fakes.kill_at = moment
    with pytest.raises(Killed):
        learn(folder)
    assert not (folder / "accuracy.png").exists()
    learn(folder, resume=True)
    assert_same_study(folder, whole)
    assert len(fakes.evaluated) == 4, "no finished training is done twice"
    assert fakes.distilled.count(False) == 2, "a run that was begun goes on"


def test_a_run_whose_buffer_is_there_goes(whole, fakes, tmp_path):
    """As a kill leaves it, between the buffer and the end of its run."""
    folder = shutil.copytree(whole, tmp_path / "study")
    (folder / "buffers" / DM_BUFFER).with_suffix(".run").mkdir()
    trials = folder / "trials.jsonl"
    trials.write_text("".join(trials.read_text().splitlines(keepends=True)[:-1]))
    learn(folder, resume=True)
    assert_same_study(folder, whole)


def test_a_study_that_is_killed_all_the_time_ends(whole, fakes, tmp_path):
    folder, deaths = tmp_path / "killed", 0
    while not (folder / "accuracy.png").exists():
        fakes.kill_at = 2
        try:
            learn(folder, resume=True)
        except Killed:
            deaths += 1
            assert deaths < MOMENTS, "no life gets any further"
    assert deaths > 3
    assert_same_study(folder, whole)


@pytest.mark.slow
def test_a_killed_distillation_goes_on(tmp_path, monkeypatch):
    """Nothing is a fake here: the run is killed after each of its two checkpoints."""
    learn(tmp_path / "whole")
    original = Run._save

    def save_and_die(run):
        original(run)
        raise Killed

    folder = tmp_path / "killed"
    for _ in range(2):
        monkeypatch.setattr(Run, "_save", save_and_die)
        with pytest.raises(Killed):
            learn(folder, resume=True)
        monkeypatch.setattr(Run, "_save", original)
    assert len(list(folder.rglob("*.run"))) == 1
    learn(folder, resume=True)
    assert_same_study(folder, tmp_path / "whole")


class TestDamage:
    SHAPE = (IPC, 8, 8, 1)

    def read(self, path):
        return continual._read_images(path, self.SHAPE)

    def save(self, path, images):
        np.savez(path, images=images)
        return path

    def test_what_is_whole_is_read(self, tmp_path):
        images = np.random.default_rng(0).random(self.SHAPE, np.float32)
        path = self.save(tmp_path / "x.npz", images)
        np.testing.assert_array_equal(self.read(path), images)
        assert self.read(tmp_path / "none.npz") is None

    @pytest.mark.parametrize("damage", ["truncated", "garbage", "shape", "kind"])
    def test_what_is_not_is_named(self, damage, tmp_path, caplog):
        path = self.save(tmp_path / "x.npz", np.zeros(self.SHAPE, np.float32))
        match damage:
            case "truncated":
                path.write_bytes(path.read_bytes()[:-100])
            case "garbage":
                path.write_bytes(b"no images")
            case "shape":
                self.save(path, np.zeros([1, 8, 8, 1], np.float32))
            case "kind":
                self.save(path, np.zeros(self.SHAPE, np.float64))
        assert self.read(path) is None
        assert "is damaged and is made again" in caplog.text and "x.npz" in caplog.text

    def test_a_damaged_buffer_is_made_again(self, whole, fakes, tmp_path):
        folder = shutil.copytree(whole, tmp_path / "study")
        (folder / "buffers" / DM_BUFFER).write_bytes(b"no images")
        trials = folder / "trials.jsonl"
        kept = trials.read_text().splitlines(keepends=True)[:-1]
        trials.write_text("".join(kept))
        learn(folder, resume=True)
        assert_same_study(folder, whole)
        assert len(fakes.evaluated) == len(fakes.distilled) == 1


def test_a_resumed_study_may_grow(whole, fakes):
    settings = config(distillation__checkpoint_every=1)
    grown = study("random", "dm", "herding")
    continual_learning(settings, grown, whole, resume=True, data=five_classes())
    assert len(fakes.evaluated) == 2
    with pytest.raises(UserError, match=r"cannot resume .* distillation.ipc = 1"):
        continual_learning(config(distillation__ipc=1), grown, whole, resume=True)


def test_overwrite_forgets_buffers_and_results(whole, fakes):
    data = five_classes()
    dark = Split(data.train.images // 2, data.train.labels, data.train.offsets)
    changed = RealData(data.name, NAMES, dark, data.test)
    continual_learning(config(), study("random"), whole, overwrite=True, data=changed)
    assert len(list((whole / "buffers").iterdir())) == 2
    assert fakes.evaluated[-1].images.max() <= 105 / 255
    assert len(read_json_lines(whole / "results.jsonl")) == 1
