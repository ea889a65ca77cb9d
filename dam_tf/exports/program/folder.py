"""A whole run as a folder: its functions as StableHLO, and a file that runs them.

The folder needs neither TensorFlow nor dam_tf. `run_program.py`, which is copied into
it, runs it with JAX on whatever device that has:

    manifest.json       what the functions take and give, settings, what the data are
    *.stablehlo         portable StableHLO artifacts; `main` is the function
    constants.npz       what the functions read and never change, by name
    self_test.npz       what this machine found, for the other to compare with
    run_program.py      python run_program.py --data=cifar10.npz
"""

import hashlib
import importlib.metadata
import json
import os
import pathlib
import zlib
from typing import Any

import numpy as np
import tensorflow as tf

from dam_tf.base.errors import UserError, choice_error
from dam_tf.base.files import atomic_folder
from dam_tf.base.messages import log
from dam_tf.base.output import check_output
from dam_tf.base.target import TARGETS, program_for
from dam_tf.config.schema import flat, to_dict
from dam_tf.config.settings import Config, replace, resolve
from dam_tf.data.loading import checked_data
from dam_tf.data.preprocessing.preprocessing import Preprocessing, fit_to_data
from dam_tf.data.real_data import RealData, Split
from dam_tf.exports.program.functions import Functions, check_settings
from dam_tf.exports.program.joined import joined
from dam_tf.exports.program.lowering import Lowered, graphs, lower
from dam_tf.exports.program.self_test import SEED, record
from dam_tf.networks.pools import NetworkPool
from dam_tf.runs.checks import check_distillation

FORMAT, VERSION = "dam_tf program", 1
RUNNER = "run_program.py"
# What it is joined of, each after those that it imports.
_PARTS = ("files", "images", "device", "run", "main")
_MANIFEST = "manifest.json"
_CONSTANTS, _SELF_TEST = "constants.npz", "self_test.npz"
# Largest difference over largest value. An accelerator sums in another order, and its
# products have 10 bits after the point, if they may.
_TOLERANCES = {True: 0.03, False: 0.003}


def export_program(
    config: Config,
    output_dir: os.PathLike | str,
    target: str = "gpu",
    data: RealData | None = None,
    preprocessing: Preprocessing | None = None,
    networks: NetworkPool | None = None,
    tf32: bool = True,
    iterations_per_call: int = 100,
    self_test: bool = True,
    overwrite: bool = False,
) -> pathlib.Path:
    """Compiles the whole run that `config` asks for into a folder of StableHLO.

    Networks, augmentation and class-wise batches are drawn by the program, from any
    seed, and other ones than those of `dam_tf.distill` with that seed: XLA draws other
    numbers, and batches are not drawn by NumPy. So results agree as those of two seeds
    do, not bit for bit.

    Args:
        config: The settings, from `dam_tf.make_config`.
        output_dir: The folder, which is made.
        target: The device that it is for: "gpu", "tpu" or "cpu". Networks have the
            layers, and passes the size, that suit it.
        data: The real data; loaded as `config.dataset` says if left out. The program
            takes images of this number and shape only.
        preprocessing: Fitted already; to the training images if left out.
        networks: Networks to match through; random ones if left out.
        tf32: Whether products may take float32 values with 10 bits after the point
            ("TF32" on GPUs; bfloat16 on TPUs), as accelerators do by default.
        iterations_per_call: Iterations that one call does at most.
        self_test: Whether one iteration and one epoch are run here and kept, for the
            other machine to compare with.
        overwrite: Replace a program that lies there.

    Returns:
        The folder.

    Raises:
        UserError: something given cannot be used. Nothing has been written then.

    Example, which refuses; what it makes of "gpu" takes a minute:
        >>> from dam_tf import make_config
        >>> export_program(make_config(), "program", target="npu")
        Traceback (most recent call last):
        dam_tf.base.errors.UserError: unknown target 'npu' (did you mean 'tpu'?)...
    """
    if target not in TARGETS:
        raise choice_error("target", target, TARGETS)
    if iterations_per_call < 1:
        raise UserError(
            f"iterations_per_call must be at least 1, not {iterations_per_call}"
        )
    check_settings(config)
    output_dir = pathlib.Path(output_dir)
    check_output(
        output_dir, "a program", lambda: is_program(output_dir), None, overwrite
    )
    config = replace(config, distillation__jit="xla")
    with program_for(target), graphs():

        def check(known):
            check_distillation(config, known, networks=networks)

        data = checked_data(data, config.dataset, check)
        config = resolve(config, data.image_shape)
        preprocessing = preprocessing or fit_to_data(config.dataset, data)
        functions = Functions(
            config, data, preprocessing, iterations_per_call, networks
        )
        lowered = _lowered(functions, tf32)
        found = record(functions) if self_test else None
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "made_with": {
            "dam_tf": importlib.metadata.version("dam_tf"),
            "tensorflow": tf.__version__,
        },
        "target": target,
        "precision": config.distillation.precision,
        "tf32": tf32,
        "method": config.method.name,
        "settings": flat(to_dict(config)),
        "losses": list(functions.losses),
        "data": _about(data),
        "ipc": config.distillation.ipc,
        "iterations": config.distillation.iterations,
        "iterations_per_call": iterations_per_call,
        "epochs": config.evaluation.epochs,
        "networks": config.evaluation.networks,
        "labels": functions.owners.tolist(),
        "formation": functions.formation,
        "state": functions.state,
        "self_test": found and {"seed": SEED, "tolerance": _TOLERANCES[tf32]},
    }
    with atomic_folder(output_dir.resolve()) as temporary:
        _write(temporary, manifest, lowered, functions, found)
    return output_dir


