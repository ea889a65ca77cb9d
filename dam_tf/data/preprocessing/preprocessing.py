"""From pixels to what a network sees, and back: fitted once, saved, loaded.

Fitted on the training split alone; after that, plain tensor arithmetic that runs in
a `tf.function`, under XLA and under a `tf.GradientTape`.
"""

import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError, choice_error
from dam_tf.base.files import atomic_folder
from dam_tf.base.messages import log
from dam_tf.base.npz import Array, read_npz
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.preprocessing.moments import covariance
from dam_tf.data.preprocessing.whitening import ZCA, FixedLayer, Standardize
from dam_tf.data.real_data import RealData

KINDS = ("none", "standardize", "zca", "standardize_zca")

_FILE = "arrays.npz"
# Of these the shapes of all others follow.
_HEAD = {
    "kind": Array((), np.str_),
    "eps": Array((), np.floating),
    "image_shape": Array((3,), np.integer),
}


@keras.saving.register_keras_serializable("dam_tf")
class Preprocessing(FixedLayer):
    """Nothing, standardisation, ZCA, or one after the other, and the way back.

    Call takes pixels in 0..1, float32 [batch, height, width, channels], to what a
    network sees; `inverse` takes that back to pixels.

    Args:
        kind: "none", "standardize", "zca" or "standardize_zca".
        eps: Of `ZCA`.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, [50, 4, 4, 3], np.uint8)
        >>> preprocessing = fit_preprocessing("zca", images)
        >>> seen = preprocessing(images / np.float32(255))
        >>> pixels = preprocessing.inverse(seen)
        >>> bool(np.allclose(pixels * 255, images, atol=0.01))
        True
    """

    def __init__(self, kind: str = "standardize", eps: float = 0.1, **kwargs: Any):
        super().__init__(**kwargs)
        if kind not in KINDS:
            raise choice_error("preprocessing", kind, KINDS)
        self.kind = kind
        self.eps = eps
        self.standardize = Standardize() if "standardize" in kind else None
        self.zca = ZCA(eps) if "zca" in kind else None
        self.steps = [step for step in (self.standardize, self.zca) if step]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.image_shape = tuple(input_shape[1:])
        for step in self.steps:
            step.build(input_shape)
        self.built = True

    def adapt(self, images: np.ndarray) -> None:
        """Fits to `images`, uint8 [n, height, width, channels]."""
        self._ensure_built(images.shape[1:])
        if self.standardize:
            self.standardize.adapt(images)
        if self.zca:
            mean, matrix = covariance(images)
            if self.standardize:
                # Moments of standardised images follow from those of the pixels.
                shift, scale = (
                    np.broadcast_to(weight.numpy(), self.image_shape).ravel()
                    for weight in (self.standardize.mean, self.standardize.deviation)
                )
                mean = (mean - shift) / scale
                matrix /= scale
                matrix /= scale[:, np.newaxis]
            self.zca.set_moments(mean, matrix)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        for step in self.steps:
            images = step(images)
        return images

    def inverse(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the pixels that `call` takes to `images`."""
        images = tf.convert_to_tensor(images, tf.float32)
        for step in reversed(self.steps):
            images = step.inverse(images)
        return images

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind, "eps": self.eps}

    def save(self, folder: os.PathLike | str) -> None:
        """Writes a new folder with `arrays.npz` and `saved_model/`.

        `tf.saved_model.load` opens the latter without dam_tf; its signatures
        `serving_default` (pixels to what a network sees) and `inverse` take
        `images`, float32 [batch, height, width, channels], and return `images`.
        The arrays are kind, eps, image_shape and, by kind, mean, deviation,
        zca_mean, whitening and unwhitening.

        Raises:
            UserError: `folder` exists already, or cannot be written.
        """
        if os.path.lexists(folder):
            raise UserError(
                f"{folder} exists already; give another folder or remove it"
            )
        try:
            with atomic_folder(folder) as temporary:
                self.write(temporary)
        except OSError as error:
            raise UserError(
                f"cannot write preprocessing to {folder}: {error}"
            ) from None

    def write(self, folder: pathlib.Path) -> None:
        """Writes what `save` says into an empty folder; raises OSError."""
        np.savez(folder / _FILE, **self.arrays())
        self._export(folder / "saved_model")

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns what `save` writes into `arrays.npz`, by name."""
        weights = {name: weight.numpy() for name, weight in self.weights_by_name()}
        return {
            "kind": np.array(self.kind),
            "eps": np.array(self.eps),
            "image_shape": np.array(self.image_shape),
            **weights,
        }

    def weights_by_name(self) -> list[tuple[str, Any]]:
        """Returns the weights, each with its name in `arrays`."""
        named = []
        if self.standardize:
            named += [
                ("mean", self.standardize.mean),
                ("deviation", self.standardize.deviation),
            ]
        if self.zca:
            named += [
                ("zca_mean", self.zca.mean),
                ("whitening", self.zca.whitening),
                ("unwhitening", self.zca.unwhitening),
            ]
        return named

    def _export(self, folder: pathlib.Path) -> None:
        images = tf.TensorSpec([None, *self.image_shape], tf.float32, name="images")
        archive = keras.export.ExportArchive()
        archive.track(self)
        archive.add_endpoint(
            "serving_default", lambda images: {"images": self(images)}, [images]
        )
        archive.add_endpoint(
            "inverse", lambda images: {"images": self.inverse(images)}, [images]
        )
        archive.write_out(str(folder), verbose=False)


def fit_preprocessing(kind: str, images: np.ndarray) -> Preprocessing:
    """Fits preprocessing to the images of a training split, in chunks.

    Args:
        kind: "none", "standardize", "zca" or "standardize_zca".
        images: uint8 [n, height, width, channels]; may be memory-mapped.

    Raises:
        UserError: the images are too large for ZCA.
    """
    preprocessing = Preprocessing(kind)
    preprocessing.adapt(images)
    return preprocessing


def fit_to_data(settings: DatasetConfig, data: RealData) -> Preprocessing:
    """Fits the preprocessing that `settings` ask for to all real training images.

    Args:
        settings: Section `dataset`.
        data: The real data.

    Raises:
        UserError: the images are too large for ZCA.
    """
    kind = settings.preprocessing_kind
    if "zca" in kind:
        log.info("Fitting ZCA whitening to the training images.")
    return fit_preprocessing(kind, data.train.checked_images())


def load_preprocessing(folder: os.PathLike | str) -> Preprocessing:
    """Reads what `Preprocessing.save` wrote.

    Raises:
        UserError: the folder or its arrays are missing or damaged.
    """
    file = pathlib.Path(folder) / _FILE
    if not file.is_file():
        raise UserError(
            f"no preprocessing in {folder} ({_FILE} is missing); give the "
            "preprocessing folder of a run"
        )
    return read_preprocessing(file, f"{_FILE} as a run writes it")


def read_preprocessing(
    file: pathlib.Path, what: str, prefix: str = ""
) -> Preprocessing:
    """Reads what `Preprocessing.arrays` gave from an npz file.

    Args:
        file: The npz file.
        what: What it must be, for messages.
        prefix: What the names of the arrays begin with.

    Raises:
        UserError: arrays are missing or damaged.
    """

    def read(expected: Mapping[str, Array]) -> dict[str, np.ndarray]:
        named = {f"{prefix}{name}": array for name, array in expected.items()}
        found = read_npz(file, named, what)
        return {name.removeprefix(prefix): one for name, one in found.items()}

    head = read(_HEAD)
    try:
        shapes = _weight_shapes(*_parts_of(head))
        expected = {name: Array(shape) for name, shape in shapes.items()}
        return load_arrays(head | read(expected))
    except ValueError as error:
        if str(file) in str(error):
            raise
        raise UserError(f"cannot read {file}: {error}; it must be {what}") from None


def load_arrays(arrays: Mapping[str, np.ndarray]) -> Preprocessing:
    """Returns the preprocessing whose `arrays()` these are.

    Raises:
        KeyError, ValueError: one is missing, or not of the right shape.
    """
    kind, image_shape = _parts_of(arrays)
    # Before the layer is built: its weights may take much more than these arrays.
    for name, shape in _weight_shapes(kind, image_shape).items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}, not {shape}")
    preprocessing = Preprocessing(kind, float(arrays["eps"]))
    preprocessing.build((None, *image_shape))
    for name, weight in preprocessing.weights_by_name():
        weight.assign(arrays[name])
    return preprocessing


def _parts_of(arrays: Mapping[str, np.ndarray]) -> tuple[str, tuple[int, ...]]:
    kind = str(arrays["kind"])
    if kind not in KINDS:
        raise choice_error("preprocessing", kind, KINDS)
    image_shape = tuple(map(int, arrays["image_shape"]))
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"image_shape {image_shape} is that of no image")
    return kind, image_shape


def _weight_shapes(
    kind: str, image_shape: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the weights that preprocessing of this kind has."""
    channels, size = image_shape[-1], math.prod(image_shape)
    shapes = {}
    if "standardize" in kind:
        shapes |= {"mean": (channels,), "deviation": (channels,)}
    if "zca" in kind:
        square = (size, size)
        shapes |= {"zca_mean": (size,), "whitening": square, "unwhitening": square}
    return shapes
