"""The networks of generators, for images of any shape, with weights from a seed.

They are Keras models of `layers.py`. Images have values of -1 to 1.
"""

import keras
import tensorflow as tf

from dam_tf.base.seeds import Purpose, tensor_seed
from dam_tf.generators.layers import ClassMap, ClassNorm, Projection, SpectralConv

_CLASS_VECTOR = 128  # length of the vector of a class, as in BigGAN
_DEVIATION = 0.02  # of random weights, as in DCGAN and BigGAN
_DRAWN = (
    "kernel",
    "embeddings",
    "table",
    "gain",
    "shift",
    "u",
)  # all else starts at 0 or 1


def doublings(image_shape: tuple[int, int, int]) -> int:
    """Returns how often a generator doubles its maps, which start at 4 or more.

    Example:
        >>> [doublings((side, side, 1)) for side in (4, 8, 28, 32, 64)]
        [0, 1, 3, 3, 4]
    """
    side, count = min(image_shape[:2]), 0
    while _shrunk(side, count + 1) >= 4:
        count += 1
    return count


def convolutional_generator(
    image_shape: tuple[int, int, int], classes: int, latent: int, width: int
) -> keras.Model:
    """Returns the generator of cGAN: transposed convolutions, as in DCGAN.

    The class is an embedding that is put behind the random numbers.

    Args:
        image_shape: Height, width and channels.
        classes: Number of classes.
        latent: Random numbers of an image.
        width: Channels of the largest maps; smaller ones have up to four times as many.
    """
    times = doublings(image_shape)
    z, y = keras.Input([latent]), keras.Input([], dtype="int32")
    embedded = keras.layers.Embedding(classes, latent)(y)
    x = keras.layers.Concatenate()([z, embedded])
    x = _first_map(x, image_shape, times, width * _factor(times))
    for step in range(times):
        x = _norm(x)
        last = step == times - 1
        filters = image_shape[2] if last else width * _factor(times - 1 - step)
        x = keras.layers.Conv2DTranspose(filters, 4, 2, "same", use_bias=last)(x)
    if not times:
        x = keras.layers.Conv2D(image_shape[2], 3, padding="same")(_norm(x))
    return keras.Model([z, y], _cropped(keras.ops.tanh(x), image_shape))


def convolutional_discriminator(
    image_shape: tuple[int, int, int], classes: int, width: int, outputs: int = 1
) -> keras.Model:
    """Returns a network of images and classes: convolutions of stride 2, as in DCGAN.

    It is the discriminator of cGAN and the encoder of DC-VAE. The class is a map that
    is put behind the channels.

    Args:
        image_shape: Height, width and channels.
        classes: Number of classes.
        width: Channels of the largest maps; smaller ones have up to four times as many.
        outputs: Numbers that it answers with.

    Returns:
        A model from images `[n, h, w, c]` and labels `[n]` to `[n, outputs]`.
    """
    times = doublings(image_shape)
    images, y = keras.Input(image_shape), keras.Input([], dtype="int32")
    x = ClassMap(classes)([images, y])
    for step in range(max(1, times)):
        filters = width * _factor(step + 1)
        x = keras.layers.Conv2D(filters, 4, 2, "same", use_bias=step == 0)(x)
        if step:
            x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        x = keras.layers.LeakyReLU(0.2)(x)
    x = keras.layers.Dense(outputs)(keras.layers.Flatten()(x))
    return keras.Model([images, y], x)


def residual_generator(
    image_shape: tuple[int, int, int], classes: int, latent: int, width: int
) -> keras.Model:
    """Returns the generator of BigGAN, and the decoder of DC-VAE.

    Residual blocks double the maps; their norms know the class.

    Args:
        image_shape: Height, width and channels.
        classes: Number of classes.
        latent: Random numbers of an image.
        width: Channels of all maps.
    """
    times = doublings(image_shape)
    z, y = keras.Input([latent]), keras.Input([], dtype="int32")
    e = keras.layers.Embedding(classes, _CLASS_VECTOR)(y)
    x = _first_map(z, image_shape, times, width)
    for _ in range(times):
        x = _up_block(x, e, width)
    x = _norm(x)
    x = keras.layers.Conv2D(image_shape[2], 3, padding="same")(x)
    return keras.Model([z, y], _cropped(keras.ops.tanh(x), image_shape))


