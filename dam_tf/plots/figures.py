"""What the charts share: a figure without a window, and how it is saved."""

import os
import warnings
from typing import TYPE_CHECKING

from dam_tf.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 100


def new_figure(width: float, height: float) -> "Figure":
    """Returns an empty matplotlib figure of `width` x `height` hundred pixels."""
    # matplotlib takes its time to import, and not every user of this package draws.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
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
    with warnings.catch_warnings(), atomic_file(path) as temporary:
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(temporary, format="png")
