"""Ways of PyTorch's step, as flags name them, such as `channels_last+compiled+tf32`.

Only the standard library is used here.
"""

from typing import Any

LAYOUTS = ("nchw", "channels_last")
HOWS = {"early", "whole", "compiled", "graphs", "tf32", "bfloat16", "kept"}


def settings(way: str) -> dict[str, Any]:
    """Returns what `torch_step.py` is told of a way.

    Raises:
        ValueError: the way is unknown; the text says what is accepted.

    Example:
        >>> settings("nchw+early")["early"], settings("nchw+early")["layout"]
        (True, 'nchw')
    """
    layout, *hows = way.split("+")
    if layout not in LAYOUTS or set(hows) - HOWS:
        raise ValueError(
            f"unknown way {way!r}; a layout, {' or '.join(LAYOUTS)}, and after it any "
            f"of +{', +'.join(sorted(HOWS))}"
        )
    return {
        "layout": layout,
        **{how: how in hows for how in ("early", "whole", "compiled", "graphs")},
        "tf32": "tf32" in hows,
        "precision": "bfloat16" if "bfloat16" in hows else "float32",
    }
