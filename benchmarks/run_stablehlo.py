"""Times a step that export_stablehlo.py wrote, on the XLA runtime of JAX.

    python benchmarks/run_stablehlo.py FOLDER [STEPS] [TOLERANCE]

Needs jax and jaxlib alone, not this project nor TensorFlow. It runs on the first
device that JAX finds, holds the results against those of the machine that wrote them
(greatest difference over the greatest value, at most TOLERANCE, 0.01), and prints
seconds a step and, where the device counts it, peak memory.
"""

import json
import pathlib
import statistics
import sys
import time

import jax
import numpy as np
from jax._src.interpreters import mlir
from jaxlib import _jax
from jaxlib.mlir import ir


def load(folder: pathlib.Path, device: jax.Device):
    """Returns the compiled program, its arguments on `device`, and its results."""
    with mlir.make_ir_context():
        module = ir.Module.parse((folder / "step.mlir").read_text())
    program = device.client.compile_and_load(
        module, _jax.DeviceList((device,)), _jax.CompileOptions()
    )
    arguments = [jax.device_put(v, device) for v in arrays(folder / "arguments.npz")]
    return program, arguments, arrays(folder / "results.npz")


def arrays(path: pathlib.Path) -> list[np.ndarray]:
    """Returns the arrays of an npz file, in their order."""
    with np.load(path, allow_pickle=False) as stored:
        return [stored[name] for name in stored.files]


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """Returns the greatest difference over the greatest value."""
    gap = np.abs(np.asarray(found, np.float64) - wanted).max()
    return float(gap / max(np.abs(wanted).max(), 1e-30))


def main(folder: str, steps: str = "20", tolerance: str = "0.01") -> int:
    device = jax.devices()[0]
    about = json.loads((pathlib.Path(folder) / "step.json").read_text())
    print(f"{device.device_kind}, jax {jax.__version__}: {about['settings']}")
    start = time.perf_counter()
    program, arguments, wanted = load(pathlib.Path(folder), device)
    print(f"compiled in {time.perf_counter() - start:.1f} s")
    found = [np.asarray(v) for v in program.execute(arguments)]
    gaps = [difference(f, w) for f, w in zip(found, wanted, strict=True)]
    for name, gap in zip(about["results"], gaps, strict=True):
        print(f"{name}: differs by {gap:.1e}")

    seconds = []
    for _ in range(int(steps)):
        start = time.perf_counter()
        for result in program.execute(arguments):
            result.block_until_ready()
        seconds.append(time.perf_counter() - start)
    print(
        f"{statistics.median(seconds):.4f} s a step, {min(seconds):.4f} to "
        f"{max(seconds):.4f}, median of {len(seconds)}"
    )
    peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
    print("peak memory: " + (f"{peak / 1e9:.2f} GB" if peak else "not counted here"))
    if max(gaps) > float(tolerance):
        print(f"the results differ by more than {tolerance}")
        return 1
    return 0


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
