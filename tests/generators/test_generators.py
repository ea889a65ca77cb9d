"""Generators as methods: what they train, what they keep, and what they make."""

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.config import generators as settings_of
from dam_tf.config.settings import Config
from dam_tf.data.real_data import RealData, sorted_split
from dam_tf.generators.dcvae import _queued
from dam_tf.generators.gmmn import median_distances
from dam_tf.generators.registry import GENERATORS, create
from dam_tf.methods import registry as methods
from tests.generators.tiny import Trained, settings
from tests.tiny_data import make_data

pytestmark = pytest.mark.usefixtures("eagerly")

by_name = pytest.mark.parametrize("name", GENERATORS)
LARGER = ("biggan", "dcvae")
by_name_the_larger_slowly = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in LARGER))
        for name in GENERATORS
    ],
)
with_average = pytest.mark.parametrize("name", LARGER)


@pytest.fixture(scope="module")
def trained():
    """Each generator after one iteration, with what it was and what it logged."""
    found = {}

    def of(name):
        if name not in found:
            one = found[name] = Trained(settings(name))
            one.before = one.values()
            one.logs = one.train(0, 1)
        return found[name]

    return of


@by_name
def test_no_two_images_are_made_of_the_same_numbers(trained, name, monkeypatch):
    generator, given = trained(name).generator, []

    def sample(noise, labels):
        given.extend(noise.numpy().tolist())
        return tf.zeros([len(labels), 8, 8, 1])

    monkeypatch.setattr(generator, "sample", sample)
    assert generator.samples([40] * 3).shape == (120, 8, 8, 1)
    assert len({tuple(numbers) for numbers in given}) == len(given) == 120


def randomise(generator):
    """Gives what images are made of weights of a trained size."""
    rng = np.random.default_rng(0)
    for name, variable in generator.variables.items():
        if name.endswith("kernel") or name.startswith("weights"):
            variable.assign(rng.normal(0, 0.5, variable.shape))


@by_name
def test_an_iteration_trains_and_logs_what_the_settings_name(trained, name):
    one = trained(name)
    assert sorted(one.logs) == sorted(one.generator.log_names)
    assert np.isfinite(list(one.logs.values())).all()
    moved = {}
    for key, value in one.values().items():
        kind = key.partition("/")[0]
        moved[kind] = moved.get(kind, False) or (value != one.before[key]).any()
    assert all(moved.values()), moved


@by_name_the_larger_slowly
def test_all_that_an_iteration_depends_on_is_kept(trained, name):
    one = trained(name)
    before = one.values()
    logs, after = one.train(1, 2), one.values()
    for key, variable in one.generator.variables.items():
        variable.assign(before[key])
    assert one.train(1, 2) == logs
    for key, value in one.values().items():
        np.testing.assert_array_equal(value, after[key], err_msg=key)


@by_name
def test_what_is_kept_has_the_same_names_in_every_process(trained, name):
    """Keras counts the layers that a process makes, and names them so."""
    again = Trained(settings(name)).generator.variables
    assert list(again) == list(trained(name).generator.variables)


@by_name_the_larger_slowly
def test_images_are_those_of_seed_class_and_number_alone(name):
    one, other = (Trained(settings(name, distillation__seed=seed)) for seed in (0, 1))
    images = []
    for generator, count in (
        (one.generator, 1),
        (one.generator, 9),
        (other.generator, 9),
    ):
        randomise(generator)
        images.append(generator.samples([count] * 3))
    first, more, others = images
    several = one.generator.samples([9, 1, 4])
    wanted = [*more[:9], more[9], *more[18:22]]
    np.testing.assert_allclose(several, wanted, atol=1e-5)
    assert more.shape == (27, 8, 8, 1) and 0 <= more.min() < more.max() <= 1
    np.testing.assert_allclose(more[::9], first, atol=1e-5)
    flat = np.concatenate([more, others]).reshape(54, -1)
    gaps = np.abs(flat[:, None] - flat[None]).max(axis=2) + np.eye(54)
    assert gaps.min() > 1e-5, "all images differ, also those of another seed"
    one.generator.refresh(one.set)
    np.testing.assert_allclose(one.set.images()[::2], first, atol=1e-5)


