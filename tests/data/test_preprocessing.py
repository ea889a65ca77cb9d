import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.data.preprocessing.moments import channel_moments, covariance
from dam_tf.data.preprocessing.preprocessing import (
    KINDS,
    Preprocessing,
    fit_preprocessing,
    load_preprocessing,
)
from dam_tf.data.preprocessing.whitening import ZCA, Standardize

TOLERANCE = 1e-4
KORNIA = pathlib.Path(__file__).parents[1] / "fixtures" / "kornia_zca.npz"


@pytest.fixture
def images(rng):
    """Smooth images of unlike channels, uint8 [300, 6, 5, 3]."""
    noise = rng.normal(size=[300, 6, 5, 3])
    noise += np.roll(noise, 1, axis=1) + np.roll(noise, 1, axis=2)
    noise = noise * [10, 20, 30] + [60, 120, 180]
    return np.clip(noise, 0, 255).astype(np.uint8)


def pixels_of(images):
    return (images / 255).astype(np.float32)


def standardized_by_numpy(images, seen):
    values = images / 255
    axes = (0, 1, 2)
    return (seen / 255 - values.mean(axes)) / values.std(axes)


def whitened_by_numpy(values, seen, eps=0.1):
    """Whitens `seen` as fitted to `values`, by singular values in float64."""
    flat = values.reshape(len(values), -1)
    mean = flat.mean(0)
    _, singular, rows = np.linalg.svd(flat - mean)
    squares = np.zeros(flat.shape[1])
    squares[: len(singular)] = singular**2 / (len(values) - 1)
    matrix = rows.T @ np.diag(1 / np.sqrt(squares + eps)) @ rows
    return ((seen.reshape(len(seen), -1) - mean) @ matrix).reshape(seen.shape)


def expected(kind, images, seen):
    match kind:
        case "none":
            return seen / 255
        case "standardize":
            return standardized_by_numpy(images, seen)
        case "zca":
            return whitened_by_numpy(images / 255, seen / 255)
        case "standardize_zca":
            values = standardized_by_numpy(images, images)
            return whitened_by_numpy(values, standardized_by_numpy(images, seen))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [300, 40])  # more images than 90 values, and fewer
def test_equals_numpy_and_has_an_inverse(images, kind, count):
    preprocessing = fit_preprocessing(kind, images[:count])
    pixels = pixels_of(images[-20:])
    seen = preprocessing(pixels)
    assert seen.dtype == tf.float32
    np.testing.assert_allclose(
        seen, expected(kind, images[:count], images[-20:]), atol=TOLERANCE
    )
    np.testing.assert_allclose(preprocessing.inverse(seen), pixels, atol=1e-5)


@pytest.mark.parametrize("case", ["many", "few", "grey"])
def test_zca_equals_kornia(case):
    with np.load(KORNIA, allow_pickle=False) as stored:
        images = stored[f"{case}_images"].transpose(0, 2, 3, 1)
        whitened = stored[f"{case}_whitened"].transpose(0, 2, 3, 1)
        pixels = stored[f"{case}_pixels"].transpose(0, 2, 3, 1)
    zca = fit_preprocessing("zca", images)
    seen = zca(pixels_of(images[: len(whitened)]))
    np.testing.assert_allclose(seen, whitened, atol=TOLERANCE)
    np.testing.assert_allclose(zca.inverse(whitened), pixels, atol=TOLERANCE)


def test_whitened_covariance_is_that_of_theory(images):
    seen = fit_preprocessing("zca", images)(pixels_of(images)).numpy()
    before = np.linalg.eigvalsh(np.cov(images.reshape(300, -1).T / 255))
    after = np.linalg.eigvalsh(np.cov(seen.reshape(300, -1).T))
    np.testing.assert_allclose(after, before / (before + 0.1), atol=TOLERANCE)


