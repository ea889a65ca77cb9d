"""Label solve against the pseudo-inverse of NumPy, over a whole training set."""

import dataclasses

import numpy as np
import pytest

from dam_tf.runs.run import distill
from dam_tf.synthetic.regression_set import probabilities
from tests.methods.kernels import centred, numpy_kernels
from tests.runs.comparing import final_state
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def data():
    return make_data(size=4)


def solved(data, folder, **overrides):
    config = tiny_config(
        method__name="label_solve",
        dataset__preprocessing="none",
        distillation__iterations=2,
        **overrides,
    )
    return distill(config, folder, data=data)


@pytest.mark.parametrize("batch", [100, 5])
def test_equals_the_pseudo_inverse(data, batch, tmp_path):
    """Of all 36 images at once, and of 15 at a time, of which the last are 6."""
    found = solved(data, tmp_path, distillation__batch_real=batch)
    state = final_state(tmp_path)
    images = state["images"].astype(np.float64)
    real = data.train.images / np.float32(255)
    within, others = (
        numpy_kernels(some, images, conv=False, depth=1) for some in (images, real)
    )
    within += 1e-6 * np.trace(within) / len(images) * np.eye(len(images))
    answers = centred(data.train.labels, 3)
    matrix = others @ np.linalg.inv(within)
    expected = np.linalg.pinv(matrix) @ answers
    np.testing.assert_allclose(state["labels"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.soft_labels, probabilities(expected), atol=1e-5)
    gaps = matrix @ expected - answers
    assert state["method/loss"] == pytest.approx(np.mean(gaps**2) / 2, rel=1e-4)


def test_images_stay_and_further_iterations_change_nothing(data, tmp_path):
    one = solved(data, tmp_path / "one")
    path = tmp_path / "one"
    before = final_state(path)
    config = tiny_config(
        method__name="label_solve",
        dataset__preprocessing="none",
        distillation__iterations=6,
    )
    more = distill(config, path, data=data, resume=True)
    np.testing.assert_array_equal(one.images, more.images)
    np.testing.assert_array_equal(before["labels"], final_state(path)["labels"])
    pixels = data.train.images / np.float32(255)
    for image in more.images:
        assert (np.abs(pixels - image).max(axis=(1, 2, 3)) < 1e-6).any()


def test_a_damaged_image_is_named(data, tmp_path):
    from dam_tf.base.errors import UserError

    class Damaged(type(data.train)):
        def take(self, rows):
            raise UserError(f"image {rows[0]} is damaged")

    fields = {
        f.name: getattr(data.train, f.name) for f in dataclasses.fields(data.train)
    }
    broken = dataclasses.replace(data, train=Damaged(**fields))
    config = {"distillation__init": "noise"}
    with pytest.raises(UserError, match=r"image \d+ is damaged"):  # side by side
        solved(broken, tmp_path, **config)
