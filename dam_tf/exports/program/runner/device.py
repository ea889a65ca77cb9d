"""The functions of a program on a device that jax knows, and their self-test.

They are StableHLO, which jax compiles as if it were a part of its own programs.
"""

import platform
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .files import Program, Refused, read_npz, reason, say

_VALUES = 2000  # that a self-test keeps of each result


class Machine:
    """The functions of a program on a device, and `values`: the arrays there by name.

    Args:
        program: Gives the functions and the constants.
        kind: Of device: "gpu", "tpu", "cpu", or None for the first of jax.

    Attributes:
        values: Arguments and results of the functions, which share their names.
        compile_seconds: By function.
    """

    def __init__(self, program: Program, kind: str | None):
        import jax

        jax.config.update("jax_enable_x64", True)
        if kind == "cpu":
            jax.config.update("jax_platforms", kind)  # the others stay untouched
        try:
            self.device = jax.devices(kind)[0]
        except RuntimeError as error:
            text = f"jax has no device {kind or ''} here: {reason(error)}"
            raise Refused(f"{text}; choose another with --device") from None
        self.program, self.values = program, {}
        self.compile_seconds, self._compiled = {}, {}
        self.put(program.constants)

    def put(self, arrays: Mapping[str, Any]) -> None:
        """Puts arrays on the device, by name."""
        import jax

        self.values.update(jax.device_put(dict(arrays), self.device))

    def put_zeros(self, name: str) -> None:
        """Puts zeros for what a function both takes and gives, and nobody gave yet."""
        takes, gives = self.program.takes[name], self.program.gives[name]
        missing = takes.keys() & gives.keys() - self.values.keys()
        self.put({one: np.zeros(*takes[one]) for one in missing})

    def numbers(self, name: str) -> np.ndarray:
        """Returns a value as a NumPy array."""
        return np.asarray(self.values[name])

    def call(self, name: str) -> None:
        """Calls a function with `values`, to which its results go; waits for them.

        What it both takes and gives is handed over, so that there is one copy of it.
        """
        import jax

        takes, gives = self.program.takes[name], self.program.gives[name]
        if "unwhitening" in takes.keys() - self.values.keys():
            self.put({"unwhitening": inverse(self.program.constants["whitening"])})
        if missing := [one for one in takes if one not in self.values]:
            raise Refused(f"{name} takes {missing[0]}, which the program does not give")
        self.compile(name)
        results = self._compiled[name](*(self.values[one] for one in takes))
        self.values.update(zip(gives, jax.block_until_ready(results), strict=True))

    def compile(self, name: str) -> None:
        """Compiles a function, unless that was done."""
        import jax

        if name in self._compiled:
            return
        takes, gives = self.program.takes[name], self.program.gives[name]
        here = jax.sharding.SingleDeviceSharding(self.device)
        shapes = [jax.ShapeDtypeStruct(*kind, sharding=here) for kind in takes.values()]
        given = [place for place, one in enumerate(takes) if one in gives]
        file = self.program.files[name]
        say(f"Compiling {name} ...")
        start = time.perf_counter()
        try:
            function = _function(name, (self.program.folder / file).read_bytes(), gives)
            compiled = jax.jit(function, donate_argnums=given).lower(*shapes).compile()
        except Exception as error:  # of many types, of jax and of MLIR
            where = f"jax {jax.__version__} cannot compile {file} for {self.device}"
            raise Refused(f"{where}: {reason(error)}") from None
        self._compiled[name] = compiled
        self.compile_seconds[name] = round(time.perf_counter() - start, 3)
        say(f"Compiled {name} in {self.compile_seconds[name]:.1f} s.")

    def memory(self) -> tuple[int, str]:
        """Returns the highest bytes in use so far, and of what they are."""
        stats = self.device.memory_stats() or {}
        if "peak_bytes_in_use" in stats:
            return stats["peak_bytes_in_use"], "the device"
        unit = 1 if platform.system() == "Darwin" else 1024
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used * unit, "this process"


def _function(name: str, artifact: bytes, gives: Mapping[str, Any]) -> Callable:
    """Returns a function of jax that calls `main` of a portable StableHLO artifact.

    Args:
        name: Of the function.
        artifact: What the file holds.
        gives: Shapes and types of the results.
    """
    import jax
    from jax.extend.core import Primitive
    from jax.extend.mlir import ir
    from jax.extend.mlir.dialects import func, stablehlo
    from jax.interpreters import mlir

    def lower(context, *arguments):
        there = context.module_context
        module = stablehlo.deserialize_portable_artifact(there.context, artifact)
        (main,) = (one for one in module.body.operations if one.name.value == "main")
        types = main.type.results
        symbol = mlir.merge_mlir_modules(there.module, name, module)
        return func.CallOp(types, ir.FlatSymbolRefAttr.get(symbol), arguments).results

    primitive = Primitive(f"dam_tf_{name}")
    primitive.multiple_results = True
    primitive.def_abstract_eval(
        lambda *_: [jax.core.ShapedArray(*kind) for kind in gives.values()]
    )
    mlir.register_lowering(primitive, lower)
    return primitive.bind


def inverse(matrix: np.ndarray) -> np.ndarray:
    """Returns the inverse of a whitening matrix, which a program may leave out."""
    return np.linalg.inv(matrix.astype(np.float64)).astype(np.float32)


def self_test(machine: Machine) -> int:
    """Does one iteration and one epoch on noise, as the machine that compiled did.

    Returns:
        The exit status: 0 where the results agree, else 1.
    """
    program, worst = machine.program, 0.0
    if not (about := program.about.get("self_test")):
        raise Refused("this program was compiled without a self-test")
    stored, seed = read_npz(program.folder / "self_test.npz"), about["seed"]
    machine.put({"seed": np.int32(seed), "count": np.int32(1)})
    machine.put({"first": np.int32(0), "last": np.int32(1)})
    for name in ("init", "distill", "pixels", "evaluate"):
        takes = program.takes[name]
        for more, one in enumerate(("real", "test")):
            if one in takes.keys() - machine.values.keys():
                random = np.random.default_rng(seed + more)
                machine.put({one: random.integers(0, 256, *takes[one])})
        machine.put_zeros(name)
        machine.call(name)
        for one in program.gives[name]:
            if (wanted := stored.get(f"{name}/{one}")) is not None:
                gap = _difference(machine.numbers(one), wanted)
                worst = max(worst, gap)
                say(f"{name}: {one} differs by {gap:.1e}")
    allowed = about["tolerance"]
    verdict = "passed" if worst <= allowed else "FAILED"
    say(
        f"The self-test {verdict}: at most {allowed:g} of the largest value is allowed."
    )
    return 0 if verdict == "passed" else 1


def _difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """Returns the greatest difference over the greatest value.

    Args:
        found: A result.
        wanted: Some of its values, evenly spaced, about `_VALUES`.
    """
    found = found.ravel()[:: max(1, found.size // _VALUES)].astype(np.float64)
    if found.shape != wanted.shape:
        return np.inf
    gap = np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30)
    return float(gap) if np.isfinite(gap) else np.inf
