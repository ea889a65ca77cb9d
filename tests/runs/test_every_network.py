"""Every architecture drives a distiller at the size of the paper."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.data.sampling import ClassBatch
from dam_tf.runs.distiller import create_distiller
from tests.tiny_data import tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.mark.parametrize("name", networks.ARCHITECTURES)
def test_drives_a_distiller(name):
    """At the size of the paper, with its objective and its choice of layers."""
    config = tiny_config(
        network__name=name,
        network__depth=2,
        method__name="datadam",
        distillation__batch_real=2,
    )
    network = networks.create(name, (32, 32, 3), 2, config.network)
    blocks = len(networks.registry.feature_extractor(network).output["taps"])
    generator = np.random.default_rng(0)
    images = generator.standard_normal((2, 1, 32, 32, 3)).astype(np.float32)
    real = generator.integers(0, 256, (2, 2, 32, 32, 3)).astype(np.uint8)
    distiller = create_distiller(images, config, keras.layers.Identity())
    method = distiller.method
    assert method.layers == tuple(range(1, blocks)) and method.groups == 1
    batches = iter([ClassBatch(tf.range(2), tf.constant(real))])
    gradients, losses = method.gradients(distiller.synthetic, batches, tf.constant(3))
    gradient = tf.convert_to_tensor(gradients["images"])
    assert all(np.isfinite(loss) for loss in losses.values())
    assert np.isfinite(gradient).all()
    # An image of each class has a slope; of an MLP from the MMD alone.
    assert (np.abs(gradient).max(axis=(1, 2, 3)) > 1e-6).all()
    assert (losses["sam"] < 1e-9) == (name == "mlp")
