"""What a report says of cost: time, memory and space."""

from collections.abc import Callable, Sequence
from typing import Any
from xml.etree import ElementTree

from dam_tf.report.facts import RunFacts
from dam_tf.report.markup import UNKNOWN, table


def cost(runs: Sequence[RunFacts]) -> list[ElementTree.Element]:
    """Returns the time, memory and space that runs took, as far as it is known."""
    rows = [(name, *(cell(run) for run in runs)) for name, cell in _COSTS.items()]
    head = ("", *(run.title for run in runs))
    return [table("What the runs took, and what they take up", head, rows)]


def _seconds(run: RunFacts) -> str:
    seconds = run.seconds_per_iteration
    return f"{seconds:.3g}" if seconds else UNKNOWN


def _total(run: RunFacts) -> str:
    seconds = run.seconds_per_iteration
    if not seconds or not run.iterations:
        return UNKNOWN
    minutes, rest = divmod(round(seconds * run.iterations), 60)
    return f"{minutes // 60} h {minutes % 60} min {rest} s"


def _last(name: str, text: Callable[[Any], str] = str) -> Callable[[RunFacts], str]:
    def cell(run: RunFacts) -> str:
        values = [line[name] for line in run.cost if name in line]
        return text(values[-1]) if values else UNKNOWN

    return cell


def _real_images(run: RunFacts) -> str:
    if run.is_coreset or not run.iterations or not run.distilled:
        return UNKNOWN
    each = run.config.distillation.batch_real * run.distilled.num_classes
    return f"{each * run.iterations:,}"


def _megabytes(count: Any) -> str:
    return f"{count / 1e6:,.1f} MB" if isinstance(count, (int, float)) else UNKNOWN


_COSTS: dict[str, Callable[[RunFacts], str]] = {
    "seconds per iteration": _seconds,
    "time of all iterations, compiling left out": _total,
    "real images seen": _real_images,
    "device": _last("device"),
    "peak memory of the process": _last("peak_process_bytes", _megabytes),
    "peak memory of the device": _last("peak_device_bytes", _megabytes),
    "TensorFlow": _last("tensorflow"),
    "synthetic images": lambda run: (
        _megabytes(run.distilled.images.nbytes) if run.distilled else UNKNOWN
    ),
    "folder": lambda run: _megabytes(run.bytes_on_disk),
}
