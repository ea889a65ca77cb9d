"""A program whose functions do not matter: its manifest, and images that fit to it."""

import hashlib
import json
import pathlib
import subprocess
import sys
import zlib

import numpy as np
import pytest

from dam_tf.exports.program.folder import runner


def describe(images: np.ndarray, counts: list[int], names: list[str]) -> dict:
    """The part "data" of a manifest, for images [n, h, w, c] by class."""
    return {
        "name": "pets",
        "class_names": names,
        "image_shape": list(images.shape[1:]),
        "train_counts": counts,
        "train_crc32": zlib.crc32(images),
        "test_count": len(images),
        "test_crc32": zlib.crc32(images),
    }


class Folder:
    """A program's folder, whose functions take only `real` and give only `images`."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        path.mkdir()
        (path / "run_program.py").write_text(runner())
        (path / "distill.stablehlo").write_bytes(b"what jax would read")
        np.savez(path / "constants.npz", mean=np.float32([0.5]))
        images = np.arange(80, dtype=np.uint8).reshape(5, 4, 4, 1)
        self.images, self.labels = images, np.array([0, 0, 1, 1, 1])
        values = [{"name": "images", "shape": [2, 4, 4, 1], "dtype": "float32"}]
        function = {"file": "distill.stablehlo", "arguments": values, "results": values}
        self.manifest = {
            "format": "dam_tf program",
            "version": 1,
            "target": "cpu",
            "method": "dm",
            "settings": {},
            "losses": ["loss"],
            "state": ["images"],
            "data": describe(images, [2, 3], ["cat", "dog"]),
            "ipc": 1,
            "iterations": 10,
            "iterations_per_call": 5,
            "epochs": 2,
            "networks": 1,
            "labels": [0, 1],
            "formation": "raw",
            "functions": dict.fromkeys(("init", "distill", "evaluate"), function),
            "files": {
                name: hashlib.sha256((path / name).read_bytes()).hexdigest()
                for name in ("distill.stablehlo", "constants.npz")
            },
        }
        self.write()

    def write(self, **changes) -> None:
        """Writes the manifest with these changes; None leaves a part out."""
        manifest = {**self.manifest, **changes}
        manifest = {name: one for name, one in manifest.items() if one is not None}
        (self.path / "manifest.json").write_text(json.dumps(manifest))

    def save_images(self, **changes) -> pathlib.Path:
        """Writes the images that fit, with other arrays in place of some."""
        arrays = {"x_train": self.images, "y_train": self.labels}
        arrays |= {"x_test": self.images, "y_test": self.labels, **changes}
        np.savez(file := self.path.with_name("pets.npz"), **arrays)
        return file

    def run(self, *words: str) -> tuple[int, str, str]:
        """Runs it, in a Python that has no jax; returns status, output and errors."""
        result = subprocess.run(
            [sys.executable, "run_program.py", *words],
            cwd=self.path,
            capture_output=True,
            text=True,
        )
        return result.returncode, result.stdout, result.stderr


@pytest.fixture
def program(tmp_path) -> Folder:
    return Folder(tmp_path / "program")
