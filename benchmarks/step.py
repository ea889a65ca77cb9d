"""Seconds and memory of a step, beside PyTorch's and the machine's floor.

    python benchmarks/step.py
    python benchmarks/step.py --classes=10,100 --ipc=10 --batch_real=256 --steps=9
    python benchmarks/step.py --check

Every contender is a process of its own; they take turns, a step each, and only one
computes at a time. Peak memory is over what the process held after its imports and
its data were loaded. The floor is the time that the step's convolutions alone would
take at the best rate that any of the libraries reached in the same run.
"""

import dataclasses
import itertools
import os
import statistics
import sys
import tempfile

import _machine
import _tools
import _ways
from _contender import KEEP_MEMORY, Contender, ContenderError
from _rates import measure_rates
from absl import flags
from flops import floor_seconds, passes

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import append_json
from dam_tf.config.sections import DistillationConfig
from dam_tf.config.settings import Config, default_depth, read_config

_CLASSES = flags.DEFINE_list("classes", None, "Numbers of classes.")
_IPC = flags.DEFINE_list("ipc", None, "Synthetic images per class.")
_BATCH = flags.DEFINE_list("batch_real", None, "Real images per class.")
_STEPS = flags.DEFINE_integer("steps", 3, "Steps that are timed.", lower_bound=1)
_ALL = flags.DEFINE_bool(
    "all", False, "Every shape, 100 classes too, and every way of PyTorch; takes hours."
)
_SIZE = flags.DEFINE_integer("image_size", 32, "Height and width.", lower_bound=4)
_PER_CLASS = flags.DEFINE_integer(
    "per_class", None, "Real images there are; 50,000 in all if left out."
)
_TORCH_PYTHON = _tools.define_torch_python()
_TORCH = flags.DEFINE_list(
    "torch",
    None,
    "Ways of PyTorch: a layout (nchw or channels_last), then +early to propagate back "
    "after each class instead of once, or +whole for one pass for all classes, and "
    "+compiled for that pass through torch.compile, and +bfloat16 for autocast, and "
    "+kept for a C library that keeps freed memory.",
)
_SET = flags.DEFINE_multi_string(
    "set", [], "A setting, as section.key=value; one that would vary is fixed by it."
)
_JSON = flags.DEFINE_string("json", None, "Append each result to this file.")
_RATE_SECONDS = flags.DEFINE_float(
    "rate_seconds", 0.25, "How long each convolution is timed.", lower_bound=0.0
)
_RATE_BATCHES = flags.DEFINE_list(
    "rate_batches", ["16", "64", "256"], "Images that each convolution is timed with."
)
_FLOOR = flags.DEFINE_bool(
    "floor", True, "Measure how fast this machine convolves, and say the floor."
)
_CHECK = flags.DEFINE_bool(
    "check", False, "Only compare loss and gradient of PyTorch's step with ours."
)

_DEFAULT_SHAPES = ((10, 10, 256), (10, 1, 64), (10, 50, 64))
_ALL_SHAPES = ((10, 100), (1, 10, 50), (256, 64))
# Which of these is PyTorch's best differs from machine to machine and with the shape.
_WAYS = ("nchw", "channels_last", "nchw+early+kept", "channels_last+early+kept")
_ALL_WAYS = tuple(
    layout + way + precision + memory
    for layout in ("nchw", "channels_last")
    for way in ("", "+early", "+whole", "+compiled")
    for precision in ("", "+bfloat16")
    for memory in ("", "+kept")
)
_CHECKED_WAYS = tuple(way for way in _ALL_WAYS if "kept" not in way)
# Settings with choices that change what is learned, not how fast.
_NOT_SPEED = ("init", "strategy")


def main() -> None:
    shapes = _shapes()
    _check_ways()
    given = _tools.overrides(_SET.value)
    variants = _variants(given)
    config = read_config(overrides=given)
    python = _tools.torch_python(_TORCH_PYTHON.value)
    print(f"{_machine.describe()}\n", flush=True)
    if _CHECK.value:
        _check(shapes[0], given, config, python)
        return
    floor = _floor(given, python) if _FLOOR.value else None
    for shape in shapes:
        contenders = {
            **{name: _ours(shape, {**given, **v}) for name, v in variants.items()},
            **(_peers(shape, config, python) if python else {}),
        }
        _report(shape, _race(contenders), floor)


