"""Stops commands, damages their files and mutates what readers take, and counts.

    python benchmarks/faults.py --minutes=10
    python benchmarks/faults.py --seed=3 --minutes=60 --json=faults.jsonl
    python benchmarks/faults.py --seed=3 --part=stops --only=17

Three parts take turns. stops: a command is killed, stopped by a signal, out of disk
space, in a read-only folder or under a jumping clock, and started again. damages: a
file of a run or a study is missing or spoilt when a command reads it. mutations: a
reader is given files that are nearly right.

In the end stands how often each outcome came, and what was found: a traceback, a
silent difference, a lost or half-written file, a process that ends or hangs; each with
the words that repeat it. The exit status is 1 where there is a finding. --json adds up:
the table is of all trials in the file.
"""

import dataclasses
import pathlib
import sys
import tempfile
import time

import _tools
from absl import flags

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import append_json, read_json_lines

_SEED = flags.DEFINE_integer("seed", 0, "Decides all trials.", lower_bound=0)
_MINUTES = flags.DEFINE_float("minutes", 10.0, "How long, about.", lower_bound=0.0)
_PARTS = ["stops", "damages", "mutations"]
_PART = flags.DEFINE_list("part", _PARTS, "Which of these parts.")
_MOST = flags.DEFINE_integer("most", None, "Trials of each part.", lower_bound=1)
_ONLY = flags.DEFINE_integer("only", None, "The number of one trial.", lower_bound=0)
_JSON = flags.DEFINE_string("json", None, "Append each trial to this file.")


def main() -> None:
    parts = _PART.value
    if wrong := set(parts) - set(_PARTS):
        raise UserError(f"--part: {wrong.pop()!r} is none of {', '.join(_PARTS)}")
    if _ONLY.value is not None and len(parts) > 1:
        raise UserError("--only is the number of a trial of one part; give --part, too")
    print(f"Faults with seed {_SEED.value}: {', '.join(parts)}", flush=True)
    from tests.faults import zygote

    zygote.import_everything()
    from tests.faults.campaign import Campaign

    results, start = [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        campaign = Campaign(pathlib.Path(folder), _SEED.value)
        if not campaign.shop.mounts:
            print("Full disks and read-only folders are left out: only root can mount.")
        if _ONLY.value is not None:
            (part,) = parts
            trials = campaign.trials(part, [_ONLY.value])
            found = ((part, number, outcome) for number, outcome in trials)
        else:
            found = campaign.run(parts, 60 * _MINUTES.value, _MOST.value)
        for part, number, outcome in found:
            line = {"seed": _SEED.value, "part": part, "number": number}
            line |= dataclasses.asdict(outcome)
            results.append(line)
            if _JSON.value:
                append_json(_JSON.value, line)
            if outcome.finding:
                print(f"Found: {_describe(line)}", flush=True)
            _tools.say(f"{len(results)} trials, {time.monotonic() - start:.0f} s")
    if _JSON.value:
        results = read_json_lines(_JSON.value)
    _report(results)
    if any(line["finding"] for line in results):
        sys.exit(1)


def _report(lines: list[dict]) -> None:
    from tests.faults.campaign import table

    print(f"\n{table(lines)}\n")
    kills = sum(line["kills"] for line in lines)
    found = [line for line in lines if line["finding"]]
    print(f"{len(lines):,} trials, {kills:,} processes stopped, {len(found)} findings")
    for line in found:
        print(f"  {_describe(line)}")


def _describe(line: dict) -> str:
    """What was found, and the words that repeat it."""
    again = f"--seed={line['seed']} --part={line['part']} --only={line['number']}"
    return f"{line['kind']}, {line['what']}: {line['finding'][:400]} ({again})"


if __name__ == "__main__":
    _tools.run(main)
