"""The chart of what methods cost: time and memory of a step, side by side."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from dam_tf.plots.bands import COLORS
from dam_tf.plots.figures import new_figure, save_figure

_MEGABYTE = 2**20
_HATCHES = ("", "//", "..", "\\\\", "xx", "--", "oo")


def save_costs(lines: Sequence[Mapping[str, Any]], path: os.PathLike | str) -> None:
    """Draws seconds per step and peak memory against ipc into a PNG file.

    Args:
        lines: Each with `method`, `ipc`, and either `seconds_per_step`, `deviation`,
            `peak_memory` (bytes) and `memory_of`, or `failed`.
        path: The file to write; an old one is replaced at once.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "cost.png"
        >>> save_costs([{"method": "dm", "ipc": 1, "failed": "out of memory"}], path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    methods = list(dict.fromkeys(line["method"] for line in lines))
    ipcs = sorted({line["ipc"] for line in lines})
    bars = len(methods) * len(ipcs)
    figure = new_figure(max(9.0, 3.0 + 1.1 * bars), 4.4)
    time_axes, memory_axes = figure.subplots(1, 2)
    memory_of = {line["memory_of"]: 0 for line in lines if "memory_of" in line}
    width = 0.8 / len(methods)
    for line in lines:
        number = methods.index(line["method"])
        place = ipcs.index(line["ipc"]) + (number - (len(methods) - 1) / 2) * width
        if "failed" in line:
            for axes in (time_axes, memory_axes):
                axes.annotate("failed", (place, 0), (0, 3), rotation=90, ha="center",
                              textcoords="offset points", size=9)  # fmt: skip
            continue
        seconds, deviation = line["seconds_per_step"], line["deviation"]
        memory = line["peak_memory"] / _MEGABYTE
        style = {"color": COLORS[number % 7], "hatch": _HATCHES[number % 7]}
        style |= {"edgecolor": "white", "width": 0.92 * width}
        time_axes.bar(place, seconds, yerr=deviation or None, capsize=3, **style)
        memory_axes.bar(place, memory, **style)
        for axes, top, text in (
            (time_axes, seconds + deviation, f"{seconds:.3g}"),
            (memory_axes, memory, f"{memory:,.0f}"),
        ):
            axes.annotate(text, (place, top), (0, 3), ha="center", size=9,
                          textcoords="offset points")  # fmt: skip
    for axes in (time_axes, memory_axes):
        axes.set_xticks(range(len(ipcs)), [str(ipc) for ipc in ipcs])
        axes.set_xlim(-0.6, len(ipcs) - 0.4)
        axes.set_xlabel("synthetic images per class (ipc)")
        axes.margins(y=0.12)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    time_axes.set_ylabel("seconds per step")
    memory_axes.set_ylabel(
        f"peak {' or '.join(memory_of)} memory (MiB)".replace("  ", " ")
    )
    handles = [
        memory_axes.bar(0, 0, color=COLORS[k % 7], hatch=_HATCHES[k % 7],
                        edgecolor="white")
        for k in range(len(methods))
    ]  # fmt: skip
    figure.legend(handles, methods, loc="outside lower center", frameon=False,
                  ncols=min(len(methods), 4))  # fmt: skip
    save_figure(figure, path)
