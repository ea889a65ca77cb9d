"""Searches for an architecture by training many on a proxy of the whole set.

    python -m dam_tf nas --proxy=runs/cifar10_ipc50_datadam_seed0,random,early_stopping
    python -m dam_tf nas --dataset=cifar10 --ipc=50 --proxy=random \\
        --space=nasbench201 --sample=100 --models=5
    python -m dam_tf nas --dataset=digits --ipc=10 --proxy=random,early_stopping \\
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

from dam_tf.base.errors import UserError, choice_error
from dam_tf.base.trials import check_folder
from dam_tf.commands import program
from dam_tf.commands.options import (
    DATA,
    EVALUATION,
    OF_IMAGES,
    RUN_FOLDER,
    Options,
    run_folder,
)
from dam_tf.config.settings import Config, replace
from dam_tf.runs.folder import find_run
from dam_tf.studies.search.settings import SearchSettings, study_settings
from dam_tf.studies.search.spaces import (
    CONVNET_GRID,
    Architecture,
    convnet_grid,
    nasbench201_space,
)

OPTIONS = Options(*DATA, "ipc", "preset", "seed", *EVALUATION)
OPTIONS.items(
    "proxy",
    [],
    "Folders of runs, `random` (real images, --ipc of each class) or "
    "`early_stopping` (all images, as many updates as a set of --ipc gets). --ipc is "
    "that of the first run.",
    paths=True,
)
OPTIONS.text("space", "convnet720", "convnet720 or nasbench201.")
_GRID = {  # the flag of each axis
    "depth": "depths",
    "width": "widths",
    "activation": "activations",
    "norm": "norms",
    "pooling": "poolings",
}
for _name, _flag in _GRID.items():
    _values = ",".join(map(str, CONVNET_GRID[_name]))
    OPTIONS.items(_flag, None, f"Of convnet720; default: {_values}.")
OPTIONS.integer("cells", 5, "Of nasbench201: cells in each stage.")
OPTIONS.integer("sample", None, "Only so many architectures, drawn at random.")
OPTIONS.switch(
    "whole",
    True,
    "Train all architectures on the whole set, too, for the correlation; --nowhole: "
    "only the chosen ones.",
)
OPTIONS.integer("whole_epochs", 100, "Passes over the whole set.")
OPTIONS.integer("whole_images", None, "The whole set is so many training images.")
OPTIONS.integer(
    "validation",
    None,
    "Training images held out to rank architectures by. Default: a tenth.",
)
OPTIONS.integer("test_images", None, "Test on so many images. Default: all.")
OPTIONS.define_config("Without a run: TOML file of settings.")
OPTIONS.define_output("search", RUN_FOLDER.format("nas_<space>"))
_EPOCHS, _MODELS = 200, 1  # of the paper, unless --epochs and --models say otherwise
_WORDS = ("random", "early_stopping")


def main() -> None:
    space = _space()
    config = _config()
    settings = SearchSettings(
        OPTIONS["whole_epochs"],
        OPTIONS["validation"],
        OPTIONS["whole_images"],
        OPTIONS["test_images"],
    )
    output_dir = OPTIONS.output_dir(run_folder(config, f"nas_{OPTIONS['space']}"))
    study = study_settings(config, settings)
    check_folder(output_dir, study, OPTIONS["resume"], OPTIONS["overwrite"])
    print(_plan(config, len(space), output_dir), flush=True)

    program.import_tensorflow()
    from dam_tf.studies.search import search as architecture_search

    results = architecture_search.search(
        config,
        architecture_search.sample(space, OPTIONS["sample"], config.distillation.seed),
        OPTIONS["proxy"],
        output_dir,
        settings,
        whole=OPTIONS["whole"],
        resume=OPTIONS["resume"],
        overwrite=OPTIONS["overwrite"],
    )
    print((output_dir / "table.md").read_text(), end="")
    picture = (
        f", their picture in {output_dir / 'scatter.png'}" if OPTIONS["whole"] else ""
    )
    print(f"{len(results)} rows lie in {output_dir / 'results.jsonl'}{picture}")


def _space() -> list[Architecture]:
    if OPTIONS["space"] == "convnet720":
        if "cells" in OPTIONS.given():
            raise UserError("--cells is of --space=nasbench201")
        axes = {flag: _axis(name, flag, OPTIONS[flag]) for name, flag in _GRID.items()}
        return convnet_grid(**axes)
    if OPTIONS["space"] == "nasbench201":
        for flag in _GRID.values():
            if flag in OPTIONS.given():
                raise UserError(f"--{flag} is of --space=convnet720")
        return nasbench201_space(OPTIONS["cells"])
    raise choice_error("space", OPTIONS["space"], ("convnet720", "nasbench201"))


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
    if not OPTIONS["proxy"]:
        raise UserError(
            "--proxy is missing: folders of runs, random or early_stopping, separated "
            "by commas"
        )
    runs = [find_run(name) for name in OPTIONS["proxy"] if name not in _WORDS]
    overrides = OPTIONS.overrides()
    if not runs:
        config = OPTIONS.config()
    else:
        if OPTIONS["config"]:
            raise UserError("--config is for a search without a run among --proxy")
        if fixed := sorted(overrides.keys() & {*OF_IMAGES, "preset"}):
            raise UserError(f"{fixed[0]} is that of the run in {runs[0].path}")
        config = runs[0].settings(overrides)
    defaults = {"evaluation.epochs": _EPOCHS, "evaluation.networks": _MODELS}
    unsaid = {key: value for key, value in defaults.items() if key not in overrides}
    return replace(config, **{k.replace(".", "__"): v for k, v in unsaid.items()})


def _plan(config: Config, size: int, output_dir: pathlib.Path) -> str:
    count = min(OPTIONS["sample"] or size, size)
    whole = "each" if OPTIONS["whole"] else "the chosen ones"
    settings = config.evaluation
    return (
        f"Searching {count:,} of {size:,} architectures of {OPTIONS['space']} on "
        f"{config.dataset.name}: {settings.networks} x {settings.epochs:,} epochs on "
        f"{', '.join(OPTIONS['proxy'])} (ipc {config.distillation.ipc}), then {whole} "
        f"{settings.networks} x {OPTIONS['whole_epochs']:,} on the whole set, into "
        f"{output_dir}"
    )
