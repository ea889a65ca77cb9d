"""What a run's folder knows, read once and with nothing taken for granted.

Runs may be unfinished, damaged or made by an earlier version: what cannot be read is
left out, and that is said.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import parse_json, read_json_lines
from dam_tf.base.trials import DATA
from dam_tf.config.generators import GENERATORS
from dam_tf.config.schema import flat, to_dict
from dam_tf.config.settings import Config, from_dict
from dam_tf.data.identity import Identity
from dam_tf.runs.folder import RunFolder, find_run
from dam_tf.runs.provenance import Provenance, read_provenance
from dam_tf.synthetic.distilled_set import DistilledSet

_NUMBER = int | float
# What no command need repeat: data may move, and a run knows where its own are now.
_PLACES = ("dataset.name", "dataset.data_dir")


@dataclasses.dataclass(frozen=True, eq=False)
class RunFacts:
    """One run.

    Attributes:
        title: What it is called on the page.
        folder: Where it lies.
        config: Its settings.
        distilled: Its images; None where there are none that can be read.
        trouble: Why not.
        metrics: Lines of metrics, each with a whole `iteration` and numbers.
        evaluations: Results, the oldest first, each with an `accuracy`.
        cost: Lines of cost, each with `seconds`, `first` and `last`.
        provenance: What made it; None where that is not known.
    """

    title: str
    folder: RunFolder
    config: Config
    distilled: DistilledSet | None
    trouble: str
    metrics: Sequence[Mapping[str, float]]
    evaluations: Sequence[Mapping[str, Any]]
    cost: Sequence[Mapping[str, Any]]
    provenance: Provenance | None = None

    @property
    def is_coreset(self) -> bool:
        """Whether its images were chosen, not learned."""
        return not self.folder.checkpoints.is_dir() and not self.metrics

    @property
    def is_generated(self) -> bool:
        """Whether its images are those of a generator."""
        return not self.is_coreset and self.config.method.name in GENERATORS

    @property
    def iterations(self) -> int | None:
        """Updates done, as far as that is known."""
        if self.provenance and self.provenance.labels:  # of a finished run
            return self.config.distillation.iterations
        return self.folder.iterations_done()

    @property
    def seconds_per_iteration(self) -> float | None:
        """Mean over all that was timed; None where nothing was."""
        steps = sum(line["last"] - line["first"] for line in self.cost)
        if steps > 0:
            return sum(line["seconds"] for line in self.cost) / steps
        speeds = [line.get("iterations_per_second", 0) for line in self.metrics]
        speeds = [1 / speed for speed in speeds if speed > 0]
        return sum(speeds) / len(speeds) if speeds else None

    @property
    def bytes_on_disk(self) -> int:
        """Of all that lies in the folder."""
        files = [path for path in self.folder.path.rglob("*") if path.is_file()]
        return sum(path.stat().st_size for path in files)

    def distill_command(self) -> str:
        """Returns the command that makes the run again."""
        command = "coreset" if self.is_coreset else "distill"
        command = "generate" if self.is_generated else command
        config = shlex.quote(str(self.folder.config))
        made = f"python -m dam_tf {command} --config={config} --output_dir=again"
        if self.provenance and self.provenance.labels:
            _, _, degree = self.provenance.labels.rpartition(" ")
            made += (
                "\n# and then, with the folder of the networks that gave the labels:\n"
                "# python -m dam_tf relabel --distilled=again --teacher=FOLDER "
                f"--temperature={degree}"
            )
        return made

    def evaluate_command(self, line: Mapping[str, Any]) -> str | None:
        """Returns the command of an evaluation; None where its settings are lost."""
        try:
            wanted = flat(to_dict(from_dict(line["config"])))
            overrides: dict[str, Any] = {}
            for _ in range(2):  # another network first: it takes others along
                own = flat(to_dict(self.folder.settings(overrides)))
                differing = [k for k in wanted | own if wanted.get(k) != own.get(k)]
                differing = [key for key in differing if key not in _PLACES]
                if "network.name" in differing:
                    differing = ["network.name"]
                overrides |= {key: wanted.get(key, "") for key in differing}
        except (UserError, KeyError, TypeError, AttributeError):
            return None
        words = ["python", "-m", "dam_tf", "evaluate"]
        words.append(f"--distilled={self.folder.path}")
        for key, value in overrides.items():
            text = ",".join(map(str, value)) if isinstance(value, list) else value
            words.append(f"--set={key}={text}")
        return shlex.join(words)


@dataclasses.dataclass(frozen=True)
class StudyFacts:
    """Results of a study: its settings and pictures.

    Attributes:
        title: What it is called on the page.
        folder: Where it lies.
        settings: What it was made with.
        trials: How many of it are finished.
        pictures: PNG and GIF files.
    """

    title: str
    folder: pathlib.Path
    settings: Mapping[str, Any]
    trials: int
    pictures: Sequence[pathlib.Path]


def read_run(title: str, folder: RunFolder) -> RunFacts:
    """Returns what is known of a run.

    Args:
        title: What it is called on the page.
        folder: Where it lies.

    Raises:
        UserError: its settings cannot be read.
    """
    distilled, trouble = None, ""
    try:
        distilled = DistilledSet.load(folder.path)
    except UserError as error:
        trouble = str(error)
    return RunFacts(
        title,
        folder,
        folder.settings(),
        distilled,
        trouble,
        _metrics(folder.metrics),
        [line for line in read_json_lines(folder.evaluation) if _is_result(line)],
        [line for line in read_json_lines(folder.cost) if _is_cost(line)],
        _provenance(folder),
    )


def read_study(folder: pathlib.Path) -> StudyFacts | None:
    """Returns what is known of a study's folder; None if it is none."""
    pictures = sorted([*folder.glob("*.png"), *folder.glob("*.gif")])
    settings: Any = {}
    try:
        settings = parse_json((folder / "settings.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not list(folder.glob("*.jsonl")):
            return None
    except (OSError, ValueError):
        return None
    if not pictures or not isinstance(settings, dict):
        return None
    with contextlib.suppress(ValueError):  # in a line, not with the name of each class
        settings = {**settings, DATA: str(Identity.from_dict(settings.get(DATA)))}
    trials = len(read_json_lines(folder / "trials.jsonl"))
    return StudyFacts(folder.resolve().name, folder, settings, trials, pictures)


def sort_folders(
    paths: Sequence[os.PathLike | str],
) -> tuple[list[pathlib.Path], list[StudyFacts]]:
    """Returns which of `paths` are runs, and the studies among them.

    Raises:
        UserError: there are none, or one is neither.
    """
    if not paths:
        raise UserError("give the folders of runs or studies; none is given")
    runs, studies = [], []
    for path in map(pathlib.Path, paths):
        study = read_study(path) if path.is_dir() else None
        if study and not RunFolder(path).holds_run():
            studies.append(study)
        else:
            runs.append(find_run(path).path)
    return runs, studies


def _provenance(folder: RunFolder) -> Provenance | None:
    with contextlib.suppress(UserError):
        return read_provenance(folder.provenance)
    return None


def _metrics(path: pathlib.Path) -> list[dict[str, float]]:
    lines = []
    for line in read_json_lines(path):
        numbers = {k: v for k, v in line.items() if _is_number(v)}
        if isinstance(numbers.get("iteration"), int):
            lines.append(numbers)
    return lines


def _is_result(line: Mapping[str, Any]) -> bool:
    values = line.get("accuracies")
    return (
        _is_number(line.get("accuracy"))
        and isinstance(values, list)
        and len(values) > 0
        and all(map(_is_number, values))
    )


def _is_cost(line: Mapping[str, Any]) -> bool:
    return all(_is_number(line.get(name)) for name in ("first", "last", "seconds"))


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, _NUMBER) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def words(name: str) -> str:
    """Returns the name of a setting as people write it.

    Example:
        >>> words("batch_real")
        'batch real'
    """
    return re.sub(r"[_\s]+", " ", name).strip()