def test_moments_are_exact_whatever_the_chunks(images, monkeypatch):
    flat = images.reshape(300, -1) / 255
    whole = covariance(images)
    np.testing.assert_allclose(whole[0], flat.mean(0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(whole[1], np.cov(flat.T), rtol=0, atol=1e-14)
    mean, deviation = channel_moments(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), atol=1e-14)
    np.testing.assert_allclose(deviation, (images / 255).std((0, 1, 2)), atol=1e-14)
    monkeypatch.setattr("dam_tf.data.preprocessing.moments._EXACT_ROWS", 7)
    np.testing.assert_array_equal(covariance(images)[1], whole[1])
    np.testing.assert_array_equal(channel_moments(images)[1], deviation)


def test_moments_of_the_extremes_are_exact():
    images = np.zeros([2048, 1, 2, 1], np.uint8)
    images[::2] = 255
    mean, matrix = covariance(images)
    assert mean.tolist() == [0.5, 0.5]
    np.testing.assert_allclose(matrix, 0.25 * 2048 / 2047, rtol=1e-15)


def test_fitting_does_not_copy_the_images(tmp_path, images):
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r", allow_pickle=False)
    mapped_fit = fit_preprocessing("standardize_zca", mapped)
    fit = fit_preprocessing("standardize_zca", images)
    np.testing.assert_array_equal(mapped_fit.zca.whitening, fit.zca.whitening)


def test_channel_of_one_shade_keeps_its_scale():
    images = np.full([4, 2, 2, 3], 51, np.uint8)
    images[::2, ..., 0] = 255
    seen = fit_preprocessing("standardize", images)(pixels_of(images)).numpy()
    np.testing.assert_allclose(np.abs(seen[..., 0]), 1.0, atol=1e-6)
    np.testing.assert_allclose(seen[..., 1:], 0.0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_graph_xla_and_gradient(images, kind):
    preprocessing = fit_preprocessing(kind, images)
    pixels = tf.constant(pixels_of(images[:4]))
    eager = preprocessing(pixels)
    for compiled in (False, True):
        forward = tf.function(preprocessing, jit_compile=compiled)
        backward = tf.function(preprocessing.inverse, jit_compile=compiled)
        np.testing.assert_allclose(forward(pixels), eager, atol=1e-5)
        np.testing.assert_allclose(backward(eager), pixels, atol=1e-5)
    weights = np.random.default_rng(1).normal(size=pixels.shape).astype(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        loss = tf.reduce_sum(preprocessing(pixels) * weights)
    # The map is affine: its adjoint at the difference of two inputs is its change.
    other = tf.constant(pixels_of(images[4:8]))
    change = tf.reduce_sum(tape.gradient(loss, pixels) * (other - pixels))
    exact = tf.reduce_sum((preprocessing(other) - preprocessing(pixels)) * weights)
    np.testing.assert_allclose(change, exact, rtol=1e-3, atol=1e-3)
    assert not preprocessing.trainable_variables


def test_float32_whatever_the_policy_of_the_network(images):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        seen = fit_preprocessing("standardize_zca", images)(pixels_of(images[:4]))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert seen.dtype == tf.float32
    np.testing.assert_allclose(
        seen, expected("standardize_zca", images, images[:4]), atol=TOLERANCE
    )


@pytest.mark.parametrize(
    "layer", [Standardize(), ZCA(eps=0.2), Preprocessing("standardize_zca", eps=0.3)]
)
def test_config_and_weights_make_the_same_layer(images, layer):
    layer.adapt(images)
    copy = type(layer).from_config(layer.get_config())
    copy.build([None, *images.shape[1:]])
    copy.set_weights(layer.get_weights())
    pixels = pixels_of(images[:4])
    np.testing.assert_array_equal(copy(pixels), layer(pixels))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_inside_a_keras_model(images, tmp_path):
    model = keras.Sequential(
        [keras.Input([6, 5, 3]), fit_preprocessing("standardize_zca", images)]
    )
    pixels = pixels_of(images[:4])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(pixels), model(pixels))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(images, tmp_path, kind, capfd, recwarn):
    preprocessing = fit_preprocessing(kind, images)
    preprocessing.save(tmp_path / "preprocessing")
    assert capfd.readouterr() == ("", "") and not list(recwarn)
    loaded = load_preprocessing(tmp_path / "preprocessing")
    assert loaded.kind == kind and loaded.image_shape == (6, 5, 3)
    pixels = pixels_of(images[:4])
    np.testing.assert_array_equal(loaded(pixels), preprocessing(pixels))
    seen = preprocessing(pixels)
    np.testing.assert_array_equal(loaded.inverse(seen), preprocessing.inverse(seen))


@pytest.mark.slow
def test_saved_model_needs_no_dam_tf(images, tmp_path):
    preprocessing = fit_preprocessing("standardize_zca", images)
    preprocessing.save(tmp_path / "saved")
    pixels = pixels_of(images[:7])
    seen = preprocessing(pixels).numpy()
    np.savez(tmp_path / "expected.npz", pixels=pixels, seen=seen)
    code = """
import sys
import numpy as np
import tensorflow as tf
signatures = tf.saved_model.load("saved/saved_model").signatures
assert set(signatures) == {"serving_default", "inverse"}
for signature in signatures.values():
    (spec,) = signature.structured_input_signature[1].values()
    assert spec.name == "images" and spec.shape.as_list() == [None, 6, 5, 3]
expected = np.load("expected.npz", allow_pickle=False)
seen = signatures["serving_default"](images=tf.constant(expected["pixels"]))["images"]
np.testing.assert_allclose(seen, expected["seen"], atol=1e-5)
pixels = signatures["inverse"](images=seen)["images"]
np.testing.assert_allclose(pixels, expected["pixels"], atol=1e-5)
arrays = np.load("saved/arrays.npz", allow_pickle=False)
flat = ((expected["pixels"] - arrays["mean"]) / arrays["deviation"]).reshape(7, -1)
flat = (flat - arrays["zca_mean"]) @ arrays["whitening"]
np.testing.assert_allclose(flat, expected["seen"].reshape(7, -1), atol=1e-5)
assert "dam_tf" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_saving_never_writes_over_something(images, tmp_path):
    preprocessing = fit_preprocessing("none", images)
    with pytest.raises(UserError, match="exists already"):
        preprocessing.save(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write preprocessing to .*: "):
        preprocessing.save(tmp_path / "file" / "preprocessing")


def test_failed_save_leaves_nothing(images, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("No space left on device")

    preprocessing = fit_preprocessing("zca", images)
    monkeypatch.setattr(preprocessing, "_export", fail)
    with pytest.raises(UserError, match="No space left on device"):
        preprocessing.save(tmp_path / "preprocessing")
    assert not list(tmp_path.iterdir())


def test_nothing_to_load(tmp_path):
    with pytest.raises(UserError, match=r"no preprocessing in .*nowhere"):
        load_preprocessing(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """The file of arrays of a saved ZCA."""
    images = np.random.default_rng(0).integers(0, 256, [50, 6, 5, 3], np.uint8)
    folder = tmp_path_factory.mktemp("saved") / "zca"
    fit_preprocessing("zca", images).save(folder)
    return folder / "arrays.npz"


@pytest.mark.parametrize("length", [0, 10, 1000, -10])
def test_truncated_arrays(arrays, tmp_path, length):
    (tmp_path / "arrays.npz").write_bytes(arrays.read_bytes()[:length])
    with pytest.raises(UserError, match=r"cannot read .*arrays\.npz: "):
        load_preprocessing(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "whiten"},
        {"kind": "standardize"},  # whose arrays are missing
        {"image_shape": [6, 15]},
        {"image_shape": "garbage"},
        {"image_shape": [1 << 20, 1 << 20, 3]},
        {"eps": "much"},
        {"whitening": np.zeros([90, 80])},
        {"whitening": "garbage"},
        {"whitening": np.array([{}])},
    ],
    ids=str,
)
def test_arrays_that_do_not_fit(arrays, tmp_path, change):
    with np.load(arrays, allow_pickle=False) as stored:
        np.savez(tmp_path / "arrays.npz", **{**stored, **change})
    with pytest.raises(UserError, match=r"arrays\.npz"):
        load_preprocessing(tmp_path)


def test_garbage_for_arrays(tmp_path):
    (tmp_path / "arrays.npz").write_bytes(b"garbage")
    with pytest.raises(UserError, match=r"cannot read .*arrays\.npz: "):
        load_preprocessing(tmp_path)


def test_too_large_for_zca():
    images = np.zeros([2, 65, 64, 3], np.uint8)
    with pytest.raises(UserError, match=r"65x64x3 are too large .*'standardize'"):
        fit_preprocessing("zca", images)
    fit_preprocessing("standardize", images)


def test_unknown_kind(images):
    with pytest.raises(UserError, match=r"preprocessing 'zcaa' .did you mean 'zca'"):
        fit_preprocessing("zcaa", images)
