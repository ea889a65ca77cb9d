"""Searches for an architecture by training many on a proxy of the whole set.

    python tools/nas.py --proxy=runs/cifar10_ipc50_datadam_seed0,random,early_stopping
    python tools/nas.py --dataset=cifar10 --ipc=50 --proxy=random --space=nasbench201 \\
        --sample=100 --models=5
    python tools/nas.py --dataset=digits --ipc=10 --proxy=random,early_stopping \\
        --depths=1,2 --widths=32 --activations=relu,sigmoid --norms=none,instance \\
        --poolings=avg --epochs=30 --whole_epochs=3

The last takes a minute or two on two cores. Each architecture is trained on each
proxy and on the whole set. Prints, for each proxy, the accuracy of the architecture
that it ranks first, trained on the whole set, the rank correlation (Spearman) with
the whole set, time and storage. In --output_dir lie that table (table.md), its
numbers (results.jsonl), a picture (scatter.png) and every finished network
(trials.jsonl), so that --resume continues a search, also with more proxies or
architectures.
"""

import pathlib
from collections.abc import Sequence

import _command
import _settings
from absl import flags

from dam_tf.base.errors import UserError, choice_error
from dam_tf.base.trials import check_folder
from dam_tf.config.settings import Config, replace
from dam_tf.runs.folder import find_run
from dam_tf.studies.search.settings import SearchSettings, study_settings
from dam_tf.studies.search.spaces import (
    CONVNET_GRID,
    Architecture,
    convnet_grid,
    nasbench201_space,
)

_settings.define(
    "dataset",
    "data_dir",
    "image_size",
    "max_classes",
    "ipc",
    "preset",
    "seed",
    "models",
    "epochs",
    "schedule",
    "augmentation",
)
_PROXY = flags.DEFINE_list(
    "proxy",
    [],
    "Folders of runs, `random` (real images, --ipc of each class) or "
    "`early_stopping` (all images, as many updates as a set of --ipc gets). --ipc is "
    "that of the first run.",
)
_SPACE = flags.DEFINE_string("space", "convnet720", "convnet720 or nasbench201.")
_GRID = {
    name: flags.DEFINE_list(
        plural, None, f"Of convnet720; default: {','.join(map(str, values))}."
    )
    for (name, values), plural in zip(
        CONVNET_GRID.items(),
        ("depths", "widths", "activations", "norms", "poolings"),
        strict=True,
    )
}
_CELLS = flags.DEFINE_integer(
    "cells", 5, "Of nasbench201: cells in each stage.", lower_bound=1
)
_SAMPLE = flags.DEFINE_integer(
    "sample", None, "Only so many architectures, drawn at random.", lower_bound=1
)
_WHOLE = flags.DEFINE_bool(
    "whole",
    True,
    "Train all architectures on the whole set, too, for the correlation; --nowhole: "
    "only the chosen ones.",
)
_WHOLE_EPOCHS = flags.DEFINE_integer(
    "whole_epochs", 100, "Passes over the whole set.", lower_bound=1
)
_WHOLE_IMAGES = flags.DEFINE_integer(
    "whole_images", None, "The whole set is so many training images.", lower_bound=1
)
_VALIDATION = flags.DEFINE_integer(
    "validation",
    None,
    "Training images held out to rank architectures by. Default: a tenth.",
    lower_bound=1,
)
_TEST_IMAGES = flags.DEFINE_integer(
    "test_images", None, "Test on so many images. Default: all.", lower_bound=1
)
_CONFIG = flags.DEFINE_string("config", None, "Without a run: TOML file of settings.")
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Folder of the search. Default: runs/<dataset>_ipc<k>_nas_<space>_seed<s>.",
)
_RESUME = flags.DEFINE_bool("resume", False, "Continue the search in --output_dir.")
_OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Replace the search in --output_dir."
)
_EPOCHS, _MODELS = 200, 1  # of the paper, unless --epochs and --models say otherwise
_WORDS = ("random", "early_stopping")


