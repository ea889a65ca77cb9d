"""The network that LD trains beside the labels: its weights, and when it is given up.

It stands between `ld.py`, which moves the labels, and `inner_step.py`.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.labels import LDSettings
from dam_tf.methods.chunks import images_at_once, sum_of_chunks
from dam_tf.methods.inner_step import InnerStep, State
from dam_tf.networks.adam import adam_step

_SCALE_RATE = 0.01  # of Adam for the factor of the classifier
_NOTED = 3  # networks whose lengths are averaged


class RunningNetwork:
    """A network in variables, trained by Adam until its errors no longer fall.

    Args:
        step: Applies the network.
        settings: Of the method.
        patience: Real batches whose errors are averaged, and iterations that the
            average may go without a new minimum.
        classes: Of the labels.
        seed: The run's.
        compiled: Whether XLA compiles.

    Attributes:
        variables: All that the next iteration depends on, by a name that stays.
        restarts: Networks that were given up.
    """

    def __init__(
        self,
        step: InnerStep,
        settings: LDSettings,
        patience: int,
        classes: int,
        seed: int,
        compiled: bool,
    ):
        self._step, self._settings, self._seed = step, settings, seed
        self._patience, self._classes = patience, classes
        self._ridge = settings.variant == "ridge"
        first = step.first(tensor_seed(seed, Purpose.NETWORK, 0))
        weights = len(step.weights(first))
        width = step.network.weight_shapes[-2][0]  # what the classifier sees
        values = {f"network/{i}": one for i, one in enumerate(first)}
        if self._ridge:
            values["classifier"] = tf.zeros([width + 1, classes])
            values["scale"] = tf.constant(1.0)
        self._trained = [f"network/{i}" for i in range(weights)]
        self._trained += ["scale"] if self._ridge else []
        for name in self._trained:
            values[f"{name}/mean"] = tf.zeros_like(values[name])
            values[f"{name}/square"] = tf.zeros_like(values[name])
        values["errors"] = tf.zeros([patience])
        values["lowest"] = tf.constant(0.0)
        counts = ("steps", "since", "restarts")
        values |= dict.fromkeys(counts, tf.constant(0))
        values["lengths"] = tf.zeros([_NOTED], tf.int32)
        self.variables: Mapping[str, tf.Variable] = {
            name: tf.Variable(value, trainable=False) for name, value in values.items()
        }

        def function(of):
            return tf.function(of, jit_compile=compiled, autograph=False)

        self._solve, self._moved = function(self._solved), function(self._moved_by)
        self._real = tf.function(self._real_loss, jit_compile=compiled)

    @property
    def restarts(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.variables["restarts"])

    def state(self) -> State:
        """Returns weights and statistics as they are."""
        names = (name for name in self.variables if name.startswith("network/"))
        return [self._value(name) for name in names if name.count("/") == 1]

    def usual_steps(self) -> int:
        """Returns how many steps the last networks learned, on average."""
        noted = self.variables["lengths"].numpy()[: int(self.restarts)]
        return max(1, int(np.mean(noted) if len(noted) else self._value("steps")))

    def ridge_gradient(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        real: tuple[tf.Tensor, tf.Tensor],
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns loss and accuracy of real images, and the gradient in the labels.

        Args:
            images: Of the inner batch, `[n, h, w, c]`.
            labels: Of the inner batch, `[n, classes]`.
            real: uint8 `[m, h, w, c]`, pixels, and their classes `[m]`.
        """
        state = self.state()
        old, scale = self._value("classifier"), self._value("scale")
        classifier, back = self._solve(state, images, labels, old)
        loss, accuracy, gradient = self._real(state, scale * classifier, *real)
        # The classifier is linear in the labels, `pace * back^T labels` and the rest.
        return loss, accuracy, tf.linalg.matmul(back, scale * gradient)

    def train(self, images: tf.Tensor, labels: tf.Tensor) -> None:
        """Takes a step of Adam on the inner batch; the arguments are those above."""
        for name, value in self._moved(self._values(), images, labels).items():
            self.variables[name].assign(value)

    def restart_if_stuck(self, accuracy: tf.Tensor) -> None:
        """Notes the share of right answers, and lets a fresh network take over."""
        variables, patience = self.variables, self._patience
        steps = variables["steps"].assign_add(1)
        place = (steps - 1) % patience
        errors = tf.tensor_scatter_nd_update(
            self._value("errors"), [[place]], [1.0 - accuracy]
        )
        variables["errors"].assign(errors)
        total, since = tf.reduce_sum(errors), self._value("since")
        is_lower = (steps == patience) | (
            (steps > patience) & (total < self._value("lowest"))
        )
        is_stuck = (steps > patience) & ~is_lower & (since >= patience)
        waits = (steps > patience) & ~is_lower
        variables["lowest"].assign(tf.where(is_lower, total, self._value("lowest")))
        variables["since"].assign(tf.where(waits, since + 1, 0))
        if is_stuck:
            self._restart(steps - since - 1)

    def _restart(self, length):
        lengths = self._value("lengths")
        self.variables["lengths"].assign(tf.concat([[length], lengths[:-1]], axis=0))
        number = self.variables["restarts"].assign_add(1)
        first = self._step.first(tensor_seed(self._seed, Purpose.NETWORK, number))
        fresh = {f"network/{i}": value for i, value in enumerate(first)}
        for name, variable in self.variables.items():
            if name == "scale":
                variable.assign(1.0)
            elif name not in ("restarts", "lengths"):
                variable.assign(fresh.get(name, tf.zeros_like(variable)))

    def _values(self):
        return {name: self._value(name) for name in self.variables}

    def _value(self, name):
        return tf.convert_to_tensor(self.variables[name])

    def _solved(self, state, images, labels, old):
        """The running classifier, and its derivative in the labels, `[n, d + 1]`."""
        outputs, _ = self._step.outputs(state, images)
        return self._solved_with(_and_ones(outputs.embedding), labels, old)

    def _solved_with(self, features, labels, old):
        settings = self._settings
        kernel = tf.linalg.matmul(features, features, transpose_b=True)
        kernel += settings.ridge * tf.eye(features.shape[0])
        back = settings.pace * tf.linalg.solve(kernel, features)
        new = tf.linalg.matmul(back, labels, transpose_a=True)
        return (1 - settings.pace) * old + new, back

    def _real_loss(self, state, classifier, images, labels):
        """Mean cross-entropy, accuracy and gradient in the classifier."""
        count = images.shape[0]

        def of_rows(rows, valid):
            some = self._step.seen(tf.gather(images, rows))
            right = tf.gather(labels, rows)
            outputs = self._step.outputs(state, some, training=False)[0]
            features = _and_ones(outputs.embedding)
            logits = tf.linalg.matmul(features, classifier)
            shares = valid / count
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(right, logits)
            wrong = tf.nn.softmax(logits) - tf.one_hot(right, self._classes)
            gradient = tf.linalg.matmul(
                features, shares[:, None] * wrong, transpose_a=True
            )
            answers = tf.argmax(logits, axis=1, output_type=right.dtype)
            hits = tf.cast(tf.equal(answers, right), tf.float32)
            return [
                tf.reduce_sum(losses * shares),
                tf.reduce_sum(hits * shares),
                gradient,
            ]

        zeros = [tf.zeros([]), tf.zeros([]), tf.zeros_like(classifier)]
        size = images_at_once(images.shape[1:], count)
        return sum_of_chunks(of_rows, zeros, count, size)

    def _moved_by(self, values, images, labels):
        """All that a step of Adam on the inner batch changes, by name."""
        trained = [values[name] for name in self._trained]
        names = [name for name in values if name.startswith("network/")]
        names = [name for name in names if name.count("/") == 1]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trained)
            now = values | dict(zip(self._trained, trained, strict=True))
            state = [now[name] for name in names]
            outputs, statistics = self._step.outputs(state, images)
            logits, found = outputs.logits, {}
            if self._ridge:
                features = _and_ones(outputs.embedding)
                classifier, _ = self._solved_with(features, labels, now["classifier"])
                found["classifier"] = classifier
                logits = now["scale"] * tf.linalg.matmul(features, classifier)
            losses = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(
            loss, trained, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        rates = [
            _SCALE_RATE if name == "scale" else self._settings.network_rate
            for name in self._trained
        ]
        for name, rate, weight, gradient in zip(
            self._trained, rates, trained, gradients, strict=True
        ):
            (new,), (mean,), (square,) = adam_step(
                [weight],
                [gradient],
                [values[f"{name}/mean"]],
                [values[f"{name}/square"]],
                values["steps"],
                rate,
            )
            found |= {name: new, f"{name}/mean": mean, f"{name}/square": square}
        found |= dict(zip(names[len(trained) - self._ridge :], statistics, strict=True))
        return found


def _and_ones(features):
    return tf.concat([features, tf.ones([features.shape[0], 1])], axis=1)
