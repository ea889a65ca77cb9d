"""Whole runs on tiny data: what they leave behind, and where they refuse to."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow_datasets as tfds

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.base.seeds import drawn_classes
from dam_tf.config.schema import to_dict
from dam_tf.config.settings import read_config, replace, resolve
from dam_tf.data.loading import load_dataset
from dam_tf.runs.run import distill
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.runs.comparing import assert_same_run, final_state
from tests.tiny_data import make_data, save_npz, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")


def test_a_run_leaves_everything_it_promises(short_run):
    distilled = DistilledSet.load(short_run)
    assert distilled.images.shape == (6, 8, 8, 1)
    builder = tfds.builder_from_directory(short_run / "distilled")
    examples = list(builder.as_dataset(split="train").as_numpy_iterator())
    np.testing.assert_array_equal([e["image"] for e in examples], distilled.images)
    assert [e["label"] for e in examples] == [0, 0, 1, 1, 2, 2]
    saved_model = short_run / "preprocessing" / "saved_model" / "saved_model.pb"
    assert saved_model.is_file()
    assert (short_run / "preprocessing" / "arrays.npz").is_file()
    assert (short_run / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert list((short_run / "tensorboard").glob("events*"))
    lines = read_json_lines(short_run / "metrics.jsonl")
    assert [line["iteration"] for line in lines] == [2, 4, 6]
    assert all({"loss", "sam", "mmd"} <= line.keys() for line in lines)
    assert not list(short_run.rglob(".*")), "temporary files are left"


def test_the_settings_of_a_run_repeat_it(short_run, tmp_path):
    written = read_config(short_run / "config.toml")
    assert to_dict(written)["distillation"]["learning_rate"] == 1.0
    distill(written, tmp_path / "again")
    assert_same_run(short_run, tmp_path / "again")


def test_no_iterations_give_the_initial_real_images(dataset, tmp_path):
    config = tiny_config(dataset__name=dataset, distillation__iterations=0)
    distilled = distill(config, tmp_path / "run")
    data = load_dataset(config.dataset)
    for image, label in zip(distilled.images, distilled.labels, strict=True):
        real = data.train.class_images(label) / 255
        assert np.abs(real - image).max(axis=(1, 2, 3)).min() < 1e-5


class TestClassesPerStep:
    def test_of_many_classes_few_move(self, tmp_path):
        data = make_data((2,) * 200)
        name = save_npz(tmp_path / "many.npz", data)
        config = tiny_config(
            dataset__name=name,
            distillation__classes_per_step=3,
            distillation__iterations=4,
            distillation__checkpoint_every=100,
            distillation__ipc=1,
        )
        distilled = distill(config, tmp_path / "run")
        drawn = np.unique([drawn_classes(0, i, 200, 3) for i in range(4)])
        start = distill(replace(config, distillation__iterations=0), tmp_path / "start")
        moved = np.any(distilled.images != start.images, axis=(1, 2, 3))
        assert set(np.flatnonzero(moved)) <= set(drawn)
        # A class whose image the augmentation has pushed out moves by rounding, if so.
        assert moved.sum() >= len(drawn) - 1

    def test_more_than_there_are_is_refused(self, dataset, run):
        config = tiny_config(dataset__name=dataset, distillation__classes_per_step=4)
        with pytest.raises(UserError, match=r"4 is more than the 3 classes of .*tiny"):
            distill(config, run, overwrite=True)
        assert final_state(run)["iteration"] == 6

    def test_it_cannot_change_on_the_way(self, dataset, run):
        config = tiny_config(dataset__name=dataset, distillation__classes_per_step=2)
        with pytest.raises(UserError, match=r"classes_per_step = 2.*started without$"):
            distill(config, run, resume=True)


class TestOutputFolder:
    def test_another_run_is_refused(self, dataset, short_run):
        with pytest.raises(
            UserError, match=r"holds another run.*--resume.*--overwrite"
        ):
            distill(tiny_config(dataset__name=dataset), short_run)
        assert final_state(short_run)["iteration"] == 6

    def test_it_is_replaced_on_demand(self, dataset, short_run, run, tmp_path):
        other = tiny_config(dataset__name=dataset, distillation__seed=5)
        for name in ("snapshots/iteration-00000002.npz", "cost.jsonl", "report.html"):
            (run / name).parent.mkdir(exist_ok=True)
            (run / name).write_text('{"first": "of the old run"}')
        distill(other, run, overwrite=True)
        distill(other, tmp_path / "fresh")
        assert_same_run(run, tmp_path / "fresh")
        assert not (run / "snapshots").exists() and not (run / "report.html").exists()
        assert "old run" not in (run / "cost.jsonl").read_text()
        gap = final_state(run)["images"] - final_state(short_run)["images"]
        assert np.abs(gap).max() > 0.01, "another seed gives another set"

    def test_resuming_with_other_settings_is_refused(self, dataset, short_run):
        other = tiny_config(dataset__name=dataset, method__power=1.0)
        with pytest.raises(UserError, match=r"method\.power = 1\.0.*4\.0"):
            distill(other, short_run, resume=True)

    def test_foreign_files_are_never_touched(self, dataset, tmp_path):
        (tmp_path / "letter.txt").write_text("dear")
        with pytest.raises(UserError, match="not of a run"):
            distill(tiny_config(dataset__name=dataset), tmp_path, overwrite=True)
        assert (tmp_path / "letter.txt").read_text() == "dear"

    def test_bad_data_does_not_cost_the_old_run(self, dataset, short_run):
        bad = tiny_config(dataset__name=dataset, distillation__ipc=10)
        with pytest.raises(UserError, match="ipc 10 is larger than class '0'"):
            distill(bad, short_run, overwrite=True)
        assert final_state(short_run)["iteration"] == 6

    def test_a_damaged_preprocessing_is_named(self, dataset, run):
        (run / "preprocessing" / "arrays.npz").write_bytes(b"junk")
        with pytest.raises(UserError, match="preprocessing"):
            distill(
                tiny_config(dataset__name=dataset, distillation__iterations=8),
                run,
                resume=True,
            )


def test_what_a_run_says_and_tells_to_keras_callbacks(dataset, tmp_path, caplog):
    """A first --resume starts a run, and small classes are said once."""
    config = tiny_config(dataset__name=dataset, distillation__batch_real=12)
    logger = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    with caplog.at_level("INFO", logger="dam_tf"):
        distill(config, tmp_path / "run", resume=True, callbacks=[logger])
    assert caplog.text.count("with replacement") == 1
    assert "1 of 3 classes" in caplog.text
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "2", "4", "6"]


@pytest.mark.parametrize(
    ("height", "depth", "balance"),
    [(28, 3, 0.01), (32, 3, 0.01), (33, 4, 0.02), (64, 4, 0.02), (128, 5, 0.02)],
)
def test_settings_follow_the_resolution(height, depth, balance):
    config = resolve(read_config(), (height, height, 3))
    assert config.network.depth == depth
    assert config.method.task_balance == balance


def test_settings_that_were_given_stay():
    given = read_config(
        overrides={"network.depth": 2, "distillation.learning_rate": 0.1}
    )
    config = resolve(given, (64, 64, 3))
    assert config.network.depth == 2
    assert config.distillation.learning_rate == 0.1


def test_images_on_disk_give_the_same_run_and_damage_is_named(dataset, run, tmp_path):
    data_dir = str(tmp_path / "data")
    config = tiny_config(
        dataset__name=dataset, dataset__cache="disk", dataset__data_dir=data_dir
    )
    distilled = distill(config, tmp_path / "disk")
    np.testing.assert_array_equal(distilled.images, DistilledSet.load(run).images)
    (file,) = tmp_path.rglob("train.npy")
    content = file.read_bytes()
    file.write_bytes(content[:128] + bytes(len(content) - 128))
    # Nothing but batches is read of the cache by now.
    config = dataclasses.replace(
        config,
        distillation=dataclasses.replace(config.distillation, iterations=8),
    )
    with pytest.raises(UserError, match="is damaged: train: an image does not match"):
        distill(config, tmp_path / "disk", resume=True)
    again = distill(config, tmp_path / "disk", resume=True)
    expected = distill(
        tiny_config(dataset__name=dataset, distillation__iterations=8),
        run,
        resume=True,
    )
    np.testing.assert_array_equal(again.images, expected.images)
