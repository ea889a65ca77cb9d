"""How the conformance suites run a function in several ways, and compare.

Each registered network, layer, method and operation gives the same values and
gradients run eagerly, as a graph and compiled by XLA, on one replica and split over
two, and after saving and loading. The registries decide what is tested, so a new
entry is tested as soon as it is there.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

TOLERANCE = 1e-4
CLASSES = 4


def choices(schema: type, name: str) -> tuple[Any, ...]:
    """Returns what a setting may be, or nothing where any value of its kind will do."""
    fields = {field.name: field for field in dataclasses.fields(schema)}
    return fields[name].metadata["choices"] or ()


def one_changed_at_a_time(schema: type, names, **fixed) -> list:
    """Returns the default of `schema`, and each that differs in one choice."""
    settings = [schema(**fixed)]
    for name in names:
        for value in choices(schema, name):
            changed = schema(**fixed, **{name: value})
            settings += [changed] if changed not in settings else []
    return settings


def label(value):
    """Names a setting by what it changes."""
    if dataclasses.is_dataclass(value):
        pairs = zip(
            dataclasses.asdict(value).items(),
            dataclasses.asdict(type(value)()).values(),
            strict=True,
        )
        changed = [f"{name}={now}" for (name, now), before in pairs if now != before]
        return ",".join(changed) or "default"
    return None


def some_values(*shape, seed=0):
    return tf.random.stateless_normal(shape, [seed, 1])


def assert_same(found, expected, tolerance=TOLERANCE):
    tf.nest.assert_same_structure(found, expected)
    for one, other in zip(
        tf.nest.flatten(found), tf.nest.flatten(expected), strict=True
    ):
        assert np.isfinite(other).all()
        # Gradients of deep networks are sums of terms that nearly cancel.
        scale = max(1, np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * scale)


def assert_same_however_run(function, *arguments):
    """Compares eager with graph and XLA."""
    eager = function(*arguments)
    assert_same(tf.function(function)(*arguments), eager)
    assert_same(tf.function(function, jit_compile=True)(*arguments), eager)


def with_gradient(function, inputs):
    """Returns `function(inputs)` and the gradient of its values, unequally summed."""
    generator = np.random.default_rng(0)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(inputs)
        total = tf.add_n(
            [
                tf.reduce_sum(output * np.float32(generator.normal(size=output.shape)))
                for output in tf.nest.flatten(outputs)
            ]
        )
    return outputs, tape.gradient(total, inputs)


def on_two_replicas(strategy, function, parts):
    """Runs `function` on a tuple of arguments for each replica, and lists results."""

    def part(context):
        return parts[context.replica_id_in_sync_group]

    @tf.function
    def run(arguments):
        return strategy.run(function, args=arguments)

    values = run(strategy.experimental_distribute_values_from_function(part))
    per_output = [
        strategy.experimental_local_results(v) for v in tf.nest.flatten(values)
    ]
    assert all(len(results) == 2 for results in per_output)
    structure = tf.nest.map_structure(
        lambda v: strategy.experimental_local_results(v)[0], values
    )
    return [
        tf.nest.pack_sequence_as(
            structure, [results[replica] for results in per_output]
        )
        for replica in range(2)
    ]
