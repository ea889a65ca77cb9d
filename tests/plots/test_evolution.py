"""The strip and the animation show every image where it belongs."""

import numpy as np
import pytest
from PIL import Image

from dam_tf import plots
from tests.plots.test_grids import enlarged, places, read

NAMES = ["a", "b_c", "犬", "$d$"]
LABELS = np.array([0, 0, 0, 1, 3])  # the third class has none


@pytest.fixture
def stages(rng):
    return {n: rng.random((5, 8, 8, 3), np.float32) for n in (0, 10, 1000)}


def test_rows_are_images_and_columns_iterations(stages, tmp_path):
    path = tmp_path / "strip.png"
    plots.save_evolution(stages, LABELS, NAMES, path, per_class=2)
    picture = read(path)
    found = np.array(
        [
            [places(picture, enlarged(images[k], 8)) for images in stages.values()]
            for k in (0, 1, 3, 4)
        ]
    )[:, :, 0]
    tops, lefts = found[..., 0], found[..., 1]
    assert (tops == tops[:, :1]).all() and (np.diff(tops[:, 0]) >= 64).all()
    assert (lefts == lefts[:1]).all() and (np.diff(lefts[0]) == 66).all()
    assert np.diff(tops[:, 0]).tolist() == [66, 74, 74], "classes stand apart"
    third = enlarged(stages[0][2], 8)
    assert not places(picture, third), "two images per class were asked for"


def test_the_strip_names_classes_iterations_and_itself(stages, tmp_path):
    few = {0: stages[0]}
    plots.save_evolution(few, LABELS, NAMES, tmp_path / "x.png", caption="what it is")
    plots.save_evolution(few, LABELS, NAMES, tmp_path / "y.png")
    with_caption, without = read(tmp_path / "x.png"), read(tmp_path / "y.png")
    assert (with_caption < 100).any(-1)[-25:].any()
    assert len(with_caption) > len(without)
    ((top, left),) = places(without, enlarged(stages[0][0], 8))
    assert (without[: top - 1, left:] < 128).any(), "the iteration stands above"
    assert (without[top : top + 130, : left - 1] < 128).any(), "the class beside"


def test_the_animation_has_a_frame_a_stage_and_stops_at_the_last(stages, tmp_path):
    path = tmp_path / "movie.gif"
    plots.save_animation(stages, LABELS, NAMES, path)
    with Image.open(path) as movie:
        assert movie.n_frames == 3 and movie.info["loop"] == 0
        durations = []
        for number, (iteration, images) in enumerate(stages.items()):
            movie.seek(number)
            durations.append(movie.info["duration"])
            frame = np.asarray(movie.convert("RGB")).astype(int)
            drawn = plots.grid_picture(
                images, LABELS, NAMES, f"iteration {iteration:,}"
            )
            assert frame.shape == drawn.shape
            assert np.abs(frame - drawn).mean() < 12, "256 colours are near enough"
    assert durations[-1] > durations[0] == durations[1]
