"""Writes the compiled step as StableHLO, with its arguments and its results.

    python benchmarks/export_stablehlo.py --output_dir=step --ipc=10 --batch_real=256
    python benchmarks/run_stablehlo.py step

The folder holds `step.mlir`, the program that XLA compiles here; `arguments.npz`, one
array for each of its arguments, `argument_000` and so on; `results.npz`, what it gives
on this machine; and `step.json`, which names both. Another XLA runtime, such as JAX's,
can then time exactly this program on its accelerator. Networks, transforms and batches
are drawn outside, for XLA draws other numbers. One call moves the images once: losses
and gradient of all classes, then SGD with momentum.
"""

import json
import pathlib

import _machine
import _tools
import numpy as np
from absl import flags

from dam_tf.base.files import atomic_file
from dam_tf.config.settings import read_config, resolve

_OUTPUT = flags.DEFINE_string("output_dir", "step", "Folder that is written.")
_CLASSES = flags.DEFINE_integer("classes", 10, "Classes.", lower_bound=2)
_IPC = flags.DEFINE_integer("ipc", 10, "Synthetic images per class.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_real", 256, "Real images each.", lower_bound=1)
_SIZE = flags.DEFINE_integer("image_size", 32, "Height and width.", lower_bound=4)
_SET = flags.DEFINE_multi_string(
    "set", [], "A setting, as section.key=value: precision, for example."
)


def main() -> None:
    overrides = {
        **_tools.overrides(_SET.value),
        "distillation.ipc": _IPC.value,
        "distillation.batch_real": _BATCH.value,
    }
    shape = (_SIZE.value, _SIZE.value, 3)
    config = resolve(read_config(overrides=overrides), shape)
    print(
        f"Compiling the step of {_CLASSES.value} classes, {_IPC.value} images and "
        f"{_BATCH.value} real ones each.",
        flush=True,
    )

    _tools.import_tensorflow()
    step, inputs = _step(config, _CLASSES.value, shape)
    concrete = step.get_concrete_function(*inputs)
    text = step.experimental_get_compiler_ir(*inputs)(stage="stablehlo")
    arguments = _named(inputs) + _captured(concrete)
    results = step(*inputs)

    folder = pathlib.Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / "step.mlir") as temporary:
        temporary.write_text(text)
    _save(folder / "arguments.npz", "argument", [value for _, value in arguments])
    _save(folder / "results.npz", "result", [v.numpy() for v in results.values()])
    about = {
        "arguments": [name for name, _ in arguments],
        "results": list(results),
        "classes": _CLASSES.value,
        "settings": overrides,
        "machine": _machine.describe(),
    }
    with atomic_file(folder / "step.json") as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n")
    size = sum(value.nbytes for _, value in arguments)
    print(f"{folder}: {len(arguments)} arguments of {size / 1e6:.0f} MB together")


def _step(config, classes, shape):
    """Returns the compiled step and its arguments."""
    import tensorflow as tf

    from dam_tf.augmentation import dsa
    from dam_tf.base.seeds import Purpose, tensor_seed
    from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
    from dam_tf.methods.group_gradient import GroupGradient
    from dam_tf.methods.method import Task
    from dam_tf.methods.registry import create
    from dam_tf.synthetic.synthetic_set import SyntheticSet

    random = np.random.default_rng(0)
    settings = config.distillation
    real = random.integers(0, 256, (classes, settings.batch_real, *shape), np.uint8)
    images = random.standard_normal((classes, settings.ipc, *shape), np.float32)
    kind = config.dataset.preprocessing_kind
    preprocessing = fit_preprocessing(kind, real.reshape(-1, *shape)[:1000])
    method, names = create(config.method), tuple(str(k) for k in range(classes))
    task = Task(config, shape, names)
    method.check(task)
    group_gradient = GroupGradient(
        method, task, SyntheticSet(images), classes, preprocessing
    )
    group = group_gradient.classes_per_group
    parameters = dsa.draw(
        tensor_seed(settings.seed, Purpose.AUGMENTATION, 0),
        classes,
        shape[:2],
        config.augmentation,
    )
    seed = tensor_seed(settings.seed, Purpose.NETWORK, 0)
    theta = group_gradient.network.init(seed)

    def gradient(real, images, parameters, theta):
        def of_group(elements):
            found, losses = group_gradient(*elements, theta)
            return found, losses["loss"]

        def grouped(values):
            return tf.reshape(values, [-1, group, *values.shape[1:]])

        elements = tf.nest.map_structure(grouped, (real, images, parameters))
        if group == classes:
            return of_group(tf.nest.map_structure(lambda v: v[0], elements))
        found, losses = tf.map_fn(
            of_group, elements, fn_output_signature=(tf.float32, tf.float32)
        )
        return tf.reshape(found, images.shape), tf.reduce_sum(losses)

    @tf.function(jit_compile=True)
    def step(images, velocity, real, parameters, theta):
        found, loss = gradient(real, images, parameters, theta)
        velocity = settings.momentum * velocity - settings.learning_rate * found
        return {"images": images + velocity, "loss": loss, "velocity": velocity}

    images, real = tf.constant(images), tf.constant(real)
    return step, (images, tf.zeros_like(images), real, parameters, theta)


def _named(inputs) -> list[tuple[str, np.ndarray]]:
    images, velocity, real, parameters, theta = inputs
    return [
        ("images", images.numpy()),
        ("velocity", velocity.numpy()),
        ("real", real.numpy()),
        *((name, v.numpy()) for name, v in parameters._asdict().items()),
        *((f"theta_{i}", v.numpy()) for i, v in enumerate(theta)),
    ]


def _captured(concrete) -> list[tuple[str, np.ndarray]]:
    """What the program takes besides its inputs: the variables that it reads."""
    values = []
    for captured in concrete.captured_inputs:
        variable = next((v for v in concrete.variables if v.handle is captured), None)
        if variable is None:
            values.append(("constant", captured.numpy()))
        else:
            values.append((variable.name, variable.numpy()))
    return values


def _save(path: pathlib.Path, name: str, arrays: list[np.ndarray]) -> None:
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **{f"{name}_{i:03}": array for i, array in enumerate(arrays)})


if __name__ == "__main__":
    _tools.run(main)
