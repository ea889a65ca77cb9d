"""Ablations: their variants, their runs, and what a killed study keeps."""

import dataclasses
import functools
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.base.errors import DivergedError, UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.settings import MethodConfig, make_config, resolve, save_config
from dam_tf.evaluation.evaluate import evaluate
from dam_tf.evaluation.results import Evaluation
from dam_tf.networks.pools import NetworkPool
from dam_tf.runs import run as distillation
from dam_tf.runs.distiller import Distiller
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.run import distill
from dam_tf.studies.ablation import study as ablation_study
from dam_tf.studies.ablation.ablations import ABLATIONS, Pretraining, Variant
from dam_tf.studies.ablation.report import save_report, table
from dam_tf.studies.ablation.study import Result, run_ablation
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.tiny_data import make_data, save_npz, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

SMALL = {
    "evaluation__epochs": 2,
    "evaluation__models": 1,
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
    """Stands for distilling and evaluating where only their order counts."""

    def __init__(self, monkeypatch):
        self.distilled, self.evaluated, self.rates = [], [], []
        monkeypatch.setattr(ablation_study, "distill", self.distill)
        monkeypatch.setattr(ablation_study, "evaluate", self.evaluate)

    def distill(self, config, output_dir, resume=False, overwrite=False, **shared):
        RunFolder(output_dir).check(config, resume, overwrite)
        self.distilled.append((output_dir, shared["networks"]))
        self.rates.append(resolve(config, (8, 8, 1)).distillation.learning_rate)
        seed, ipc = config.distillation.seed, config.distillation.ipc
        pixels = np.full([3 * ipc, 8, 8, 1], seed, np.float32)
        distilled = DistilledSet(
            pixels, np.repeat([0, 1, 2], ipc), ("a", "b", "c"), None, "tiny"
        )
        distilled.save(output_dir)
        save_config(config, RunFolder(output_dir).config)
        return distilled

    def evaluate(self, distilled, config, data):
        self.evaluated.append(config.evaluation.augmentation)
        return Evaluation((0.1 + float(distilled.images[0, 0, 0, 0]) / 10, 0.5))


@pytest.fixture
def fakes(monkeypatch):
    return Fakes(monkeypatch)


def lines(folder):
    return [
        json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()
    ]


def images(folder):
    return DistilledSet.load(folder).images


class TestRegistry:
    @pytest.mark.parametrize("name", ABLATIONS)
    @pytest.mark.parametrize("blocks", [1, 2, 3, 5])
    def test_every_variant_is_a_valid_setting_with_a_folder_of_its_own(
        self, name, blocks
    ):
        ablation = ABLATIONS[name]
        variants = ablation.variants(blocks)
        configs = [variant.config(make_config(), 2, 7) for variant in variants]
        assert all(c.distillation.seed == 7 for c in configs)
        assert all(c.distillation.ipc == 2 for c in configs)
        folders = {variant.folder for variant in variants}
        assert len(folders) == (1 if name == "augmentation" else len(variants))
        assert all(re.fullmatch(r"[\w.+-]+", folder) for folder in folders)
        assert re.fullmatch(r"(Table|Figures?) [\d and]+", ablation.reference)
        assert ablation.chart in ("bars", "lines", "curves")
        if ablation.chart == "lines":
            assert all(variant.value is not None for variant in variants)

    def test_the_papers_numbers(self):
        """Tables 5 to 7, copied from the paper by hand, a second time."""

        def numbers(name, ipc):
            found = ABLATIONS[name].variants(3)
            return {one.name: one.paper[ipc][0] for one in found}

        assert numbers("components", 10) == {
            "mmd": 48.9,
            "sam": 49.8,
            "feature_map": 47.2,
            "sam+mmd": 54.2,
        }
        assert list(numbers("layers", 10).values()) == [48.9, 50.2, 51.5, 49.8, 54.2]
        table7 = [[*numbers("networks", ipc).values()] for ipc in (1, 10, 50)]
        assert table7 == [
            [32.0, 30.8, 30.7, 31.5, 26.2, 26.9],
            [54.2, 54.0, 53.1, 52.1, 51.2, 51.7],
            [67.0, 66.2, 66.4, 67.0, 65.8, 65.3],
        ]

    def test_what_layers_mean(self):
        layers = {v.name: v.overrides for v in ABLATIONS["layers"].variants(4)}
        assert layers == {
            "mmd": {"method.layers": ()},
            "1+mmd": {"method.layers": (1,)},
            "2+mmd": {"method.layers": (2,)},
            "3+mmd": {"method.layers": (3,)},
            "all": {"method.task_balance": 0.0},
            "all+mmd": {},
        }

    def test_a_preset_is_kept(self):
        base = make_config(overrides={"preset": "reference"})
        config = ABLATIONS["loss"].variants(3, ["mae"])[0].config(base, 5, 1)
        assert config.preset == "reference" and config.network.norm == "batch"
        assert config.method == dataclasses.replace(base.method, loss="mae")

    @pytest.mark.parametrize(
        ("name", "values", "message"),
        [
            ("layers", ["3+mmd"], "unknown variant '3.mmd'"),
            ("power", ["two"], "method.power must be a number, not 'two'"),
            ("power", ["-1"], "at least 0"),
            ("loss", ["rmse"], "did you mean 'mse'"),
            ("power", ["1", "1.0"], "names one twice"),
        ],
    )
    def test_other_values_are_refused(self, name, values, message):
        with pytest.raises(UserError, match=message):
            ABLATIONS[name].variants(3, values)


class TestPools:
    def make(self, weights, networks):
        images = np.random.default_rng(0).normal(size=(2, 1, 8, 8, 3))
        config = tiny_config(distillation__ipc=1, augmentation__operations=())
        return Distiller(
            images.astype("float32"), config, keras.layers.Identity(), networks
        )

    def test_a_pool_of_one_network_is_what_every_iteration_matches_through(self, rng):
        """One whose kernels are zero gives no gradient, whatever the iteration."""
        pixels = rng.integers(0, 256, (2, 4, 8, 8, 3)).astype(np.uint8)
        shapes = self.make(None, None)._draw_network(tf.constant([0, 1]))
        dead = NetworkPool([[np.zeros(w.shape) for w in shapes]])
        distiller = self.make(None, dead)
        for iteration in (0, 1):
            batches = iter([tf.constant(pixels)])
            gradient, losses = distiller.gradient(batches, iteration)
            assert not np.any(gradient) and losses["mmd"] == 0

    def test_the_weights_of_the_pool_are_those_of_the_loss(self, rng):
        """A pool of the random network of an iteration repeats that iteration."""
        pixels = rng.integers(0, 256, (2, 4, 8, 8, 3)).astype(np.uint8)
        random = self.make(None, None)
        theta = random._draw_network(tensor_seed(0, Purpose.NETWORK, 3))
        pool = NetworkPool([[weight.numpy() for weight in theta]])
        expected, _ = random.gradient(iter([tf.constant(pixels)]), 3)
        found, _ = self.make(None, pool).gradient(iter([tf.constant(pixels)]), 3)
        np.testing.assert_array_equal(found, expected)
        assert np.any(expected)


class TestStudy:
    def test_each_variant_is_a_run_like_any_other(self, config, tmp_path):
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

    def test_a_study_killed_anywhere_ends_as_one_that_was_not(
        self, config, tmp_path, monkeypatch
    ):
        """Here within a run, then within an evaluation."""
        study = functools.partial(run_ablation, "components", config, values=["sam"])
        whole = study(tmp_path / "whole")
        killed = tmp_path / "killed"
        kill_within_a_run(monkeypatch, study, killed)
        monkeypatch.setattr(ablation_study, "evaluate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            study(killed, resume=True)
        monkeypatch.undo()
        resumed = run_ablation(
            "components", config, killed, values=["sam"], resume=True
        )
        for ours, theirs in zip(resumed, whole, strict=True):
            assert ours.evaluation.accuracies == theirs.evaluation.accuracies
            path = f"{theirs.variant.folder}/ipc2/seed0"
            np.testing.assert_array_equal(
                images(killed / path), images(tmp_path / "whole" / path)
            )
        monkeypatch.setattr(ablation_study, "evaluate", interrupt)
        monkeypatch.setattr(ablation_study, "distill", interrupt)
        study(killed, resume=True)

    def test_more_seeds_join_a_study_and_other_settings_do_not(
        self, config, tmp_path, fakes
    ):
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
        assert result.evaluation.accuracies == pytest.approx((0.1, 0.5, 0.2, 0.5))
        assert result.evaluation.sets == 2 and len(fakes.distilled) == 2
        other = tiny_config(**SMALL | {"evaluation__epochs": 3})
        other = dataclasses.replace(other, dataset=config.dataset)
        with pytest.raises(UserError, match=r"evaluation\.epochs = 3"):
            run_ablation("augmentation", other, tmp_path / "study", resume=True)
        with pytest.raises(UserError, match="holds another study"):
            run_ablation("augmentation", config, tmp_path / "study")

    def test_augmentations_share_one_set(self, config, tmp_path, fakes):
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

    def test_what_depends_on_the_ipc_follows_it(self, config, tmp_path, fakes):
        """Table 10: the learning rate is 1 up to 50 images per class, then 10."""
        run_ablation("loss", config, tmp_path / "study", ipcs=[50, 51], values=["mse"])
        assert fakes.rates == [1, 10]

    def test_curves_are_of_the_images_on_the_way(self, config, tmp_path, monkeypatch):
        folder = tmp_path / "study"
        seen = []
        monkeypatch.setattr(
            ablation_study,
            "evaluate",
            lambda s, c, d: seen.append(s.images) or evaluate(s, c, d),
        )
        results = run_ablation(
            "initialization", config, folder, values=["noise"], points=2
        )
        assert [result.iteration for result in results] == [0, 2, 4]
        for iteration, shown in zip((2, 4), seen[1:], strict=True):
            changed = tiny_config(
                dataset__name=config.dataset.name,
                **SMALL | {"distillation__iterations": iteration},
                distillation__init="noise",
            )
            shorter = distill(changed, tmp_path / f"to{iteration}")
            np.testing.assert_array_equal(shown, shorter.images)
        snapshots = folder / "noise" / "ipc2" / "seed0" / "snapshots"
        (snapshots / "iteration-00000002.npz").write_bytes(b"damaged")
        (folder / "trials.jsonl").unlink()
        again = run_ablation(
            "initialization", config, folder, values=["noise"], points=2, resume=True
        )
        assert [r.evaluation.mean for r in again] == [
            r.evaluation.mean for r in results
        ]

    def test_a_variant_that_diverges_is_a_result(
        self, config, tmp_path, fakes, monkeypatch
    ):
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

    def test_what_diverges_raises_the_error_that_is_caught(self, config, tmp_path):
        wild = tiny_config(
            dataset__name=config.dataset.name,
            **SMALL,
            method__scale=3e38,
            method__task_balance=1e3,
        )
        with pytest.raises(DivergedError, match="the loss became"):
            distill(wild, tmp_path / "run")

    def test_other_mistakes_of_a_run_are_not_results(self, config, tmp_path):
        with pytest.raises(UserError, match="ipc 99 is larger than class"):
            run_ablation("loss", config, tmp_path / "study", ipcs=[99])
        assert not (tmp_path / "study" / "results.jsonl").exists()

    def test_networks_by_accuracy_and_those_that_none_reaches(
        self, config, tmp_path, fakes, monkeypatch
    ):
        accuracies, pretrain = iter([0.1, 0.3, 0.35]), ablation_study.pretrain

        def sorted_otherwise(*arguments):
            found = pretrain(*arguments)
            return [
                dataclasses.replace(one, accuracy=next(accuracies)) for one in found
            ]

        monkeypatch.setattr(ablation_study, "pretrain", sorted_otherwise)
        folder = tmp_path / "study"
        results = run_ablation("networks", config, folder, pretraining=PRETRAINING)
        assert [
            (path.parts[-3], pool and len(pool)) for path, pool in fakes.distilled
        ] == [("random", None), ("0-20", 1), ("20-40", 2)]
        by_name = {result.variant.name: result for result in results}
        assert by_name["20-40"].evaluation is not None
        assert by_name["60-80"].evaluation is None
        assert by_name["60-80"].note == (
            "no network of 60-80 %: the best has 35.0 % after 4 epochs"
        )
        assert lines(folder)[4]["accuracy"] is None
        text = save_report(ABLATIONS["networks"], results, folder)
        assert "no network of 60-80 %" in text

    def test_a_run_through_a_pool_starts_as_any_and_ends_otherwise(
        self, config, tmp_path
    ):
        data = make_data()
        network = networks.create("convnet", (8, 8, 1), 3, config.network)
        rng = np.random.default_rng(0)
        weights = [rng.normal(size=v.shape) for v in network.trainable_variables]
        pool = NetworkPool([weights])
        through = [distill(config, tmp_path / "pool", networks=pool, data=data)]
        through.append(distill(config, tmp_path / "random", data=data))
        assert np.any(through[0].images != through[1].images)

    def test_overwrite_leaves_nothing_of_the_former(self, config, tmp_path, fakes):
        folder = tmp_path / "study"
        run_ablation("networks", config, folder, pretraining=PRETRAINING)
        assert (folder / "random/ipc2/seed0/config.toml").exists()
        (folder / "note.txt").touch()
        run_ablation("power", config, folder, values=["2"], overwrite=True)
        assert not (folder / "pool").exists() and (folder / "note.txt").exists()
        assert not (folder / "random/ipc2/seed0/config.toml").exists()
        assert [line["ablation"] for line in lines(folder)] == ["power"]


class TestReport:
    def results(self, name, ipcs=(10,), iterations=(8,), none=()):
        return [
            Result(
                variant,
                ipc,
                iteration,
                None if variant.name in none else Evaluation((0.25, 0.35)),
                "why" if variant.name in none else "",
            )
            for variant in ABLATIONS[name].variants(3)
            for ipc in ipcs
            for iteration in iterations
        ]

    def rows(self, text):
        return [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in text.splitlines()
            if line.startswith("|")
        ]

    def test_ours_stand_beside_the_papers(self):
        text = table(ABLATIONS["components"], self.results("components", none=["sam"]))
        head, _, mmd, sam, *_ = self.rows(text)
        assert head == ["loss", "IPC 10", "paper, IPC 10"]
        assert mmd == ["mmd", "30.0 ± 5.0", "48.9 ± 0.6"]
        assert sam == ["sam", "-", "49.8 ± 0.7"]
        assert text.splitlines()[-1] == "sam: why"

    def test_several_ipcs_are_columns(self):
        results = self.results("networks", ipcs=(1, 50))
        head, _, random, *_ = self.rows(table(ABLATIONS["networks"], results))
        assert head[1:] == ["IPC 1", "IPC 50", "paper, IPC 1", "paper, IPC 50"]
        assert random[3:] == ["32.0 ± 2.0", "67.0 ± 0.4"]

    def test_curves_are_rows_of_iterations(self):
        results = self.results("initialization", iterations=(0, 4, 8))
        head, _, *rows = self.rows(table(ABLATIONS["initialization"], results))
        assert head == ["iteration", "random", "k-center", "noise"]
        assert [row[0] for row in rows] == ["0", "4", "8"]

    @pytest.mark.parametrize("name", ABLATIONS)
    def test_every_ablation_is_drawn(self, name, tmp_path):
        curves = ABLATIONS[name].chart == "curves"
        for ipcs in ((1,), (1, 10, 50)):
            results = self.results(name, ipcs, (0, 8) if curves else (8,))
            first = dataclasses.replace(results[0], evaluation=None)
            save_report(ABLATIONS[name], [first, *results[1:]], tmp_path)
            assert (tmp_path / "figure.png").read_bytes()[1:4] == b"PNG"
            assert "±" in (tmp_path / "table.md").read_text(encoding="utf-8")


def interrupt(*arguments, **options):
    raise KeyboardInterrupt


def kill_within_a_run(monkeypatch, study, folder):
    """Stops the run at its second checkpoint."""
    saved, calls = distillation.save_checkpoint, []

    def dies(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        saved(*arguments)

    monkeypatch.setattr(distillation, "save_checkpoint", dies)
    with pytest.raises(KeyboardInterrupt):
        study(folder)
    monkeypatch.setattr(distillation, "save_checkpoint", saved)
    assert not (folder / "trials.jsonl").exists()


def test_a_variant_knows_its_folder():
    assert Variant(">=80").folder == "80"
    assert Variant("none", shared_run=True).folder == "distilled"


def test_settings_without_layers_survive_the_file(tmp_path):
    config = tiny_config(method__layers=())
    save_config(config, tmp_path / "config.toml")
    assert make_config(tmp_path / "config.toml").method == config.method
    assert MethodConfig().layers is None
