"""A contender: a compiled program on JAX, fed with random images of the right shapes.

It takes the file that lies beside the program, so what is timed is what users run.
"""

import pathlib
import sys
import time

import _contender
import numpy as np


def main() -> None:
    settings = _contender.settings()
    folder = pathlib.Path(settings["program"])
    sys.path.insert(0, str(folder))
    import jax
    from run_program import Machine, Program

    program = Program(folder)
    random = np.random.default_rng(0)
    inputs = {"seed": np.int32(0)}
    for name in ("real", "test"):
        shape = next(
            takes[name][0] for takes in program.takes.values() if name in takes
        )
        inputs[name] = random.integers(0, 256, shape, np.uint8)
    memory = _contender.Memory()
    state = {}

    def prepared():
        if not state:
            state["machine"] = Machine(program, None)
            state["machine"].put(inputs)
            state["machine"].call("init")
        return state["machine"]

    def peak():
        device = jax.devices()[0]
        counted = (device.memory_stats() or {}).get("peak_bytes_in_use")
        return counted or memory.peak()

    def versions():
        device = jax.devices()[0]
        return {"jax": jax.__version__, "device": device.device_kind}

    def step(steps=1):
        machine = prepared()
        steps = min(steps, program.about["iterations_per_call"])
        machine.put({"count": np.int32(steps)})
        start = time.perf_counter()
        machine.call("distill")
        losses = machine.numbers("losses")  # waits for the device
        seconds = (time.perf_counter() - start) / steps
        return {"seconds": seconds, "loss": float(losses[steps - 1, 0]), "peak": peak()}

    def evaluate(first, last):
        machine = prepared()
        if not first:
            machine.call("pixels")
            machine.put(
                {
                    name: np.zeros(*program.takes["evaluate"][name])
                    for name in program.takes["evaluate"]
                    if name.startswith("network/")
                }
            )
        machine.put({"first": np.int32(first), "last": np.int32(last)})
        start = time.perf_counter()
        machine.call("evaluate")
        machine.numbers("predictions")
        return {"seconds": time.perf_counter() - start, "peak": peak()}

    _contender.serve(versions=versions, step=step, evaluate=evaluate)


if __name__ == "__main__":
    main()