@pytest.mark.parametrize("name", ["cgan", "biggan", "dcvae"])
def test_each_update_moves_its_own_network(trained, name):
    generator = trained(name).generator
    networks = generator.networks
    real, labels = tf.zeros([6, 8, 8, 1]), tf.constant([0, 1, 2] * 2)
    noise, drawn = generator._draw(6, tf.constant(0, tf.int64), 0)

    def moved(update):
        before = {
            k: [v.numpy() for v in n.trainable_variables] for k, n in networks.items()
        }
        update(real, labels, noise, drawn)
        return {
            k: sum(
                bool((v.numpy() != old).any())
                for v, old in zip(n.trainable_variables, before[k], strict=True)
            )
            for k, n in networks.items()
        }

    found = moved(generator._discriminate)
    assert found.pop("discriminator") and not any(found.values()), found
    found = moved(generator._generate)
    heads = 4 if name == "dcvae" else 0  # kernel and bias of both
    assert found["generator"] and found["discriminator"] == heads
    assert not any(found[average] for average in generator.averaged)


def test_gmmn_trains_one_class_after_the_other(trained):
    one = trained("gmmn")
    before = one.values()
    labels, pixels = next(iter(one.generator.inputs(one.data, 0, 1)))
    noise = tf.random.stateless_uniform([6, 3], [0, 1])
    one.generator._step(labels[0], pixels, noise, 0.1, 0.9)
    for key, value in one.values().items():
        assert (value[1:] == before[key][1:]).all() and labels[0] == 0
        assert (value[0] != before[key][0]).any(), key


def test_gmmn_has_momentum():
    """v = momentum * v - rate * g, w = w + v: the second step of equal gradients."""
    generator = Trained(settings("gmmn")).generator
    pixels = tf.zeros([1, 6, 8, 8, 1], tf.uint8)
    noise = tf.random.stateless_uniform([6, 3], [0, 1])
    velocity, weight = generator._velocities[0], generator._weights[0]
    label, start = tf.constant(1), weight.numpy()[1]
    generator._step(label, pixels, noise, 0.5, 0.9)
    first = velocity.numpy()[1]
    np.testing.assert_allclose(weight.numpy()[1], start + first, rtol=1e-6)
    generator._step(label, pixels, noise, 0.0, 0.9)
    np.testing.assert_allclose(velocity.numpy()[1], 0.9 * first, rtol=1e-6)


@with_average
def test_the_average_follows_by_its_formula(name):
    generator = Trained(settings(name, method__ema_decay=0.6)).generator
    for average, original in generator.averaged.items():
        for one, other in generator._pairs(average, original):
            np.testing.assert_array_equal(one, other)
    rng = np.random.default_rng(0)
    network = generator.networks["generator"]
    expected = [v.numpy().astype(np.float64) for v in network.variables]
    for t in range(8):
        for variable in network.variables:
            variable.assign(rng.normal(size=variable.shape))
        decay = min(0.6, (1 + t) / (10 + t))
        expected = [
            decay * a + (1 - decay) * v.numpy()
            for a, v in zip(expected, network.variables, strict=True)
        ]
        generator.move_average("average", "generator", tf.constant(t, tf.int64))
    assert decay == pytest.approx(8 / 17)
    for average, value in zip(
        generator.networks["average"].variables, expected, strict=True
    ):
        np.testing.assert_allclose(average, value, rtol=1e-4, atol=1e-6)


@with_average
def test_images_come_of_the_average(trained, name):
    generator, noise = trained(name).generator, tf.ones([2, 3])
    labels = tf.constant([0, 1])
    before = generator.sample(noise, labels).numpy()
    for variable in generator.networks["generator"].variables:
        variable.assign(tf.zeros_like(variable))
    np.testing.assert_array_equal(generator.sample(noise, labels), before)


