"""What every network, layer, objective and augmentation operation must keep to.

Each gives the same values and gradients run eagerly, as a graph and compiled by
XLA, on one replica and split over two, and after saving and loading. The
registries decide what is tested, so a new entry is tested as soon as it is there.
"""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from dam_tf.methods.objectives import OBJECTIVES, create_objective

from dam_tf import networks
from dam_tf.augmentation import dsa
from dam_tf.config.settings import (
    OPERATIONS,
    AugmentationConfig,
    MethodConfig,
    NetworkConfig,
)
from dam_tf.methods.attention import NORMALIZATIONS, SpatialAttention
from dam_tf.methods.mmd import KERNELS, MaximumMeanDiscrepancy, maximum_mean_discrepancy
from dam_tf.networks.weights import INITIALIZERS, RandomWeights

TOLERANCE = 1e-4
SHAPE = (16, 16, 3)
CLASSES = 4


def choices(schema, name):
    fields = {field.name: field for field in dataclasses.fields(schema)}
    return fields[name].metadata["choices"]


def one_changed_at_a_time(schema, names, **fixed):
    """Returns the default of `schema`, and each that differs in one choice."""
    settings = [schema(**fixed)]
    for name in names:
        for value in choices(schema, name):
            changed = schema(**fixed, **{name: value})
            settings += [changed] if changed not in settings else []
    return settings


def label(value):
    """Names a setting by what it changes."""
    if dataclasses.is_dataclass(value):
        pairs = zip(
            dataclasses.asdict(value).items(),
            dataclasses.asdict(type(value)()).values(),
            strict=True,
        )
        changed = [f"{name}={now}" for (name, now), before in pairs if now != before]
        return ",".join(changed) or "default"
    return None


EVERY_OPERATION = (
    "|nor_conv_3x3~0|+|avg_pool_3x3~0|skip_connect~1|"
    "+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"
)
# Every choice of the network that distils; of the others, and of a new one, little
# more than its own, as they share layers with it and are slow to compile.
CONVNETS = {
    depth: one_changed_at_a_time(
        NetworkConfig, ("norm", "activation", "pooling"), width=4, depth=depth
    )
    for depth in (1, 2)
}
NETWORKS = {
    "convnet": CONVNETS[1],
    "lenet": [NetworkConfig(width=64), NetworkConfig(width=64, norm="batch")],
    "mlp": [NetworkConfig(width=8), NetworkConfig(width=8, norm="batch")],
    "vit": [NetworkConfig(width=6, depth=2)],
    "nasbench201": [NetworkConfig(width=16, depth=1, cell=EVERY_OPERATION)],
}
# Those that are not saved as well.
MORE_NETWORKS = {
    "convnet": [*CONVNETS[2], NetworkConfig(width=4, depth=2, pooling_size=3)],
    "mlp": [NetworkConfig(width=8, depth=1, norm="layer")],
    "resnet18_ap": [NetworkConfig(width=8, norm="batch", pooling="max")],
}
# Of architectures that cannot do with 16x16.
SHAPES = {"vgg11": (32, 32, 3)}
# The choices that an objective reads; a new one is tested with its defaults.
METHOD_SETTINGS = {
    "datadam": ("normalization", "loss", "kernel"),
    "dm": ("kernel",),
    "pixel_mmd": ("kernel",),
}
METHODS = [
    method
    for name in OBJECTIVES
    for method in one_changed_at_a_time(
        MethodConfig, METHOD_SETTINGS.get(name, ()), name=name
    )
]


def every_network(*, saved_only=False):
    pairs = []
    for name in networks.ARCHITECTURES:
        configs = [*NETWORKS.get(name, [NetworkConfig(width=8)])]
        configs += [] if saved_only else MORE_NETWORKS.get(name, [])
        pairs += [(name, config) for config in configs]
    return pytest.mark.parametrize(("name", "config"), pairs, ids=label)


EVERY_METHOD = pytest.mark.parametrize("method", METHODS, ids=label)
# Together, alone, and with flip left out as for digits.
EVERY_AUGMENTATION = pytest.mark.parametrize(
    "operations",
    [OPERATIONS, tuple(o for o in OPERATIONS if o != "flip"), ()]
    + [(operation,) for operation in OPERATIONS],
    ids=lambda operations: "+".join(operations) or "none",
)


def shape_of(name):
    return SHAPES.get(name, SHAPE)