def runner() -> str:
    """Returns the text of `run_program.py`: one file, joined of those of `runner/`."""
    here = pathlib.Path(__file__).parent
    parts = [here / "runner" / f"{name}.py" for name in _PARTS]
    return joined(here / RUNNER, parts)


def is_program(folder: pathlib.Path) -> bool:
    """Returns whether a folder is one that `export_program` wrote."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def _lowered(functions: Functions, tf32: bool) -> dict[str, Lowered]:
    found, known = {}, {**functions.variables, **functions.constants}
    for name, one in functions.by_name.items():
        log.info("Compiling %s.", name)
        found[name] = lower(one.call, one.arguments, one.results, known, tf32)
    return found


def _write(
    folder: pathlib.Path,
    manifest: dict[str, Any],
    lowered: dict[str, Lowered],
    functions: Functions,
    found: dict[str, np.ndarray] | None,
) -> None:
    manifest["functions"] = {}
    read = {value.name for one in lowered.values() for value in one.arguments}
    constants = {n: v.numpy() for n, v in functions.constants.items() if n in read}
    for name, one in lowered.items():
        file = f"{name}.stablehlo"
        (folder / file).write_bytes(one.artifact)
        constants |= one.constants
        manifest["functions"][name] = {
            "file": file,
            "arguments": [value.described() for value in one.arguments],
            "results": [value.described() for value in one.results],
        }
    np.savez(folder / _CONSTANTS, **constants)
    if found is not None:
        np.savez(folder / _SELF_TEST, **found)
    manifest["files"] = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
    }
    (folder / RUNNER).write_text(runner(), encoding="utf-8")
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    (folder / _MANIFEST).write_text(f"{text}\n", encoding="utf-8")


def _about(data: RealData) -> dict[str, Any]:
    test = data.tested()
    return {
        "name": data.name,
        "class_names": list(data.class_names),
        "image_shape": list(data.image_shape),
        "train_counts": data.train.counts.tolist(),
        "train_crc32": _crc32(data.train),
        "test_count": len(test.images),
        "test_crc32": _crc32(test),
        "test_labels_crc32": zlib.crc32(np.asarray(test.labels, "<i8").tobytes()),
    }


def _crc32(split: Split, at_once: int = 1000) -> int:
    images, found = split.checked_images(), 0
    for start in range(0, len(images), at_once):
        found = zlib.crc32(np.ascontiguousarray(images[start : start + at_once]), found)
    return found
