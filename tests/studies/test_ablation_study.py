"""A study of an ablation: its runs, and what a kill leaves.

Distilling and evaluating are replaced by fakes but for one whole study.
"""

import dataclasses
import functools

import numpy as np
import pytest

from dam_tf.base.errors import DivergedError, UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.config.settings import replace, resolve, save_config
from dam_tf.evaluation.evaluate import Evaluation, evaluate
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.run import distill
from dam_tf.runs.state import is_snapshot, save_checkpoint, save_snapshot
from dam_tf.studies.ablation import study as ablation_study
from dam_tf.studies.ablation.ablations import ABLATIONS, Pretraining
from dam_tf.studies.ablation.report import save_report
from dam_tf.studies.ablation.study import run_ablation
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.tiny_data import make_data, save_npz, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

SMALL = {
    "evaluation__epochs": 2,
    "evaluation__networks": 1,
    "evaluation__augmentation": "none",
    "network__width": 4,
    "network__depth": 1,
    "augmentation__operations": (),
    "distillation__iterations": 4,
}
PRETRAINING = Pretraining(networks=1, epochs=4, checkpoints=3, test_images=15)


@pytest.fixture
def config(tmp_path):
    dataset = save_npz(tmp_path / "tiny.npz", make_data())
    return tiny_config(dataset__name=dataset, **SMALL)


class Fakes:
    """Stands for distilling and evaluating where only their order counts.

    A set is of one shade, seed + iteration / 100, which its accuracy tells.

    Attributes:
        kill_at: The call of either that is killed, from 0; none if negative.
    """

    def __init__(self, monkeypatch):
        self.distilled, self.resumed = [], []
        self.evaluated, self.rates = [], []
        self.kill_at = -1
        monkeypatch.setattr(ablation_study, "distill", self.distill)
        monkeypatch.setattr(ablation_study, "evaluate", self.evaluate)

    def distill(self, config, output_dir, resume=False, overwrite=False, **shared):
        run, settings = RunFolder(output_dir), config.distillation
        run.check(config, resume, overwrite)
        self.distilled.append((output_dir, shared["networks"]))
        self.resumed.append(resume)
        self.rates.append(resolve(config, (8, 8, 1)).distillation.learning_rate)
        if resume and (run.path / "distilled").exists():
            return DistilledSet.load(run.path)
        run.path.mkdir(parents=True, exist_ok=True)
        save_config(config, run.config)
        self._live()
        labels = np.repeat([0, 1, 2], settings.ipc)
        for iteration in range(settings.iterations + 1):
            pixels = np.full([len(labels), 8, 8, 1], settings.seed, np.float32)
            pixels += np.float32(iteration / 100)
            if is_snapshot(settings, iteration):
                save_snapshot(run.snapshots, iteration, pixels, labels)
        save_checkpoint(run.checkpoints, {"iteration": settings.iterations})
        distilled = DistilledSet(pixels, labels, ("a", "b", "c"), None, "tiny")
        distilled.save(output_dir)
        return distilled

    def evaluate(self, distilled, config, data):
        self._live()
        self.evaluated.append(config.evaluation.augmentation)
        return Evaluation((0.1 + float(distilled.images[0, 0, 0, 0]) / 10, 0.5))

    def _live(self):
        self.kill_at -= 1
        if self.kill_at == -1:
            raise KeyboardInterrupt


@pytest.fixture
def fakes(monkeypatch):
    return Fakes(monkeypatch)


def lines(folder):
    return read_json_lines(folder / "results.jsonl")


def images(folder):
    return DistilledSet.load(folder).images


