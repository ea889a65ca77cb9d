"""DD and LD: gradients against plain autodiff and formulas, and what they keep."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.settings import resolve
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.data.sampling import ClassBatch
from dam_tf.methods import DD, LD, Task, inner_step, ld_network
from dam_tf.methods.dd import RATES
from dam_tf.methods.ld import on_simplex, usual_batch, usual_patience
from dam_tf.methods.optimizers import Adam, AdamMini
from dam_tf.networks.adam import adam_step
from dam_tf.runs.distiller import create_distiller
from tests.tiny_data import NAMES, make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

SHAPE, CLASSES = (8, 8, 1), len(NAMES)
RNG = np.random.default_rng(0)
REAL = ClassBatch(
    tf.range(CLASSES), tf.constant(RNG.integers(0, 256, (3, 7, *SHAPE)), tf.uint8)
)


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    """Real images pass in chunks, the last of which is not whole."""
    for module in (inner_step, ld_network):
        monkeypatch.setattr(module, "images_at_once", lambda *_: 4)


def made(kind, norm="instance", ipc=2, jit="none", network="convnet", **settings):
    """A method as a run has it, its set, and preprocessing."""
    method = kind(**settings)
    overrides = {"distillation__ipc": ipc, "distillation__jit": jit}
    overrides |= {"network__name": network, "network__norm": norm}
    overrides["network__depth"] = 2
    config = tiny_config(method__name=method.settings.name, **overrides)
    config = dataclasses.replace(resolve(config, SHAPE), method=method.settings)
    task = Task(config, SHAPE, NAMES)
    method.check(task)
    images = np.random.default_rng(1).standard_normal((CLASSES, ipc, *SHAPE))
    synthetic = method.start(task, images.astype(np.float32))
    preprocessing = fit_preprocessing("standardize", make_data().train.images)
    method.build(task, synthetic, preprocessing)
    return method, synthetic, preprocessing


def real_loss(step, preprocessing, state):
    """The mean cross-entropy of all real images at once."""
    images = tf.cast(tf.reshape(REAL.images, [-1, *SHAPE]), tf.float32) / 255
    labels = np.repeat(np.arange(CLASSES), REAL.images.shape[1])
    weights, statistics = step.weights(state), step.statistics(state)
    outputs, _ = step.network.apply(
        weights, statistics, preprocessing(images), training=False
    )
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs.logits)
    return tf.reduce_mean(losses)


def trained(step, state, images, labels, rate):
    """A step of SGD whose gradient stays on the tape around it."""
    weights, statistics = step.weights(state), step.statistics(state)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        outputs, statistics = step.network.apply(weights, statistics, images)
        powers = tf.exp(outputs.logits)
        shares = powers / tf.reduce_sum(powers, axis=1, keepdims=True)
        loss = -tf.reduce_sum(labels * tf.math.log(shares)) / len(labels)
    gradient = tape.gradient(loss, weights)
    moved = [w - rate * g for w, g in zip(weights, gradient, strict=True)]
    return [*moved, *statistics]


@pytest.mark.parametrize(
    ("norm", "settings"),
    [
        ("instance", {"repeats": 2}),
        ("batch", {"repeats": 2, "per_step": 2, "networks": 2}),
        ("none", {"start": "fixed", "repeats": 1, "step_size": 0.5}),
    ],
)
def test_dd_is_the_derivative_of_all_its_steps(norm, settings):
    method, synthetic, preprocessing = made(DD, norm=norm, **settings)
    step, iteration = method._step, tf.constant(4, tf.int64)
    found, logs = method.gradients(synthetic, iter([REAL]), iteration)
    count, per_step = settings.get("networks", 1), settings.get("per_step", 1)
    stored, raw = (synthetic.variables_by_name[x].value for x in ("images", RATES))
    assert np.allclose(tf.nn.softplus(raw), settings.get("step_size", 0.02))
    by_class = tf.reshape(stored, [CLASSES, -1, per_step, *SHAPE])
    with tf.GradientTape() as tape:
        tape.watch([stored, raw])
        losses = []
        for number in range(count):
            seed = tensor_seed(0, Purpose.NETWORK, iteration, number)
            if settings.get("start") == "fixed":
                seed = tensor_seed(0, Purpose.FIXED_NETWORK)
            state = step.first(seed)
            for t, rate in enumerate(tf.unstack(tf.nn.softplus(raw))):
                by_class = tf.reshape(stored, [CLASSES, -1, per_step, *SHAPE])
                images = by_class[:, t % by_class.shape[1]]
                images = tf.reshape(images, [-1, *SHAPE])
                labels = np.repeat(np.eye(CLASSES, dtype=np.float32), per_step, 0)
                state = trained(step, state, images, labels, rate)
            losses.append(real_loss(step, preprocessing, state))
        loss = tf.add_n(losses) / count
    of_images, of_rates = tape.gradient(loss, [stored, raw])
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-5)
    scale = np.abs(of_images).max()
    np.testing.assert_allclose(found["images"], of_images, rtol=1e-3, atol=1e-4 * scale)
    np.testing.assert_allclose(found[RATES], of_rates, rtol=1e-3, atol=1e-6)
    assert np.abs(of_images).min(axis=(1, 2, 3)).all(), "each image is used"


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_ld_through_a_step(norm):
    method, synthetic, preprocessing = made(
        LD, norm=norm, variant="second_order", batch=4, step_size=0.5
    )
    iteration = tf.constant(4, tf.int64)
    found, logs = method.gradients(synthetic, iter([REAL]), iteration)
    labels, step = synthetic.labels(), method._step
    rows, images, _ = method._inner(synthetic, iteration)
    assert len(set(rows.numpy())) == 4
    with tf.GradientTape() as tape:
        tape.watch(labels)
        state = method._network.state()
        state = trained(step, state, images, tf.gather(labels, rows), 0.5)
        loss = real_loss(step, preprocessing, state)
    expected = tf.convert_to_tensor(tape.gradient(loss, labels))
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-5)
    scale = np.abs(expected).max()
    assert scale > 1e-5
    np.testing.assert_allclose(found["labels"], expected, rtol=1e-3, atol=1e-4 * scale)
    assert set(found) == {"labels"}


def test_ld_through_a_ridge_regression():
    """Features, solution, classifier and gradient in NumPy, in float64."""
    method, synthetic, preprocessing = made(LD, batch=5, pace=0.3, ridge=0.7)
    network, step = method._network, method._step
    old = RNG.standard_normal(network.variables["classifier"].shape) / 10
    network.variables["classifier"].assign(old)
    network.variables["scale"].assign(2.0)
    start = np.abs(RNG.standard_normal([6, CLASSES]))
    start /= start.sum(axis=1, keepdims=True)
    synthetic.variables_by_name["labels"].assign(start)
    found, logs = method.gradients(synthetic, iter([REAL]), tf.constant(4, tf.int64))
    rows, images, _ = method._inner(synthetic, tf.constant(4))
    pixels = tf.cast(tf.reshape(REAL.images, [-1, *SHAPE]), tf.float32) / 255

    def features(images):
        some = step.outputs(network.state(), images)[0].embedding
        return np.concatenate([np.float64(some), np.ones([len(some), 1])], axis=1)

    inner, real = features(images), features(preprocessing(pixels))
    classes = np.repeat(np.arange(CLASSES), REAL.images.shape[1])

    def loss_of(labels):
        kernel = inner @ inner.T + 0.7 * np.eye(5)
        solution = inner.T @ np.linalg.solve(kernel, labels[rows])
        logits = 2.0 * real @ (0.7 * old + 0.3 * solution)
        sums = np.log(np.exp(logits).sum(axis=1))
        return np.mean(sums - logits[np.arange(len(real)), classes])

    np.testing.assert_allclose(logs["loss"], loss_of(start), rtol=1e-5)
    expected = np.zeros_like(start)
    for place in np.ndindex(start.shape):
        moved = np.zeros_like(start)
        moved[place] = 1e-5
        expected[place] = (loss_of(start + moved) - loss_of(start - moved)) / 2e-5
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(found["labels"], expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("variant", ["ridge", "second_order"])
def test_lds_network_takes_a_step_of_adam(variant):
    method, synthetic, _ = made(LD, variant=variant, batch=5)
    network, step = method._network, method._step
    if variant == "ridge":
        network.variables["scale"].assign(2.0)
    before, iteration = network.state(), tf.constant(0, tf.int64)
    labels = np.abs(RNG.standard_normal([6, CLASSES])).astype(np.float32)
    synthetic.variables_by_name["labels"].assign(labels)
    method.update(synthetic, iter([]), iteration)
    labels = labels.clip(0, 1) / labels.clip(0, 1).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(synthetic.labels(), labels, rtol=1e-5)
    rows, images, _ = method._inner(synthetic, iteration)
    with tf.GradientTape() as tape:
        tape.watch(before)
        outputs = step.outputs(before, images)[0]
        logits = outputs.logits
        if variant == "ridge":
            ones = tf.ones([5, 1])
            features = tf.concat([outputs.embedding, ones], axis=1)
            kernel = features @ tf.transpose(features) + tf.eye(5)
            inverse = tf.linalg.inv(kernel) @ labels[rows]
            classifier = 0.01 * tf.transpose(features) @ inverse
            logits = 2.0 * features @ classifier
        chances = tf.math.log(tf.nn.softmax(logits))
        loss = -tf.reduce_sum(labels[rows] * chances) / 5
    gradients = tape.gradient(loss, before)
    for one, new, gradient in zip(before, network.state(), gradients, strict=True):
        gradient = np.zeros(one.shape) if gradient is None else np.asarray(gradient)
        clear = np.abs(gradient) > 1e-5  # so that Adam's step is its sign
        expected = -1e-3 * np.sign(gradient)
        np.testing.assert_allclose((new - one)[clear], expected[clear], atol=2e-5)
    assert int(network.variables["steps"]) == 1
    if variant == "ridge":
        np.testing.assert_allclose(
            network.variables["classifier"], classifier, rtol=1e-3, atol=1e-6
        )


class Patient:
    """The rule of the released code, in lists, as a Python programmer writes it."""

    def __init__(self, patience):
        self.patience, self.lengths = patience, []
        self.start()

    def start(self):
        self.errors, self.lowest, self.since = [], np.inf, 0

    def note(self, error):
        self.errors.append(error)
        if len(self.errors) < self.patience:
            return
        total = sum(self.errors[-self.patience :])
        if total < self.lowest - 1e-6 or len(self.errors) == self.patience:
            self.lowest, self.since = total, 0
        elif self.since < self.patience:
            self.since += 1
        else:
            self.lengths.append(len(self.errors) - self.since - 1)
            self.start()


@pytest.mark.parametrize("variant", ["ridge", "second_order"])
def test_a_fresh_network_takes_over_when_errors_no_longer_fall(variant):
    method, _, _ = made(LD, variant=variant, patience=3)
    network, expected = method._network, Patient(3)
    first = network.state()
    assert network.usual_steps() == 1
    for number in range(60):
        error = np.float32(0.9 - 0.1 * min(number % 17, 6) + 0.01 * (number % 2))
        expected.note(error)
        network.variables["errors"].assign_add([1e-9, 0, 0])
        network.restart_if_stuck(tf.constant(1 - error))
    assert len(expected.lengths) > 3
    assert int(network.restarts) == len(expected.lengths)
    newest = expected.lengths[::-1][:3]
    assert network.variables["lengths"].numpy().tolist() == newest
    assert network.usual_steps() == int(np.mean(newest))
    seed = tensor_seed(0, Purpose.NETWORK, len(expected.lengths))
    for now, fresh in zip(network.state(), method._step.first(seed), strict=True):
        np.testing.assert_array_equal(now, fresh)
    assert not np.array_equal(first[0], network.state()[0])


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, AdamMini),
        ({"optimizer": "adam"}, Adam),
        ({"variant": "second_order"}, Adam),
    ],
)
def test_what_moves_the_labels(settings, kind):
    changes = {f"method__{name}": value for name, value in settings.items()}
    config = tiny_config(method__name="ld", **changes)
    images = np.zeros([CLASSES, 2, *SHAPE], np.float32)
    layer = fit_preprocessing("standardize", make_data().train.images)
    optimizer = create_distiller(images, config, layer).optimizers["labels"]
    assert type(optimizer) is kind
    assert float(optimizer.learning_rate) == pytest.approx(1e-3)
    assert optimizer.beta_1 == 0.9


def test_rows_are_brought_back_to_the_simplex():
    labels = RNG.standard_normal([50, 4]).astype(np.float32)
    labels[7] = -1.0
    found = on_simplex(tf.constant(labels)).numpy()
    assert (found >= 0).all() and np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(found[7], 0.25)
    inside = np.full([2, 4], 0.25, np.float32)
    np.testing.assert_array_equal(on_simplex(inside), inside)


def test_adam_is_that_of_pytorch():
    """Values of `torch.optim.Adam` by its formula, in NumPy, over three steps."""
    weight, mean, square = RNG.standard_normal(5), np.zeros(5), np.zeros(5)
    mine = [tf.constant(weight, tf.float32)], [tf.zeros(5)], [tf.zeros(5)]
    for step in range(3):
        gradient = RNG.standard_normal(5)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        corrected = np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8
        weight = weight - 0.1 * mean / (1 - 0.9 ** (step + 1)) / corrected
        weights, means, squares = mine
        gradients = [tf.constant(gradient, tf.float32)]
        mine = adam_step(weights, gradients, means, squares, tf.constant(step), 0.1)
    np.testing.assert_allclose(mine[0][0], weight, rtol=1e-4)


def test_sizes_as_in_the_released_code():
    batches = [usual_batch(n, 10) for n in (10, 20, 50, 100, 200, 500)]
    assert batches == [10, 10, 25, 50, 50, 50] and usual_batch(3, 3) == 3
    assert [usual_patience(n, 10) for n in (100, 101)] == [50, 200]


def test_dds_recipe_says_each_step():
    method, synthetic, _ = made(DD, ipc=4, per_step=2, repeats=2, start="fixed")
    synthetic.variables_by_name[RATES].assign([-1.0, 0.0, 1.0, 2.0])
    recipe = method.recipe(synthetic)
    np.testing.assert_allclose(
        recipe.learning_rates, np.log1p(np.exp([-1.0, 0, 1, 2])), rtol=1e-6
    )
    step = [0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]
    assert [*map(list, recipe.batches)] == [*step, *step]
    assert (recipe.steps, recipe.batch_size, recipe.start_seed) == (4, 6, 0)
    assert made(DD)[0].recipe(made(DD)[1]).start_seed is None
    synthetic.variables_by_name[RATES].assign([-1.0, np.nan, 1.0, 2.0])
    assert "step size became nan" in method.failure(synthetic)
    synthetic.variables_by_name[RATES].assign([-1.0, -500.0, 1.0, 2.0])
    assert "step size became 0" in method.failure(synthetic)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (DD, {"per_step": 4}, "ipc 2 cannot be divided into steps of method.per_step"),
        (DD, {"start": "fixed", "networks": 2}, "method.networks 2"),
        (LD, {"batch": 7}, "method.batch 7 is more than the 6 images"),
    ],
)
def test_what_cannot_be_is_refused(kind, settings, message):
    with pytest.raises(UserError, match=message):
        made(kind, **settings)
