"""Charts of a report: each drawn for light and for dark pages, with words for both."""

from collections.abc import Callable, Mapping
from xml.etree import ElementTree

from dam_tf.plots.figures import figure_svg, new_figure, on_page
from dam_tf.plots.learning_curves import Series, draw_losses
from dam_tf.report.markup import data_uri, element

_WIDTH, _HEIGHT = 4.4, 3.2  # hundred pixels: small, so that phones need not shrink it


def loss_chart(name: str, losses: Mapping[str, Series]) -> ElementTree.Element:
    """Returns the chart of one loss against the iteration, a line a run.

    Args:
        name: Of the loss.
        losses: By title of the run; only those that know this loss.
    """

    def draw(axes) -> None:
        draw_losses(axes, losses, list(losses))
        axes.set_ylabel(name)

    parts = [
        f"{title} goes from {values[0]:.3g} at iteration {iterations[0]:,} to "
        f"{values[-1]:.3g} at {iterations[-1]:,}"
        for title, (iterations, values) in losses.items()
    ]
    return _chart(f"{name} against the iteration: {'; '.join(parts)}.", draw)


def _chart(alt: str, draw: Callable[..., None]) -> ElementTree.Element:
    light, dark = (_svg(draw, is_dark) for is_dark in (False, True))
    return element(
        "picture",
        element("source", srcset=dark, media="(prefers-color-scheme: dark)"),
        element(
            "img",
            src=light,
            alt=alt,
            width=round(100 * _WIDTH),
            height=round(100 * _HEIGHT),
        ),
    )


def _svg(draw: Callable[..., None], dark: bool) -> str:
    with on_page(dark):
        figure = new_figure(_WIDTH, _HEIGHT)
        axes = figure.add_subplot()
        draw(axes)
        if len(axes.get_legend_handles_labels()[0]) > 1:
            axes.legend(fontsize=9)
        return data_uri(figure_svg(figure).encode(), "image/svg+xml")
