"""Seconds and memory of a step as classes grow: linear time, flat memory.

    python benchmarks/memory.py
    python benchmarks/memory.py --image_size=64 --classes=10,1000 --batch_real=16

Each number of classes is measured in a process of its own. What the synthetic images
need themselves (they, their gradient and their momentum) is left out of the memory,
for it must grow; so are the real images, of which a class has a batch and no more.
Writes a chart beside the table.
"""

import pathlib
import statistics
import sys

import _machine
import _tools
from _contender import Contender, ContenderError
from absl import flags

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import append_json
from dam_tf.config.settings import read_config

_CLASSES = flags.DEFINE_list("classes", ["10", "100", "200", "1000"], "Of the steps.")
_SIZES = flags.DEFINE_list("image_size", ["32", "64"], "Heights and widths.")
_IPC = flags.DEFINE_integer("ipc", 1, "Synthetic images per class.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_real", 8, "Real images per class.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 3, "Steps that are timed.", lower_bound=1)
_PER_STEP = flags.DEFINE_integer(
    "classes_per_step", None, "Classes of a step; all of them if left out."
)
_SET = flags.DEFINE_multi_string("set", [], "A setting, as section.key=value.")
_OUTPUT = flags.DEFINE_string("output", "memory.png", "The chart.")
_JSON = flags.DEFINE_string("json", None, "Append each result to this file.")

# The images, their gradient, the gathered gradients of the groups, and the momentum.
_COPIES = 4


def main() -> None:
    classes, sizes = _tools.numbers(_CLASSES), _tools.numbers(_SIZES)
    overrides = _tools.overrides(_SET.value)
    if _PER_STEP.value is not None:
        overrides["distillation.classes_per_step"] = _PER_STEP.value
    read_config(overrides=overrides)
    print(f"{_machine.describe()}\n", flush=True)
    print(
        "| image | K | s a step | s a class | peak MB | of it synthetic | beyond |\n"
        "|---|---|---|---|---|---|---|"
    )
    curves: dict[int, list[dict]] = {}
    for size in sizes:
        for k in classes:
            result = _measure(k, size, overrides)
            curves.setdefault(size, []).append(result)
            print(
                f"| {size}x{size} | {k} | {result['median']:.3f} "
                f"| {result['median'] / k:.5f} | {result['peak'] / 1e6:.0f} "
                f"| {result['synthetic'] / 1e6:.1f} | {result['beyond'] / 1e6:.0f} |",
                flush=True,
            )
            if _JSON.value:
                append_json(_JSON.value, result)
    print()
    for size, results in curves.items():
        beyond = [result["beyond"] for result in results]
        least, most = min(beyond), max(beyond)
        print(
            f"{size}x{size}: memory beyond the synthetic images {least / 1e6:.0f} to "
            f"{most / 1e6:.0f} MB, {100 * (most / least - 1):.0f} % apart"
        )
    _draw(curves, pathlib.Path(_OUTPUT.value))
    print(f"Chart: {_OUTPUT.value}")


def _measure(classes: int, size: int, overrides: dict) -> dict:
    settings = {
        "classes": classes,
        "ipc": _IPC.value,
        "per_class": _BATCH.value,
        "image_size": size,
        "overrides": {
            **overrides,
            "distillation.ipc": _IPC.value,
            "distillation.batch_real": _BATCH.value,
        },
    }
    contender = Contender(sys.executable, _tools.BENCHMARKS / "tf_step.py", settings)
    try:
        answers = [contender.ask("step") for _ in range(1 + _STEPS.value)]
    except ContenderError as error:
        raise UserError(f"{classes} classes at {size}x{size}: {error}") from None
    finally:
        contender.close()
    synthetic = _COPIES * classes * _IPC.value * size * size * 3 * 4
    peak = max(answer["peak"] for answer in answers)
    seconds = [answer["seconds"] for answer in answers[1:]]
    return {
        "classes": classes,
        "image_size": size,
        "ipc": _IPC.value,
        "batch_real": _BATCH.value,
        "seconds": seconds,
        "median": statistics.median(seconds),
        "peak": peak,
        "synthetic": synthetic,
        "beyond": peak - synthetic,
        "machine": _machine.describe(),
    }


def _draw(curves: dict[int, list[dict]], path: pathlib.Path) -> None:
    from dam_tf.plots.figures import new_figure, save_figure

    figure = new_figure(10, 4.2)
    time, memory = figure.subplots(1, 2)
    for (size, results), marker in zip(curves.items(), "osD^v", strict=False):
        classes = [result["classes"] for result in results]
        seconds = [result["median"] for result in results]
        label = f"{size}x{size}"
        (line,) = time.plot(classes, seconds, marker=marker, label=label)
        linear = [seconds[-1] * k / classes[-1] for k in classes]
        time.plot(classes, linear, linestyle=":", color=line.get_color())
        beyond = [result["beyond"] / 1e6 for result in results]
        memory.plot(classes, beyond, marker=marker, label=label)
    time.plot([], [], linestyle=":", color="grey", label="in proportion to classes")
    time.set(xscale="log", yscale="log", xlabel="classes", ylabel="seconds a step")
    most = max(result["beyond"] for results in curves.values() for result in results)
    memory.set(xscale="log", xlabel="classes", ylim=(0, 1.3e-6 * most))
    memory.set_ylabel("peak memory beyond synthetic images, MB")
    for axes in (time, memory):
        axes.set_xticks(classes, [f"{k:,}" for k in classes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend()
    save_figure(figure, path)


if __name__ == "__main__":
    _tools.run(main)
