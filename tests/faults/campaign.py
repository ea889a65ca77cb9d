"""A campaign: trials of three parts in turn, and the table of what came of them.

A trial is a function of the seed, its part and its number, so one that finds something
can be looked at again. (What a kill at a random time meets is up to the machine.)
"""

import collections
import pathlib
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tests.faults.damaging import damage
from tests.faults.fuzzing import BATCH, Fuzzer
from tests.faults.stopping import KINDS, Outcome, Workshop, stop
from tests.faults.tools import TOOLS

Results = Iterator[tuple[int, Outcome]]


class Campaign:
    """Trials of one seed.

    Args:
        root: An empty folder, in which all happens.
        seed: Decides what happens in each trial.
    """

    def __init__(self, root: pathlib.Path, seed: int):
        self.shop, self._seed = Workshop(root), seed
        self._fuzzer: Fuzzer | None = None
        kinds = [k for k in KINDS if self.shop.mounts or k not in ("full", "read-only")]
        # Most goes wrong between two operations on files.
        weighted = [k for k in kinds for _ in range(6 if k == "operation" else 1)]
        self._stops = [(tool, kind) for kind in weighted for tool in TOOLS.values()]
        random.Random(0).shuffle(self._stops)

    def trials(self, part: str, numbers: Sequence[int]) -> Results:
        """Yields each number with what comes of that trial of a part.

        Args:
            part: "stops", "damages" or "mutations".
            numbers: Of trials.
        """
        if part == "mutations":
            if self._fuzzer is None:
                self._fuzzer = Fuzzer(self.shop, self._seed)
            yield from self._fuzzer.run(numbers)
            return
        for number in numbers:
            rng = random.Random(f"{self._seed} {part} {number}")
            if part == "damages":
                yield number, damage(self.shop, number, rng)
            else:
                tool, kind = self._stops[number % len(self._stops)]
                yield number, stop(self.shop, tool, kind, rng)

    def run(self, parts: Iterable[str], seconds: float, most: int | None) -> Iterator:
        """Yields (part, number, outcome) of parts in turn, until time is over.

        Args:
            parts: As of `trials`.
            seconds: For all; each part gets its share.
            most: Trials of each part, at most.
        """
        start, parts = time.monotonic(), list(parts)
        done = dict.fromkeys(parts, 0)
        spent = dict.fromkeys(parts, 0.0)
        while time.monotonic() - start < seconds:
            open_ = [p for p in parts if most is None or done[p] < most]
            if not open_:
                return
            part = min(open_, key=lambda p: spent[p])
            begun = time.monotonic()
            count = BATCH if part == "mutations" else 1
            count = count if most is None else min(count, most - done[part])
            for number, outcome in self.trials(
                part, range(done[part], done[part] + count)
            ):
                yield part, number, outcome
            done[part] += count
            spent[part] += time.monotonic() - begun


def table(lines: Iterable[Mapping[str, Any]]) -> str:
    """Returns how often each outcome came: by kind of fault, or by reader.

    Args:
        lines: Of each trial its `part` and the parts of its `Outcome`.
    """
    counts: collections.Counter = collections.Counter()
    for line in lines:
        kind = line["kind"]
        row = kind.split()[-1] if line["part"] == "stops" else kind
        counts[line["part"], row, line["what"]] += 1
    return "\n".join(
        f"{part:10} {row:20} {what:36} {count:6,}"
        for (part, row, what), count in sorted(counts.items())
    )
