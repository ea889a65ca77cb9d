"""Learning curves and t-SNE: right, resumed exactly, never another run's results."""

import pathlib

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.base.seeds import Purpose
from dam_tf.data.loading import load_dataset
from dam_tf.evaluation.evaluate import evaluate
from dam_tf.runs.folder import RunFolder, find_runs
from dam_tf.studies.pictures import curves, tsne
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.training.trainer import Trainer
from tests.tiny_data import make_data, save_npz, save_run

pytestmark = pytest.mark.usefixtures("eagerly")

PLAIN = {"evaluation.augmentation": "none", "network.depth": 1}  # compiled sooner
FEW = {"evaluation.networks": 2, "evaluation.epochs": 2, **PLAIN}


@pytest.fixture
def dataset(tmp_path):
    return save_npz(tmp_path / "tiny.npz", make_data())


def save_curve_run(folder, dataset):
    return save_run(folder, dataset, names=("0", "1", "2"))


def test_curves_are_evaluations_of_snapshots(tmp_path, dataset, monkeypatch):
    stages = save_curve_run(tmp_path / "run", dataset)
    runs = find_runs([tmp_path / "run"])
    done, original = [], curves.train_and_test

    def stops_at_the_second(*arguments):
        if done:
            raise KeyboardInterrupt
        done.append(1)
        return original(*arguments)

    monkeypatch.setattr(curves, "train_and_test", stops_at_the_second)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        curves.save_learning_curves(runs, out, FEW, points=2)
    assert len(read_json_lines(out / "trials.jsonl")) == 1
    with pytest.raises(UserError, match="--resume"):
        curves.save_learning_curves(runs, out, FEW, points=2)

    monkeypatch.setattr(curves, "train_and_test", original)
    curves.save_learning_curves(runs, out, FEW, points=2, resume=True)
    assert (out / "curves.png").read_bytes()[1:4] == b"PNG"
    lines = read_json_lines(out / "trials.jsonl")
    assert [line["trial"][:2] for line in lines] == [["run", 0], ["run", 6]]
    config = RunFolder(tmp_path / "run").settings(FEW)
    own = DistilledSet.load(tmp_path / "run")
    one = DistilledSet(stages[0], own.labels, own.class_names, own.preprocessing)
    expected = evaluate(one, config).accuracies
    assert lines[0]["result"]["accuracies"] == pytest.approx(expected, abs=1e-6)
    assert lines[1]["result"] != lines[0]["result"]

    # Another run in the same folder is evaluated, not taken for the old one.
    save_run(tmp_path / "run", dataset, names=("0", "1", "2"), seed=1)
    right = [load_dataset(config.dataset).test.labels]
    monkeypatch.setattr(curves, "train_and_test", lambda *_: right)
    curves.save_learning_curves(runs, out, FEW, points=2, resume=True)
    lines = read_json_lines(out / "trials.jsonl")
    assert [line["result"]["accuracy"] for line in lines[2:]] == [1.0, 1.0]


@pytest.mark.parametrize("draw", [curves.save_learning_curves, tsne.save_tsne])
def test_a_run_of_other_images_is_refused(tmp_path, dataset, draw):
    save_curve_run(tmp_path / "run", dataset)
    save_npz(pathlib.Path(dataset.removeprefix("npz:")), make_data(seed=1))
    runs = find_runs([tmp_path / "run"])
    with pytest.raises(UserError, match="run was made of other images"):
        draw(runs, tmp_path / "out", FEW)
    assert not (tmp_path / "out").exists()


def test_losses_alone_need_neither_data_nor_snapshots(tmp_path):
    save_run(tmp_path / "run")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 8, "lo')
    runs = find_runs([tmp_path / "run"])
    path = curves.save_learning_curves(runs, tmp_path / "out", {}, points=0)
    assert pathlib.Path(path).read_bytes()[1:4] == b"PNG"
    assert curves.read_losses(runs["run"]) == ([2, 4, 6], [4.0, 2.0, 1.0])
    assert curves.read_losses(runs["run"], "mmd") == ([], [])
    (tmp_path / "run" / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match="no losses"):
        curves.save_learning_curves(runs, tmp_path / "none", {}, points=0)
    assert not (tmp_path / "none").exists()


def test_tsne_is_of_a_trained_network_and_resumes(tmp_path, dataset, monkeypatch):
    """The synthetic images are real ones here, so each lies on its twin."""
    save_run(tmp_path / "run", dataset, names=("0", "1", "2"), distillation__ipc=4)
    run = RunFolder(tmp_path / "run")
    given, out = {"evaluation.epochs": 3, **PLAIN}, tmp_path / "out"
    config = run.settings(given)
    data = load_dataset(config.dataset)
    rows = tsne._some_of_each(data.train, 3, config, 4)
    own = DistilledSet.load(run.path)
    real = data.train.images[rows].astype(np.float32) / 255
    twins = DistilledSet(real, own.labels, own.class_names, own.preprocessing)
    twins.save(run.path)

    original, epochs = Trainer.train_epoch, []

    def stops(self, state, index, epoch):
        if epoch == 2 and len(epochs) == 2:
            raise KeyboardInterrupt
        epochs.append(epoch)
        return original(self, state, index, epoch)

    monkeypatch.setattr(Trainer, "train_epoch", stops)
    arguments = (find_runs([run.path]), out, given, 4, 5.0)
    with pytest.raises(KeyboardInterrupt):
        tsne.save_tsne(*arguments)
    epochs.append(None)
    tsne.save_tsne(*arguments, resume=True)
    assert epochs == [0, 1, None, 2], "only what was missing is trained"

    (line,) = read_json_lines(out / "trials.jsonl")
    result = line["result"]
    points, labels = tsne._arrays(result["real"])
    stars, star_labels = tsne._arrays(result["sets"]["run"])
    np.testing.assert_array_equal(labels, data.train.labels[rows])
    np.testing.assert_array_equal(star_labels, labels)
    gaps = np.linalg.norm(points - stars, axis=1)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert np.median(gaps) < 0.2 * np.median(apart[apart > 0])

    trainer = Trainer(
        data.train.images,
        data.train.labels,
        3,
        config,
        own.preprocessing,
        purpose=Purpose.EMBEDDING_NETWORK,
    )
    state = trainer.initial_state(0)
    for epoch in range(3):
        state, _ = original(trainer, state, 0, epoch)
    with np.load(out / "network.npz", allow_pickle=False) as kept:
        assert int(kept["epochs"]) == 3
        for number, tensor in enumerate(state[0]):
            np.testing.assert_allclose(kept[str(number)], tensor, atol=1e-6)
    test = trainer.predict(state, data.test.images).argmax(axis=1)
    accuracy = np.mean(test == data.test.labels)
    assert result["test_accuracy"] == pytest.approx(accuracy, abs=1e-5)

    (out / "network.npz").write_bytes(b"not a network")
    assert tsne._read_state(out / "network.npz", state) is None


def test_runs_of_other_data_do_not_fit_into_one_plane(tmp_path):
    save_run(tmp_path / "a")
    save_run(tmp_path / "b", dataset="npz:other")
    with pytest.raises(UserError, match="not of the same data"):
        tsne.save_tsne(
            find_runs([tmp_path / "a", tmp_path / "b"]), tmp_path / "out", {}
        )
    assert not (tmp_path / "out").exists()