def main() -> None:
    space = _space()
    config = _config()
    settings = SearchSettings(
        _WHOLE_EPOCHS.value, _VALIDATION.value, _WHOLE_IMAGES.value, _TEST_IMAGES.value
    )
    output_dir = pathlib.Path(
        _OUTPUT_DIR.value or _settings.default_folder(config, f"nas_{_SPACE.value}")
    )
    study = study_settings(config, settings)
    check_folder(output_dir, study, _RESUME.value, _OVERWRITE.value)
    print(_plan(config, len(space), output_dir), flush=True)

    _command.import_tensorflow()
    from dam_tf.studies.search import search as architecture_search

    results = architecture_search.search(
        config,
        architecture_search.sample(space, _SAMPLE.value, config.distillation.seed),
        _PROXY.value,
        output_dir,
        settings,
        whole=_WHOLE.value,
        resume=_RESUME.value,
        overwrite=_OVERWRITE.value,
    )
    print((output_dir / "table.md").read_text(), end="")
    picture = f", their picture in {output_dir / 'scatter.png'}" if _WHOLE.value else ""
    print(f"{len(results)} rows lie in {output_dir / 'results.jsonl'}{picture}")


def _space() -> list[Architecture]:
    if _SPACE.value == "convnet720":
        if flags.FLAGS["cells"].present:
            raise UserError("--cells is of --space=nasbench201")
        axes = {
            flag.name: _axis(name, flag.name, flag.value)
            for name, flag in _GRID.items()
        }
        return convnet_grid(**axes)
    if _SPACE.value == "nasbench201":
        for flag in _GRID.values():
            if flag.present:
                raise UserError(f"--{flag.name} is of --space=convnet720")
        return nasbench201_space(_CELLS.value)
    raise choice_error("space", _SPACE.value, ("convnet720", "nasbench201"))


def _axis(name: str, flag: str, given: Sequence[str] | None) -> tuple:
    """Returns one axis of the grid."""
    known = CONVNET_GRID[name]
    if given is None:
        return known
    values = [text.strip() for text in given]
    if not any(values):
        raise UserError(f"--{flag} is empty; give some, such as {known[0]}")
    if not isinstance(known[0], int):
        return tuple(values)
    for value in values:
        if not value.isdecimal():
            raise UserError(f"--{flag}: {value!r} is no whole number")
    return tuple(map(int, values))


def _config() -> Config:
    """Returns the first run's settings, or those of the data, with flags over them."""
    if not _PROXY.value:
        raise UserError(
            "--proxy is missing: folders of runs, random or early_stopping, separated "
            "by commas"
        )
    runs = [find_run(name) for name in _PROXY.value if name not in _WORDS]
    overrides = _settings.overrides()
    if not runs:
        config = _settings.config(_CONFIG.value)
    else:
        if _CONFIG.value:
            raise UserError("--config is for a search without a run among --proxy")
        if fixed := sorted(overrides.keys() & {"distillation.ipc", "preset"}):
            raise UserError(f"{fixed[0]} is that of the run in {runs[0].path}")
        config = runs[0].settings(overrides)
    defaults = {"evaluation.epochs": _EPOCHS, "evaluation.models": _MODELS}
    unsaid = {key: value for key, value in defaults.items() if key not in overrides}
    return replace(config, **{k.replace(".", "__"): v for k, v in unsaid.items()})


def _plan(config: Config, size: int, output_dir: pathlib.Path) -> str:
    count = min(_SAMPLE.value or size, size)
    whole = "each" if _WHOLE.value else "the chosen ones"
    settings = config.evaluation
    return (
        f"Searching {count:,} of {size:,} architectures of {_SPACE.value} on "
        f"{config.dataset.name}: {settings.models} x {settings.epochs:,} epochs on "
        f"{', '.join(_PROXY.value)} (ipc {config.distillation.ipc}), then {whole} "
        f"{settings.models} x {_WHOLE_EPOCHS.value:,} on the whole set, into "
        f"{output_dir}"
    )


if __name__ == "__main__":
    _command.run(main)