def _shapes() -> list[tuple[int, int, int]]:
    """Classes, IPC and batch of each measurement."""
    holders = (_CLASSES, _IPC, _BATCH)
    if not (_ALL.value or any(holder.present for holder in holders)):
        return list(_DEFAULT_SHAPES)
    found = [
        _tools.numbers(holder) if holder.present else usual
        for holder, usual in zip(holders, _ALL_SHAPES, strict=True)
    ]
    return list(itertools.product(*found))


def _check_ways() -> None:
    for way in _TORCH.value or ():
        try:
            _ways.settings(way)
        except ValueError as error:
            raise UserError(f"--torch: {error}") from None


def _variants(given: dict[str, str]) -> dict[str, dict[str, str]]:
    """The settings of each variant, by its name: all choices that change the speed."""
    varied = {
        f"distillation.{field.name}": field.metadata["choices"]
        for field in dataclasses.fields(DistillationConfig)
        if field.metadata["choices"] and field.name not in _NOT_SPEED
    }
    varied = {key: choices for key, choices in varied.items() if key not in given}
    found = {}
    for values in itertools.product(*varied.values()):
        chosen = dict(zip(varied, values, strict=True))
        found[" ".join(("dam_tf", *values))] = chosen
    return found


def _common(shape: tuple[int, int, int]) -> dict:
    classes, ipc, batch = shape
    per_class = _PER_CLASS.value or 50_000 // classes
    return {
        "classes": classes,
        "ipc": ipc,
        "batch_real": batch,
        "per_class": max(per_class, batch),
        "image_size": _SIZE.value,
    }


def _ours(shape, overrides) -> Contender:
    _, ipc, batch = shape
    overrides = {
        **overrides,
        "distillation.ipc": ipc,
        "distillation.batch_real": batch,
    }
    settings = {**_common(shape), "overrides": overrides}
    return Contender(sys.executable, _tools.BENCHMARKS / "tf_step.py", settings)


def _peers(shape, config: Config, python: str) -> dict[str, Contender]:
    """PyTorch's ways, without those whose maps do not fit into memory."""
    classes, _, batch = shape
    found = {}
    for way in _TORCH.value or (_ALL_WAYS if _ALL.value else _WAYS):
        told = _ways.settings(way)
        maps = 3 * classes * batch * config.network.width * _SIZE.value**2 * 4
        if (told["whole"] or told["compiled"]) and maps > 0.6 * _machine.memory_bytes():
            print(f"PyTorch {way} would need {maps / 1e9:.0f} GB: left out.")
            continue
        found[f"PyTorch {way}"] = _peer(shape, config, python, way)
    return found


def _peer(shape, config: Config, python: str, way: str) -> Contender:
    settings = {
        **_common(shape),
        "width": config.network.width,
        "depth": config.network.depth or default_depth(2 * [_SIZE.value]),
        **_ways.settings(way),
    }
    script = _tools.BENCHMARKS / "torch_step.py"
    return Contender(python, script, settings, KEEP_MEMORY if "kept" in way else {})


def _race(contenders: dict[str, Contender]) -> dict[str, dict]:
    """Lets contenders take turns; the first step, which may compile, is not timed."""
    results = {name: {"seconds": [], "peak": 0} for name in contenders}
    try:
        for turn in range(1 + _STEPS.value):
            for name, contender in contenders.items():
                result = results[name]
                if "failed" in result:
                    continue
                _tools.say(f"step {turn} of {name}")
                try:
                    answer = contender.ask("step")
                except ContenderError as error:
                    result["failed"] = str(error)
                    continue
                result["peak"] = max(result["peak"], answer["peak"])
                if turn:
                    result["seconds"].append(answer["seconds"])
                    result["steady_peak"] = max(
                        result.get("steady_peak", 0), answer["peak"]
                    )
                else:
                    result["first"] = answer["seconds"]
    finally:
        for contender in contenders.values():
            contender.close()
        _tools.say("")
    return results