def residual_discriminator(
    image_shape: tuple[int, int, int], classes: int, width: int, contrast: int = 0
) -> keras.Model:
    """Returns the discriminator of BigGAN: residual blocks and spectral norm.

    Blocks halve the maps down to about 8x8; two more follow. The sum over a map is
    projected on the class.

    Args:
        image_shape: Height, width and channels.
        classes: Number of classes.
        width: Channels of all maps.
        contrast: Length of the vectors for contrastive losses (DC-VAE); 0 for none.

    Returns:
        A model from images `[n, h, w, c]` and labels `[n]` to answers `[n]`; with
        `contrast`, to a list of these and two arrays of vectors `[n, contrast]` of
        length 1: from the first block and from the last.
    """
    images, y = keras.Input(image_shape), keras.Input([], dtype="int32")
    halvings, x, early = max(0, doublings(image_shape) - 1), images, None
    for step in range(halvings + 2):
        x = _block(x, width, halve=step < halvings, first=step == 0)
        early = x if early is None else early
    x = keras.ops.relu(x)
    h = keras.ops.sum(x, axis=(1, 2))
    answers = Projection(classes)([h, y])
    if not contrast:
        return keras.Model([images, y], answers)
    vectors = [
        keras.layers.UnitNormalization()(keras.layers.Dense(contrast)(features))
        for features in (keras.ops.mean(keras.ops.relu(early), axis=(1, 2)), h)
    ]
    return keras.Model([images, y], [answers, *vectors])


def draw_weights(network: keras.Model, seed: int, number: int) -> None:
    """Sets the weights of a network to random ones, a function of seed and number.

    Kernels and tables are drawn from N(0, 0.02^2), as in DCGAN and BigGAN. Scales and
    variances are 1, and all else is 0, as Keras makes them.

    Args:
        network: A built Keras model.
        seed: The run's.
        number: Of the network among those of the run.
    """
    for index, variable in enumerate(network.variables):
        if variable.name in _DRAWN:
            one = tensor_seed(seed, Purpose.GENERATOR_WEIGHTS, number, index)
            drawn = tf.random.stateless_normal(variable.shape, one, stddev=_DEVIATION)
            variable.assign(drawn)


def _shrunk(side: int, times: int) -> int:
    return -(-side // 2**times)


def _factor(halvings: int) -> int:
    """How many times the channels of the largest maps smaller ones have."""
    return 2 ** min(2, max(0, halvings - 1))


def _first_map(x, image_shape, times, channels):
    """The smallest map, `[n, h, w, channels]`, of vectors."""
    height, width = (_shrunk(side, times) for side in image_shape[:2])
    x = keras.layers.Dense(height * width * channels)(x)
    return keras.layers.Reshape([height, width, channels])(x)


def _norm(x):
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    return keras.ops.relu(x)


def _cropped(x, image_shape):
    """The middle of a map that doubling has made larger than the images."""
    extra = [have - want for have, want in zip(x.shape[1:3], image_shape, strict=False)]
    if not any(extra):
        return x
    return keras.layers.Cropping2D([(e // 2, e - e // 2) for e in extra])(x)


def _up_block(x, e, width):
    """Twice the height and width: two convolutions, and one of 1x1 beside them."""
    aside = keras.layers.UpSampling2D()(x)
    aside = keras.layers.Conv2D(width, 1)(aside)
    x = keras.ops.relu(ClassNorm()([x, e]))
    x = keras.layers.UpSampling2D()(x)
    x = keras.layers.Conv2D(width, 3, padding="same")(x)
    x = keras.ops.relu(ClassNorm()([x, e]))
    return keras.layers.Conv2D(width, 3, padding="same")(x) + aside


def _block(x, width, halve, first):
    """Two convolutions; beside them nothing, or where the shape changes one of 1x1."""
    aside = x
    x = x if first else keras.ops.relu(x)  # an image is no map
    x = keras.ops.relu(SpectralConv(width, 3)(x))
    x = SpectralConv(width, 3)(x)
    if halve:
        x, aside = (
            keras.layers.AveragePooling2D(2, padding="same")(m) for m in (x, aside)
        )
    if halve or first:
        aside = SpectralConv(width, 1)(aside)
    return x + aside
