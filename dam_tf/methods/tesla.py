"""TESLA: matching trajectories in constant memory (Cui et al., ICML 2023)."""

import tensorflow as tf

from dam_tf.config.methods import TESLASettings
from dam_tf.methods.mtt import MTT, BatchOf, set_loop_options


class TESLA(MTT):
    """MTT whose way back takes the weights of each step as constants.

    With g_i the gradient of step i and G their sum, theta_N = theta_0 - step_size * G,
    and with each g_i a function of its own images alone

        gradient in the images of step i = -step_size * (derivative of <g_i, v>),
        gradient in the step size        = -<G, v>,
        v = 2 * (theta_N - target) / |theta_0 - target|^2.

    A second pass trains the student once more, step by step, and takes these
    derivatives on the way, so memory is that of one step, however many there are. This
    is the gradient of MTT for one step. For more it is another one: what images do to
    the gradients of later steps is left out.

    The gradient is the true one of the formula. The released code
    (https://github.com/justincui03/tesla) moves images by half of it: it multiplies the
    tuple that autograd returns by 2, which repeats the tuple, where its formula
    multiplies the gradient. Its learning rates are meant for that half, so the default
    here is half of its 1,000 where that is from its README.
    """

    Settings = TESLASettings
    keeps_weights = False

    def _descend(
        self, start: tf.Tensor, step_size: tf.Tensor, batch_of: BatchOf
    ) -> tuple[tf.Tensor, tf.Tensor]:
        theta = start
        for step in tf.range(self._steps):
            set_loop_options(parallel_iterations=1)
            theta -= step_size * self._step.gradient(theta, batch_of(step)[1])
        return theta, start

    def _ascend(
        self,
        passed: tf.Tensor,
        step_size: tf.Tensor,
        batch_of: BatchOf,
        adjoint: tf.Tensor,
        of_images: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        theta, of_step_size = passed, tf.zeros([])
        for step in tf.range(self._steps):
            set_loop_options(parallel_iterations=1)
            rows, batch = batch_of(step)
            reverse = self._step.reverse(theta, batch, adjoint)
            moved = -step_size * reverse.images
            of_images = tf.tensor_scatter_nd_add(of_images, rows[:, None], moved)
            of_step_size -= reverse.product
            theta -= step_size * reverse.gradient
        return of_images, of_step_size
