"""Compiles what accelerator.sh measures into a folder that is small enough to carry."""

import hashlib
import json
import pathlib
import shutil
import tempfile
from typing import Any

import _accelerator_archive as archive
import _machine
import _tools
import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_folder
from dam_tf.config.methods import METHODS
from dam_tf.config.presets import make_config
from dam_tf.config.settings import Config

MOST_BYTES = 60 << 20
RUNS = ("datadam", "dm")
PRESETS = ("paper", "reference")
TIMED = (1, 10, 50)  # images per class
NETWORKS = 5  # that are trained on a set
TINY = {
    "network.width": 8,
    "network.depth": 1,
    "distillation.batch_real": 4,
    "distillation.iterations": 6,
    "evaluation.epochs": 2,
    "evaluation.networks": 2,
}


def prepare_folder(source: pathlib.Path, folder: pathlib.Path, tiny: bool) -> None:
    """Compiles the programs for the pictures of `source`, and writes `folder`.

    Args:
        source: A .tar.xz that `_accelerator_archive.decode` reads.
        folder: Is made; it holds the archive, the programs, and `plan.json`.
        tiny: Two small programs instead of all, for a test.

    Raises:
        UserError: the archive is of no use, `folder` holds something, or the programs
            that must be there take more than `MOST_BYTES`.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} holds something; name a folder that is new")
    arrays = archive.decode(source)
    _tools.import_tensorflow()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as room:
        work = pathlib.Path(room)
        plan = _compile_all(arrays, work / "programs", tiny)
        plan["made"] = _machine.describe()
        plan["archive"] = source.name
        with atomic_folder(folder.resolve()) as written:
            plan["shared"] = archive.pack(work / "programs", written)
            shutil.copyfile(source, written / source.name)
            text = json.dumps(plan, indent=1) + "\n"
            (written / "plan.json").write_text(text, encoding="utf-8")
            size = sum(file.stat().st_size for file in written.iterdir())
            if size > MOST_BYTES:
                raise UserError(
                    f"the folder would take {size / 2**20:.1f} MiB, and "
                    f"{MOST_BYTES >> 20} may be carried; give a smaller archive"
                )
    print(f"{folder}: {size / 2**20:.1f} MiB of the {MOST_BYTES >> 20} that may be.")


def _compile_all(
    arrays: dict[str, np.ndarray], programs: pathlib.Path, tiny: bool
) -> dict[str, Any]:
    """Compiles into `programs`, a folder each; returns what they are for, by name."""
    from dam_tf.exports.program.folder import export_program

    data, fitted = _real_data(arrays), {}

    def compiled(method: str, preset: str, ipc: int, self_test=False) -> str:
        name = f"{method}_{preset}_ipc{ipc}"
        if not (programs / name).exists():
            config = _config(method, preset, ipc, tiny)
            kind = config.dataset.preprocessing_kind
            if kind not in fitted:
                fitted[kind] = _fit(config, data)
            export_program(
                config,
                programs / name,
                target="gpu",
                tf32=True,
                data=data,
                preprocessing=fitted[kind],
                self_test=self_test,
            )
            _leave_out_inverse(programs / name)
            print(f"Compiled {name}.", flush=True)
        return name

    ipcs, presets = ((1,), PRESETS[:1]) if tiny else (TIMED, PRESETS)
    ipc = 1 if tiny else 10
    programs.mkdir(parents=True)
    plan: dict[str, Any] = {"others": []}
    plan["tested"] = compiled("datadam", "paper", ipc, self_test=True)
    plan["steps"] = {ipc: compiled("datadam", "paper", ipc) for ipc in ipcs}
    plan["runs"] = [compiled(m, preset, ipc) for m in RUNS for preset in presets]
    for method in () if tiny else METHODS:
        if method not in RUNS:
            try:
                plan["others"].append(compiled(method, "paper", ipc))
            except Exception as error:  # half an hour of compiling is not to be lost
                print(f"{method} is left out: {_last_line(error)}", flush=True)
    return plan


def _leave_out_inverse(program: pathlib.Path) -> None:
    """Halves the constants: a program finds the inverse of its whitening itself."""
    constants, manifest = program / "constants.npz", program / "manifest.json"
    with np.load(constants, allow_pickle=False) as arrays:
        kept = {k: arrays[k] for k in arrays.files if k != "unwhitening"}
    np.savez(constants, **kept)
    about = json.loads(manifest.read_text(encoding="utf-8"))
    digest = hashlib.sha256(constants.read_bytes()).hexdigest()
    about["files"]["constants.npz"] = digest
    text = json.dumps(about, indent=1, ensure_ascii=False)
    manifest.write_text(f"{text}\n", encoding="utf-8")


def _last_line(error: Exception) -> str:
    """Why compiling failed; TensorFlow puts what was raised while tracing last."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()


def _config(method: str, preset: str, ipc: int, tiny: bool) -> Config:
    return make_config(
        overrides={
            "dataset.name": "cifar10",
            "method.name": method,
            "preset": preset,
            "distillation.ipc": ipc,
            "evaluation.networks": NETWORKS,
            **(TINY if tiny else {}),
        }
    )


def _real_data(arrays: dict[str, np.ndarray]):
    from dam_tf.data.real_data import RealData, sorted_split

    names = tuple(np.unique(arrays["y_train"]).tolist())
    if set(names) != set(arrays["y_test"].tolist()):
        raise UserError("train/ and test/ of the archive have different classes")
    splits = [
        sorted_split(
            arrays[f"x_{split}"], np.unique(arrays[f"y_{split}"], return_counts=True)[1]
        )
        for split in ("train", "test")
    ]
    return RealData("cifar10", names, *splits)


def _fit(config: Config, data):
    """Preprocessing whose matrices are symmetric to the last bit, as they are meant."""
    from dam_tf.data.preprocessing.preprocessing import fit_to_data

    preprocessing = fit_to_data(config.dataset, data)
    if "zca" in config.dataset.preprocessing_kind:
        for weight in preprocessing.zca.whitening, preprocessing.zca.unwhitening:
            upper = np.triu(weight.numpy())
            weight.assign(upper + np.triu(upper, 1).T)
    return preprocessing