@pytest.mark.parametrize("operations", [("flip", "cutout"), ("cutout",)])
def test_real_images_are_mirrored_only_where_dsa_may(operations):
    config = settings("cgan", augmentation__operations=operations)
    generator = Trained(config).generator
    _, (mirror, real, made) = generator._draw(50, tf.constant(0, tf.int64), 0)
    assert real is None and made is None, "cGAN has no DiffAugment"
    assert (mirror is not None) == ("flip" in operations)
    if mirror is not None:
        assert 10 < np.sum(mirror.warp.numpy()[:, 0, 0] < 0) < 40


def test_real_and_generated_images_are_varied_each_in_its_own_way(trained):
    generator = trained("biggan").generator
    numbers = [(0, 0), (0, 1), (1, 0)]
    holes = []
    for iteration, step in numbers:
        noise, (_, *both) = generator._draw(9, tf.constant(iteration, tf.int64), step)
        holes += [noise.numpy().tobytes()]
        holes += [drawn.hole.numpy().tobytes() for drawn in both]
    assert len(set(holes)) == len(holes)


def test_the_queue_takes_the_newest_and_lets_the_oldest_go():
    queue = tf.reshape(tf.range(2 * 5.0), [2, 5, 1])
    new = tf.reshape(tf.range(100, 104.0), [2, 2, 1])
    found = _queued(queue, new).numpy()[..., 0].tolist()
    assert found == [[100, 101, 0, 1, 2], [102, 103, 5, 6, 7]]


def test_gmmn_comes_nearer_to_the_real_images():
    """Each class is a pattern, lighter or darker; without training nothing falls."""
    rng = np.random.default_rng(0)
    patterns = rng.uniform(0, 1, (3, 1, 8, 8, 1)) > 0.5
    light = rng.uniform(60, 250, (3, 40, 1, 1, 1))
    images = (patterns * light).astype(np.uint8).reshape(120, 8, 8, 1)
    data = RealData("patterns", ("a", "b", "c"), sorted_split(images, [40] * 3))
    more = {
        "method__batch": 40,
        "method__hidden": (64, 64),
        "method__network_rate": 2.0,
    }
    one = Trained(settings("gmmn", distillation__iterations=99, **more), data)
    first = one.train(0, 1)["loss"]
    assert one.train(1, 14)["loss"] < 0.87 * first


def test_gmmn_trains_more_finely_in_the_end():
    """A tenth of the rate and more momentum from a quarter of the iterations on."""
    given = []
    one = Trained(settings("gmmn", distillation__iterations=8))

    def step(label, pixels, noise, rate, momentum):
        given.append((float(rate), float(momentum)))
        return tf.constant(0.0)

    one.generator._step = step
    one.train(0, 4)
    early, late = pytest.approx((0.2, 0.9)), pytest.approx((0.02, 0.99))
    assert given == [early] * 6 + [late] * 6


def test_medians_are_those_of_all_pairs():
    data = make_data()
    expected = []
    for k in range(3):
        images = data.train.class_images(k).reshape(-1, 64) / 255
        pairs = [
            np.sum((images[i] - images[j]) ** 2)
            for i in range(len(images))
            for j in range(i)
        ]
        expected.append(np.median(pairs))
    np.testing.assert_allclose(median_distances(data), expected, rtol=1e-4)


def test_networks_larger_than_memory_are_refused(monkeypatch):
    monkeypatch.setattr("dam_tf.generators.gmmn.available_bytes", lambda: 10**9)
    with pytest.raises(UserError, match=r"gmmn, 3 networks of .*--set=method\.hidden"):
        Trained(settings("gmmn", method__hidden=(10_000, 10_000)))


def test_registries_agree():
    assert {name: kind.Settings for name, kind in GENERATORS.items()} == (
        settings_of.GENERATORS
    )
    for kind in settings_of.GENERATORS.values():
        assert kind.reduction.startswith("small-scale")
    with pytest.raises(UserError, match="dam_tf generate --model=cgan"):
        methods.create(settings("cgan").method)
    with pytest.raises(UserError, match="unknown generator 'datadam'"):
        create(Config().method)
