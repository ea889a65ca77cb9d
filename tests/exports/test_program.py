"""A run compiled into a program: its functions in TensorFlow, and what is refused.

That JAX gives the same is tested in an environment of its own (`tests/jax/`).
"""

import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.mlir.stablehlo import stablehlo

import dam_tf
from dam_tf.base.errors import UserError
from dam_tf.base.target import in_program, program_for, target
from dam_tf.config.settings import replace, resolve
from dam_tf.data.preprocessing.preprocessing import fit_to_data
from dam_tf.exports.program.folder import export_program
from dam_tf.exports.program.functions import Functions
from dam_tf.exports.program.lowering import lower, module_of
from dam_tf.exports.program.self_test import sample
from dam_tf.methods.group_gradient import turns
from dam_tf.networks.pools import NetworkPool
from tests.tiny_data import make_data, tiny_config

DATA = make_data(channels=3)
ZCA = {"dataset__preprocessing": "zca"}
MOST = 3  # iterations of a call


def config_of(**overrides):
    small = {"network__width": 4, "network__depth": 1, "distillation__jit": "xla"}
    config = tiny_config(**{**small, "evaluation__epochs": 4, **overrides})
    return resolve(config, DATA.image_shape)


class Running:
    """Runs functions by TensorFlow as a program is run: by the names of arrays."""

    def __init__(self, functions, seed=0):
        self._functions = functions
        self.values = {name: one.numpy() for name, one in functions.variables.items()}
        self.values |= {"real": DATA.train.images, "test": DATA.test.images}
        self.values["seed"] = np.int32(seed)

    def __getitem__(self, name):
        return self.values[name]

    def call(self, name, **numbers):
        self.values |= {key: np.int32(number) for key, number in numbers.items()}
        function = self._functions.by_name[name]
        for one, variable in self._functions.variables.items():
            variable.assign(self.values[one])
        given = [
            tf.constant(self.values.get(key, np.zeros(spec.shape, spec.dtype.name)))
            for key, spec in function.arguments.items()
        ]
        found = function.call(*given)
        if name == "distill":
            for one in self._functions.state:
                self.values[one] = self._functions.variables[one].numpy()
        named = zip(function.results, found, strict=True)
        self.values |= {key: result.numpy() for key, result in named}


@pytest.fixture(scope="module")
def preprocessing():
    return fit_to_data(config_of(**ZCA).dataset, DATA)


@pytest.fixture(scope="module")
def functions(preprocessing):
    with program_for("cpu"):
        return Functions(config_of(**ZCA), DATA, preprocessing, MOST)


@pytest.fixture
def running(functions):
    return Running(functions)


@pytest.mark.slow
def test_first_images_are_real_ones_of_their_class(running, functions, preprocessing):
    running.call("init")
    assert running["iteration"] == 0 and not running["images/momentum"].any()
    seen = preprocessing(DATA.train.images / np.float32(255)).numpy()
    for label, image in zip(functions.owners, running["images"], strict=True):
        own = DATA.train.labels == label
        gaps = np.abs(seen - image).max(axis=(1, 2, 3))
        assert own[gaps.argmin()] and gaps.min() < 1e-4
    other = Running(functions, seed=1)
    other.call("init")
    assert not np.array_equal(other["images"], running["images"])


@pytest.mark.slow
def test_iterations_are_the_same_however_they_are_called(running, functions):
    running.call("init")
    once, first = Running(functions), running["images"]
    once.values |= running.values
    once.call("distill", count=3)
    running.call("distill", count=1)
    one = running["losses"][:1]
    running.call("distill", count=2)
    assert running["iteration"] == once["iteration"] == 3
    np.testing.assert_array_equal(running["images"], once["images"])
    losses = np.concatenate([one, running["losses"][:2]])
    np.testing.assert_array_equal(losses, once["losses"])
    assert np.isfinite(losses).all() and not running["losses"][2:].any()
    # Equation 4, with lambda and the factor on the loss as the settings have them.
    method = functions._config.method
    loss, sam, mmd = losses.T
    expected = method.scale * (sam + method.task_balance * mmd)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    # Every image moves; the last step is the momentum (SGD).
    moved = np.abs(running["images"] - first).max(axis=(1, 2, 3))
    assert (moved > 0).all()