def some_values(*shape, seed=0):
    return tf.random.stateless_normal(shape, [seed, 1])


def assert_same(found, expected, tolerance=TOLERANCE):
    tf.nest.assert_same_structure(found, expected)
    for one, other in zip(
        tf.nest.flatten(found), tf.nest.flatten(expected), strict=True
    ):
        assert np.isfinite(other).all()
        # Gradients of deep networks are sums of terms that nearly cancel.
        scale = max(1, np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * scale)


def assert_same_however_run(function, *arguments):
    """Compares eager with graph and XLA."""
    eager = function(*arguments)
    assert_same(tf.function(function)(*arguments), eager)
    assert_same(tf.function(function, jit_compile=True)(*arguments), eager)


def with_gradient(function, inputs):
    """Returns `function(inputs)` and the gradient of its values, unequally summed."""
    generator = np.random.default_rng(0)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(inputs)
        total = tf.add_n(
            [
                tf.reduce_sum(output * np.float32(generator.normal(size=output.shape)))
                for output in tf.nest.flatten(outputs)
            ]
        )
    return outputs, tape.gradient(total, inputs)


@pytest.fixture(scope="module")
def strategy():
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    assert len(devices) >= 2, "conftest.py is to split the CPU into two devices"
    return tf.distribute.MirroredStrategy(devices[:2])


def on_two_replicas(strategy, function, parts):
    """Runs `function` on a tuple of arguments for each replica, and lists results."""

    def part(context):
        return parts[context.replica_id_in_sync_group]

    @tf.function
    def run(arguments):
        return strategy.run(function, args=arguments)

    values = run(strategy.experimental_distribute_values_from_function(part))
    per_output = [
        strategy.experimental_local_results(v) for v in tf.nest.flatten(values)
    ]
    assert all(len(results) == 2 for results in per_output)
    structure = tf.nest.map_structure(
        lambda v: strategy.experimental_local_results(v)[0], values
    )
    return [
        tf.nest.pack_sequence_as(
            structure, [results[replica] for results in per_output]
        )
        for replica in range(2)
    ]


class TestNetworks:
    def features_of(self, name, config):
        """Returns features and logits of images and weights, and what draws those."""
        network = networks.create(name, shape_of(name), CLASSES, config)
        taps = networks.registry.feature_extractor(network).output
        model = keras.Model(network.inputs[0], {**taps, "logits": network.outputs[0]})
        draw = RandomWeights(model, config.initializer)
        fixed = model.non_trainable_variables

        def features(images, weights):
            return model.stateless_call(weights, fixed, images, training=True)[0]

        return features, draw

    @every_network()
    def test_same_however_run(self, name, config):
        features, draw = self.features_of(name, config)
        weights = draw(tf.constant([1, 2]))

        def run(images):
            return with_gradient(lambda x: features(x, weights), images)

        assert_same_however_run(run, some_values(3, *shape_of(name)))

    @pytest.mark.parametrize("name", networks.ARCHITECTURES)
    @pytest.mark.parametrize("initializer", INITIALIZERS)
    def test_weights_are_the_same_however_run(self, name, initializer, strategy):
        config = NetworkConfig(width=8, depth=2, initializer=initializer)
        _, draw = self.features_of(name, config)
        seed = tf.constant([5, 6])
        expected = draw(seed)
        assert_same(tf.function(draw)(seed), expected, tolerance=0)
        for found in on_two_replicas(strategy, draw, [(seed,), (seed,)]):
            assert_same(found, expected, tolerance=0)

    @pytest.mark.parametrize(
        ("name", "norm"),
        [("convnet", n) for n in choices(NetworkConfig, "norm") if n != "batch"]
        + [
            (name, "instance" if name == "nasbench201" else None)
            for name in networks.ARCHITECTURES
            if name != "convnet"
        ],
    )
    def test_one_replica_equals_two(self, name, norm, strategy):
        """Images are independent of each other, except under batch norm."""
        config = NetworkConfig(width=8, depth=2, norm=norm)
        features, draw = self.features_of(name, config)
        images = some_values(6, *shape_of(name))
        weights = draw(tf.constant([1, 2]))

        def run(images):
            with tf.GradientTape() as tape:
                tape.watch(images)
                outputs = features(images, weights)
                total = tf.add_n(
                    [tf.reduce_sum(o**2) for o in tf.nest.flatten(outputs)]
                )
            return outputs, tape.gradient(total, images)

        halves = on_two_replicas(strategy, run, [(images[:4],), (images[4:],)])
        joined = tf.nest.map_structure(lambda *v: np.concatenate(v), *halves)
        assert_same(joined, run(images))

    # Keras' own variables, as it writes them with NumPy 2.
    @pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    @every_network(saved_only=True)
    def test_saved_is_loaded(self, name, config, tmp_path):
        network = networks.create(name, shape_of(name), CLASSES, config)
        weights = RandomWeights(network)(tf.constant([3, 4]))
        for variable, value in zip(network.trainable_variables, weights, strict=True):
            variable.assign(value)
        images = some_values(3, *shape_of(name))
        expected = network(images)
        network.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert_same(loaded(images), expected, tolerance=1e-6)
        assert_same(
            networks.registry.feature_extractor(loaded)(images),
            networks.registry.feature_extractor(network)(images),
            tolerance=1e-6,
        )
        network.export(tmp_path / "exported", verbose=False)
        exported = tf.saved_model.load(tmp_path / "exported")
        assert_same(exported.serve(images), expected, tolerance=1e-5)


