"""The best rate at which any library here computes the network's convolutions."""

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence

import _tools
from _contender import Contender, ContenderError
from flops import Convolution

PRECISIONS = ("float32", "bfloat16")


def measure_rates(
    image_size: int,
    overrides: Mapping[str, str],
    torch_python: str | None,
    seconds: float,
    batches: Sequence[int],
    say: Callable[[str], None],
) -> tuple[list[Convolution], dict[str, dict[str, dict]]]:
    """Measures every layer in every library, layout and batch.

    Args:
        image_size: Height and width.
        overrides: Settings of the network.
        torch_python: An interpreter with PyTorch, or None.
        seconds: How long each convolution is timed, at least.
        batches: Images that each is timed with.
        say: Told what is going on.

    Returns:
        The layers, and by precision and layer's name the best `rate`, in operations
        a second, and `how` it was reached.
    """
    settings = {"image_size": image_size, "overrides": dict(overrides)}
    script = _tools.BENCHMARKS / "tf_rates.py"
    measurers = [Contender(sys.executable, script, settings)]
    if torch_python:
        script = _tools.BENCHMARKS / "torch_rates.py"
        measurers.append(Contender(torch_python, script, settings))
    try:
        found = measurers[0].ask("layers")["layers"]
        layers = [Convolution(**layer) for layer in found]
        rates: dict[str, dict[str, dict]] = {}
        for precision, layer in itertools.product(PRECISIONS, layers):
            say(f"{layer.name} in {precision}")
            best = _best(measurers, layer, precision, seconds, batches)
            rates.setdefault(precision, {})[layer.name] = best
        return layers, rates
    finally:
        for measurer in measurers:
            measurer.close()


def _best(
    measurers: Sequence[Contender],
    layer: Convolution,
    precision: str,
    seconds: float,
    batches: Sequence[int],
) -> dict:
    best = {"rate": 0.0, "how": "none"}
    for measurer, batch in itertools.product(measurers, batches):
        question = {"precision": precision, "batch": batch, "seconds": seconds}
        try:
            answer = measurer.ask("rate", layer=vars(layer), **question)
        except ContenderError:
            continue
        for how, took in answer.items():
            rate = layer.flops * batch / took
            if rate > best["rate"]:
                best = {"rate": rate, "how": f"{how}, {batch} images"}
    return best
