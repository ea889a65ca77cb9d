"""What a report says of runs: settings, images, losses, how to repeat them.

Accuracies and cost have files of their own.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import tomli_w

from dam_tf.config.image_counts import in_words
from dam_tf.config.schema import flat, to_dict
from dam_tf.data.identity import Identity
from dam_tf.report.accuracy import accuracy
from dam_tf.report.charts import loss_chart
from dam_tf.report.cost import cost
from dam_tf.report.facts import RunFacts, StudyFacts, words
from dam_tf.report.gallery import images_article
from dam_tf.report.markup import UNKNOWN, data_uri, element, folded, table
from dam_tf.runs.provenance import made_by

_LARGEST_PICTURE = 8_000_000  # bytes of a picture of a study

Sections = dict[str, list[ElementTree.Element]]


def run_sections(runs: Sequence[RunFacts]) -> Sections:
    """Returns the sections of runs by title, each a list of elements."""
    return {
        "What ran": _settings(runs),
        "Images": [
            element("p", "Click an image to enlarge it; then the arrow keys go on."),
            element("div", map(images_article, runs), class_="beside"),
        ],
        "Losses": _losses(runs),
        "Accuracy": accuracy(runs),
        "Cost": cost(runs),
        "Repeat it": _commands(runs),
    }


def study_section(study: StudyFacts) -> ElementTree.Element:
    """Returns a study's pictures and settings."""
    pictures = []
    for path in study.pictures:
        # A link may lead to anything: what is no picture does not get into the page.
        if not (size := _size(path)):
            pictures.append(
                element("p", f"{path.name} is no picture that can be read.")
            )
            continue
        if path.stat().st_size > _LARGEST_PICTURE:
            pictures.append(element("p", f"{path.name} is too large for this page."))
            continue
        kind = f"image/{path.suffix[1:]}"
        alt = f"{study.title}: {words(path.stem)}"
        picture = element("img", src=data_uri(path.read_bytes(), kind), alt=alt)
        for name, value in size.items():
            picture.set(name, value)
        pictures.append(
            element("figure", picture, element("figcaption", path.name),
                    class_="card paper")
        )  # fmt: skip
    rows = [(key, _text(value)) for key, value in flat(study.settings).items()]
    finished = f"{study.trials} trials are finished." if study.trials else None
    return element(
        "article",
        element("h3", study.title),
        element("p", finished, class_="faint") if finished else None,
        pictures,
        folded("Settings", table("Settings", ("setting", "value"), rows))
        if rows
        else None,
    )


def _settings(runs: Sequence[RunFacts]) -> list[ElementTree.Element]:
    rows = []
    for name, value_of in _ROWS.items():
        values = [value_of(run) for run in runs]
        differs = len(set(values)) > 1
        cells = [element("td", v, class_="differs" if differs else None)
                 for v in values]  # fmt: skip
        rows.append((name, *cells))
    shown = "Settings of the runs"
    if len(runs) > 1:
        shown += "; what differs is marked"
    whole = [
        folded(
            f"All settings of {run.title} (config.toml)",
            element("pre", element("code", tomli_w.dumps(to_dict(run.config)))),
        )
        for run in runs
    ]
    return [table(shown, ("", *(run.title for run in runs)), rows), *whole]


def _iterations(run: RunFacts) -> str:
    if run.is_coreset:
        return UNKNOWN
    done, wanted = run.iterations, run.config.distillation.iterations
    return f"{wanted:,}" if done == wanted else f"{done or 0:,} of {wanted:,}"


def _identity(run: RunFacts, text: Callable[[Identity], str]) -> str:
    """Returns what is known of a run's data; runs of earlier versions do not say."""
    known = run.provenance and run.provenance.identity
    return (text(known) if known else "") or UNKNOWN


def _learned(text: Callable[[RunFacts], object]) -> Callable[[RunFacts], str]:
    others = ("is_coreset", "is_generated")
    return lambda run: (
        UNKNOWN if any(getattr(run, kind) for kind in others) else str(text(run))
    )