def _floor(given, python) -> dict[str, dict]:
    """Rates by precision; prints what each layer reaches."""
    batches = _tools.numbers(_RATE_BATCHES)
    layers, rates = measure_rates(
        _SIZE.value, given, python, _RATE_SECONDS.value, batches, _tools.say
    )
    print("\nConvolutions, best of the libraries (GFLOP/s):\n")
    print("| layer | MFLOP an image | " + " | ".join(rates) + " |")
    print("|---|---|" + "---|" * len(rates))
    for layer in layers:
        cells = [
            f"{found[layer.name]['rate'] / 1e9:.0f} ({found[layer.name]['how']})"
            for found in rates.values()
        ]
        print(f"| {layer} | {layer.flops / 1e6:.1f} | {' | '.join(cells)} |")
    print(flush=True)
    return {
        "layers": layers,
        "rates": {
            precision: {name: entry["rate"] for name, entry in found.items()}
            for precision, found in rates.items()
        },
    }


def _floors(shape, floor, name: str) -> tuple[float | None, float | None]:
    """The least seconds layer by layer, and at the best layer's rate throughout."""
    if not floor:
        return None, None
    precision = "bfloat16" if "bfloat16" in name else "float32"
    rates, layers = floor["rates"][precision], floor["layers"]
    best = dict.fromkeys(rates, max(rates.values()))
    times = passes(*shape)
    return floor_seconds(layers, rates, times), floor_seconds(layers, best, times)


def _report(shape, results, floor) -> None:
    classes, ipc, batch = shape
    work = ""
    if floor:
        times = passes(*shape) * sum(layer.flops for layer in floor["layers"])
        work = f": {times / 1e9:.1f} GFLOP in convolutions"
    print(
        f"\nK = {classes}, IPC {ipc}, batch {batch}, "
        f"{_SIZE.value}x{_SIZE.value}{work}\n"
    )
    medians = {
        name: statistics.median(result["seconds"])
        for name, result in results.items()
        if result["seconds"]
    }
    peers = [v for name, v in medians.items() if name.startswith("PyTorch")]
    print(
        "| step | s, median | min to max | peak GB | PyTorch's best / it "
        "| floor s | it / floor | by the best layer's rate |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, result in results.items():
        if name not in medians:
            print(f"| {name} | {result['failed']} | | | | | | |")
            continue
        median, seconds = medians[name], result["seconds"]
        by_layer, by_best = _floors(shape, floor, name)
        floors = "| - | - | - |"
        if floor:
            floors = (
                f"| {by_layer:.2f} | {median / by_layer:.2f} | {median / by_best:.2f} |"
            )
        ratio = f"{min(peers) / median:.2f}" if peers else "-"
        print(
            f"| {name} | {median:.3f} | {min(seconds):.3f} to {max(seconds):.3f} "
            f"| {result['peak'] / 1e9:.2f} | {ratio} {floors}"
        )
        if _JSON.value:
            line = {
                "classes": classes,
                "ipc": ipc,
                "batch_real": batch,
                "image_size": _SIZE.value,
                "step": name,
                **result,
                "median": median,
                "floor": by_layer,
                "floor_by_best_layer": by_best,
                "machine": _machine.describe(),
            }
            append_json(_JSON.value, line)
    print(flush=True)


def _check(shape, given, config, python) -> None:
    if python is None:
        raise UserError("--check compares with PyTorch; give --torch_python=PATH")
    given = {"dataset.preprocessing": "standardize", **given}
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "step.npz")
        _tools.say("our step")
        ours = _ours(shape, given)
        ours.ask("store", file=file)
        ours.close()
        print("| PyTorch | loss | relative difference | of the gradient, to its max |")
        print("|---|---|---|---|")
        for way in _TORCH.value or _CHECKED_WAYS:
            peer = _peer(shape, config, python, way)
            found = peer.ask("check", file=file)
            peer.close()
            print(
                f"| {way} | {found['loss']:.6g} | {found['loss_difference']:.1e} "
                f"| {found['gradient_difference']:.1e} |"
            )
        print(f"\nOperations, by class: {', '.join(found['operations'])}")


if __name__ == "__main__":
    _tools.run(main)
