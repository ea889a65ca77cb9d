"""A TensorFlow function as StableHLO, with a name for each argument and result.

XLA takes variables as arguments after the function's own, and gives those that changed
as results after the function's own. Here they all get names, so that whoever runs the
program needs to know nothing of TensorFlow.
"""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Value:
    """An argument or a result of a function.

    Attributes:
        name: Its name, the same in every function of a program.
        shape: Its shape.
        dtype: NumPy's name of its type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, name: str, tensor: Any) -> "Value":
        """Returns the description of a tensor, or of anything of a shape and type."""
        return cls(name, tuple(tensor.shape), tf.as_dtype(tensor.dtype).name)

    def described(self) -> dict[str, Any]:
        """Returns it as plain values, ready for JSON."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}


@dataclasses.dataclass(frozen=True)
class Lowered:
    """A function that XLA compiles anywhere.

    Attributes:
        artifact: A portable StableHLO artifact, whose function `main` it is.
        arguments: In their order.
        results: In their order.
        constants: Values that the function holds, by the names of their arguments.
    """

    artifact: bytes
    arguments: tuple[Value, ...]
    results: tuple[Value, ...]
    constants: dict[str, np.ndarray]


def lower(
    function: tf.types.experimental.PolymorphicFunction,
    arguments: Mapping[str, Any],
    results: Sequence[str],
    variables: Mapping[str, tf.Variable],
    tf32: bool = True,
) -> Lowered:
    """Returns a function as StableHLO.

    Args:
        function: A `tf.function(jit_compile=True)`.
        arguments: By name, what it is called with, in order; tensors.
        results: The names of what it returns, in order.
        variables: By name, variables that it reads or writes. Those that are not among
            them are constants, by the names that Keras gave them.
        tf32: Whether products may take float32 values with 10 bits after the point,
            as accelerators do by default.

    Example:
        >>> total = tf.Variable(1.0)
        >>> add = tf.function(lambda x: total.assign_add(x) * 2.0, jit_compile=True)
        >>> found = lower(add, {"x": tf.constant(2.0)}, ["double"], {"total": total})
        >>> [value.name for value in found.arguments + found.results]
        ['x', 'total', 'double', 'total']
    """
    from tensorflow.compiler.mlir.stablehlo import stablehlo

    given = tuple(arguments.values())
    concrete = function.get_concrete_function(*given)
    text = module_of(function, given, tf32)
    named = {id(one.handle): (name, one) for name, one in variables.items()}
    known = {id(one.handle): one for one in concrete.variables}
    values = [Value.of(name, tensor) for name, tensor in arguments.items()]
    constants = {}
    for captured in concrete.captured_inputs:
        name, value = named.get(id(captured), (None, known.get(id(captured), captured)))
        if name is None:
            name = getattr(value, "path", f"{function.__name__}/{len(constants)}")
            constants[name] = value.numpy()
        values.append(Value.of(name, value))
    if count_arguments(text) != len(values):
        # XLA makes constants of what shapes depend on, and takes them as no arguments.
        raise ValueError(f"{function.__name__} does not take all of its arguments")
    own = tf.nest.flatten(concrete.structured_outputs)
    given_back = [Value.of(n, tensor) for n, tensor in zip(results, own, strict=True)]
    given_back += [values[place] for place in _updated(text)]
    artifact = stablehlo.serialize_portable_artifact_str(
        _plain(text), stablehlo.get_minimum_version()
    )
    return Lowered(artifact, tuple(values), tuple(given_back), constants)


@contextlib.contextmanager
def graphs() -> Iterator[None]:
    """A context in which TensorFlow's functions are graphs, as XLA needs them."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(False)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def module_of(
    function: tf.types.experimental.PolymorphicFunction,
    arguments: Sequence[Any],
    tf32: bool = True,
) -> str:
    """Returns what XLA is given of a function, as text.

    Args:
        function: A `tf.function(jit_compile=True)`.
        arguments: What it is called with; tensors.
        tf32: As for `lower`.
    """
    settings = tf.config.experimental
    before = settings.tensor_float_32_execution_enabled()
    settings.enable_tensor_float_32_execution(tf32)
    try:
        return function.experimental_get_compiler_ir(*arguments)(stage="stablehlo")
    finally:
        settings.enable_tensor_float_32_execution(before)


def count_arguments(text: str) -> int:
    """Returns how many arguments XLA takes of the function whose module is `text`."""
    (main,) = re.findall(r"func\.func (?:public )?@main\((.*)\) ->", text)
    return main.count("%arg")


def _updated(text: str) -> list[int]:
    """Returns which arguments XLA gives back changed, in the order of the results."""
    aliases = re.findall(
        r"parameter_number = (\d+) : i64\}, output_index = array<i64(?:: (\d+))?>", text
    )
    return [
        int(argument) for argument, _ in sorted(aliases, key=lambda a: int(a[1] or 0))
    ]


def _plain(text: str) -> str:
    """Returns a module without what is not StableHLO: notes of XLA's, places in files.

    Raises:
        ValueError: something of another dialect is left.
    """
    lines = [line for line in text.splitlines() if not line.startswith("#loc")]
    text = "\n".join(lines)
    text = re.sub(r' loc\((?:#loc\d*|"[^"]*"|unknown|fused\[[^\]]*\])\)', "", text)
    text = re.sub(
        r"^module @\S+ attributes \{.*\} \{$", "module @main {", text, flags=re.M
    )
    text = re.sub(r" \{mhlo\.frontend_attributes = \{[^}]*\}\}", "", text)
    # XLA's copy is its own; a reshape to the same shape is one, too.
    text = re.sub(
        r"= mhlo\.copy (%\w+) : (tensor<[^>]*>)",
        r"= stablehlo.reshape \1 : (\2) -> \2",
        text,
    )
    for foreign in ("mhlo.", "loc(", "custom_call"):
        if foreign in text:
            place = text.index(foreign)
            raise ValueError(f"not StableHLO alone: ...{text[place - 40 : place + 80]}")
    return text
