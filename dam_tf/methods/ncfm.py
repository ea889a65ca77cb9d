"""NCFM: characteristic functions of features (Wang et al., CVPR 2025)."""

from collections.abc import Iterator, Mapping, Sequence

import keras
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.config.pools import NCFMSettings
from dam_tf.methods.class_wise import OfGroup
from dam_tf.methods.frequency_sampler import PER_COMPONENT, FrequencySampler
from dam_tf.methods.group_gradient import Features
from dam_tf.methods.method import Gradients, Logs, Task
from dam_tf.methods.optimizers import adam
from dam_tf.methods.pool_matching import PoolMatching
from dam_tf.synthetic.synthetic_set import SyntheticSet

_LEAST = 1e-12  # of squares under a root, as in the released code
_LEAST_ROOTED = 1e-13  # keeps the slope finite where the phase has no weight


class NCFM(PoolMatching):
    """Neural characteristic function matching (Wang et al., CVPR 2025).

    Of the features f of a class, embeddings of length 1, the characteristic function is
    Phi(t) = mean of exp(i <t, f>). With Phi~ that of the synthetic images, the loss of
    a class is

        scale * mean over t of sqrt(alpha * (|Phi| - |Phi~|)^2
                                    + beta * 2 (|Phi| |Phi~| - Re(Phi conj(Phi~)))),

    where the second term is at least 1e-12, through the networks that `PoolMatching`
    draws, and its calibration is added. With alpha = beta = 1 the root is |Phi - Phi~|.
    The frequencies t are drawn anew in each iteration, the same for all classes; the
    released code draws them for each class.

    What depends on real images are means of cosines and sines, so they pass in chunks.
    Real batches are random, as in the paper; the released code always takes the first
    1,024 images of a class. Adam moves the images, without the weight decay and the
    halving of the rate (whenever the loss no longer falls) of the released code. Since
    it takes 2 steps for each class in an iteration, and we take one, the default rate
    is larger: 0.01 of standardised images.

    With the sampler `"normal"`, as in the released settings, frequencies come from
    N(0, I). With `"learned"` they come from a mixture of normals, whose scales a
    network psi makes (`FrequencySampler`). Images make the matching loss small, and psi
    makes it large. Both take one step an iteration, along gradients of the same loss:
    psi's is summed over all classes, so over all groups and devices. For that the
    embeddings of real images are kept while their group of classes is worked on, since
    the gradient in the frequencies is a mean over them.

    The released code of psi differs. It takes a step for each class. Its frequencies
    are the scales themselves, without normal values, and they are 64, which are 4
    repeated, where the paper says 1,024 of 64 components. It has a schedule for psi
    that by mistake halves the rate of the images; here psi's rate stays.

    Example:
        >>> method = NCFM(pool="runs/cifar10_pool", frequencies=1024)
        >>> method.settings.frequencies, method.settings.scale
        (1024, 300.0)
    """

    Settings = NCFMSettings

    @property
    def learns_drawn(self) -> bool:
        return self.settings.sampler == "learned"

    @property
    def means_suffice(self) -> bool:
        return not self.learns_drawn

    def check(self, task: Task) -> None:
        super().check(task)
        rate = self.settings.sampler_rate
        if not self.learns_drawn and rate != NCFMSettings().sampler_rate:
            raise UserError(
                f"method.sampler_rate {rate} is that of method.sampler 'learned', and "
                f"method.sampler is {self.settings.sampler!r}"
            )

    def check_network(self, task: Task, network: keras.Model) -> None:
        super().check_network(task, network)
        if self.learns_drawn and self.settings.frequencies <= PER_COMPONENT:
            raise UserError(
                f"method.frequencies {self.settings.frequencies} is of one component, "
                "and method.sampler 'learned' needs two at least, each of "
                f"{PER_COMPONENT} frequencies; give more than {PER_COMPONENT}"
            )
        self._width = network.get_layer("logits").input.shape[-1]

    def build(
        self,
        task: Task,
        synthetic: SyntheticSet,
        preprocessing: keras.layers.Layer,
    ) -> None:
        if self.learns_drawn:
            values = self.settings
            sizes = self._width, values.frequencies, values.sampler_rate
            self._psi = FrequencySampler(*sizes, task.seed)
        super().build(task, synthetic, preprocessing)

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        return self._psi.variables if self.learns_drawn else {}

    def unconstrained_optimizer(self, task: Task) -> keras.optimizers.Optimizer:
        return adam(task.config.distillation)

    def drawn(self, iteration: tf.Tensor) -> list[tf.Tensor]:
        if self.learns_drawn:
            return [self._psi.draw(iteration)]
        seed = tensor_seed(self._seed, Purpose.FREQUENCIES, iteration)
        shape = [self._width, self.settings.frequencies]
        return [tf.random.stateless_normal(shape, seed)]

    def vectors(self, features: Features) -> list[tf.Tensor]:
        (frequencies,) = features["drawn"]
        unit = tf.math.l2_normalize(features["embedding"], axis=1, epsilon=_LEAST)
        return [unit] if self.learns_drawn else _waves(unit, frequencies)

    def losses(
        self, real: Sequence[tf.Tensor], synthetic: Sequence[tf.Tensor]
    ) -> Mapping[str, tf.Tensor]:
        settings = self.settings
        if self.learns_drawn:
            (units, frequencies), (own, _) = real, synthetic
            real = mean_waves(units, frequencies)
            synthetic = [
                tf.reshape(part, [*own.shape[:2], -1])
                for part in _waves(tf.reshape(own, [-1, own.shape[-1]]), frequencies)
            ]
        (re, im), (other_re, other_im) = (
            [tf.reduce_mean(part, axis=1) for part in parts]
            for parts in (real, synthetic)
        )
        size, other_size = _size(re, im), _size(other_re, other_im)
        amplitude = tf.square(size - other_size)
        # The rest of |Phi - Phi~|^2: from the products it would be all rounding.
        phase = tf.square(re - other_re) + tf.square(im - other_im) - amplitude
        squares = settings.amplitude * amplitude
        squares += settings.phase * tf.maximum(phase, _LEAST)
        roots = tf.sqrt(tf.maximum(squares, _LEAST_ROOTED))
        loss = settings.scale * tf.reduce_sum(tf.reduce_mean(roots, axis=1))
        return {"loss": loss, "matching": loss}

    def gradients(
        self, synthetic: SyntheticSet, batches: Iterator, iteration: tf.Tensor
    ) -> tuple[Gradients, Logs]:
        gradients, losses = super().gradients(synthetic, batches, iteration)
        if self.learns_drawn:
            context = tf.distribute.get_replica_context()
            slope = context.all_reduce(tf.distribute.ReduceOp.SUM, losses.pop("slope"))
            self._psi.ascend(slope, iteration)
        # Adam moves all images, those of classes that were not drawn by its moments.
        return {"images": tf.convert_to_tensor(gradients["images"])}, losses

    def over_groups(
        self,
        synthetic: SyntheticSet,
        batches: Iterator,
        of_group: OfGroup,
        sums: Mapping[str, tf.Tensor] = {},
    ) -> tuple[Gradients, Logs]:
        if self.learns_drawn:
            shape = [self._width, self.settings.frequencies]
            sums = {**sums, "slope": tf.zeros(shape)}
        return super().over_groups(synthetic, batches, of_group, sums)


