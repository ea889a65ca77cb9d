"""CAFE: losses and gradient written out plainly, and the loops that data decide."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.augmentation import dsa
from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, drawn_classes, tensor_seed
from dam_tf.data.sampling import ClassBatch
from dam_tf.runs.distiller import create_distiller
from tests.methods.plain_bilevel import Plain
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

CLASSES, IPC, BATCH, SIZE = 3, 2, 5, 8
SHAPE = (SIZE, SIZE, 1)


def settings(method="cafe", **overrides):
    batch = {"distillation__batch_real": BATCH, "network__activation": "swish"}
    two = {"network__depth": 2}
    return tiny_config(method__name=method, **{**batch, **two, **overrides})


def distiller_of(config, images):
    return create_distiller(images, config, keras.layers.Identity())


@pytest.fixture
def images(rng):
    return rng.standard_normal((CLASSES, IPC, *SHAPE)).astype(np.float32)


@pytest.fixture
def real(rng):
    shape = (CLASSES, BATCH, *SHAPE)
    return rng.integers(0, 256, shape).astype(np.uint8)


def gradient_of(distiller, real, classes=range(CLASSES), iteration=0):
    batches = iter(
        ClassBatch(tf.constant([k]), tf.constant(real[k : k + 1])) for k in classes
    )
    gradients, losses = distiller.method.gradients(
        distiller.synthetic, batches, tf.constant(iteration, tf.int64)
    )
    gradient = tf.convert_to_tensor(gradients["images"]).numpy()
    return gradient.reshape(-1, IPC, *SHAPE), losses


def plain_losses(config, images, real, classes, iteration, weights):
    """Of all images at once, as the authors' code has it, by name."""
    network = Plain(config, SHAPE, CLASSES, iteration)
    parameters = dsa.identity(len(classes))
    if config.method.name == "cafe_dsa":
        seed = tensor_seed(0, Purpose.AUGMENTATION, iteration)
        parameters = dsa.draw(seed, len(classes), SHAPE[:2], config.augmentation)

    def features(some):
        each = some.shape[1]
        rows = np.repeat(np.arange(len(classes)), each)
        flat = tf.reshape(some, [-1, *SHAPE])
        found = network(dsa.apply(flat, dsa.take(parameters, rows)))
        return [
            tf.reshape(values, [len(classes), each, *values.shape[1:]])
            for values in (*found["taps"], found["embedding"])
        ]

    of_real = features(tf.constant(real[list(classes)], tf.float32) / 255)
    synthetic = features(images)
    alignment = tf.add_n(
        [
            weight * tf.reduce_sum((tf.reduce_mean(r, 1) - tf.reduce_mean(s, 1)) ** 2)
            for weight, r, s in zip(weights, of_real, synthetic, strict=True)
        ]
    )
    centres = tf.reduce_mean(synthetic[-1], axis=1)
    logits = tf.einsum("cnd,kd->cnk", of_real[-1], centres)
    chances = tf.nn.log_softmax(logits)
    discrimination = -sum(
        tf.reduce_sum(chances[place, :, place]) for place in range(len(classes))
    )
    loss = alignment + 0.01 * discrimination
    return {"loss": loss, "alignment": alignment, "discrimination": discrimination}


def plain_gradient(config, images, real, classes, iteration, weights):
    variable = tf.Variable(images[list(classes)])
    with tf.GradientTape() as tape:
        losses = plain_losses(config, variable, real, classes, iteration, weights)
    return tape.gradient(losses["loss"], variable).numpy(), losses


@pytest.mark.parametrize(
    ("method", "changes", "weights"),
    [
        ("cafe", {}, (0.1, 1, 2)),
        ("cafe_dsa", {}, (0.1, 1, 2)),
        (
            "cafe",
            {"layer_weights": [3, 0.5], "embedding_weight": 0.0},
            (3, 0.5, 0),
        ),
    ],
)
def test_gradient_is_that_of_the_plain_losses(
    images, real, method, changes, weights, monkeypatch
):
    """Real images pass two at a time, and the last one alone."""
    monkeypatch.setattr("dam_tf.methods.chunks.PIXELS_AT_ONCE", 2 * SIZE * SIZE)
    changes = {f"method__{key}": value for key, value in changes.items()}
    config = settings(method, **changes)
    gradient, losses = gradient_of(distiller_of(config, images), real, iteration=7)
    expected, plain = plain_gradient(config, images, real, range(CLASSES), 7, weights)
    assert set(losses) == set(plain)
    for name, value in plain.items():
        assert float(losses[name]) == pytest.approx(float(value), rel=1e-4)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * scale)


def test_some_classes_are_told_from_each_other(images, real):
    config = settings(distillation__classes_per_step=2)
    distiller = distiller_of(config, images)
    classes = drawn_classes(0, 4, CLASSES, 2)
    gradient, losses = gradient_of(distiller, real, classes, iteration=4)
    expected, plain = plain_gradient(config, images, real, classes, 4, (0.1, 1, 2))
    assert float(losses["loss"]) == pytest.approx(float(plain["loss"]), rel=1e-4)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(gradient[classes], expected, atol=1e-4 * scale)
    (other,) = set(range(CLASSES)) - set(classes)
    assert (gradient[other] == 0).all()


