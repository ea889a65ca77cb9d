"""What commands print of the results of networks, and where they keep them."""

import functools
import pathlib
from collections.abc import Mapping, Sequence

from dam_tf.base.json_lines import append_json
from dam_tf.base.output import write_results
from dam_tf.base.words import cutmix_in_words
from dam_tf.commands.lists import join_items
from dam_tf.commands.options import Options
from dam_tf.config.sections import EvaluationConfig
from dam_tf.config.settings import Config
from dam_tf.runs.folder import RunFolder

_MOST_SHOWN = 20  # classes whose accuracies are printed


def tell(
    options: Options,
    what: str,
    runs: Sequence[RunFolder],
    kept: Sequence[RunFolder],
    titles: Sequence[str],
    pairs: Sequence[tuple],
    class_names: Sequence[str],
    how: str,
    draws: bool,
    kernel: str,
) -> None:
    """Prints results and keeps them, in the folders of runs and in the file of --json.

    Args:
        options: Of the command.
        what: Is evaluated: `run`, `npz`, `random` or `whole`.
        runs: Those that are evaluated, if any.
        kept: Those of them that get their own results.
        titles: Of what is evaluated; left out, it is numbered.
        pairs: The `Evaluation` of each set, and the settings that made it.
        class_names: Of the data.
        how: Networks were trained, in words after "Test accuracy".
        draws: Whether the confusion matrix of a run is drawn.
        kernel: By which no network was trained, in words.
    """
    from dam_tf.evaluation.results import Evaluation

    for number, (one, _) in enumerate(pairs):
        if len(pairs) > 1:
            print(f"  {titles[number] if titles else f'set {number}'}: {one}")
    result, config = Evaluation.join([one for one, _ in pairs]), pairs[0][1]
    files = [run.evaluation for run in runs]
    measures = {} if kernel else _measures(options, result, what, config, files)
    _report(result, class_names, measures, how)
    outputs = []
    for run, (one, own) in zip(runs, pairs, strict=False):
        if run in kept:
            compared = _measures(options, one, "run", own, [run.evaluation])
            outputs += kept_in(run, one, own, class_names, draws, compared)
    if options["json"]:
        name = join_items(titles) or what
        file, line = options["json"], result.record(name, config, measures)
        if kernel:
            line = {"by": kernel, **line, "distilled": f"{name}, by kernel"}
        outputs.append((file, functools.partial(append_json, file, line)))
    write_results(outputs)


def kept_in(
    run: RunFolder,
    result,
    config: Config,
    class_names: Sequence[str],
    draws: bool,
    measures: Mapping[str, float] | None = None,
) -> list:
    """Returns what writes the results of a run into its folder, for `write_results`.

    Args:
        run: Its folder.
        result: The `Evaluation`.
        config: The settings that made it.
        class_names: Of the data.
        draws: Whether the confusion matrix is drawn.
        measures: Of `Evaluation.compare`.
    """
    from dam_tf import plots

    line = result.record(str(run.path), config, measures)
    outputs = [(run.evaluation, functools.partial(append_json, run.evaluation, line))]
    if draws:
        matrix, file = result.confusion, run.confusion
        draw = functools.partial(plots.save_confusion, matrix, class_names, file)
        outputs.append((file, draw))
    return outputs


def in_training_words(more: Sequence[str], labels: str, cutmix: float) -> str:
    """Returns how networks were trained, as words after "Test accuracy".

    Args:
        more: Words that come first.
        labels: `soft` or `hard`, where that is to be said.
        cutmix: The share of batches, 0 for none.

    Example:
        >>> in_training_words(["by its own recipe"], "soft", 0.0)
        ' by its own recipe, with soft labels'
    """
    found = [*more]
    if labels:
        found.append(f"with {labels} labels")
    if cutmix:
        found.append(f"with {cutmix_in_words(cutmix)}")
    return f" {', '.join(found)}" if found else ""


def label_types(settings: EvaluationConfig) -> list[str]:
    """Returns by which labels a set is tested that has soft ones: never by these alone.

    Example:
        >>> label_types(EvaluationConfig(label_type="soft"))
        ['soft', 'hard']
    """
    return ["soft", "hard"] if settings.label_type == "soft" else ["hard"]


def _measures(
    options: Options, result, what: str, config: Config, files: list[pathlib.Path]
) -> dict:
    """Returns the comparison with what `files`, --compare and --json know."""
    from dam_tf.evaluation.results import find_references

    if what == "whole":
        return {}
    outputs = [options["json"]] if options["json"] else []
    known = find_references([*files, *outputs, *options["compare"]], config)
    if what == "random":
        known.pop("random_real", None)
    measures = result.compare(**known)
    if config.evaluation.label_type == "soft":  # these two compare hard labels
        for name in ("hard_label_recovery", "improvement_over_random"):
            measures.pop(name, None)
    return measures


def _report(result, class_names, measures, how: str) -> None:
    if len(class_names) <= _MOST_SHOWN:
        parts = zip(class_names, result.per_class, strict=True)
        shares = ", ".join(f"{name} {100 * share:.1f}" for name, share in parts)
        print(f"Accuracy by class (%): {shares}")
    for name, value in measures.items():
        unit = "%" if name == "share_of_full" else "points"
        print(f"{name.replace('_', ' ').capitalize()}: {100 * value:.1f} {unit}")
    print(f"Test accuracy{how}: {result}", flush=True)
