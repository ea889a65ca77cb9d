"""Mutated files, many in one child, and what reading them comes to.

A reader takes what is right, or refuses it with a `UserError`. Anything else is a
finding: another exception, the end of the process, a hang, memory without limit, or
other values from a file whose checksums tell them.
"""

import hashlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dam_tf.base.errors import UserError
from tests.faults.mutations import mutate
from tests.faults.readers import PassedOver, Reader, Refused, make_readers
from tests.faults.stopping import Outcome, Workshop
from tests.faults.zygote import fork

BATCH = 60  # mutations in one child
_PATIENCE = 20  # seconds for one
_MEMORY = 3 << 30  # bytes of address space beside what a child begins with
_MUCH = 400 << 10  # KiB that reading a small file may take at most
_LONGEST = 100_000  # letters of a message
_BEFORE = ".before-mutation"  # at the end of the name of the file that was right
# Mutations after which checksums are right, or those of another file.
_REPAIRING = {"member", "chunk", "splice", "replace"}
_USELESS = ("refused", "another error", "much memory")


class Fuzzer:
    """Mutates files of all readers in turn.

    Args:
        shop: Makes the files.
        seed: Of the campaign.
    """

    def __init__(self, shop: Workshop, seed: int):
        self._shop, self._seed = shop, seed
        self._readers = _weighted(make_readers(shop))
        self._notes = shop.root / "notes.jsonl"

    def run(self, numbers: Sequence[int]) -> Iterator[tuple[int, Outcome]]:
        """Yields the outcome of each number, in children of `BATCH` each."""
        left = list(numbers)
        while left:
            batch = left[:BATCH]
            self._notes.write_text("")
            ended = fork(
                lambda batch=batch: self._live(batch), self._shop.root, patience=1200
            )
            lines = [json.loads(x) for x in self._notes.read_text().splitlines()]
            done = [line for line in lines if "what" in line]
            for line in done:
                yield line.pop("number"), Outcome(**line)
            if len(done) < len(batch):
                number = batch[len(done)]
                yield number, self._death(number, ended)
                self._restore()
            left = left[len(done) + (len(done) < len(batch)) :]

    def _death(self, number: int, ended) -> Outcome:
        reader, path, _ = self._trial(number)
        words = f"the process ends with {ended.status}"
        if ended.status == -signal.SIGALRM:
            words = f"it hangs (over {_PATIENCE} seconds)"
        detail = f"{path.name}: {words}: {ended.errors.strip()[-160:]}"
        return Outcome(reader.name, "process ended", detail)

    def _trial(self, number: int) -> tuple[Reader, pathlib.Path, random.Random]:
        rng = random.Random(f"{self._seed} mutations {number}")
        reader = self._readers[number % len(self._readers)]
        return reader, rng.choice(reader.files), rng

    def _restore(self) -> None:
        """Puts back what a child that died has left spoilt."""
        for spoilt in self._shop.root.rglob(f"*{_BEFORE}"):
            spoilt.replace(spoilt.with_name(spoilt.name.removesuffix(_BEFORE)))

    def _live(self, batch: Sequence[int]) -> int:
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + _MEMORY, size + _MEMORY))
        expected: dict[str, str] = {}
        with open(self._notes, "a", buffering=1) as notes:
            for number in batch:
                outcome = self._one(number, expected)
                line = {"number": number, "kind": outcome.kind, "what": outcome.what}
                notes.write(json.dumps(line | {"finding": outcome.finding}) + "\n")
        return 0

    def _one(self, number: int, expected: dict[str, str]) -> Outcome:
        reader, path, rng = self._trial(number)
        if reader.name not in expected and not reader.writes:
            what, found = _read(reader, reader.folder)
            expected[reader.name] = found if what == "accepted" else what
        if expected.get(reader.name) in _USELESS:
            return Outcome(reader.name, "spoilt or not", "it cannot read whole files")
        folder = reader.folder
        if reader.writes:
            folder = self._shop.root / "trial"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(reader.folder, folder)
            path = folder / path.relative_to(reader.folder)
        original = path.read_bytes()
        others = rng.sample(reader.files, min(2, len(reader.files)))
        others = [other.read_bytes() for other in others]
        mutated, ways = mutate(path.name, original, rng, others)
        if mutated == original:
            return Outcome(reader.name, "accepted, the same")
        before = path.with_name(f"{path.name}{_BEFORE}")
        if not reader.writes:  # all others share the folder
            before.write_bytes(original)
        path.write_bytes(mutated)
        try:
            what, found = _read(reader, folder)
        finally:
            if not reader.writes:
                before.replace(path)
        if what == "accepted" and not reader.writes:
            same = found == expected[reader.name]
            what = f"accepted, {'the same' if same else 'other values'}"
            guarded = reader.guarded and path.name.endswith(reader.guarded)
            found = ""
            if not same and guarded and not _REPAIRING & {*ways}:
                found = "other values without a word, although there is a checksum"
        bad = f"{path.name} {'+'.join(ways)}: {found}" if found else ""
        return Outcome(reader.name, what, bad)


def _read(reader: Reader, folder: pathlib.Path) -> tuple[str, str]:
    """Returns the class of outcome and what is wrong; of what was read, its digest."""
    os.chdir(folder)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(_PATIENCE)
    try:
        digest = _digest(reader.read(folder))
    except Refused:
        return "refused", ""
    except PassedOver:
        return "passed over, said", ""
    except UserError as error:
        text = str(error)
        long = f"in {len(text):,} letters: {text[:200]}"
        return "refused", long if len(text) > _LONGEST else ""
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in place if "dam_tf" in frame.filename] or place
        where = f"{pathlib.Path(ours[-1].filename).name}:{ours[-1].lineno}"
        kind = type(error).__name__
        return "another error", f"{kind} at {where}: {str(error)[:300]!r}"
    finally:
        signal.alarm(0)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    if more > _MUCH:
        return "much memory", f"{more >> 10} MiB more"
    return "accepted", digest if not reader.writes else ""


def _digest(value: Any) -> str:
    if isinstance(value, np.ndarray):
        content = value.tobytes()
        value = f"{value.dtype} {value.shape} {hashlib.sha256(content).hexdigest()}"
    elif isinstance(value, (list, tuple)):
        value = [_digest(item) for item in value]
    return repr(value)


def _weighted(readers: Sequence[Reader]) -> list[Reader]:
    """Commands take a second each, other readers milliseconds."""
    quick = [reader for reader in readers if not reader.writes]
    slow = [reader for reader in readers if reader.writes]
    return [*quick, *quick, *slow, *quick, *quick, *quick]
