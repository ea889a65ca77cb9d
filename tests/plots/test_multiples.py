"""Multiples of a floor: what is drawn where, read from matplotlib's own objects."""

import numpy as np

from dam_tf.plots import multiples
from dam_tf.plots.multiples import Panel, save_multiples


def test_each_panel_has_its_floor_and_its_sets(monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(multiples, "save_figure", lambda figure, _: kept.append(figure))
    ticks = ["p = 1", "p = 4"]
    first = Panel("block 1", ticks, {"dm": [(9, 0.5), (2, 0)], "random": [(3, 1)] * 2})
    save_multiples(
        [[first, Panel("MMD", ["MMD"], {"random": [(5, 1)]})]], "t", tmp_path
    )
    one, other = kept[0].axes
    for axes in (one, other):
        assert axes.get_yscale() == "log"
        np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), [1, 1])
    drawn = [container.lines[0] for container in one.containers]
    assert [line.get_ydata().tolist() for line in drawn] == [[9, 2], [3, 3]]
    places = np.array([line.get_xdata() for line in drawn])
    np.testing.assert_array_equal(places.round(), [[0, 1], [0, 1]])
    assert np.all(places[0] < places[1]), "side by side"
    assert [text.get_text() for text in one.get_xticklabels()] == ticks
    (lonely,) = other.containers
    assert lonely.lines[0].get_color() == drawn[1].get_color()
    (legend,) = kept[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["dm", "random"]