class TestLayers:
    @pytest.mark.parametrize("normalization", NORMALIZATIONS)
    class TestSpatialAttention:
        @pytest.mark.parametrize("power", [1.0, 3.5, 4.0])
        def test_same_however_run(self, power, normalization):
            layer = SpatialAttention(power, normalization)
            features = tf.nn.relu(some_values(3, 4, 5, 6))
            assert_same_however_run(lambda x: with_gradient(layer, x), features)

        def test_saved_is_loaded(self, normalization, tmp_path):
            inputs = keras.Input(SHAPE)
            outputs = SpatialAttention(3.5, normalization)(inputs)
            model = keras.Model(inputs, outputs)
            model.export(tmp_path / "exported", verbose=False)
            images = some_values(2, *SHAPE)
            exported = tf.saved_model.load(tmp_path / "exported")
            assert_same(exported.serve(images), model(images), tolerance=1e-5)

    @pytest.mark.parametrize("kernel", KERNELS)
    class TestMaximumMeanDiscrepancy:
        def test_same_however_run(self, kernel):
            real = some_values(2, 5, 7)

            def run(synthetic):
                return with_gradient(
                    lambda x: maximum_mean_discrepancy(real, x, kernel), synthetic
                )

            assert_same_however_run(run, some_values(2, 3, 7, seed=1))

        def test_metric_in_a_graph(self, kernel):
            eager, graph = (
                MaximumMeanDiscrepancy(kernel),
                MaximumMeanDiscrepancy(kernel),
            )
            update = tf.function(graph.update_state)
            for seed in range(3):
                pair = some_values(2, 5, 7, seed=seed), some_values(2, 3, 7, seed=9)
                eager.update_state(*pair)
                update(*pair)
                assert_same(graph.result(), eager.result())
            assert update.experimental_get_tracing_count() == 1

        def test_metric_over_two_replicas(self, kernel, strategy):
            """Each holds some classes; result() gives the mean over all updates."""
            real, synthetic = some_values(4, 5, 7), some_values(4, 3, 7, seed=1)
            with strategy.scope():
                metric = MaximumMeanDiscrepancy(kernel)
            halves = [(real[:2], synthetic[:2]), (real[2:], synthetic[2:])]

            def update(real, synthetic):
                metric.update_state(real, synthetic)
                return tf.zeros([])

            on_two_replicas(strategy, update, halves)
            values = maximum_mean_discrepancy(real, synthetic, kernel)
            assert_same(metric.result(), tf.reduce_sum(values) / 2)


