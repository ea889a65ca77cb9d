"""What a report says of accuracy: results, classes side by side, mistakes."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np

from dam_tf.base.words import cutmix_in_words, mean_and_deviation
from dam_tf.config.schema import flat
from dam_tf.report.facts import RunFacts, words
from dam_tf.report.markup import UNKNOWN, element, folded, table
from dam_tf.report.style import shade

_MOST_NAMED = 20  # classes, up to which the confusion matrix is a table
_MOST_MISTAKES = 15
_LABELS = "evaluation.label_type"


def accuracy(runs: Sequence[RunFacts]) -> list[ElementTree.Element]:
    """Returns what networks learn from the images of runs, and what they mistake."""
    rows = []
    for run in runs:
        for line in run.evaluations:
            rows.append(_result(run, line))
    if not rows:
        text = "No network has been trained on these images yet: dam_tf evaluate."
        return [element("p", text)]
    head = ("run", "trained by", "test accuracy (%)", "networks", "architecture",
            "epochs", "schedule", "augmentation", "labels", "compared")  # fmt: skip
    parts = [
        element("p", "Mean and standard deviation over networks that were trained "
                "from scratch, each after its last epoch: by the common protocol, "
                "or by the recipe that the method learned with its set."),
        table("Test accuracy on real images", head, rows),
    ]  # fmt: skip
    latest = [(run, _latest(run)) for run in runs if run.evaluations]
    parts += [_per_class(latest), *(_confusion(*one) for one in latest)]
    return [part for part in parts if part is not None]


def _latest(run: RunFacts) -> Mapping[str, Any]:
    """The latest evaluation by the common protocol, if there is one."""
    common = [line for line in run.evaluations if not _is_own(line)]
    soft = [line for line in common if _config(line).get(_LABELS) == "soft"]
    return (soft or common or run.evaluations)[-1]


def _is_own(line: Mapping[str, Any]) -> bool:
    return _config(line).get("evaluation.recipe") == "own"


def _config(line: Mapping[str, Any]) -> Mapping[str, Any]:
    config = line.get("config")
    return flat(config) if isinstance(config, Mapping) else {}


def _result(run: RunFacts, line: Mapping[str, Any]) -> tuple:
    config = _config(line)
    augmentation = config.get("evaluation.augmentation", UNKNOWN)
    if isinstance(cutmix := config.get("evaluation.cutmix"), float) and cutmix:
        augmentation = f"{augmentation}, {cutmix_in_words(cutmix)}"
    accuracies = np.array(line["accuracies"], float)
    compared = [
        f"{words(name)} {100 * line[name]:.1f}{unit}"
        for name, unit in (
            ("share_of_full", " %"),
            ("hard_label_recovery", ""),
            ("improvement_over_random", ""),
        )
        if isinstance(line.get(name), float)
    ]
    several = f", {line['sets']} sets" if line.get("sets", 1) != 1 else ""
    return (
        run.title,
        "its own recipe" if _is_own(line) else "the common protocol",
        mean_and_deviation(
            100 * accuracies.mean(), 100 * accuracies.std(), len(accuracies)
        ),
        f"{len(accuracies)}{several}",
        config.get("network.name", UNKNOWN),
        config.get("evaluation.epochs", UNKNOWN),
        config.get("evaluation.schedule", UNKNOWN),
        augmentation,
        config.get(_LABELS, UNKNOWN),
        ", ".join(compared) or UNKNOWN,
    )


def _per_class(latest) -> ElementTree.Element | None:
    """Accuracies on each class, runs side by side, where they have the same classes."""
    known = [
        (run, line["per_class"])
        for run, line in latest
        if run.distilled
        and isinstance(line.get("per_class"), list)
        and len(line["per_class"]) == run.distilled.num_classes
    ]
    if not known:
        return None
    tables = []
    for names in dict.fromkeys(run.distilled.class_names for run, _ in known):
        some = [
            (run, line) for run, line in known if run.distilled.class_names == names
        ]
        rows = [
            (name.replace("_", " "), *(_share(line[label]) for _, line in some))
            for label, name in enumerate(names)
        ]
        head = ("class", *(run.title for run, _ in some))
        tables.append(table("Accuracy on each class, latest evaluation", head, rows))
    return folded("Accuracy on each class", *tables, open_=len(rows) <= _MOST_NAMED)


def _share(value: Any) -> ElementTree.Element:
    if not isinstance(value, (int, float)):
        return element("td", UNKNOWN)
    text = f"{100 * value:.1f} %"
    bar = element("meter", text, min=0, max=1, value=round(value, 4))
    return element("td", bar, text, class_="share")


def _confusion(run: RunFacts, line: Mapping[str, Any]) -> ElementTree.Element | None:
    names = run.distilled.class_names if run.distilled else ()
    try:
        matrix = np.array(line.get("confusion"), float)
    except (TypeError, ValueError):
        return None
    if matrix.shape != (len(names), len(names)) or not np.all(np.isfinite(matrix)):
        return None
    names = [name.replace("_", " ") for name in names]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    title = f"What was taken for what, {run.title}"
    if len(names) <= _MOST_NAMED:
        rows = [
            (name, *(_shaded(share) for share in shares[k]))
            for k, name in enumerate(names)
        ]
        caption = "Percent of each class (row) that were taken for a class (column)"
        return folded(title, table(caption, ("", *names), rows, "confusion"))
    mistakes = shares - np.diag(np.diag(shares))
    order = np.argsort(mistakes, axis=None)[::-1][:_MOST_MISTAKES]
    places = np.column_stack(np.unravel_index(order, mistakes.shape))
    rows = [(names[a], names[b], f"{100 * mistakes[a, b]:.1f} %") for a, b in places]
    return folded(title, table("The most frequent mistakes",
                   ("class", "taken for", "share of the class"), rows))  # fmt: skip


def _shaded(share: float) -> ElementTree.Element:
    return element("td", f"{100 * share:.0f}", class_=shade(share))
