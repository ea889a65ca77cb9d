"""Charts: what is drawn where, read from matplotlib's own objects and the files."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from dam_tf.plots import comparisons, embedding, figures, learning_curves
from tests.plots.test_grids import read


def test_series_are_told_apart_by_more_than_colour():
    looks = [figures.style(number) for number in range(21)]
    assert len({tuple(map(str, look.values())) for look in looks}) == 21


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_page(dark):
    with figures.on_page(dark):
        figure = figures.new_figure(4, 3)
        axes = figure.add_subplot()
        axes.set(xlabel="x", ylabel="y")
    for text in (axes.xaxis.label, axes.xaxis.get_ticklabels()[0]):
        value = int(text.get_color()[1:3], 16)
        assert (value > 200) if dark else (value < 80)


def test_svg_is_whole_repeatable_and_needs_no_font():
    def draw():
        figure = figures.new_figure(4, 3)
        figure.add_subplot().plot([1, 2, 3], label="a < b")
        return figures.figure_svg(figure)

    svg = draw()
    assert svg == draw()
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg") and "font-family" not in svg
    links = re.findall(r'href="([^"]*)"', svg)
    assert links and all(link.startswith("#") for link in links)


def test_losses_are_drawn_and_long_ones_averaged():
    axes = figures.new_figure(4, 3).add_subplot()
    short = ([10, 20, 30], [4.0, 2.0, 1.0])
    long = (np.arange(400), np.linspace(9, 1, 400))
    learning_curves.draw_losses(axes, {"a": short, "b": long}, ["a", "b"])
    first, raw, mean = axes.get_lines()
    np.testing.assert_array_equal(first.get_ydata(), short[1])
    np.testing.assert_array_equal(raw.get_ydata(), long[1])
    np.testing.assert_allclose(mean.get_ydata(), long[1].reshape(40, 10).mean(axis=1))
    assert axes.get_yscale() == "log"


def test_one_network_has_no_error_bar(monkeypatch, tmp_path):
    """Neither as a line that is too short to see, nor as its ends."""
    axes = figures.new_figure(4, 3).add_subplot()
    values = {"1": ([0, 9], [[0.5], [0.6]]), "2": ([0, 9], [[0.5, 0.7], [0.6, 0.8]])}
    learning_curves.draw_accuracies(axes, values, ["1", "2"])
    one, two = map(bars_of, axes.containers)
    assert not one.any() and two.all()

    drawn = []
    monkeypatch.setattr(comparisons, "save_figure", lambda one, _: drawn.append(one))
    bars = {"": [(50.0, 0.0), (60.0, 2.0)]}
    comparisons.save_bars(["one", "several"], bars, "x", "", tmp_path / "x.png")
    points = {"": [(0, 50.0, 0.0), (9, 60.0, 2.0)]}
    comparisons.save_lines(points, "x", "", tmp_path / "x.png")
    of_bars, of_lines = (figure.axes[0] for figure in drawn)
    assert len(of_bars.collections) == 1, "one bar of the two has a deviation"
    assert bars_of(of_lines.containers[0]).tolist() == [False, True]


def bars_of(container):
    """Which points of a line have an error bar, bool `[points]`."""
    (bars,) = container.lines[2]
    return np.array([len(bar) > 0 for bar in bars.get_segments()])


def test_a_loss_of_zero_has_a_linear_scale():
    axes = figures.new_figure(4, 3).add_subplot()
    learning_curves.draw_losses(axes, {"a": ([1, 2], [0.0, 1.0])}, ["a"])
    assert axes.get_yscale() == "linear"


def test_accuracies_are_means_in_percent_with_deviations():
    axes = figures.new_figure(4, 3).add_subplot()
    values = {"a": ([0, 10], [[0.1, 0.3], [0.5, 0.5]])}
    learning_curves.draw_accuracies(axes, values, ["a"])
    means = np.asarray(axes.containers[0][0].get_ydata(), float)
    np.testing.assert_allclose(means, [20, 50])
    (bars,) = axes.containers
    first, second = (np.asarray(one, float) for one in bars[2][0].get_segments())
    np.testing.assert_allclose(first[:, 1], [10, 30])
    np.testing.assert_allclose(second[:, 1], [50, 50])


@pytest.mark.parametrize("name", ["$x^2$", "$", "_hidden", "x" * 200, "犬"])
def test_any_run_may_be_in_a_legend(name, tmp_path):
    losses = {name: ([1, 2], [3.0, 2.0])}
    path = tmp_path / "curves.png"
    learning_curves.save_curves(losses, {}, path)
    assert (read(path)[-60:] < 128).any(), "the legend is there"


@pytest.mark.parametrize(("classes", "sets"), [(3, 1), (10, 2), (15, 4), (40, 1)])
def test_an_embedding_can_be_drawn(rng, tmp_path, classes, sets):
    points = rng.normal(size=(classes * 4, 2)), np.repeat(np.arange(classes), 4)
    names = [f"class_{k}" for k in range(classes)]
    path = tmp_path / "tsne.png"
    embedding.save_embedding(
        points, {f"run_{n}$": points for n in range(sets)}, names, path
    )
    height, width = read(path).shape[:2]
    assert width == 500 * min(sets, 3) and height > 500 * -(-sets // 3)


def test_stars_are_over_names_over_real_points(rng):
    axes = figures.new_figure(4, 3).add_subplot()
    points = rng.normal(size=(6, 2)), np.array([0, 1] * 3)
    colors = np.array([[1.0, 0, 0], [0, 0, 1.0]])
    embedding._draw(axes, points, points, ["cat", "dog"], colors)
    real, stars = axes.collections
    names = axes.texts
    assert [name.get_text() for name in names] == ["cat", "dog"]
    assert real.get_zorder() < names[0].get_zorder() < stars.get_zorder()
    np.testing.assert_array_equal(stars.get_offsets(), points[0])
    assert real.get_sizes()[0] < stars.get_sizes()[0] / 10
    np.testing.assert_array_equal(stars.get_facecolors()[:2, :3], colors)
