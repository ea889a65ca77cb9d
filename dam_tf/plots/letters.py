"""Letters of class names and titles: which fonts have them, and what if none has.

matplotlib's own font has Latin, Greek and Cyrillic letters, but no Chinese ones. Where
an installed font has what is missing, it is used; else a class is shown by its number.
"""

import contextlib
import functools
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dam_tf.base.messages import log

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Fonts that claim letters which they do not draw, or draw as something else.
_NO_FONTS = ("Last Resort", "STIXNon", "STIXSize", "cm", "Adobe Blank")


def class_labels(names: Sequence[str], longest: int = 40) -> list[str]:
    """Returns the names of classes as they are drawn.

    Underscores become spaces, long names are cut, and a class whose name no installed
    font can draw is shown by its number, which is said once.

    Args:
        names: In the order of the labels.
        longest: The most letters of one.

    Example:
        >>> class_labels(["sea_lion", "x" * 99, "\\U0010fffd"], longest=9)
        ['sea lion', 'xxxxxxxx…', '#2']
    """
    shown = [name.replace("_", " ").strip() or name for name in names]
    for number, name in enumerate(shown):
        if _missing(name):
            shown[number] = f"#{number}"
        elif len(name) > longest:
            shown[number] = name[: longest - 1].rstrip() + "…"
    if numbered := tuple(name for name in names if _missing(name)):
        _say(numbered)
    return shown


def numbers_note(names: Sequence[str], shown: Iterable[int] | None = None) -> str:
    """Returns what to say beside names of which some are numbers; "" if none is.

    Args:
        names: As for `class_labels`.
        shown: Which of the classes are in the picture; all if left out.

    Example:
        >>> numbers_note(["cat", "\U0010fffd"])
        '#1: the class of that number, whose name no font here can draw'
        >>> numbers_note(["cat", "\U0010fffd"], shown=[0])
        ''
    """
    for number in range(len(names)) if shown is None else shown:
        if _missing(names[number]):
            words = "the class of that number, whose name no font here can draw"
            return f"#{number}: {words}"
    return ""


def fit_text(text: "Text") -> None:
    """Gives a text the fonts that have its letters, and draws `$` as it stands.

    A letter that no font has becomes a question mark.
    """
    words = text.get_text()
    if "$" in words and r"\mathdefault" not in words:  # which matplotlib's ticks have
        text.set_parse_math(False)
    families = _families(words)
    if families:
        text.set_fontfamily([*text.get_fontfamily(), *families])
        with _quietly():  # matplotlib remembers the fonts that it finds here
            text.get_window_extent(text.figure.canvas.get_renderer())
    if missing := _missing(words):
        table = str.maketrans(dict.fromkeys(missing, "?"))
        text.set_text(words.translate(table))


def fit_figure(figure: "Figure") -> None:
    """Gives all texts of a figure the fonts that have their letters."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        fit_text(text)


def _missing(words: str) -> set[str]:
    """Returns the letters that no font has."""
    return {letter for letter in set(words) if _family(letter) is None}


def _families(words: str) -> list[str]:
    """Returns the fonts that `words` needs beside matplotlib's own."""
    found = (_family(letter) for letter in sorted(set(words)))
    return list(dict.fromkeys(family for family in found if family))


@functools.cache
def _family(letter: str) -> str | None:
    """Returns the font that has a letter: "" for matplotlib's own, None for none."""
    if letter.isspace():
        return ""
    families = ("", *_fonts())
    return next((one for one in families if ord(letter) in _letters(one)), None)


@functools.cache
def _fonts() -> tuple[str, ...]:
    """Returns the installed fonts, those without serifs first, by name."""
    from matplotlib.font_manager import fontManager

    names = {entry.name for entry in fontManager.ttflist}
    fit = [name for name in names if not name.startswith(_NO_FONTS)]
    return tuple(sorted(fit, key=lambda name: ("Sans" not in name, name)))


@functools.cache
def _letters(family: str) -> np.ndarray:
    """Returns the code points that a font has, int32 `[n]`; "": matplotlib's own."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    try:
        with _quietly():
            font = get_font(findfont(FontProperties(family=family or None)))
        return np.fromiter(font.get_charmap() if font.scalable else (), np.int32)
    except (OSError, RuntimeError, ValueError):  # a font file that cannot be read
        return np.empty(0, np.int32)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keeps matplotlib from saying that a font lacks a weight, such as bold."""
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@functools.cache
def _say(names: tuple[str, ...]) -> None:
    log.info(
        "pictures show %s by number, since no font here can draw the name; install one "
        "that can, such as Noto Sans CJK",
        ", ".join(map(repr, names)),
    )