def test_discrimination_sums_over_real_images_and_alignment_does_not(images, real):
    one, two = (
        gradient_of(distiller_of(settings(distillation__batch_real=n), images), some)[1]
        for n, some in ((BATCH, real), (2 * BATCH, np.concatenate([real, real], 1)))
    )
    assert float(two["alignment"]) == pytest.approx(float(one["alignment"]), rel=1e-4)
    found, expected = float(two["discrimination"]), 2 * float(one["discrimination"])
    assert found == pytest.approx(expected, rel=1e-4)


class TestLoops:
    """With accuracies that a list says: of steps, and of epochs."""

    @pytest.fixture
    def loops(self, images, monkeypatch):
        said = []
        monkeypatch.setattr(
            "dam_tf.methods.cafe.log.info",
            lambda text, *values: said.append(text % values),
        )

        def loops(steps, epochs, **changes):
            """Runs iterations, and returns the epochs and the network of each."""
            changes = {f"method__{key}": value for key, value in changes.items()}
            changes["distillation__classes_per_step"] = 1  # the rest is as with more
            config = settings(method__window=3, network__depth=1, **changes)
            distiller = distiller_of(config, images)
            method, trained = distiller.method, []
            data = make_data()
            batches = iter(method.inputs(data, 0, len(steps)))

            def probed(state, iteration, epoch):
                found = steps[iteration] if epoch == 0 else epochs(int(epoch))
                return tf.constant(found)

            monkeypatch.setattr(method, "probed", probed)
            monkeypatch.setattr(
                method, "trained", lambda state, *_: trained.append(1) or state
            )
            counts, kernels = [], []
            for _ in steps:
                before = len(trained)
                distiller.train_step(batches)
                counts.append(len(trained) - before)
                kernels.append(method.read_network()[0][0].numpy())
            fresh = (Plain(config, SHAPE, CLASSES, k) for k in range(len(steps)))
            drawn = [
                np.array_equal(kernel, network.theta[0])
                for kernel, network in zip(kernels, fresh, strict=True)
            ]
            return counts, drawn, said

        return loops

    def test_a_network_stays_until_its_accuracy_is_steady(self, loops):
        """Spread 0.03 over three steps; five epochs spread over 0.04."""
        steps = [0.1, 0.5, 0.53, 0.5, 0.5, 0.9]
        counts, drawn, said = loops(steps, lambda epoch: 0.01 * epoch**2)
        assert drawn == [True, False, False, False, True, False]
        assert counts == [3, 3, 3, 0, 3, 3]
        assert not said

    def test_old_accuracies_do_not_count_for_a_fresh_network(self, loops):
        steps = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
        counts, drawn, _ = loops(steps, lambda epoch: 0.1 * epoch)
        assert drawn == [True, False, False] * 2 and counts == [3, 3, 0] * 2

    def test_the_window_slides_over_epochs(self, loops):
        """0, 0, 0, 0.02, 0.04: only the last three spread over more than 0.03."""
        values = [0.0, 0.0, 0.0, 0.02, 0.04]
        counts, _, _ = loops([0.5], lambda epoch: values[epoch - 1])
        assert counts == [5]

    def test_a_cap_ends_training_and_says_so_once(self, loops):
        counts, _, said = loops([0.1, 0.5], lambda epoch: 0.2, most_epochs=7)
        assert counts == [7, 7]
        assert len(said) == 1 and "over 7 epochs (method.most_epochs)" in said[0]

    def test_a_cap_ends_the_steps_and_says_so_once(self, loops):
        steps = [0.1, 0.5, 0.1, 0.5, 0.1, 0.5, 0.1, 0.5, 0.1]
        counts, drawn, said = loops(steps, lambda epoch: 0.1 * epoch, most_steps=4)
        assert drawn == [True, False, False, False] * 2 + [True]
        assert counts == [3, 3, 3, 0] * 2 + [3]
        assert len(said) == 1 and "after 4 iterations (method.most_steps)" in said[0]


def test_accuracy_is_that_of_real_images(images):
    config = settings(method__probe=4, distillation__batch_real=3)
    method = distiller_of(config, images).method
    method.inputs(make_data(), 0, 1)
    iteration = tf.constant(2, tf.int64)
    found = method.probed(method.drawn_network(iteration), iteration, 5)
    network, right = Plain(config, SHAPE, CLASSES, 2), 0
    for k in range(CLASSES):
        some = method._batches.images_of(k, 4, Purpose.PROBE_BATCH, iteration, 5)
        logits = network(tf.cast(some, tf.float32) / 255)["logits"]
        right += np.sum(np.argmax(logits, axis=1) == k)
    assert float(found) == pytest.approx(right / 12)
    assert 0 < right < 12


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({}, [1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.25, 0.125]),
        ({"method__rate_halves_at": []}, [1] * 10),
    ],
)
def test_the_learning_rate_is_halved(images, changes, rates):
    config = settings(
        distillation__iterations=10, distillation__learning_rate=1.0, **changes
    )
    optimizer = distiller_of(config, images).optimizers["images"]
    found = []
    for _ in rates:
        found.append(float(optimizer.learning_rate))
        optimizer.apply([tf.zeros([CLASSES * IPC, *SHAPE])])
    assert found == rates


def test_weights_that_are_no_weights_of_the_blocks_are_refused(images):
    with pytest.raises(UserError, match="gives 3 weights, and the network has 2 "):
        distiller_of(settings(method__layer_weights=[1, 1, 1]), images)