@pytest.mark.slow
def test_networks_learn_and_answer(running, functions, preprocessing):
    """Classes differ in brightness, so random real images suffice to tell them."""
    running.call("init")
    running.call("pixels")
    pixels = preprocessing.inverse(running["images"])
    np.testing.assert_allclose(running["pixels"], pixels, atol=1e-4)
    np.testing.assert_array_equal(running["set/labels"], functions.owners)
    whole = Running(functions)
    whole.values |= running.values
    whole.call("evaluate", first=0, last=4)
    running.call("evaluate", first=0, last=1)
    assert not running["predictions"].any()  # they are not trained to the end
    running.call("evaluate", first=1, last=4)
    for name in functions.by_name["evaluate"].results:
        np.testing.assert_array_equal(running[name], whole[name], err_msg=name)
    assert whole["predictions"].shape == (2, 15)
    one, other = whole["network/weights/conv_1/kernel"]
    assert not np.array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        {"network__norm": "batch", "distillation__ema_decay": 0.9},
        {"method__name": "dm", "distillation__formation": "factor:2"},
        {"method__name": "pixel_mmd", "distillation__init": "k-center"},
        {"method__name": "feature_map", "distillation__classes_per_step": 2},
        {"method__name": "dsa", "method__outer_loop": 2, "method__inner_loop": 1},
    ],
    ids=str,
)
def test_every_kind_of_run_lowers(overrides):
    """The names that come out are those that go in again."""
    config = config_of(distillation__ipc=1, **overrides)
    with program_for("gpu"):
        functions = Functions(config, DATA, fit_to_data(config.dataset, DATA), MOST)
        one = functions.by_name["distill"]
        known = functions.variables | functions.constants
        found = lower(one.call, one.arguments, one.results, known)
    given = {value.name for value in found.arguments}
    results = [value.name for value in found.results]
    assert results[0] == "losses" and set(results[1:]) == set(functions.state)
    assert set(functions.state) <= given and {"real", "count", "seed"} <= given
    text = stablehlo.deserialize_portable_artifact_str(found.artifact)
    assert text.startswith(b"ML")  # MLIR's own bytes


@pytest.mark.slow
def test_a_pool_is_an_argument():
    rng = np.random.default_rng(0)
    shapes = [(3, 3, 3, 4), (4,), (4,), (4,), (64, 3), (3,)]
    pool = NetworkPool([[rng.normal(size=s) for s in shapes] for _ in range(5)])
    config = config_of(distillation__ipc=1)
    with program_for("gpu"):
        functions = Functions(
            config, DATA, fit_to_data(config.dataset, DATA), MOST, pool
        )
        one = functions.by_name["distill"]
        known = functions.variables | functions.constants
        found = lower(one.call, one.arguments, one.results, known)
    arguments = {value.name: value.shape for value in found.arguments}
    assert arguments["pool/0"] == (5, 3, 3, 3, 4)


@pytest.mark.slow
def test_a_folder_names_its_files(tmp_path):
    folder = export_program(
        config_of(), tmp_path / "program", "gpu", DATA, self_test=False
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert set(manifest["files"]) <= {path.name for path in folder.iterdir()}
    compile((folder / "run_program.py").read_text(), "run_program.py", "exec")
    with pytest.raises(UserError, match="holds another program"):
        export_program(config_of(), folder, "gpu", DATA)


@pytest.mark.parametrize(
    ("arguments", "overrides", "words"),
    [
        ({"target": "npu"}, {}, "unknown target 'npu'"),
        ({"iterations_per_call": 0}, {}, "at least 1, not 0"),
        ({}, {"distillation__ipc": 10}, "larger than class"),
        ({}, {"evaluation__augmentation": "autoaugment"}, "cannot be compiled"),
        ({}, {"evaluation__recipe": "own"}, "recipe 'own' cannot be compiled"),
        ({}, {"method__name": "cafe"}, "method 'cafe' cannot be compiled"),
        (
            {},
            {"method__name": "dc", "network__norm": "batch"},
            "cannot draw; use another",
        ),
        ({}, {**ZCA, "distillation__formation": "factor:2"}, "ZCA whitening mixes"),
        ({}, {"distillation__formation": "factor:3"}, "cannot be cut into 3 x 3"),
        ({}, {"distillation__formation": "half"}, "unknown formation 'half'"),
    ],
    ids=str,
)
def test_refused_before_anything_is_written(tmp_path, arguments, overrides, words):
    folder = tmp_path / "program"
    with pytest.raises(UserError, match=words):
        export_program(config_of(**overrides), folder, **{"data": DATA, **arguments})
    assert not folder.exists()


def test_a_folder_of_other_things_stays(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(UserError, match="not of a program"):
        export_program(config_of(), tmp_path, data=DATA, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_passes_are_larger_on_an_accelerator():
    config = replace(config_of(), distillation__batch_real=256)
    shape = (32, 32, 3)
    assert turns(config, shape, 10, 10) == (2, 16)
    with program_for("tpu"):
        assert target() == "tpu" and in_program()
        assert turns(config, shape, 10, 10) == (10, 512)
    assert not in_program()


@pytest.mark.parametrize(("tf32", "precision"), [(True, "DEFAULT"), (False, "HIGHEST")])
def test_products_keep_what_they_are_asked_to(tf32, precision):
    @tf.function(jit_compile=True)
    def product(one, other):
        return tf.matmul(one, other)

    text = module_of(product, [tf.eye(2), tf.eye(2)], tf32)
    assert text.count(precision) == 2  # of one factor and the other
    assert tf.config.experimental.tensor_float_32_execution_enabled()


def test_samples_are_spread_over_all_values():
    values = sample(np.arange(100_000).reshape(100, -1))
    assert len(values) <= 4000 and values[-1] > 99_000


def test_it_is_found_beside_the_other_exports():
    assert dam_tf.export.program is dam_tf.export_program is export_program
