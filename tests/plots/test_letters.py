"""Letters in pictures: fonts that have them, numbers where none has, no mathematics."""

import logging
import warnings

import matplotlib.font_manager
import numpy as np
import pytest
from matplotlib.text import Text

from dam_tf import plots
from dam_tf.plots import embedding, figures, learning_curves, letters
from tests.plots.test_grids import read

SCRIPT_A = "\U0001d49c"  # which the STIX fonts have, that come with matplotlib
NOWHERE = "\U0010fffd"  # of a private area, so that only a font of last resort has it


@pytest.fixture(autouse=True)
def nothing_said(caplog):
    """Fails where matplotlib complains, as a warning or as a message."""
    letters._say.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert not [one for one in caplog.records if one.name.startswith("matplotlib")]


def draw_all(names, folder):
    """Draws every kind of picture that has names of classes or runs in it."""
    count = len(names)
    images, labels = np.ones([count, 8, 8, 1]), np.arange(count)
    points = np.arange(2.0 * count).reshape(count, 2), labels
    run = names[-1]
    plots.save_grid(images, labels, names, folder / "grid.png", caption=run)
    plots.grid_picture(images, labels, names, run)
    plots.save_confusion(np.eye(count), names, folder / "confusion.png")
    plots.save_evolution({0: images}, labels, names, folder / "evolution.png", 2, run)
    embedding.save_embedding(points, {run: points}, names, folder / "embedding.png")
    curve = {run: ([1, 2], [3.0, 2.0])}
    learning_curves.save_curves(curve, {}, folder / "curves.png")


@pytest.mark.parametrize("bold", [False, True])
def test_a_font_is_chosen_that_has_the_letter(bold):
    figure = figures.new_figure(2, 1)
    text = figure.text(0, 0, f"Alice {SCRIPT_A}", weight="bold" if bold else "normal")
    figures.figure_svg(figure)
    own, *others = text.get_fontfamily()
    assert own == "sans-serif" and text.get_text() == f"Alice {SCRIPT_A}"
    fonts = [
        matplotlib.font_manager.get_font(matplotlib.font_manager.findfont(name))
        for name in ("DejaVu Sans", *others)
    ]
    assert [ord(SCRIPT_A) in font.get_charmap() for font in fonts] == [False, True]


def test_letters_that_the_own_font_has_need_no_other():
    figure = figures.new_figure(2, 1)
    text = figure.text(0, 0, "naïve café, Ω, жук")
    figures.figure_svg(figure)
    assert text.get_fontfamily() == ["sans-serif"]


def test_every_picture_is_drawn_without_a_word_of_matplotlib(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    names = ["cat", NOWHERE, "$x^2", "_under", "long " * 60, SCRIPT_A, f"run {NOWHERE}"]
    draw_all(names, tmp_path)
    assert len(list(tmp_path.iterdir())) == 5
    for file in tmp_path.iterdir():
        assert max(read(file).shape) < 1400, file
    said = [one.getMessage() for one in caplog.records if one.name == "dam_tf"]
    assert len(said) == 1 and "install one that can" in said[0]


def test_class_without_a_font_is_shown_by_its_number():
    names = ["cat", f"a {NOWHERE}", "dog_2"]
    assert letters.class_labels(names) == ["cat", "#1", "dog 2"]
    assert letters.numbers_note(names).startswith("#1: the class of that number")
    assert letters.numbers_note(names, [0, 2]) == ""


def test_long_names_are_cut():
    (name,) = letters.class_labels(["abc " * 40], longest=24)
    assert name == "abc abc abc abc abc abc…"


def test_the_confusion_says_what_a_number_stands_for(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "dam_tf.plots.confusion.save_figure", lambda figure, path: drawn.append(figure)
    )
    plots.save_confusion(np.eye(2), ["cat", NOWHERE], tmp_path / "x.png")
    axes = drawn[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "#1"]
    assert axes.get_xlabel().startswith("taken for\n#1: the class of that number")


def test_a_grid_says_it_where_there_is_room(tmp_path):
    def picture(names):
        images = np.ones([len(names), 32, 32, 1])
        path = tmp_path / "x.png"
        plots.save_grid(images, np.arange(len(names)), names, path)
        return read(path)

    wide, narrow = list("abcdefghi"), ["a"]
    assert len(picture([*wide, NOWHERE])) > len(picture([*wide, "j"]))
    assert picture([*narrow, NOWHERE]).shape == picture([*narrow, "c"]).shape


def test_dollars_are_no_mathematics_but_powers_are():
    figure = figures.new_figure(3, 2)
    axes = figure.add_subplot()
    axes.plot([1, 1000], [1, 1000], label="$a$")
    axes.set(xscale="log", title="$x^2$", xlabel="cost in $")
    axes.legend()
    figures.figure_svg(figure)
    math = {text.get_text(): text.get_parse_math() for text in figure.findobj(Text)}
    assert [math[text] for text in ("$a$", "$x^2$", "cost in $")] == [False] * 3
    powers = [text for text in math if r"\mathdefault" in text]
    assert powers and all(math[text] for text in powers)


def test_an_underscore_at_the_front_keeps_its_place_in_the_legend(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        learning_curves, "save_figure", lambda one, _: drawn.append(one)
    )
    learning_curves.save_curves({"_run $a$": ([1, 2], [3.0, 2.0])}, {}, "x.png")
    (legend,) = drawn[0].legends
    assert [text.get_text().strip() for text in legend.get_texts()] == ["_run $a$"]


def test_a_font_file_that_cannot_be_read_is_passed_over(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("Can not load face")

    monkeypatch.setattr(matplotlib.font_manager, "get_font", broken)
    assert letters._letters.__wrapped__("DejaVu Sans").tolist() == []
