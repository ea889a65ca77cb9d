"""Images of which one side is much shorter than the other, through every network."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf import networks
from dam_tf.base.errors import UserError
from dam_tf.config.sections import NetworkConfig


@pytest.mark.parametrize("shape", [(16, 128, 3), (128, 16, 1)])
@pytest.mark.parametrize("name", sorted(set(networks.registry.ARCHITECTURES)))
def test_tall_and_wide_images(name, shape):
    """The shorter side decides: of these networks vgg11 alone halves it too often."""
    config = NetworkConfig(name, width=8)
    if name == "vgg11":
        with pytest.raises(UserError, match=r"vgg11 is too deep for images of \d+x\d+"):
            networks.create(name, shape, 3, config)
        return
    network = networks.create(name, shape, 3, config)
    logits = network(tf.random.stateless_uniform([2, *shape], [0, 1]))
    assert logits.shape == (2, 3) and np.isfinite(logits).all()
