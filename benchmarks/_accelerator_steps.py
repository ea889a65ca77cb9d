"""Seconds and peak memory of a step: a program on JAX and PyTorch's ways, in turns."""

import concurrent.futures
import importlib.util
import json
import pathlib
import statistics
import sys

import _ways
from _accelerator_report import Budget, Results
from _contender import Contender, ContenderError

HERE = pathlib.Path(__file__).resolve().parent
OURS = "dam_tf"
# As it comes, once as its authors' code has it and once with the TF32 that PyTorch
# takes for convolutions if it is not told otherwise; then what should be its best.
AS_IT_COMES = ("nchw", "nchw+tf32")
BEST = (
    "channels_last+compiled+tf32",
    "channels_last+compiled+bfloat16",
    "channels_last+compiled+graphs+bfloat16",
)
TURNS, SECONDS, MOST_STEPS = 7, 0.5, 50  # turns, what each takes, and its steps


def race(
    ipc: int,
    program: pathlib.Path,
    results: Results,
    budget: Budget,
    tiny: bool,
) -> None:
    """Times a program and PyTorch's ways, turn by turn, and adds a row for each.

    Args:
        ipc: Images per class of the program.
        program: Its folder.
        results: Takes the rows.
        budget: Says how much time is left.
        tiny: Two turns of one step.
    """
    limit = max(0.6 * budget.left, 0)

    def contender(script, told):
        return Contender(sys.executable, HERE / script, told, limit=limit)

    contenders = {OURS: contender("jax_step.py", {"program": str(program)})}
    device = torch_device()
    if device is None:
        results.leave_out(f"PyTorch at IPC {ipc}", "PyTorch is not installed here")
    else:
        for way in _ways_at(ipc, results):
            told = {**_shape(program), **_ways.settings(way), "device": device}
            contenders[f"PyTorch {way}"] = contender("torch_step.py", told)
    rows = {name: {"seconds": [], "peak": 0} for name in contenders}
    try:
        _warm_up(contenders, rows)
        steps = {}
        for turn in range(1 + (2 if tiny else TURNS)):
            if turn > 3 and budget.left < 0.3 * budget.seconds:
                results.leave_out(f"turns {turn} on at IPC {ipc}", "time")
                break
            for name, contender in contenders.items():
                if "failed" in rows[name]:
                    continue
                answer = _ask(contender, rows[name], steps=steps.get(name, 1))
                if answer and turn:
                    rows[name]["seconds"].append(answer["seconds"])
                elif answer and not tiny:  # the first turn says how many fill the time
                    many = round(SECONDS / max(answer["seconds"], 1e-6))
                    steps[name] = max(1, min(many, MOST_STEPS))
    finally:
        for contender in contenders.values():
            contender.close()
    for name, row in rows.items():
        seconds = row["seconds"]
        if seconds:
            row |= {
                "median": statistics.median(seconds),
                "least": min(seconds),
                "most": max(seconds),
            }
        results.add("step", ipc=ipc, step=name, **row)


def _warm_up(contenders, rows) -> None:
    """The first steps, which compile: ours alone, then PyTorch's at the same time."""
    ours, *others = contenders
    _ask(contenders[ours], rows[ours], keep="first")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(
            pool.map(
                lambda name: _ask(contenders[name], rows[name], keep="first"), others
            )
        )


def _ask(contender, row, keep=None, steps=1):
    try:
        answer = contender.ask("step", steps=steps)
    except ContenderError as error:
        row["failed"] = str(error)
        return None
    row["peak"] = max(row["peak"], answer["peak"])
    if keep:
        row[keep] = answer["seconds"]
    return answer


def _ways_at(ipc: int, results: Results) -> list[str]:
    """PyTorch's ways; those that should be the best only until one was the best."""
    found = {
        row["step"].removeprefix("PyTorch "): row["median"]
        for row in results.rows
        if row["part"] == "step" and row["step"] != OURS and "median" in row
    }
    if not found:
        return [*AS_IT_COMES, *BEST]
    return [AS_IT_COMES[0], min(found, key=found.get)]


def torch_device() -> str | None:
    """Returns where PyTorch computes here; None where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _shape(program: pathlib.Path) -> dict:
    """What PyTorch's step is told so that it does the work of the program."""
    about = json.loads((program / "manifest.json").read_text(encoding="utf-8"))
    settings, data = about["settings"], about["data"]
    size = data["image_shape"][0]
    return {
        "classes": len(data["class_names"]),
        "ipc": about["ipc"],
        "batch_real": settings["distillation.batch_real"],
        "per_class": min(data["train_counts"]),
        "image_size": size,
        "width": settings["network.width"],
        "depth": settings["network.depth"],
    }
