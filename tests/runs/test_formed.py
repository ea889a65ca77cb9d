"""A run whose stored images hold several: what is counted, shown, tested and exported.

Stored images are what is counted, and the images made of them what networks see.
"""

import json

import numpy as np
import pytest

from dam_tf import plots
from dam_tf.base.json_lines import read_json_lines
from dam_tf.config.settings import replace
from dam_tf.evaluation import evaluate as evaluation
from dam_tf.exports.formats import export
from dam_tf.report.facts import read_run
from dam_tf.report.gallery import images_article
from dam_tf.runs.folder import RunFolder, find_runs
from dam_tf.runs.run import distill
from dam_tf.studies.pictures.runs import stages
from dam_tf.studies.pictures.sets import save_grids
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.formation import decode
from dam_tf.synthetic.npz import NpzSet
from dam_tf.training import on_distilled
from tests.synthetic.sets import assert_same
from tests.tiny_data import NAMES, make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

FORMED = {
    "method__name": "dm",
    "distillation__formation": "factor:2",
    "distillation__ipc": 2,
    "distillation__iterations": 2,
    "distillation__snapshot_every": 1,
    "evaluation__networks": 1,
    "evaluation__epochs": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run, not to be changed."""
    path = tmp_path_factory.mktemp("formed") / "run"
    distill(tiny_config(**FORMED), path, data=make_data())
    return RunFolder(path)


@pytest.fixture(scope="module")
def one(folder):
    return DistilledSet.load(folder.path)


def test_stored_images_and_their_bytes_are_counted(one):
    assert (one.ipc, one.size, one.bytes) == (2, 6, 6 * 8 * 8 * 4)
    stored, labels = one.what_is_stored()
    np.testing.assert_array_equal(labels, [0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(decode(stored, "factor:2"), one.images, atol=1e-5)
    assert one.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert repr(one) == (
        "<DistilledSet 'tiny' of 24 images 8x8x1 (of 6 stored), 3 classes>"
    )


def test_both_views_are_drawn(folder, one, tmp_path):
    shown = tmp_path / "shown.png"
    plots.save_grid(one.images, one.labels, NAMES, shown)
    assert folder.preview.read_bytes() == shown.read_bytes()
    plots.save_grid(one.stored, np.array([0, 0, 1, 1, 2, 2]), NAMES, shown)
    assert folder.preview_stored.read_bytes() == shown.read_bytes()


def test_grids_of_both_views(folder, tmp_path):
    paths = save_grids(find_runs([folder.path]), tmp_path)
    assert [path.name for path in paths] == ["grid_run.png", "grid_run_stored.png"]
    assert all(path.is_file() for path in paths)
    (line,) = read_json_lines(tmp_path / "grid.jsonl")
    assert (line["ipc"], line["drawn_per_class"]) == (2, 8)
    assert (line["picture"], line["formation"]) == ("grid_run.png", "factor:2")


def test_stages_are_of_the_images_that_networks_see(folder, one):
    found = stages(folder, one)
    assert [*found] == [0, 1, 2]
    np.testing.assert_array_equal(found[2], one.images)


def test_networks_are_trained_on_all_images(folder, one, monkeypatch):
    seen, estimated = [], []

    class Noted(on_distilled.Trainer):
        def __init__(self, images, *others, **more):
            seen.append(len(images))
            super().__init__(images, *others, **more)

    monkeypatch.setattr(on_distilled, "Trainer", Noted)
    found = evaluation.evaluate(folder.path, data=make_data())
    assert seen == [24] and 0 <= found.mean <= 1
    note = estimated.append
    monkeypatch.setattr(evaluation, "check_training", lambda *given: note(given[3]))
    evaluation.check_networks(folder.settings(), make_data())
    assert estimated == [24]


def test_exports_carry_it_or_say_what_they_leave_out(one, tmp_path):
    formats = ["npz", "png", "parquet", "tfrecord", "saved_model"]
    paths = export(one, formats, tmp_path / "out", tiny_config(**FORMED))
    note = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (note["images"], note["stored_images"]) == (24, 6)
    for name in ("png", "parquet", "saved_model"):
        assert "stored images" in note["left_out"][name]
    assert len(list(paths["png"].glob("train/*/*.png"))) == 24
    assert_same(DistilledSet.load(paths["tfrecord"]), one)
    described = (paths["tfrecord"] / "distilled" / "dataset_info.json").read_text()
    assert "2 stored (formation factor:2) per class" in described
    file = NpzSet.read(paths["npz"] / "distilled.npz")
    config = tiny_config(distillation__ipc=1)
    again, settings = file.of_data(make_data(), config)
    assert_same(again, one)
    expected = replace(config, distillation__ipc=2, distillation__formation="factor:2")
    assert settings == expected


def test_a_report_tells_both_numbers(folder, tmp_path):
    facts = read_run("run", folder)
    text = "".join(images_article(facts).itertext())
    assert "2 images per class, dm; networks see 8 of each (factor:2)" in text
