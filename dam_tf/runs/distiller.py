"""Algorithm 1 in the words of the house: a set, a method, an optimizer for each role.

It stands between the methods (`methods/`) and the loop that runs many iterations of it
in one compiled call (`loop.py`).
"""

from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.config.settings import Config, resolve
from dam_tf.methods.method import Gradients, Logs, Method, Task
from dam_tf.methods.optimizers import slots
from dam_tf.methods.registry import create
from dam_tf.networks.pools import NetworkPool


class Distiller:
    """Moves a synthetic set as a method says, one iteration at a time.

    Made in the scope of a `tf.distribute` strategy, each replica holds the whole set
    and computes its share of an iteration. Call `train_step` by `strategy.run` then;
    its losses are those of the share.

    Args:
        images: Initial synthetic images by class, as of `SyntheticSet`.
        method: How they are learned.
        task: What is known of the run.
        preprocessing: A layer, pixels in 0..1 to model space.

    Attributes:
        method: As given.
        synthetic: What is learned.
        optimizers: By the name of the variable that each moves.
        stop_training: A Keras callback may set it, and the run stops.

    Raises:
        UserError: the method cannot do what the task asks for.

    Example:
        >>> from dam_tf import make_config
        >>> from dam_tf.data.real_data import RealData, sorted_split
        >>> overrides = {"distillation.batch_real": 4, "method.name": "dm"}
        >>> config, images = make_config(overrides=overrides), np.zeros([2, 1, 8, 8, 1])
        >>> distiller = create_distiller(images, config, keras.layers.Identity())
        >>> pixels = np.full([9, 8, 8, 1], 255, np.uint8)
        >>> data = RealData("pets", ("cat", "dog"), sorted_split(pixels, [4, 5]))
        >>> batches = iter(distiller.method.inputs(data, 0, 1))
        >>> sorted(distiller.train_step(batches))
        ['loss', 'mmd']
    """

    def __init__(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        method: Method,
        task: Task,
        preprocessing: keras.layers.Layer,
    ):
        if task.config.distillation.extends and not task.kept:
            raise UserError(
                "only a run of its own can extend another: use `python -m dam_tf "
                "distill`, or leave distillation.extends out"
            )
        self.method, self.synthetic = method, method.start(task, images)
        self.stop_training = False
        method.build(task, self.synthetic, preprocessing)
        self.optimizers = {}
        for name, variable in self.synthetic.variables_by_name.items():
            optimizer = method.optimizer(name, task)
            optimizer.build([variable])
            self.optimizers[name] = optimizer

    @property
    def iteration(self) -> tf.Tensor:
        """Updates done, int64."""
        return self.optimizers["images"].iterations

    def train_step(self, batches: Iterator) -> Logs:
        """Performs one iteration of Algorithm 1 and returns its losses.

        Args:
            batches: Gives elements of the method's `inputs`.
        """
        iteration = tf.identity(self.iteration)
        gradients, losses = self.method.gradients(self.synthetic, batches, iteration)
        self._apply(gradients)
        self.method.update(self.synthetic, batches, iteration)
        return losses

    def _apply(self, gradients: Gradients) -> None:
        for name, optimizer in self.optimizers.items():
            if name in gradients:
                variable = self.synthetic.variables_by_name[name]
                optimizer.apply([gradients[name]], [variable])
            else:  # what does not move counts the iterations all the same
                optimizer.iterations.assign_add(1)

    @property
    def averages(self) -> dict[str, tf.Tensor]:
        """Moving averages by the name of their variable, where there are any."""
        return {
            name: optimizer.averages[0]
            for name, optimizer in self.optimizers.items()
            if getattr(optimizer, "averages", None)
        }

    @property
    def state(self) -> dict[str, np.ndarray]:
        """All that changes from iteration to iteration, by a name that stays."""
        state = {name: variable.numpy() for name, variable in self.variables.items()}
        return {**state, "iteration": np.asarray(self.iteration)}

    @state.setter
    def state(self, state: Mapping[str, np.ndarray]) -> None:
        for name, variable in self.variables.items():
            variable.assign(state[name])
        for optimizer in self.optimizers.values():
            optimizer.iterations.assign(state["iteration"])

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """What `state` is made of, but for the iteration."""
        found = dict(self.synthetic.variables_by_name)
        for name, optimizer in self.optimizers.items():
            for slot, variable in slots(optimizer).items():
                found[f"{name}/{slot}"] = variable
        for name, variable in self.method.variables.items():
            found[f"method/{name}"] = variable
        return found


def create_distiller(
    images: np.ndarray | Sequence[np.ndarray],
    config: Config,
    preprocessing: keras.layers.Layer,
    networks: NetworkPool | None = None,
) -> Distiller:
    """Returns a distiller with no run around it, for the strategy in scope.

    Args:
        images: As of `Distiller`; classes are numbered.
        config: The settings.
        preprocessing: A layer, pixels in 0..1 to model space.
        networks: Networks to match through; random ones if left out.
    """
    shape, counts = tuple(images[0].shape[1:]), tuple(map(len, images))
    config = resolve(config, shape)
    names = tuple(str(k) for k in range(len(images)))
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    task = Task(config, shape, names, networks, replicas, counts=counts)
    method = create(config.method)
    method.check(task)
    return Distiller(images, method, task, preprocessing)
