"""DD and LD: an iteration is the same run eagerly, as a graph and compiled by XLA."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.methods import DD, LD
from tests.conformance.common import assert_same
from tests.methods.test_inner_methods import REAL, made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "settings"),
    [(DD, {"repeats": 1}), (LD, {}), (LD, {"variant": "second_order"})],
    ids=["dd", "ld, ridge", "ld, second order"],
)
def test_same_however_run(kind, settings):
    results = []
    for jit in ("eager", "none", "xla"):
        method, synthetic, _ = made(
            kind,
            "none",
            jit="none" if jit == "eager" else jit,
            network="mlp",
            **settings,
        )
        labels = np.linspace(1, 2, 18, dtype=np.float32).reshape(6, 3)
        if kind is LD:
            synthetic.variables_by_name["labels"].assign(
                labels / labels.sum(1)[:, None]
            )
            network = method._network.variables
            if "classifier" in network:
                network["classifier"].assign(tf.fill(network["classifier"].shape, 0.1))

        def run(method=method, synthetic=synthetic):
            found = method.gradients(synthetic, iter([REAL]), tf.constant(0, tf.int64))
            method.update(synthetic, iter([]), tf.constant(0, tf.int64))
            return found

        tf.config.run_functions_eagerly(jit == "eager")
        try:
            found = run() if jit == "eager" else tf.function(run)()
        finally:
            tf.config.run_functions_eagerly(False)
        kept = {
            name: variable.numpy()
            for name, variable in method.variables.items()
            # Adam's steps follow the signs of gradients that are nearly zero.
            if name.endswith("mean") or not name.startswith("network/")
        }
        results.append((found, kept))
    for other in results[1:]:
        assert_same(other, results[0])
