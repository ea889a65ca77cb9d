"""Where synthetic images start."""

import keras
import numpy as np
import pytest
import scipy.stats

from dam_tf.base.errors import UserError
from dam_tf.synthetic.initial import initial_images
from tests.tiny_data import NAMES, make_data, tiny_config


def start(init, ipc=2, seed=0, preprocessing=None):
    config = tiny_config(
        distillation__init=init, distillation__ipc=ipc, distillation__seed=seed
    )
    layer = preprocessing or keras.layers.Identity()
    return initial_images(make_data().train, NAMES, config.distillation, layer)


@pytest.mark.parametrize("init", ["random", "k-center"])
def test_real_images_of_their_class_each_once(init):
    images = start(init, ipc=9)
    split = make_data().train
    for label in range(3):
        real = split.class_images(label).astype(np.float32) / 255
        rows = [
            int(np.flatnonzero((real == image).all((1, 2, 3)))[0])
            for image in images[label]
        ]
        assert len(set(rows)) == 9


def test_they_are_in_model_space():
    scaled = start("random", preprocessing=keras.layers.Rescaling(3.0, offset=-1.0))
    np.testing.assert_allclose(scaled, start("random") * 3 - 1, rtol=1e-6)


def test_noise_is_standard_normal():
    noise = start("noise", ipc=40)
    assert scipy.stats.kstest(noise.ravel(), "norm").pvalue > 0.01


@pytest.mark.parametrize("init", ["random", "noise"])
def test_the_seed_decides(init):
    np.testing.assert_array_equal(start(init, seed=3), start(init, seed=3))
    assert np.abs(start(init, seed=3) - start(init, seed=4)).max() > 0


def test_ipc_beyond_a_class_names_it():
    with pytest.raises(UserError, match=r"ipc 10 .*'circle', which has 9"):
        start("random", ipc=10)
    assert start("noise", ipc=10).shape == (3, 10, 8, 8, 1)