def _method(run: RunFacts) -> str:
    if run.is_coreset:
        return f"coreset: {run.config.selection.method}"
    settings = run.config.method
    return (
        f"{settings.name} ({settings.reduction})"
        if settings.reduction
        else settings.name
    )


def _soft(run: RunFacts) -> str:
    """Where a set has its soft labels from."""
    if run.provenance and run.provenance.labels:
        networks, _, temperature = run.provenance.labels.partition(", ")
        return f"of a teacher: {networks[:21]}, {temperature}"
    if getattr(run.config.method, "labels", None) == "soft":
        return "of the pool that it was matched through"
    has = run.distilled and run.distilled.soft_labels is not None
    return "learned" if has else UNKNOWN


_ROWS: dict[str, Callable[[RunFacts], str]] = {
    "data": lambda run: run.config.dataset.name,
    "images of the data": lambda run: _identity(run, Identity.in_numbers),
    "source of the data": lambda run: _identity(run, lambda data: data.source),
    "made by": lambda run: (
        made_by(run.provenance.versions, run.provenance.commit)
        if run.provenance
        else UNKNOWN
    ),
    "preprocessing": lambda run: run.config.dataset.preprocessing_kind,
    "classes": lambda run: str(run.distilled.num_classes) if run.distilled else UNKNOWN,
    "image size": lambda run: (
        " x ".join(map(str, run.distilled.image_shape)) if run.distilled else UNKNOWN
    ),
    "images per class": lambda run: (
        str(run.config.distillation.ipc)
        if run.config.distillation.images_per_class is None
        else in_words(run.config.distillation)
    ),
    "how images are stored": _learned(lambda run: run.config.distillation.formation),
    "method": _method,
    "soft labels": _soft,
    "preset": lambda run: run.config.preset,
    "network": lambda run: run.config.network.name,
    "initial images": _learned(lambda run: run.config.distillation.init),
    "iterations": _iterations,
    "real images per class and iteration": _learned(
        lambda run: (
            run.config.distillation.batch_real
            if run.config.method.reads_batches
            else UNKNOWN
        )
    ),
    "learning rate of the images": _learned(
        lambda run: run.config.distillation.learning_rate
    ),
    "seed": lambda run: str(run.config.distillation.seed),
}


def _losses(runs: Sequence[RunFacts]) -> list[ElementTree.Element]:
    names = dict.fromkeys(
        name
        for run in runs
        for line in run.metrics
        for name in line
        if name not in ("iteration", "iterations_per_second")
    )
    charts = []
    for name in names:
        losses = {}
        for run in runs:
            lines = [line for line in run.metrics if name in line]
            if lines:
                iterations = [line["iteration"] for line in lines]
                losses[run.title] = iterations, [line[name] for line in lines]
        figure = element("figure", loss_chart(name, losses), class_="card")
        figure.append(element("figcaption", _meaning(name, runs)))
        charts.append(figure)
    if not charts:
        return [element("p", "No losses are known.")]
    return [element("div", charts, class_="charts")]


def _meaning(name: str, runs: Sequence[RunFacts]) -> str:
    """Returns what the methods of `runs` say that a loss is."""
    meanings = (run.config.method.meanings.get(name) for run in runs)
    known = dict.fromkeys(meaning for meaning in meanings if meaning)
    return f"{name}: {'; '.join(known)}" if known else name


def _commands(runs: Sequence[RunFacts]) -> list[ElementTree.Element]:
    text = (
        "Each command is run from the project's folder. Should the run's folder be "
        "lost, its config.toml is above, under What ran."
    )
    parts = [element("p", text)]
    for run in runs:
        lines = [run.distill_command()]
        lines += [run.evaluate_command(line) for line in run.evaluations]
        known = "\n".join(dict.fromkeys(line for line in lines if line))
        parts += [element("h3", run.title), element("pre", element("code", known))]
    return parts


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return UNKNOWN if value is None else str(value)


def _size(path) -> dict[str, str]:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG", "GIF"]) as picture:
                width, height = picture.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return {}
    return {"width": str(width), "height": str(height)}
