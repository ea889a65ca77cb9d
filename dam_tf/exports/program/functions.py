"""What a program does, as TensorFlow functions that XLA compiles whole.

A run of its own is four functions of named arrays: `init` draws the first images,
`distill` iterates, `pixels` brings the images back, `evaluate` trains networks on them
and tests them. They are made of the same parts as a run of dam_tf.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dam_tf.augmentation import autoaugment
from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.image_counts import check_equal
from dam_tf.config.settings import Config
from dam_tf.data.preprocessing.preprocessing import Preprocessing
from dam_tf.data.real_data import RealData
from dam_tf.data.sampling_in_graph import rows_of_classes
from dam_tf.methods.method import Task
from dam_tf.methods.registry import create
from dam_tf.networks.pools import NetworkPool
from dam_tf.runs.distiller import Distiller
from dam_tf.synthetic.formation import encode, factor_of
from dam_tf.synthetic.initial import initial_images
from dam_tf.training.trainer import Trainer

_WHITE = 255.0


@dataclasses.dataclass(frozen=True)
class Function:
    """One function of a program.

    Attributes:
        call: Compiled by XLA as a whole.
        arguments: By name, tensors of the shapes and types that it is called with.
        results: The names of what it returns, before the variables that it changes.
    """

    call: Callable
    arguments: Mapping[str, Any]
    results: tuple[str, ...]


class Functions:
    """The functions of a program, and the variables that they share.

    To be made in the context of `program_for`.

    Args:
        config: The settings, which `check_settings` takes, with everything filled in
            that the data decide.
        data: The real data.
        preprocessing: Fitted to the training images.
        iterations_per_call: Iterations that one call of `distill` does at most.
        pool: Networks to match through; random ones if left out.

    Attributes:
        by_name: The functions.
        variables: What the caller gives them, and they change, by name.
        constants: What they read and never change, by name.
        state: The names of what changes from iteration to iteration.
        losses: The names of the losses.
        owners: The class of each image that networks are trained on.
        formation: How these are made of what is stored.

    Raises:
        UserError: the settings ask for what a program cannot do.
    """

    def __init__(
        self,
        config: Config,
        data: RealData,
        preprocessing: Preprocessing,
        iterations_per_call: int,
        pool: NetworkPool | None = None,
    ):
        self._config, self._preprocessing = config, preprocessing
        self._counts, self._most = data.train.counts, iterations_per_call
        settings, shape = config.distillation, data.image_shape
        names = data.class_names
        seed = tf.Variable(settings.seed, trainable=False)
        weights = [] if pool is None else pool.make_resident()
        task = Task(config, shape, names, pool, seed=seed)
        method = create(config.method)
        method.check(task)
        images = np.zeros([len(names), settings.ipc, *shape], np.float32)
        if settings.init == "k-center":
            images = initial_images(data.train, names, settings, preprocessing)
        self._distiller = Distiller(images, method, task, preprocessing)
        # A method that cannot be compiled says so here: tracing would hide its words.
        nothing = tf.zeros([0, *shape], tf.uint8)
        method.drawn_in_graph(nothing, self._counts, self._distiller.iteration)
        synthetic = self._distiller.synthetic
        self.owners, self.formation = synthetic.owners, synthetic.formation
        self.losses = method.log_names
        state = {**self._distiller.variables}
        for name, optimizer in self._distiller.optimizers.items():
            own = "iteration" if name == "images" else f"{name}/iteration"
            state[own] = optimizer.iterations
        state = {name: _variable(one) for name, one in state.items()}
        self.state, self._start = [*state], _starts(state)
        rates = {
            f"{name}/learning_rate": one.learning_rate
            for name, one in self._distiller.optimizers.items()
            if isinstance(one.learning_rate, keras.Variable)
        }
        self.constants = {
            **dict(preprocessing.weights_by_name()),
            **rates,
            **{f"start/{name}": one for name, one in self._start.items()},
            **{f"pool/{k}": weight for k, weight in enumerate(weights)},
        }
        self.constants = {n: _variable(one) for n, one in self.constants.items()}
        self._soft = "labels" in synthetic.variables_by_name
        labels = synthetic.labels() if self._soft else tf.cast(self.owners, tf.int32)
        trained_on = tf.zeros([len(self.owners), *shape])
        self.variables = {
            "seed": seed,
            "set/images": tf.Variable(trained_on, trainable=False),
            "set/labels": tf.Variable(labels, trainable=False),
            **state,
        }
        self._trainer = Trainer(
            self.variables["set/images"],
            self.variables["set/labels"],
            len(names),
            config,
            preprocessing,
            seed=seed,
        )
        self._given = {
            "real": tf.TensorSpec(data.train.images.shape, tf.uint8),
            "test": tf.TensorSpec(data.tested().images.shape, tf.uint8),
            **dict.fromkeys(("count", "first", "last"), tf.TensorSpec([], tf.int32)),
        }
        self.by_name = {
            "init": self._function(self._init, ["real"], self.state),
            "distill": self._function(self._distill, ["real", "count"], ["losses"]),
            "pixels": self._function(self._pixels, [], self._pixel_names()),
            "evaluate": self._evaluation(),
        }

    def _function(self, call, given, results):
        call = tf.function(call, jit_compile=True)
        arguments = {name: self._given[name] for name in given}
        return Function(call, arguments, tuple(results))

    def _init(self, real):
        """The state before the first iteration."""
        images = self._first_images(real)
        first = {**self._start, "images": images, "images/average": images}
        nothing = [tf.zeros_like(self.variables[name]) for name in self.state]
        found = map(first.get, self.state, nothing)
        return tuple(map(tf.convert_to_tensor, found))

    def _first_images(self, real):
        settings, stored = self._config.distillation, self._distiller.synthetic.stored
        seed = tensor_seed(self.variables["seed"], Purpose.INITIAL_IMAGES)
        if settings.init == "noise":
            return tf.random.stateless_normal(stored.shape, seed)
        if settings.init == "k-center":  # it is no matter of the seed
            return tf.convert_to_tensor(self._start["images"])
        classes = tf.range(len(self._counts))
        many = settings.ipc * factor_of(self.formation) ** 2
        rows = rows_of_classes(self._counts, classes, many, seed)
        chosen = tf.gather(real, tf.reshape(rows, [-1]))
        images = self._preprocessing(tf.cast(chosen, tf.float32) / _WHITE)
        return images if self.formation == "raw" else encode(images, self.formation)

    def _distill(self, real, count):
        """Iterations `iteration` to `iteration + count` - 1, and their losses."""
        distiller, names = self._distiller, self.losses
        kept, done = tf.zeros([self._most, len(names)]), 0
        while done < count:
            batches = distiller.method.drawn_in_graph(
                real, self._counts, distiller.iteration
            )
            losses = distiller.train_step(batches)
            row = tf.stack([losses[name] for name in names])
            kept = tf.tensor_scatter_nd_update(kept, [[done]], [row])
            done += 1
        return (kept,)

    def _pixel_names(self):
        names = ["set/images", "set/labels", "pixels"]
        return names + (["stored"] if self.formation != "raw" else [])

    def _pixels(self):
        """What networks are trained on, and how it looks."""
        synthetic = self._distiller.synthetic
        stored = self._distiller.averages.get("images", synthetic.stored)
        stored = tf.convert_to_tensor(stored)
        images = synthetic.decode(stored)
        labels = synthetic.labels() if self._soft else tf.cast(self.owners, tf.int32)
        found = [images, labels, self._preprocessing.inverse(images)]
        if self.formation != "raw":
            found.append(self._preprocessing.inverse(stored))
        return tuple(found)

    def _evaluation(self):
        network, count = self._trainer.network, self._config.evaluation.networks
        kinds = {"weights": network.weight_names, "velocities": network.weight_names}
        kinds["statistics"] = network.statistic_names
        names = [f"network/{kind}/{name}" for kind in kinds for name in kinds[kind]]
        one = tf.nest.flatten(self._trainer.initial_state(0))
        specs = [tf.TensorSpec([count, *tensor.shape], tf.float32) for tensor in one]
        self._given |= dict(zip(names, specs, strict=True))
        given, results = ["test", "first", "last", *names], [*names, "predictions"]
        return self._function(self._evaluate, given, results)

    def _evaluate(self, test, first, last, *states):
        """Epochs `first` to `last` - 1 of each network, and after the last its answers.

        One network comes after the other, since each keeps an accelerator busy.
        """
        trainer, settings = self._trainer, self._config.evaluation
        states = list(states)
        answers = tf.zeros([settings.networks, test.shape[0]], tf.int32)
        network = 0
        while network < settings.networks:
            fresh = trainer.initial_state(network)
            given = tf.nest.pack_sequence_as(fresh, [s[network] for s in states])
            state = tf.nest.map_structure(
                lambda new, old: tf.where(first == 0, new, old), fresh, given
            )
            (state,) = trainer.train([state], [network], first, last)
            found = tf.cond(
                last >= settings.epochs,
                lambda state=state: trainer.likeliest(state, test),
                lambda: tf.zeros([test.shape[0]], tf.int32),
            )
            answers = tf.tensor_scatter_nd_update(answers, [[network]], [found])
            states = [
                tf.tensor_scatter_nd_update(all_of_them, [[network]], [one])
                for all_of_them, one in zip(states, tf.nest.flatten(state), strict=True)
            ]
            network += 1
        return (*states, answers)


def _variable(one: keras.Variable | tf.Variable) -> tf.Variable:
    return one.value if isinstance(one, keras.Variable) else one


def _starts(state: Mapping[str, tf.Variable]) -> dict[str, tf.Variable]:
    """Returns what is not zero of the state at first."""
    return {
        name: tf.Variable(variable, trainable=False)
        for name, variable in state.items()
        if variable.numpy().any()
    }


def check_settings(config: Config) -> None:
    """Raises a `UserError` where a setting is nothing for a program.

    Args:
        config: As of `Functions`; it may lack what the data decide.
    """
    check_equal(
        config.distillation, "a program, which holds as many images of each class"
    )
    augmentation = config.evaluation.augmentation
    if config.evaluation.recipe != "common":
        raise UserError(
            f"evaluation.recipe {config.evaluation.recipe!r} cannot be compiled into a "
            "program, whose networks are trained by the common protocol; evaluate its "
            "distilled.npz with dam_tf"
        )
    if augmentation in autoaugment.POLICIES:
        raise UserError(
            f"evaluation.augmentation {augmentation!r} cannot be compiled into a "
            "program; choose dsa or none"
        )
