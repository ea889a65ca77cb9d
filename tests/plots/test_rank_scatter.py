"""Scatter plots of proxies: the numbers that are shown, and awkward ones."""

import numpy as np
import pytest
from PIL import Image

from dam_tf.plots import ProxyPoints, rank_scatter, save_rank_scatter


@pytest.fixture
def drawn(monkeypatch):
    """The figure that is saved."""
    found = []
    save = rank_scatter.save_figure

    def kept(figure, path):
        found.append(figure)
        save(figure, path)

    monkeypatch.setattr(rank_scatter, "save_figure", kept)
    return found


def shown(axes):
    """The points of a panel by their label, in %, [n, 2]."""
    return {c.get_label(): np.asarray(c.get_offsets()) for c in axes.collections}


def test_points_are_where_they_belong(drawn, tmp_path, rng):
    whole = rng.permutation(15) / 20
    own = rng.permutation(15) / 30
    top = np.argsort(-whole)[:3]
    points = ProxyPoints("runs/some_run", own, int(top[1]), 0.25, -0.5)
    save_rank_scatter([points, points], whole, top, tmp_path / "scatter.png")
    upper, _, lower, _ = drawn[0].axes
    assert upper.get_title() == "some run\nSpearman's correlation 0.25"
    assert lower.get_title() == "best 20 %\nSpearman's correlation -0.50"
    for axes in (upper, lower):
        found = shown(axes)
        np.testing.assert_allclose(
            found["best 20 % on the whole set"], 100 * np.c_[own, whole][top]
        )
        np.testing.assert_allclose(
            found["chosen by the proxy"], 100 * np.c_[own, whole][top[1:2]]
        )
    rest = shown(upper)["architecture"]
    np.testing.assert_allclose(
        rest, 100 * np.c_[own, whole][np.setdiff1d(np.arange(15), top)]
    )
    assert "architecture" not in shown(lower)
    line = upper.lines[0].get_xydata()
    slope = np.cov(own, whole)[0, 1] / np.var(own, ddof=1)
    assert (line[1, 1] - line[0, 1]) / (line[1, 0] - line[0, 0]) == pytest.approx(slope)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_equal_and_missing(count, drawn, tmp_path):
    own = np.array([0.1, 0.1, np.nan, 0.1])[:count]
    points = [
        ProxyPoints(name, own, 0, None, None)
        for name in ("a_very_long_name_of_a_run_that_goes_on_and_on", "$x$", "<b>")
    ]
    whole = np.linspace(0.1, 0.2, count)
    save_rank_scatter(points, whole, np.array([count - 1]), tmp_path / "scatter.png")
    with Image.open(tmp_path / "scatter.png") as picture:
        assert picture.size == (1200, 800)
    first = drawn[0].axes[0].get_title()
    assert first.endswith("too few to rank" if count < 3 else "too alike to rank")
