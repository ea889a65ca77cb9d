"""How programs are run in new processes, by the tests in jax's environment."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECORDED = ROOT / "build" / "jax"


class Runs:
    """Runs programs in new processes, which keep what they have compiled.

    Args:
        folder: In which they run, and write.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder, self.toy = folder, RECORDED / "toy"
        self.environment = {
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(RECORDED / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }

    def start(self, *words: str, program: pathlib.Path | None = None, **options):
        """Starts a program, `toy` if none is given, on a device that is here."""
        file = (program or self.toy) / "run_program.py"
        return subprocess.Popen(
            [sys.executable, file, "--device=cpu", *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *words: str, **options) -> tuple[int, str, str]:
        """Runs a program to its end; returns its status, output and errors."""
        process = self.start(*words, **options)
        output, errors = process.communicate(timeout=120)
        return process.returncode, output, errors

    def distill(self, name: str, *words: str, **options) -> pathlib.Path:
        """Distils the toy's data into a folder `name`, which is returned."""
        words = (f"--data={RECORDED / 'toy.npz'}", f"--output_dir={name}", *words)
        status, output, errors = self.run(*words, **options)
        assert status == 0, output + errors
        return self.folder / name

    def refused(self, *words: str, **options) -> str:
        """Returns the one line that is said where something cannot be used."""
        status, _, errors = self.run(*words, **options)
        lines = errors.splitlines()
        assert status == 2, errors
        assert len(lines) == 1 and lines[0].startswith("run_program.py: "), errors
        return lines[0]

    def copy(self) -> pathlib.Path:
        """Returns a copy of the toy, to be spoilt."""
        return shutil.copytree(self.toy, self.folder / "program")


def arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file, by name."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