def mean_waves(units: tf.Tensor, frequencies: tf.Tensor) -> list[tf.Tensor]:
    """Returns the characteristic functions of classes, to learn frequencies by.

    The gradient goes to the frequencies alone. Classes take turns, there and back, so
    that memory does not grow with them.

    Args:
        units: Embeddings of length 1, `[classes, n, d]`.
        frequencies: `[d, f]`.

    Returns:
        The means of cosines and of sines, `[classes, 1, f]` each.

    Example:
        >>> units, frequencies = tf.ones([2, 5, 3]), tf.zeros([3, 7])
        >>> [part.shape.as_list() for part in mean_waves(units, frequencies)]
        [[2, 1, 7], [2, 1, 7]]
    """
    kinds = [tf.TensorSpec([1, frequencies.shape[1]])] * 2

    @tf.custom_gradient
    def of(frequencies):
        def one(unit):
            parts = _waves(unit, frequencies)
            return [tf.reduce_mean(part, 0, keepdims=True) for part in parts]

        def slope(re, im):
            def added(total, of_class):
                unit, re, im = of_class
                cos, sin = _waves(unit, frequencies)
                waves = (im * cos - re * sin) / unit.shape[0]
                return total + tf.linalg.matmul(unit, waves, transpose_a=True)

            return tf.foldl(added, (units, re, im), tf.zeros_like(frequencies))

        return tf.map_fn(one, units, fn_output_signature=kinds), slope

    return of(frequencies)


def _waves(units: tf.Tensor, frequencies: tf.Tensor) -> list[tf.Tensor]:
    products = tf.linalg.matmul(units, frequencies)
    return [tf.cos(products), tf.sin(products)]


def _size(re: tf.Tensor, im: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.maximum(tf.square(re) + tf.square(im), _LEAST))
