"""A contender: evaluation networks as `dam_tf.training.trainer.Trainer` trains them."""

import time

import _contender
import _tools
import numpy as np


def main() -> None:
    settings = _contender.settings()
    _tools.import_tensorflow()
    import tensorflow as tf

    from dam_tf.config.settings import read_config, replace
    from dam_tf.evaluation.scheduling import networks_at_once
    from dam_tf.training.trainer import Trainer

    random = np.random.default_rng(0)
    size, count = settings["image_size"], settings["images"]
    images = random.standard_normal((count, size, size, 3)).astype(np.float32)
    labels = random.integers(0, 10, count)
    trainers = {}

    def trainer(augmentation):
        config = read_config(overrides=settings["overrides"])
        config = replace(config, evaluation__augmentation=augmentation)
        made = Trainer(images, labels, 10, config)
        at_once = networks_at_once(config.evaluation, count)
        indices = [tf.constant(index) for index in range(at_once)]
        states = [made.initial_state(index) for index in indices]
        return {"trainer": made, "indices": indices, "states": states, "epoch": 0}

    def train(augmentation):
        if augmentation not in trainers:
            trainers[augmentation] = trainer(augmentation)
        state = trainers[augmentation]
        first, last = state["epoch"], state["epoch"] + settings["epochs"]
        start = time.perf_counter()
        state["states"] = state["trainer"].train(
            state["states"], state["indices"], tf.constant(first), tf.constant(last)
        )
        state["states"][0][0][0].numpy()  # waits for it
        seconds = time.perf_counter() - start
        state["epoch"] = last
        seen = settings["epochs"] * count * len(state["indices"])
        return {"seconds": seconds, "images": seen}

    _contender.serve(train=train)


if __name__ == "__main__":
    main()