class TestObjectives:
    SHAPES = ((8, 8, 4), (4, 4, 6), (2, 2, 5))

    def features(self, per_class, seed):
        count = CLASSES * per_class
        taps = [
            tf.nn.relu(some_values(count, *shape, seed=seed + index))
            for index, shape in enumerate(self.SHAPES)
        ]
        embedding = some_values(count, 12, seed=seed + 9)
        images = some_values(count, *self.SHAPES[0], seed=seed + 10)
        return {"taps": taps, "embedding": embedding, "images": images}

    def loss_and_gradient(self, objective, classes):
        def by_class(features):
            vectors = objective.vectors(features)
            return [tf.reshape(v, [classes, -1, v.shape[-1]]) for v in vectors]

        def run(real, synthetic):
            with tf.GradientTape() as tape:
                tape.watch(synthetic)
                losses = objective.losses(by_class(real), by_class(synthetic))
            gradient = tape.gradient(
                losses["loss"], synthetic, unconnected_gradients="zero"
            )
            return losses, gradient

        return run

    @EVERY_METHOD
    def test_same_however_run(self, method):
        objective = create_objective(method, len(self.SHAPES), 32)
        run = self.loss_and_gradient(objective, CLASSES)
        assert_same_however_run(run, self.features(5, 0), self.features(2, 50))

    @EVERY_METHOD
    def test_classes_split_over_two_replicas(self, method, strategy):
        """Losses add up over classes, and each class has its own gradient."""
        objective = create_objective(method, len(self.SHAPES), 32)
        real, synthetic = self.features(5, 0), self.features(2, 50)
        losses, gradient = self.loss_and_gradient(objective, CLASSES)(real, synthetic)

        def half(features, replica):
            def rows(values):
                count = len(values) // 2
                return values[replica * count : (replica + 1) * count]

            return tf.nest.map_structure(rows, features)

        run = self.loss_and_gradient(objective, CLASSES // 2)
        results = on_two_replicas(
            strategy, run, [(half(real, r), half(synthetic, r)) for r in range(2)]
        )
        sums = tf.nest.map_structure(lambda *v: sum(v), *(r[0] for r in results))
        assert_same(sums, losses)
        joined = tf.nest.map_structure(
            lambda *v: np.concatenate(v), *(r[1] for r in results)
        )
        assert_same(joined, gradient)


def augment_with_gradient(images, parameters):
    return with_gradient(lambda x: dsa.apply(x, parameters), images)


# Traced and compiled once for all operations: which one it is, is data.
augment_in_a_graph = tf.function(augment_with_gradient)
augment_compiled = tf.function(augment_with_gradient, jit_compile=True)


class TestAugmentation:
    SIZE = (12, 10)

    def draw(self, seed, operations=OPERATIONS, shared_operation=False):
        config = AugmentationConfig(operations=operations)
        return dsa.draw(seed, 6, self.SIZE, config, shared_operation)

    @EVERY_AUGMENTATION
    def test_same_however_run(self, operations):
        parameters = self.draw([3, 1], operations)
        images = some_values(6, *self.SIZE, 3)
        eager = augment_with_gradient(images, parameters)
        assert_same(augment_in_a_graph(images, parameters), eager)
        assert_same(augment_compiled(images, parameters), eager)

    @EVERY_AUGMENTATION
    @pytest.mark.parametrize("shared_operation", [False, True])
    def test_draws_are_the_same_in_a_graph(self, operations, shared_operation):
        seed = tf.constant([5, 5])
        expected = self.draw(seed, operations, shared_operation)
        graph = tf.function(self.draw)(seed, operations, shared_operation)
        # To the last bits of sine and cosine.
        assert_same(graph, expected, tolerance=1e-6)

    def test_draws_compile(self):
        """XLA has floats of its own (tensorflow issue 117644), in the same ranges."""
        draw = tf.function(self.draw, jit_compile=True)
        parameters = draw(tf.constant([5, 5]))
        structure = dsa.identity(6)
        tf.nest.assert_same_structure(parameters, structure)
        for found, like in zip(parameters, structure, strict=True):
            assert found.shape == like.shape and found.dtype == like.dtype
        assert (np.abs(parameters.warp[:, :, :2]) <= 1.2).all()
        assert (np.abs(parameters.brightness) <= 0.5).all()
        assert (np.abs(parameters.saturation - 1) <= 1).all()
        assert (np.abs(parameters.contrast - 1) <= 0.5).all()

    def test_one_replica_equals_two(self, strategy):
        """All draw for every class, and each takes the rows of its own."""
        images, seed = some_values(6, *self.SIZE, 3), tf.constant([3, 1])

        def run(images, rows):
            return dsa.apply(images, dsa.take(self.draw(seed), rows))

        rows = tf.range(6)
        parts = [(images[:4], rows[:4]), (images[4:], rows[4:])]
        joined = tf.concat(on_two_replicas(strategy, run, parts), axis=0)
        assert_same(joined, run(images, rows), tolerance=1e-6)