@pytest.mark.slow
def test_each_variant_is_a_run_like_any_other(config, tmp_path):
    folder = tmp_path / "study"
    (result,) = run_ablation("power", config, folder, (0, 1), values=["3"])
    assert result.variant.name == "3"
    run = RunFolder(folder / "3" / "ipc2" / "seed1")
    again = distill(run.settings(), tmp_path / "again")
    np.testing.assert_array_equal(images(run.path), again.images)
    assert run.settings().method.power == 3
    accuracies = [
        accuracy
        for seed in (0, 1)
        for accuracy in evaluate(folder / "3" / "ipc2" / f"seed{seed}").accuracies
    ]
    assert result.evaluation.accuracies == tuple(accuracies)
    assert result.evaluation.sets == 2
    (three,) = lines(folder)
    assert three["variant"] == "3" and three["overrides"] == {"method.power": 3}
    assert three["accuracies"] == pytest.approx(accuracies, abs=1e-6)
    assert three["accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-6)
    assert three["deviation"] == pytest.approx(np.std(accuracies), abs=1e-6)


@pytest.mark.parametrize("kill_at", range(8))
def test_a_study_killed_anywhere_ends_as_one_that_was_not(
    kill_at, config, tmp_path, fakes
):
    """Two variants with two seeds each are four runs and four evaluations."""
    study = functools.partial(
        run_ablation, "components", config, seeds=(0, 1), values=["sam", "mmd"]
    )
    study(tmp_path / "whole")
    killed, before = tmp_path / "killed", len(fakes.evaluated)
    fakes.resumed.clear()
    fakes.kill_at = kill_at
    with pytest.raises(KeyboardInterrupt):
        study(killed)
    study(killed, resume=True)
    assert lines(killed) == lines(tmp_path / "whole")
    assert read_json_lines(killed / "trials.jsonl") == read_json_lines(
        tmp_path / "whole" / "trials.jsonl"
    )
    assert len(fakes.evaluated) == before + 4, "no set is evaluated twice"
    # A run that was begun goes on, and so does one that lacks its evaluation.
    assert fakes.resumed.count(False) == 4 and fakes.resumed.count(True) == 1


def test_more_seeds_join_a_study_and_other_settings_do_not(config, tmp_path, fakes):
    values = ["none"]
    run_ablation("augmentation", config, tmp_path / "study", values=values)
    (result,) = run_ablation(
        "augmentation",
        config,
        tmp_path / "study",
        (0, 1),
        values=values,
        resume=True,
    )
    assert result.evaluation.accuracies == pytest.approx((0.104, 0.5, 0.204, 0.5))
    assert result.evaluation.sets == 2 and len(fakes.distilled) == 2
    other = tiny_config(**SMALL | {"evaluation__epochs": 3})
    other = dataclasses.replace(other, dataset=config.dataset)
    with pytest.raises(UserError, match=r"evaluation\.epochs = 3"):
        run_ablation("augmentation", other, tmp_path / "study", resume=True)
    with pytest.raises(UserError, match="holds another study"):
        run_ablation("augmentation", config, tmp_path / "study")


def test_augmentations_share_one_set(config, tmp_path, fakes):
    results = run_ablation("augmentation", config, tmp_path / "study", ipcs=[1, 2])
    names = ["none", "autoaugment", "randaugment", "dsa"]
    assert [(r.variant.name, r.ipc) for r in results] == [
        (name, ipc) for name in names for ipc in (1, 2)
    ]
    assert [folder.parts[-3:] for folder, _ in fakes.distilled] == [
        ("distilled", "ipc1", "seed0"),
        ("distilled", "ipc2", "seed0"),
    ]
    assert fakes.evaluated == [name for name in names for _ in (1, 2)]


def test_what_depends_on_the_ipc_follows_it(config, tmp_path, fakes):
    """Table 10: the learning rate is 1 up to 50 images per class, then 10."""
    config = replace(config, distillation__init="noise")  # which any ipc can have
    run_ablation("loss", config, tmp_path / "study", ipcs=[50, 51], values=["mse"])
    assert fakes.rates == [1, 10]


def test_curves_are_of_the_images_on_the_way(config, tmp_path, fakes):
    folder = tmp_path / "study"
    study = functools.partial(
        run_ablation, "initialization", config, folder, values=["noise"], points=2
    )
    results = study()
    assert [result.iteration for result in results] == [0, 2, 4]
    assert [result.evaluation.accuracies[0] for result in results] == pytest.approx(
        [0.1, 0.102, 0.104]
    )
    snapshots = folder / "noise" / "ipc2" / "seed0" / "snapshots"
    (snapshots / "iteration-00000002.npz").write_bytes(b"damaged")
    (folder / "trials.jsonl").unlink()
    again = study(resume=True)
    assert [r.evaluation.mean for r in again] == [r.evaluation.mean for r in results]
    assert fakes.resumed == [False, True, False], "made again, from the start"


def test_a_variant_that_diverges_is_a_result(config, tmp_path, fakes, monkeypatch):
    def diverges(config, *arguments, **options):
        if config.method.loss == "mae" and config.distillation.seed == 1:
            raise DivergedError("the loss became nan at iteration 3")
        return fakes.distill(config, *arguments, **options)

    monkeypatch.setattr(ablation_study, "distill", diverges)
    folder = tmp_path / "study"
    mae, mse = run_ablation("loss", config, folder, (0, 1), values=["mae", "mse"])
    assert mae.evaluation.sets == 1 and mse.evaluation.sets == 2
    assert mae.note.startswith("1 of 2 runs diverged: the loss became nan")
    assert [("note" in line) for line in lines(folder)] == [True, False]


def test_what_diverges_raises_the_error_that_is_caught(config, tmp_path):
    wild = tiny_config(
        dataset__name=config.dataset.name,
        **SMALL,
        method__scale=3e38,
        method__task_balance=1e3,
    )
    with pytest.raises(DivergedError, match="the loss became"):
        distill(wild, tmp_path / "run")


def test_other_mistakes_of_a_run_are_not_results(config, tmp_path):
    with pytest.raises(UserError, match="ipc 99 is larger than class"):
        run_ablation("loss", config, tmp_path / "study", ipcs=[99])
    assert not (tmp_path / "study" / "results.jsonl").exists()


def test_networks_by_accuracy_and_those_that_none_reaches(
    config, tmp_path, fakes, monkeypatch
):
    accuracies, pretrain = iter([0.1, 0.3, 0.35]), ablation_study.pretrain

    def sorted_otherwise(*arguments):
        found = pretrain(*arguments)
        return [dataclasses.replace(one, accuracy=next(accuracies)) for one in found]

    monkeypatch.setattr(ablation_study, "pretrain", sorted_otherwise)
    folder = tmp_path / "study"
    results = run_ablation("networks", config, folder, pretraining=PRETRAINING)
    assert [(path.parts[-3], pool and len(pool)) for path, pool in fakes.distilled] == [
        ("random", None),
        ("0-20", 1),
        ("20-40", 2),
    ]
    by_name = {result.variant.name: result for result in results}
    assert by_name["20-40"].evaluation is not None
    assert by_name["60-80"].evaluation is None
    assert by_name["60-80"].note == (
        "no network of 60-80 %: the best has 35.0 % after 4 epochs"
    )
    assert lines(folder)[4]["accuracy"] is None
    text = save_report(ABLATIONS["networks"], results, folder)
    assert "no network of 60-80 %" in text


def test_overwrite_leaves_nothing_of_the_former(config, tmp_path, fakes):
    folder = tmp_path / "study"
    run_ablation("networks", config, folder, pretraining=PRETRAINING)
    assert (folder / "random/ipc2/seed0/config.toml").exists()
    (folder / "note.txt").touch()
    run_ablation("power", config, folder, values=["2"], overwrite=True)
    assert not (folder / "pool").exists() and (folder / "note.txt").exists()
    assert not (folder / "random/ipc2/seed0/config.toml").exists()
    assert [line["ablation"] for line in lines(folder)] == ["power"]
