"""Records what kornia's ZCAWhitening computes, for tests that run without kornia.

Writes ../fixtures/kornia_zca.npz: uint8 images [n, channels, height, width] of two
shapes (more images than pixel values, and fewer), the first of them whitened, and
what the inverse makes of that. To rerun:

    python -m venv /tmp/recording
    /tmp/recording/bin/pip install kornia==0.9.0 torch==2.13.0 numpy
    /tmp/recording/bin/python tests/datasets/record_kornia.py
"""

import pathlib

import numpy as np
import torch
from kornia.enhance import ZCAWhitening

FILE = pathlib.Path(__file__).parents[1] / "fixtures" / "kornia_zca.npz"
SHAPES = {"many": (300, 3, 6, 5), "few": (40, 3, 6, 5), "grey": (100, 1, 8, 8)}
SHOWN = 16


def smooth_images(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Returns images whose neighbouring pixels are alike, as in photographs."""
    noise = rng.normal(size=shape)
    for axis in (2, 3):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, 2, axis)
    noise = noise + rng.normal(size=(shape[0], 1, 1, 1)) * 5
    return np.clip(noise * 10 + 120, 0, 255).astype(np.uint8)


def main() -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for name, shape in SHAPES.items():
        images = smooth_images(rng, shape)
        pixels = torch.tensor(images, dtype=torch.float32) / 255
        zca = ZCAWhitening(eps=0.1, compute_inv=True).fit(pixels)
        whitened = zca(pixels[:SHOWN])
        arrays[f"{name}_images"] = images
        arrays[f"{name}_whitened"] = whitened.numpy()
        arrays[f"{name}_pixels"] = zca.inverse_transform(whitened).numpy()
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
