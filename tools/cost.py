"""Measures what a step of distillation costs: time and peak memory (Table 4).

    python tools/cost.py --dataset=cifar10 --method=datadam,dm --ipc=1,10,50

Half a minute on two cores, on digits that ship inside scikit-learn:

    python tools/cost.py --dataset=digits --method=datadam,dm --ipc=1,10 \\
        --iterations=20 --batch_real=32 --set=network.width=32

Each method and number of images has a process of its own, in which the compiled step
of distillation runs --iterations times after three to warm up. Memory is the peak of
the GPU or, where there is none, of the process, during those iterations.

--output_dir gets results.jsonl (with the settings), cost.png and trials.jsonl; what
was stopped continues with --resume. Let nothing else run meanwhile.
"""

import pathlib
import re

import _command
import _settings
from absl import flags

from dam_tf.base.errors import UserError
from dam_tf.base.trials import check_folder
from dam_tf.studies.cost import report as cost

_settings.define(
    "dataset",
    "data_dir",
    "image_size",
    "max_classes",
    "preset",
    "network",
    "init",
    "batch_real",
    "seed",
)
_METHOD = flags.DEFINE_list(
    "method", "datadam,dm", "Methods: datadam, dm, feature_map, pixel_mmd."
)
_IPC = flags.DEFINE_list("ipc", "1,10,50", "Synthetic images per class.")
_ITERATIONS = flags.DEFINE_integer(
    "iterations", 100, "Steps that are averaged over.", lower_bound=1
)
_CONFIG = flags.DEFINE_string(
    "config", None, "TOML file of settings. Default: configs/<dataset>.toml."
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder of the report. Default: runs/<dataset>_cost."
)
_RESUME = flags.DEFINE_bool("resume", False, "Continue the report in --output_dir.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the report there.")


def main() -> None:
    config = _settings.config(_CONFIG.value)
    methods, ipcs = _several("method", _METHOD.value), _ipcs()
    name = re.sub(r"[^\w.-]+", "-", config.dataset.name).strip("-")
    output_dir = pathlib.Path(_OUTPUT_DIR.value or f"runs/{name}_cost")
    settings = cost.report_settings(config, _ITERATIONS.value)
    check_folder(output_dir, settings, _RESUME.value, _OVERWRITE.value)
    print(
        f"Measuring a step on {config.dataset.name}, {config.distillation.batch_real} "
        f"real images per class, through {config.network.name} of width "
        f"{config.network.width}: {', '.join(methods)} with "
        f"{', '.join(map(str, ipcs))} images per class, {_ITERATIONS.value} iterations "
        f"each, into {output_dir}",
        flush=True,
    )
    _command.set_environment()
    results = cost.cost_report(
        config,
        methods,
        ipcs,
        output_dir,
        _ITERATIONS.value,
        _RESUME.value,
        _OVERWRITE.value,
    )
    for device in dict.fromkeys(r["device"] for r in results if "device" in r):
        print(f"Device: {device}")
    print(cost.table(results))
    print(f"Chart: {output_dir / cost.FIGURE}; {output_dir / cost.RESULTS}")


def _several(flag: str, values: list[str]) -> list[str]:
    if not values or len(set(values)) < len(values) or "" in values:
        given = ",".join(values) or "nothing"
        raise UserError(f"--{flag} must name one or more, each once, not {given}")
    return values


def _ipcs() -> list[int]:
    for text in _IPC.value:
        if not re.fullmatch(r"0*[1-9]\d*", text):
            raise UserError(f"--ipc must be whole numbers from 1, not {text!r}")
    return [int(text) for text in _several("ipc", _IPC.value)]


if __name__ == "__main__":
    _command.run(main)
