"""DANCE and NCFM: an iteration run eagerly, as a graph and compiled by XLA."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.data.preprocessing.preprocessing import fit_to_data
from dam_tf.data.sampling import ClassBatch
from dam_tf.runs.distiller import create_distiller
from tests.conformance.common import assert_same, some_values
from tests.methods.pools import config_of, trained_pool
from tests.tiny_data import make_data

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tf.config.run_functions_eagerly(True)
    yield trained_pool(tmp_path_factory.mktemp("pool") / "pool")
    tf.config.run_functions_eagerly(False)


def of_an_iteration(name, folder, jit, wrap):
    """Losses, gradient, and what the optimizer makes of the images."""
    more = {"distillation__jit": jit, "distillation__formation": "factor:2"}
    config, data = config_of(name, folder, **more), make_data()
    images = np.reshape(some_values(6, 8, 8, 1), [3, 2, 8, 8, 1])
    preprocessing = fit_to_data(config.dataset, data)
    distiller = create_distiller(images, config, preprocessing)
    pixels = 255 * tf.random.stateless_uniform([3, 4, 8, 8, 1], [1, 1])

    def iterate(pixels):
        batch = ClassBatch(tf.constant([0, 1, 2]), tf.cast(pixels, tf.uint8))
        given = distiller.synthetic, iter([batch]), tf.constant(3, tf.int64)
        found, logs = distiller.method.gradients(*given)
        distiller.train_step(iter([batch]))
        return tf.convert_to_tensor(found["images"]), logs

    found = wrap(iterate)(pixels)
    values = (*found, distiller.synthetic.stored.value, distiller.method.variables)
    return tf.nest.map_structure(np.asarray, values)


@pytest.mark.parametrize("name", ["dance", "ncfm", "ncfm learned"])
@pytest.mark.parametrize("jit", ["none", "xla"])
def test_same_however_run(name, jit, folder):
    tf.config.run_functions_eagerly(False)
    found = of_an_iteration(name, folder, jit, tf.function)
    tf.config.run_functions_eagerly(True)
    expected = of_an_iteration(name, folder, "none", lambda function: function)
    assert_same(found, expected, 1e-3)
