"""What the charts share: a figure without a window, its colours, how it is saved."""

import contextlib
import io
import os
import pathlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dam_tf.base.files import atomic_file
from dam_tf.plots.letters import fit_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100

# Okabe and Ito's colours, which colour-blind people tell apart, without the yellow;
# each with marks and lines of its own.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#777777")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))


def caption(dataset: str, ipc: str, method: str) -> str:
    """Returns a line that says what the images of a set are.

    Args:
        dataset: What they stand for; of a path its last part.
        ipc: Images per class, such as "1 to 5".
        method: How they were made.

    Example:
        >>> caption("folder:/data/cats", "1", "datadam")
        'cats, 1 image per class, datadam'
    """
    name = pathlib.PurePath(dataset).name or "images"
    images = "image" if ipc == "1" else "images"
    return f"{name}, {ipc} {images} per class, {method}"


def style(number: int) -> dict:
    """Returns colour, marker and line of series `number`, as `Axes.plot` takes them.

    Example:
        >>> style(0)["color"], style(7)["color"], style(7)["linestyle"]
        ('#0072B2', '#0072B2', '--')
    """
    count, again = len(COLORS), number // len(COLORS)
    return {
        "color": COLORS[number % count],
        "marker": MARKERS[(number + again) % count],
        "linestyle": LINES[(number + again) % count],
    }


def new_figure(
    width: float, height: float, layout: str | None = "constrained"
) -> "Figure":
    """Returns an empty matplotlib figure of `width` x `height` hundred pixels.

    `layout` is matplotlib's, None to place everything by hand.
    """
    # matplotlib takes its time to import, and not every user of this package draws.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: os.PathLike | str) -> None:
    """Writes a figure as a PNG file; an old one is replaced at once.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "chart.png"
        >>> save_figure(new_figure(4, 3), path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    fit_figure(figure)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")


@contextlib.contextmanager
def on_page(dark: bool) -> Iterator[None]:
    """Within it, figures are drawn for a page: no background, on a dark one or not.

    Example:
        >>> with on_page(dark=True):
        ...     figure = new_figure(4, 3)
        ...     text = figure.text(0, 0, "label")
        >>> text.get_color(), figure.get_facecolor()[3]
        ('#e8e8e8', 0.0)
    """
    import matplotlib

    ink, faint = ("#e8e8e8", "#555555") if dark else ("#222222", "#cccccc")
    inks = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")
    grounds = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
    settings = {
        **dict.fromkeys(inks, ink),
        **dict.fromkeys(grounds, "none"),
        "axes.edgecolor": faint,
        "grid.color": faint,
        "legend.framealpha": 0.0,
        "legend.edgecolor": faint,
    }
    with matplotlib.rc_context(settings):
        yield


def figure_svg(figure: "Figure") -> str:
    """Returns a figure as SVG text, the same for the same figure.

    Letters are drawn as shapes, so that no font is needed.

    Example:
        >>> figure_svg(new_figure(4, 3)).startswith("<svg")
        True
    """
    import matplotlib

    text = io.StringIO()
    settings = {"svg.fonttype": "path", "svg.hashsalt": "dam_tf"}
    fit_figure(figure)
    with matplotlib.rc_context(settings):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    return re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
