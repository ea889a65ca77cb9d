"""A contender: this project's step, compiled and fed as `dam_tf.distill` does it."""

import time

import _contender
import _tools
import numpy as np


def main() -> None:
    settings = _contender.settings()
    _tools.import_tensorflow()
    import tensorflow as tf

    from dam_tf.config.settings import read_config, resolve
    from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
    from dam_tf.data.real_data import RealData, sorted_split
    from dam_tf.runs.distiller import create_distiller

    random = np.random.default_rng(0)
    size, classes = settings["image_size"], settings["classes"]
    counts = [settings["per_class"]] * classes
    real = random.integers(0, 256, (sum(counts), size, size, 3), np.uint8)
    names = tuple(str(k) for k in range(classes))
    data = RealData("random", names, sorted_split(real, np.array(counts)))
    images = random.standard_normal((classes, settings["ipc"], size, size, 3))
    images = images.astype(np.float32)
    config = resolve(read_config(overrides=settings["overrides"]), (size, size, 3))
    preprocessing = fit_preprocessing(config.dataset.preprocessing_kind, real[:1000])
    memory = _contender.Memory()
    state = {}

    def build():
        distiller = create_distiller(images, config, preprocessing)

        @tf.function
        def step(iterator):
            return distiller.train_step(iterator)

        batches = distiller.method.inputs(data, 0, 10**6)
        state["distiller"], state["iterator"] = distiller, iter(batches)
        state["step"] = step

    def versions():
        devices = [device.name for device in tf.config.list_logical_devices("GPU")]
        return {"tensorflow": tf.__version__, "gpus": devices}

    def step():
        if not state:
            build()
        start = time.perf_counter()
        loss = float(state["step"](state["iterator"])["loss"])
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "loss": loss, "peak": memory.peak()}

    def store(file):
        """Writes what a step is given and what it finds, for others to repeat."""
        build()
        _store(file, config, state["distiller"], data, preprocessing)
        return {}

    _contender.serve(versions=versions, step=step, store=store)


def _store(file, config, distiller, data, preprocessing, iteration=3):
    import tensorflow as tf

    from dam_tf.augmentation import dsa
    from dam_tf.base.seeds import Purpose, tensor_seed
    from dam_tf.networks.functional import FunctionalNetwork

    seed = config.distillation.seed
    synthetic, classes = distiller.synthetic, distiller.synthetic.classes
    _, height, width, channels = synthetic.stored.shape
    network = FunctionalNetwork((height, width, channels), classes, config.network)
    weights = network.init(tensor_seed(seed, Purpose.NETWORK, iteration))
    parameters = dsa.draw(
        tensor_seed(seed, Purpose.AUGMENTATION, iteration),
        classes,
        (height, width),
        config.augmentation,
    )
    dataset = distiller.method.inputs(data, iteration, iteration + 1)
    real = np.concatenate([batch.images.numpy() for batch in dataset])
    find = tf.function(
        lambda iterator: distiller.method.gradients(synthetic, iterator, iteration)
    )
    gradients, losses = find(iter(dataset))
    images = synthetic.stored.numpy()
    gradient = np.zeros_like(images)
    gradient[gradients["images"].indices] = gradients["images"].values
    by_class = [classes, synthetic.ipc, height, width, channels]
    np.savez(
        file,
        real=real,
        images=images.reshape(by_class),
        mean=np.ravel(preprocessing.standardize.mean),
        deviation=np.ravel(preprocessing.standardize.deviation),
        gradient=gradient.reshape(by_class),
        loss=losses["loss"].numpy(),
        **{f"weight_{i}": weight.numpy() for i, weight in enumerate(weights)},
        **{name: v.numpy() for name, v in parameters._asdict().items()},
    )


if __name__ == "__main__":
    main()
