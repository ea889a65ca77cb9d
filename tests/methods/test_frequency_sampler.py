"""Psi of NCFM: its formula, its slope by finite differences, and through whole runs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.data.sampling import ClassBatch
from dam_tf.methods.frequency_sampler import FrequencySampler
from dam_tf.methods.ncfm import mean_waves
from dam_tf.runs.distiller import create_distiller
from tests.methods.followed import slopes
from tests.methods.pools import config_of

pytestmark = pytest.mark.usefixtures("eagerly")
WIDTH, COUNT, COMPONENTS, RATE, SEED = 5, 40, 3, 0.01, 7


def made(seed=SEED):
    return FrequencySampler(WIDTH, COUNT, RATE, seed)


def weights_of(sampler):
    return {
        name.removeprefix("psi/weight/"): variable.numpy().astype(np.float64)
        for name, variable in sampler.variables.items()
        if "weight" in name
    }


def normal(shape, purpose, iteration):
    seed = tensor_seed(SEED, purpose, iteration)
    return tf.random.stateless_normal(shape, seed).numpy().astype(np.float64)


def formula(weights, iteration):
    """The frequencies, float64."""
    x = normal([COMPONENTS, WIDTH], Purpose.SAMPLER_NOISE, iteration)
    for layer in (1, 2, 3):
        x = x @ weights[f"kernel_{layer}"]
        x = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
        x = x * weights[f"gamma_{layer}"] + weights[f"beta_{layer}"]
        x = np.tanh(x) if layer == 3 else np.where(x > 0, x, 0.2 * x)
    values = normal([COUNT, WIDTH], Purpose.FREQUENCIES, iteration)
    return (
        (np.resize(np.arange(COMPONENTS), COUNT)[:, None] == np.arange(3))
        @ x
        * (values)
    )


def test_frequencies_are_normal_values_times_the_scales_of_their_component():
    sampler = made()
    for iteration in (0, 4):
        found = sampler.draw(tf.constant(iteration)).numpy()
        expected = formula(weights_of(sampler), iteration).T
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for name, values in weights_of(sampler).items():
        bound = {"k": WIDTH**-0.5, "g": 1, "b": 0}[name[0]]
        assert np.abs(values).max() <= bound and (name[0] != "k" or values.std() > 0.1)
    assert np.any(weights_of(made(1))["kernel_1"] != weights_of(sampler)["kernel_1"])


def test_steps_climb_with_momentum():
    """Of a loss whose slope in the frequencies is given, by finite differences."""
    sampler = made()
    slope = np.random.default_rng(3).normal(size=[WIDTH, COUNT])
    velocities = dict.fromkeys(weights_of(sampler), 0.0)
    for iteration in (0, 1):
        before = weights_of(sampler)
        sampler.ascend(tf.constant(slope, tf.float32), tf.constant(iteration))
        after = weights_of(sampler)
        for name, values in before.items():

            def loss(values, name=name, before=before, iteration=iteration):
                return np.sum(formula({**before, name: values}, iteration).T * slope)

            climb = slopes(loss, values)
            velocities[name] = 0.5 * velocities[name] + RATE * climb
            np.testing.assert_allclose(
                after[name] - values, velocities[name], rtol=5e-3, atol=2e-4
            )
            assert np.abs(velocities[name]).max() > 2e-3


def test_gradient_in_the_frequencies_through_real_images():
    rng = np.random.default_rng(5)
    units = rng.normal(size=(2, 6, WIDTH))
    units /= np.linalg.norm(units, axis=-1, keepdims=True)
    frequencies = rng.normal(0, 2, (WIDTH, 7))
    upstream = rng.normal(size=(2, 2, 1, 7))

    def loss(frequencies):
        phi = np.exp(1j * units @ frequencies).mean(axis=1, keepdims=True)
        return np.sum(upstream[0] * phi.real + upstream[1] * phi.imag)

    given = tf.constant(frequencies, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(given)
        parts = mean_waves(tf.constant(units, tf.float32), given)
        found = tf.reduce_sum(tf.stack(parts) * tf.constant(upstream, tf.float32))
    np.testing.assert_allclose(found, loss(frequencies), rtol=1e-5)
    expected = slopes(loss, frequencies)
    np.testing.assert_allclose(tape.gradient(found, given), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("ncfm learned", {"frequencies": 16}, r"16 is of one .* more than 16$"),
        ("ncfm", {"sampler_rate": 0.1}, r"0.1 is that of .*'learned', .* 'normal'$"),
    ],
)
def test_what_psi_cannot_use_is_refused(name, setting, message, pool):
    ((key, value),) = setting.items()
    config = config_of(name, pool(), **{f"method__{key}": value})
    with pytest.raises(UserError, match=message):
        create_distiller(np.zeros([3, 2, 8, 8, 1]), config, keras.layers.Identity())


@pytest.mark.parametrize("counts", [(2, 2, 2), (3, 1, 2)])
def test_a_step_of_an_iteration_climbs_the_matching_loss_of_all_classes(counts, pool):
    """Classes with other numbers of images pass one by one, and psi moves once."""
    more = {"distillation__images_per_class": ",".join(map(str, counts))}
    more["method__clamp"] = "off"
    config = config_of("ncfm learned", pool(), method__sampler_rate=1e-4, **more)
    rng = np.random.default_rng(1)
    images = [rng.normal(size=[n, 8, 8, 1]).astype(np.float32) for n in counts]
    distiller = create_distiller(images, config, keras.layers.Rescaling(4.0, -2.0))
    method = distiller.method
    assert method.groups == (1 if len({*counts}) == 1 else 3)
    pixels = tf.constant(rng.integers(0, 256, (3, 4, 8, 8, 1)), tf.uint8)
    size = method.classes_per_group

    def matching():
        batches = [
            ClassBatch(tf.range(k, k + size), pixels[k : k + size])
            for k in range(0, 3, size)
        ]
        given = distiller.synthetic, iter(batches), tf.constant(3, tf.int64)
        return float(method.gradients(*given)[1]["matching"])

    start = {name: v.numpy() for name, v in method.variables.items()}
    matching()
    moved = {name: v.numpy() for name, v in method.variables.items()}
    for name in ("kernel_1", "gamma_2", "beta_3"):
        name = f"psi/weight/{name}"
        climb = moved[name.replace("weight", "velocity")] / 1e-4
        step = 2e-4 * climb / np.linalg.norm(climb)
        ends = []
        for sign in (1, -1):
            for other, values in start.items():
                method.variables[other].assign(values)
            method.variables[name].assign_add(sign * step)
            ends.append(matching())
        expected = (ends[0] - ends[1]) / 4e-4
        np.testing.assert_allclose(np.linalg.norm(climb), expected, rtol=0.02)
