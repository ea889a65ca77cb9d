"""Grids and evolutions of runs: pictures, lines, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.runs.folder import find_runs
from dam_tf.studies.pictures.runs import spread
from dam_tf.studies.pictures.sets import save_evolutions, save_grids
from tests.plots.test_grids import enlarged, places, read
from tests.tiny_data import save_run


@pytest.fixture
def stages(tmp_path):
    return save_run(tmp_path / "one", distillation__ipc=3)


def test_a_grid_shows_the_stored_pixels(tmp_path, rng):
    stages = save_run(tmp_path / "one", distillation__ipc=3)
    (path,) = save_grids(find_runs([tmp_path / "one"]), tmp_path / "out", per_class=2)
    picture = read(path)
    assert path.name == "grid_one.png"
    inside = [image for image in stages[6] if image.min() >= 0 and image.max() <= 1]
    assert not inside, "these leave the range, and are shown with less contrast"
    (line,) = read_json_lines(tmp_path / "out" / "grid.jsonl")
    assert line["ipc"] == 3 and line["drawn_per_class"] == 2
    outside = np.mean((stages[6] < 0) | (stages[6] > 1))
    assert line["values_outside_0_1"] == pytest.approx(outside, abs=1e-6)
    first = stages[6][0]
    low, high = min(0, first.min()), max(1, first.max())
    assert len(places(picture, enlarged((first - low) / (high - low), 16))) <= 1


def test_evolution_has_snapshots_and_the_last_images(tmp_path, stages):
    runs = find_runs([tmp_path / "one"])
    strip, movie = save_evolutions(runs, tmp_path / "out")
    assert (strip.name, movie.name) == ("evolution_one.png", "evolution_one.gif")
    with Image.open(movie) as frames:
        assert frames.n_frames == 4
    lines = read_json_lines(tmp_path / "out" / "evolution.jsonl")
    assert [line["iteration"] for line in lines] == [0, 2, 4, 6]
    for line, before in zip(lines[1:], (0, 2, 4), strict=True):
        for key, other in (("previous", before), ("first", 0)):
            change = stages[line["iteration"]] - stages[other]
            expected = np.linalg.norm(change.ravel()) / np.sqrt(change.size)
            assert line[f"change_from_{key}"] == pytest.approx(expected, abs=1e-5)


def test_classes_and_iterations_are_chosen(tmp_path, stages):
    runs = find_runs([tmp_path / "one"])
    small, _ = save_evolutions(
        runs, tmp_path / "a", per_class=1, at=[2, 6], classes=["cross"]
    )
    large, _ = save_evolutions(runs, tmp_path / "b", per_class=3)
    assert np.all(np.less(read(small).shape[:2], read(large).shape[:2]))
    with pytest.raises(UserError, match="unknown iteration of --at 3"):
        save_evolutions(runs, tmp_path / "c", at=[3])
    with pytest.raises(UserError, match=r"'crosss' \(did you mean 'cross'\?\)"):
        save_evolutions(runs, tmp_path / "c", classes=["crosss"])
    assert not (tmp_path / "c").exists()


def test_lines_of_other_runs_stay(tmp_path, stages):
    save_run(tmp_path / "two")
    out = tmp_path / "out"
    for name in ("one", "two", "one"):
        save_grids(find_runs([tmp_path / name]), out)
    runs = [line["run"] for line in read_json_lines(out / "grid.jsonl")]
    assert runs == [str(tmp_path / "two"), str(tmp_path / "one")]


def test_a_run_without_snapshots_is_told_what_to_do(tmp_path, stages):
    for path in (tmp_path / "one" / "snapshots").glob("*"):
        path.unlink()
    with pytest.raises(UserError, match="--snapshot_every"):
        save_evolutions(find_runs([tmp_path / "one"]), tmp_path / "out")


def test_damaged_snapshots_are_left_out(tmp_path, stages, caplog):
    (tmp_path / "one" / "snapshots" / "iteration-00000002.npz").write_bytes(b"x")
    save_evolutions(find_runs([tmp_path / "one"]), tmp_path / "out")
    lines = read_json_lines(tmp_path / "out" / "evolution.jsonl")
    assert [line["iteration"] for line in lines] == [0, 4, 6]
    assert "iteration-00000002.npz" in caplog.text


def test_runs_have_titles_of_their_own(tmp_path):
    for name in ("a/run", "b/run", "c"):
        save_run(tmp_path / name)
    assert list(find_runs([tmp_path / "a/run", tmp_path / "c"])) == ["run", "c"]
    both = [tmp_path / "a/run", tmp_path / "b/run"]
    assert list(find_runs(both)) == [str(path) for path in both]
    with pytest.raises(UserError, match="twice"):
        find_runs([tmp_path / "c", tmp_path / "c" / "distilled"])
    with pytest.raises(UserError, match="--runs is missing"):
        find_runs([])
    with pytest.raises(UserError, match="no run in"):
        find_runs([tmp_path])


@pytest.mark.parametrize("columns", [2, 3, 5, 8, 20])
def test_columns_have_both_ends_and_no_doubles(columns):
    found = list(range(0, 80, 10))
    shown = spread(found, columns)
    assert shown[0] == 0 and shown[-1] == 70
    assert len(shown) == len(set(shown)) == min(columns, 8)
    assert sorted(shown) == shown
