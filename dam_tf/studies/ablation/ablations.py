"""The paper's ablations: what each varies, and which table or figure it makes.

One table, `ABLATIONS`; `study.py` runs a row of it. Nothing here imports
TensorFlow.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dam_tf.base.errors import UserError, choice_error
from dam_tf.config.image_counts import check_mean
from dam_tf.config.pretraining import Pretraining
from dam_tf.config.settings import Config, read_config, replace, settings_that_matter

# Test accuracies in % between which networks are counted to a bucket (Table 7); the
# last bucket includes its end.
BUCKETS = ((0, 20), (20, 40), (40, 60), (60, 80), (80, 100))

Numbers = Mapping[int, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Variant:
    """One row of a table, or one bar or point of a figure.

    Attributes:
        name: As the table, the chart and `--values` call it.
        overrides: The settings that it changes, by dotted key.
        paper: What the paper prints for it on CIFAR-10: mean and deviation of the
            accuracy in %, by images per class. Figures without numbers leave it out.
        value: Its place on a numeric axis, if the chart has one.
        bucket: Accuracies in %: the networks matched are ones trained on the real
            set that are between these two. None: random networks.
        shared_run: It is evaluated otherwise, but distilled as all others are.
    """

    name: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    paper: Numbers = dataclasses.field(default_factory=dict)
    value: float | None = None
    bucket: tuple[int, int] | None = None
    shared_run: bool = False

    @property
    def folder(self) -> str:
        """The name of the folder of its runs."""
        if self.shared_run:
            return "distilled"
        return re.sub(r"[^\w.+-]+", "_", self.name).strip("_")

    def config(self, base: Config, ipc: int, seed: int) -> Config:
        """Returns the settings of one of its runs.

        Raises:
            UserError: a value of `overrides` is none that its setting accepts.
        """
        changes = {key.replace(".", "__"): v for key, v in self.overrides.items()}
        found = replace(base, distillation__ipc=ipc, distillation__seed=seed, **changes)
        check_mean(found.distillation, ipc)
        return found


@dataclasses.dataclass(frozen=True)
class Ablation:
    """What one ablation varies, and how it is shown.

    Attributes:
        varies: What differs between its variants, in words; the chart's title.
        reference: The paper's table or figure.
        scale: How the paper ran it.
        axis: What the variants are called along the chart's axis.
        chart: `bars`, `lines` (over a numeric setting) or `curves` (over iterations).
        fixed: Returns the variants for a network of so many blocks.
        setting: The dotted key of the one setting that varies, where `fixed` is not
            given; any value that it accepts is a variant.
        values: The values of that setting, if none are chosen.
        note: How ours differs from the paper's.
    """

    varies: str
    reference: str
    scale: str
    axis: str
    chart: str = "bars"
    fixed: Callable[[int], Sequence[Variant]] | None = None
    setting: str = ""
    values: tuple[str, ...] = ()
    note: str = ""

    @property
    def pretrains(self) -> bool:
        """Whether it needs networks trained on the real set."""
        return self.fixed is not None and any(v.bucket for v in self.fixed(2))

    def variants(self, blocks: int, chosen: Sequence[str] = ()) -> list[Variant]:
        """Returns the variants, or those of them that are chosen.

        Args:
            blocks: Blocks of the network.
            chosen: Names of variants or, where one setting varies, its values.

        Raises:
            UserError: one is unknown, none that the setting accepts, or there twice.

        Example:
            >>> [v.name for v in ABLATIONS["layers"].variants(3)]
            ['mmd', '1+mmd', '2+mmd', 'all', 'all+mmd']
            >>> ABLATIONS["power"].variants(3, ["2"])[0].overrides
            {'method.power': 2.0}
        """
        if self.fixed is None:
            found = [self._sweep(text) for text in chosen or self.values]
        else:
            known = {variant.name: variant for variant in self.fixed(blocks)}
            if unknown := [name for name in chosen if name not in known]:
                raise choice_error("variant", unknown[0], known)
            found = [known[name] for name in chosen or known]
        names = [variant.name for variant in found]
        if len(set(names)) < len(names):
            raise UserError(f"--values={','.join(chosen)} names one twice")
        return found

    def _sweep(self, text: str) -> Variant:
        section, name = self.setting.split(".")
        config = read_config(overrides={self.setting: text})
        value = getattr(getattr(config, section), name)
        number = isinstance(value, float)
        return Variant(
            f"{value:g}" if number else value,
            {self.setting: value},
            value=value if number else None,
            shared_run=section == "evaluation",
        )


# No attention of any layer: what is left of DataDAM's loss is lambda * MMD.
_MMD = {"method.layers": ()}
_SAM = {"method.task_balance": 0.0}


def _components(blocks: int) -> list[Variant]:
    return [
        Variant("mmd", _MMD, {10: (48.9, 0.6)}),
        Variant("sam", _SAM, {10: (49.8, 0.7)}),
        Variant("feature_map", {"method.name": "feature_map"}, {10: (47.2, 0.3)}),
        Variant("sam+mmd", {}, {10: (54.2, 0.8)}),
    ]


def _layers(blocks: int) -> list[Variant]:
    # The paper's network has three blocks; its numbers are of those.
    paper = {1: (50.2, 0.4), 2: (51.5, 1.0)} if blocks == 3 else {}
    single = [
        Variant(
            f"{layer}+mmd",
            {"method.layers": (layer,)},
            {10: paper[layer]} if paper else {},
        )
        for layer in range(1, blocks)
    ]
    if len(single) == 1:  # it is all there is
        single = []
    return [
        Variant("mmd", _MMD, {10: (48.9, 0.6)}),
        *single,
        Variant("all", _SAM, {10: (49.8, 0.7)}),
        Variant("all+mmd", {}, {10: (54.2, 0.8)}),
    ]


def _networks(blocks: int) -> list[Variant]:
    ipcs = (1, 10, 50)
    columns = [
        ((30.8, 3.1), (54.0, 0.7), (66.2, 0.4)),
        ((30.7, 1.7), (53.1, 0.5), (66.4, 0.4)),
        ((31.5, 1.9), (52.1, 0.8), (67.0, 0.5)),
        ((26.2, 1.8), (51.2, 0.7), (65.8, 0.5)),
        ((26.9, 1.3), (51.7, 0.7), (65.3, 0.6)),
    ]
    random = dict(zip(ipcs, ((32.0, 2.0), (54.2, 0.8), (67.0, 0.4)), strict=True))
    trained = [
        Variant(
            f"{low}-{high}" if high < 100 else f">={low}",
            paper=dict(zip(ipcs, numbers, strict=True)),
            bucket=(low, high),
        )
        for (low, high), numbers in zip(BUCKETS, columns, strict=True)
    ]
    return [Variant("random", paper=random), *trained]


_TEN = "CIFAR-10, 10 images per class"

ABLATIONS: dict[str, Ablation] = {
    "components": Ablation(
        varies="loss components",
        reference="Table 5",
        scale=_TEN,
        axis="loss",
        fixed=_components,
        note="mmd is lambda * MMD with DataDAM's scale, which is DM at 32x32; "
        "feature_map matches the mean maps of every block, scaled by 0.01",
    ),
    "layers": Ablation(
        varies="layers whose attention is matched",
        reference="Table 6",
        scale=f"{_TEN}, ConvNet of 3 blocks",
        axis="layers",
        fixed=_layers,
        note="`all` are all blocks but the last; a deeper network has more rows",
    ),
    "task_balance": Ablation(
        varies="task balance",
        reference="Figure 4",
        scale=_TEN,
        axis="lambda",
        chart="lines",
        setting="method.task_balance",
        values=("0.0001", "0.001", "0.01", "0.1", "1"),
        note="the paper prints no numbers; it describes a rise up to 0.01 and a "
        "plateau to the right of it",
    ),
    "power": Ablation(
        varies="power of the attention maps",
        reference="Figure 8",
        scale=_TEN,
        axis="p",
        chart="lines",
        setting="method.power",
        values=("1", "2", "4", "8"),
        note="the paper prints no numbers; it describes little change and a drop at 8",
    ),
    "loss": Ablation(
        varies="distance between attention maps",
        reference="Figure 12",
        scale=_TEN,
        axis="loss",
        setting="method.loss",
        values=("mae", "cosine", "mse"),
        note="the paper prints no numbers; mse is its best, by up to 2 points",
    ),
    "normalization": Ablation(
        varies="normalization of attention maps",
        reference="Figure 13",
        scale=_TEN,
        axis="normalization",
        setting="method.normalization",
        values=("none", "l1", "l2"),
        note="the paper prints no numbers; l2 is its best, none far below",
    ),
    "initialization": Ablation(
        varies="initial images",
        reference="Figures 3 and 9",
        scale="CIFAR-10, 50 images per class (noise also to 40,000 iterations)",
        axis="initial images",
        chart="curves",
        setting="distillation.init",
        values=("random", "k-center", "noise"),
        note="accuracy against iterations, --points of them",
    ),
    "augmentation": Ablation(
        varies="augmentation while evaluating",
        reference="Figure 11",
        scale=_TEN,
        axis="augmentation",
        setting="evaluation.augmentation",
        values=("none", "autoaugment", "randaugment", "dsa"),
        note="one distilled set, evaluated in each way; the paper prints no numbers",
    ),
    "networks": Ablation(
        varies="networks that are matched through",
        reference="Table 7",
        scale="CIFAR-10, 1, 10 and 50 images per class, 1,000 networks",
        axis="test accuracy of the networks (%)",
        fixed=_networks,
        note="--pretrained networks, each kept at moments along its training, which "
        "are sorted by test accuracy",
    ),
}


def find_ablation(name: str) -> Ablation:
    """Returns the ablation of that name.

    Raises:
        UserError: there is none.

    Example:
        >>> find_ablation("power").reference
        'Figure 8'
    """
    if name not in ABLATIONS:
        raise choice_error("ablation", name, ABLATIONS)
    return ABLATIONS[name]


def study_settings(
    name: str, config: Config, points: int, pretraining: Pretraining
) -> dict[str, Any]:
    """Returns what all trials of an ablation depend on, for `Trials`.

    Args:
        name: A key of `ABLATIONS`.
        config: Of all runs; its ipc and seed are those of none.
        points: As of `run_ablation`; it counts where curves are drawn.
        pretraining: It counts where networks are trained first.

    Raises:
        UserError: there is no such ablation, or no point.
    """
    ablation = find_ablation(name)
    if points < 1:
        raise UserError(f"points must be at least 1, not {points}")
    ignored = ["distillation.ipc", "distillation.seed"]
    found = {"ablation": name, **settings_that_matter(config, ignored)}
    if ablation.chart == "curves":
        found["points"] = points
    if ablation.pretrains:
        found |= {
            f"pretraining.{key}": value
            for key, value in dataclasses.asdict(pretraining).items()
        }
    return found
