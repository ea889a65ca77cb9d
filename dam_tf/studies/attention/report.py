"""The figures of a study of attention: lines, a table and a chart."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dam_tf.base.words import markdown_table
from dam_tf.config.settings import Config
from dam_tf.plots.multiples import Panel, save_multiples

RESULTS, TABLE, FIGURE = "results.jsonl", "table.md", "figure.png"
FLOOR = "floor"  # in place of a set's name
SAM, MMD = "sam", "mmd"

_Pair = tuple[float, float]  # mean and deviation over networks


def summarize(
    measured: Iterable[tuple[Sequence, Mapping[str, Any]]],
    powers: Sequence[float],
    matched: Sequence[int],
    blocks: int,
    config: Config,
) -> list[dict[str, Any]]:
    """Returns a line for each norm, batch, set and p: means and deviations.

    Args:
        measured: The key of each trial, and what `Measurement` found there.
        powers: The values of p.
        matched: The blocks whose attention the method matches, from 1.
        blocks: How many the network has.
        config: The settings, with everything filled in.

    Returns:
        Lines with `value`: the loss of each block, by its number, `sam`, their sum
        over the matched blocks, and `mmd`. Those of sets have also `over_floor`, which
        is each network's value divided by its floor, and `gradient`: `sam` and `mmd`,
        with the factors of equation 4 (the size of an update with learning rate 1),
        their `ratio`, and the `cosine` between them. Each is a mean and a deviation
        over networks.
    """
    found: dict[tuple, dict[int, Mapping]] = defaultdict(dict)
    for (norm, batch, network, name, ipc, _), one in measured:
        found[norm, batch, name, ipc][network] = one
    scale, balance = config.method.scale, config.method.task_balance
    lines = []
    for (norm, batch, name, ipc), each in found.items():
        floors = found[norm, batch, FLOOR, 0]
        for number, power in enumerate(powers):
            values = _by_name(each, number, matched, blocks)
            line = {
                "study": "attention",
                "dataset": config.dataset.name,
                "norm": norm,
                "batch_real": batch,
                "set": name,
                "ipc": ipc,
                "power": power,
                "blocks": list(matched),
                "loss": config.method.loss,
                "networks": len(each),
                "value": {what: _pair(one) for what, one in values.items()},
            }
            if name != FLOOR:
                floor = _by_name(floors, number, matched, blocks)
                line["over_floor"] = {
                    what: _pair(one / floor[what]) for what, one in values.items()
                }
                sam = scale * np.array(
                    [e["sam_gradient"][number] for e in each.values()]
                )
                mmd = np.array([e["mmd_gradient"] for e in each.values()])
                mmd = scale * balance * mmd
                line["gradient"] = {
                    SAM: _pair(sam),
                    MMD: _pair(mmd),
                    "ratio": _pair(sam / mmd) if np.all(mmd) else None,
                    "cosine": _pair([e["cosine"][number] for e in each.values()]),
                }
            lines.append(line)
    return lines


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Returns three Markdown tables: floors, multiples of them, gradients.

    Args:
        lines: Of `summarize`.
    """
    blocks = [name for name in lines[0]["value"] if name not in (SAM, MMD)]
    matched = "+".join(map(str, lines[0]["blocks"]))
    heads = ["norm", "real images", "set", "loss"]
    heads += [*(f"block {name}" for name in blocks), f"matched ({matched})"]
    floors, multiples, gradients = [], [], []
    seen = set()
    for line in lines:
        place = [line["norm"], str(line["batch_real"]), _set(line)]
        what, rows = "value", floors
        if line["set"] != FLOOR:
            what, rows = "over_floor", multiples
        found = {name: _text(pair) for name, pair in line[what].items()}
        if tuple(place) not in seen:
            rows.append([*place, "MMD", *("" for _ in blocks), found[MMD]])
            seen.add(tuple(place))
        loss = f"SAM, p = {line['power']:g}"
        rows.append([*place, loss, *(found[name] for name in blocks), found[SAM]])
        if line["set"] != FLOOR:
            of = line["gradient"]
            texts = [_text(of[name]) for name in (SAM, MMD, "ratio", "cosine")]
            gradients.append([*place, f"{line['power']:g}", *texts])
    networks = lines[0]["networks"]
    over = f"mean ± deviation over {networks} networks" if networks > 1 else "1 network"
    parts = [
        f"The noise floor: two batches of real images against each other ({over}).",
        *_without(heads, 2, floors),
    ]
    if multiples:
        parts += ["", f"Losses of sets, as multiples of that floor ({over}).", ""]
        parts += markdown_table(heads, multiples)
        parts += ["", _GRADIENTS, ""]
        columns = [*heads[:3], "p", "SAM", "MMD", "SAM / MMD", "cosine"]
        parts += markdown_table(columns, gradients)
    return "\n".join(parts) + "\n"


def draw(lines: Sequence[Mapping[str, Any]], path: os.PathLike | str) -> None:
    """Draws sets as multiples of the floor: a row a norm, a column a block, and MMD.

    Of several batches, the largest is drawn.

    Args:
        lines: Of `summarize`.
        path: The PNG file; an old one is replaced at once.
    """
    largest = max(line["batch_real"] for line in lines)
    drawn = [line for line in lines if line["batch_real"] == largest]
    names = [name for name in drawn[0]["value"] if name not in (SAM, MMD)]
    powers = list(dict.fromkeys(line["power"] for line in drawn))
    rows = []
    for norm in dict.fromkeys(line["norm"] for line in drawn):
        own = [line for line in drawn if line["norm"] == norm and line["set"] != FLOOR]
        by_set: dict[str, list] = defaultdict(list)
        for line in own:
            by_set[_set(line)].append(line["over_floor"])
        ticks = [f"p = {power:g}" for power in powers]
        row = [
            Panel(
                f"{norm} norm, block {name}",
                ticks,
                {one: [each[name] for each in found] for one, found in by_set.items()},
            )
            for name in names
        ]
        mmd = {one: [found[0][MMD]] for one, found in by_set.items()}
        rows.append([*row, Panel(f"{norm} norm", ["MMD"], mmd)])
    title = f"Losses as multiples of their noise floor ({largest} real images a class)"
    save_multiples(rows, title, path)


_GRADIENTS = (
    "Gradients in an image (root mean square of their norm over images), with the "
    "factors of the method."
)


def _by_name(each: Mapping[int, Mapping], number: int, matched, blocks: int):
    """Values of all networks, by what they are of, float64 [networks]."""
    sam = np.array([one["sam"][number] for one in each.values()])
    values = {str(block + 1): sam[:, block] for block in range(blocks)}
    values[SAM] = sam[:, np.array(matched) - 1].sum(axis=1)
    return {**values, MMD: np.array([one["mmd"] for one in each.values()])}


def _pair(values) -> list[float]:
    return [float(np.mean(values)), float(np.std(values))]


def _text(pair: _Pair | None) -> str:
    if pair is None:
        return "-"
    mean, deviation = pair
    return f"{mean:.3g} ± {deviation:.2g}" if deviation else f"{mean:.3g}"


def _set(line: Mapping[str, Any]) -> str:
    return FLOOR if line["set"] == FLOOR else f"{line['set']}, {line['ipc']} a class"


def _without(heads: list[str], column: int, rows: list[list[str]]) -> list[str]:
    """A table without one column."""
    kept = [[*row[:column], *row[column + 1 :]] for row in (heads, *rows)]
    return ["", *markdown_table(kept[0], kept[1:])]
