"""The command line of a program: what is asked, what is said, and the exit status."""

import argparse
import json
import pathlib
import platform
import signal
import statistics
import sys
import time
import zlib
from typing import NoReturn

import numpy as np

from .device import Machine, self_test
from .files import Program, Refused, check_folder, reason, say, write
from .images import read_data
from .run import Run, distilled_arrays, evaluate


class Stopped(BaseException):
    """Ctrl-C or SIGTERM ended the work."""


class Signals:
    """Ctrl-C and SIGTERM end the work: at once, or where it is `held`, soon.

    Attributes:
        number: Of the signal that asked; 0 before one did.
        text: What is said when it ends.
    """

    def __init__(self):
        self.number, self.held, self.text = 0, False, "nothing was written"
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)

    def _take(self, number, frame) -> None:
        self.number = number
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_DFL)  # a second one ends the process
        if not self.held:
            raise Stopped


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a flag in one line."""

    def error(self, message: str) -> NoReturn:
        raise Refused(f"{message}; --help lists the flags")


def main(words: list[str], text: str, folder: pathlib.Path) -> int:
    """Runs the program in `folder`, and returns the exit status.

    Args:
        words: The arguments of the command.
        text: Its help.
        folder: Holds manifest.json.
    """
    signals = Signals()
    try:
        return _start(_parse(words, text), Program(folder), signals)
    except Refused as error:
        status, line = 2, str(error)
    except Stopped:
        name = signal.Signals(signals.number).name
        status, line = 128 + signals.number, f"stopped by {name}; {signals.text}"
    except ImportError as error:
        status, line = 2, f"{reason(error)}; jax, NumPy and Pillow are needed"
    except Exception as error:
        if type(error).__name__ not in ("JaxRuntimeError", "XlaRuntimeError"):
            raise
        status, line = 2, f"the device failed: {reason(error)}"
    print(f"run_program.py: {line}", file=sys.stderr, flush=True)
    return status


def _parse(words: list[str], text: str) -> argparse.Namespace:
    parser = Parser(
        prog="run_program.py",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flag, path = parser.add_argument, pathlib.Path
    flag("--data", type=path, help="an npz file, or a folder of pictures")
    flag("--output_dir", type=path, default=path("out"), help="what is written (out)")
    flag("--seed", type=_whole(0, 2**31 - 1), help="of all randomness (as compiled)")
    flag("--iterations", type=_whole(1), help="of the whole run (as compiled)")
    flag("--checkpoint_every", type=_whole(1), help="iterations (as compiled)")
    flag("--resume", action="store_true", help="go on from the newest checkpoint")
    flag("--overwrite", action="store_true", help="replace a run in OUTPUT_DIR")
    flag("--any_data", action="store_true", help="take other images, if as many")
    flag("--no_evaluate", action="store_true", help="train no networks on the set")
    flag("--self_test", action="store_true", help="compare results, and end")
    flag("--bench", type=_whole(2), metavar="STEPS", help="time iterations, and end")
    flag("--json", type=path, help="a file that gets a line with the results, too")
    flag("--device", choices=("gpu", "tpu", "cpu"), help="(the first that jax finds)")
    options = parser.parse_args(words)
    if options.data is None and not (options.self_test or options.bench):
        parser.error("--data is missing: give the images that are to be distilled")
    return options


def _whole(least: int, most: int = 2**62):
    def number(text: str) -> int:
        if text.isdecimal() and least <= int(text) <= most:
            return int(text)
        beyond = "" if most == 2**62 else f" to {most}"
        line = f"must be a whole number from {least}{beyond or ' on'}, not {text!r}"
        raise argparse.ArgumentTypeError(line)

    return number


def _start(options: argparse.Namespace, program: Program, signals: Signals) -> int:
    about, settings = program.about, program.settings
    seed = options.seed
    seed = settings.get("distillation.seed", 0) if seed is None else seed
    last = options.bench or options.iterations or about["iterations"]
    what = f"{about['method']} of {program.data['name']}, {about['ipc']} per class"
    plan = f"Distilling by {what}: {last:,} iterations, seed {seed}"
    plan = f"{plan}, into {options.output_dir}"
    plan = f"Timing {last:,} iterations of {what}" if options.bench else plan
    say(f"Comparing results of {what}" if options.self_test else plan)
    if options.self_test:
        return self_test(_machine(options, program))
    tested = not (options.bench or options.no_evaluate)
    _check_json(options.json)
    if not options.bench:
        check_folder(options.output_dir, options.resume, options.overwrite)
    train, *test = _data(options, program, tested)
    identity = {
        "ipc": about["ipc"],
        "method": about["method"],
        "seed": seed,
        "the program": program.digest[:16],
        "images of CRC-32": zlib.crc32(train),
    }
    machine = _machine(options, program)
    machine.put({"real": train, "seed": np.int32(seed)})
    run = Run(machine, options.output_dir, identity)
    if not (options.resume and run.resume()):
        machine.call("init")
    if options.overwrite:
        run.clear()
    machine.compile("distill")
    every = options.checkpoint_every or settings.get("distillation.checkpoint_every")
    begun = time.perf_counter()
    signals.held = True
    run.distill(last, None if options.bench else every or 500, signals)
    signals.held = False
    if signals.number:
        after = f"after iteration {run.iteration:,} of {last:,}"
        kept = "nothing is kept" if options.bench else "--resume goes on"
        signals.text = f"{after}; {kept}"
        raise Stopped
    seconds = time.perf_counter() - begun
    record = _record(run, seed, seconds)
    say(_in_words(record) if run.seconds else f"{run.iteration:,} iterations are done")
    if not options.bench:
        _finish(run, test, record, signals)
    if options.json:
        _add_line(options.json, record)
    return 0


def _machine(options: argparse.Namespace, program: Program) -> Machine:
    import jax

    machine = Machine(program, options.device)
    device, target = machine.device, program.about["target"]
    say(f"Device: {device.device_kind} ({device.platform}), jax {jax.__version__}")
    if target != device.platform:
        say(f"The program was compiled for {target}: here it may be slower.")
    return machine


def _data(options: argparse.Namespace, program: Program, tested: bool):
    """Returns training images and, if networks are tested, test images and labels."""
    if options.data is None:
        say("There is no --data, so random images are taken.")
        shape = [sum(program.data["train_counts"]), *program.shape]
        return [np.random.default_rng(0).integers(0, 256, shape, np.uint8)]
    splits = read_data(options.data, program, tested, options.any_data)
    return [splits[0][0], *(splits[1] if tested else ())]


def _finish(run: Run, test: list, record: dict, signals: Signals) -> None:
    """Writes the set, trains and tests networks on it, and writes the results."""
    machine, folder = run.machine, run.folder
    made = {"seed": record["seed"], "program": machine.program.digest}
    arrays = distilled_arrays(machine, {k: str(v) for k, v in made.items()})
    write(folder / "distilled.npz", lambda file: np.savez(file, **arrays))
    write(folder / "losses.csv", run.write_losses)
    say(f"{len(arrays['images'])} images lie in {folder / 'distilled.npz'}")
    if test:
        signals.text = "the set is kept; --resume trains its networks from the start"
        del machine.values["real"]
        images, labels = test
        machine.put({"test": images})
        machine.compile("evaluate")
        begun = time.perf_counter()
        accuracies = evaluate(machine, labels)
        mean, deviation = np.mean(accuracies), np.std(accuracies)
        networks = f"{len(accuracies)} network{'s' if len(accuracies) > 1 else ''}"
        spread = f" ± {100 * deviation:.1f}" if len(accuracies) > 1 else ""
        say(f"Test accuracy: {100 * mean:.1f}{spread} % over {networks}")
        record |= {
            "accuracies": accuracies,
            "accuracy_mean": mean,
            "accuracy_deviation": deviation,
            "evaluate_seconds": round(time.perf_counter() - begun, 3),
            "evaluate_peak_bytes": machine.memory()[0],
            "compile_seconds": machine.compile_seconds,
        }
    text = json.dumps(record, indent=2) + "\n"
    write(folder / "results.json", lambda file: file.write(text.encode()))


def _record(run: Run, seed: int, seconds: float) -> dict:
    """Returns what results.json holds, ready for JSON."""
    import jax
    import jaxlib

    machine, program = run.machine, run.machine.program
    about, (memory, of) = program.about, machine.memory()
    calls = run.seconds[1:] or run.seconds or [0.0]  # the first one is slow
    wanted = ("method", "ipc", "target", "precision", "tf32", "made_with", "settings")
    return {
        "program": {name: about.get(name) for name in wanted},
        "program_sha256": program.digest,
        "data": program.data["name"],
        "seed": seed,
        "iterations": run.iteration,
        "device": machine.device.device_kind,
        "platform": machine.device.platform,
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "jaxlib": jaxlib.__version__,
            "numpy": np.__version__,
        },
        "compile_seconds": machine.compile_seconds,
        "distill_seconds": round(seconds, 3),
        "seconds_per_step": {
            "median": statistics.median(calls),
            "lowest": min(calls),
            "highest": max(calls),
            "calls": len(calls),
        },
        "peak_bytes": memory,
        "peak_bytes_of": of,
        "losses": run.last_losses(),
    }


def _in_words(record: dict) -> str:
    step = record["seconds_per_step"]
    median, low, high = (step[name] for name in ("median", "lowest", "highest"))
    memory = f"{record['peak_bytes'] / 1e9:.2f} GB of {record['peak_bytes_of']}"
    return (
        f"{record['iterations']:,} iterations are done: {median:.4g} s each, {low:.4g} "
        f"to {high:.4g}, median of {step['calls']} calls; peak memory {memory}"
    )


def _check_json(path: pathlib.Path | None) -> None:
    """Refuses a file that cannot be appended to, before the work begins."""
    try:
        if path:
            open(path, "ab").close()
    except OSError as error:
        raise Refused(f"cannot write {path}: {reason(error)}") from None


def _add_line(path: pathlib.Path, record: dict) -> None:
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        text = f"the result above is not kept in {path}: {reason(error)}"
        raise Refused(text) from None
