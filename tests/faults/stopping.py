"""Trials in which a command is stopped, and then goes on, or cannot write at all.

The oracle is the same command that nobody stopped: what both leave is the same to the
last bit. Nothing that was finished before is lost, and nothing is half there.
"""

import dataclasses
import os
import pathlib
import random
import shutil
import signal
from collections.abc import Callable, Sequence

from tests.faults import injection
from tests.faults.comparing import (
    content_of,
    differences,
    leftovers,
    lost,
    progress_of,
    unwhole,
)
from tests.faults.tools import TOOLS, Tool, make_data
from tests.faults.zygote import CRASHED, Ended, fork

KINDS = ("operation", "byte", "time", "sigterm", "ctrl-c", "clock", "full", "read-only")
_MOST_KILLS = 5  # in one trial
_LEAST = 256  # bytes; no disk cuts off less, and what is shorter is written at once
_HOURS = (-90000.0, 7200.0, 0.0, 400000.0)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        kind: Of the fault, after the tool: "distill operation".
        what: The class of outcome, such as "goes on, the same".
        finding: What is wrong, or nothing.
        kills: Processes that were killed.
    """

    kind: str
    what: str
    finding: str = ""
    kills: int = 0


@dataclasses.dataclass(frozen=True)
class Reference:
    """A tool that nobody stopped: its folder, and what it took."""

    folder: pathlib.Path
    content: dict[str, object]
    operations: int
    seconds: float
    largest: int  # bytes of a file
    total: int  # bytes of all files
    ended: Ended


class Workshop:
    """The folder of a campaign, with the data sets and finished runs, made when asked.

    Args:
        root: An empty folder.
    """

    def __init__(self, root: pathlib.Path):
        self.root, self.data = root, root / "data"
        self.data.mkdir(parents=True)
        make_data(self.data)
        self.mounts = injection.own_mounts()
        self._references: dict[tuple[str, tuple[str, ...]], Reference] = {}

    def trial_folder(self, tool: Tool) -> pathlib.Path:
        """Returns a folder in which `tool` may start: always the same path."""
        folder = self.root / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        self._equip(tool, folder)
        return folder

    def _equip(self, tool: Tool, folder: pathlib.Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if tool.needs:
            source = self.reference(TOOLS[tool.needs]).folder
            shutil.copytree(source, folder, dirs_exist_ok=True)

    def start(
        self,
        tool: Tool,
        folder: pathlib.Path,
        more: Sequence[str] = (),
        prepare: Callable[[], object] = lambda: None,
        signals: Sequence[tuple[float, int]] = (),
    ) -> Ended:
        """Runs a tool in a child of its own.

        Args:
            tool: What runs.
            folder: Where.
            more: More arguments.
            prepare: Called in the child before it.
            signals: As of `fork`.
        """

        def live() -> int:
            prepare()
            return tool.run(self.data, more)

        return fork(live, folder, signals=signals)

    def reference(self, tool: Tool, seed: int = 0) -> Reference:
        """Returns what the tool leaves where nobody stops it."""
        more = (f"--seed={seed}",) if seed else ()
        if (tool.name, more) not in self._references:
            folder = self.root / "references" / f"{tool.name}{seed or ''}" / "trial"
            self._equip(tool, folder)
            note = self.root / "operations"

            def live() -> int:
                count = injection.at_operation(0, lambda: None)
                status = tool.run(self.data, more)
                note.write_text(str(count()))
                return status

            ended = fork(live, folder)
            if ended.status:
                raise RuntimeError(
                    f"{tool.name} ends with {ended.status}:\n{ended.errors}"
                )
            files = [path for path in folder.rglob("*") if path.is_file()]
            sizes = [path.stat().st_size for path in files]
            self._references[tool.name, more] = Reference(
                folder,
                content_of(folder),
                int(note.read_text()),
                ended.seconds,
                max(sizes),
                sum(sizes),
                ended,
            )
        return self._references[tool.name, more]


def stop(shop: Workshop, tool: Tool, kind: str, rng: random.Random) -> Outcome:
    """Runs one trial of a kind of `KINDS`."""
    if kind == "full":
        what, finding, kills = _on_small_disk(shop, tool, rng)
    elif kind == "read-only":
        what, finding, kills = _read_only(shop, tool)
    else:
        what, finding, kills = _killed(shop, tool, kind, rng)
    return Outcome(f"{tool.name} {kind}", what, finding, kills)


def complaint_of(ended: Ended) -> str:
    """Returns what is wrong with how a command refused something; or nothing."""
    if ended.hung:
        return "it hangs"
    if ended.status == CRASHED or "Traceback" in ended.errors:
        return f"a traceback: {ended.complaint}"
    if ended.status < 0:
        return f"ended by signal {-ended.status}: {ended.complaint}"
    if ended.status == 2 and not ended.complaint.startswith("dam_tf: "):
        return f"no good word: {ended.complaint!r}"
    return ""


def _killed(shop, tool, kind, rng) -> tuple[str, str, int]:
    reference, folder = shop.reference(tool), shop.trial_folder(tool)
    kills, kept, more = 0, progress_of(folder), ()
    for life in range(rng.randint(1, _MOST_KILLS)):
        prepare, signals, expected = _fault(kind, reference, rng)
        ended = shop.start(tool, folder, more, prepare, signals)
        if ended.status not in expected:
            break
        kills += 1
        if bad := _harm(folder, kept):
            return "harmed", f"after kill {life + 1}: {bad}", kills
        kept, more = progress_of(folder), tool.again
        if kind == "clock":
            _age(folder, rng)
    else:
        ended = shop.start(tool, folder, more)
    bad = _check_end(ended, folder, reference, kept)
    if bad:
        return "ends wrongly", f"after {kills} kills: {bad}", kills
    return ("goes on, the same" if kills else "was faster"), "", kills


def _on_small_disk(shop, tool, rng) -> tuple[str, str, int]:
    """Fills the disk, looks at what is said, makes space, and goes on."""
    reference, folder = shop.reference(tool), shop.trial_folder(tool)
    used = sum(p.stat().st_size + 4096 for p in folder.rglob("*"))
    room = 2 * reference.total * rng.random() ** 2
    kept = shutil.copytree(folder, shop.root / "kept", dirs_exist_ok=True)
    disk = injection.SmallDisk(folder, int((used + room) / 1024) + 8)
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        before = progress_of(folder)
        ended = shop.start(tool, folder)
        if bad := complaint_of(ended):
            return "ends wrongly", bad, 0
        if ended.status == 0:
            bad = _check_end(ended, folder, reference, before)
            return ("ends wrongly" if bad else "fits"), bad, 0
        if ended.status != 2:
            return "ends wrongly", f"status {ended.status}: {ended.complaint}", 0
        if bad := _harm(folder, before):
            return "harmed", bad, 0
        before, words = progress_of(folder), ended.complaint
        disk.grow()
        ended = shop.start(tool, folder, tool.again)
        if bad := _check_end(ended, folder, reference, before):
            return "ends wrongly", f"{words!r}, then, with space: {bad}", 0
        return "refuses, then goes on, the same", "", 0
    finally:
        disk.close()
        shutil.rmtree(kept)


def _read_only(shop, tool) -> tuple[str, str, int]:
    """Starts in a folder that cannot be written, then in a writable one."""
    reference, folder = shop.reference(tool), shop.trial_folder(tool)
    ended = shop.start(tool, folder, (), lambda: injection.read_only(folder))
    if bad := complaint_of(ended):
        return "ends wrongly", bad, 0
    if not ended.status and "not kept there" in ended.errors:
        return "says what is not kept", "", 0
    if ended.status != 2:
        return "ends wrongly", f"status {ended.status}: {ended.complaint}", 0
    ended = shop.start(tool, folder)
    bad = _check_end(ended, folder, reference, {})
    return ("ends wrongly" if bad else "refuses, then the same"), bad, 0


def _check_end(ended, folder, reference, kept) -> str:
    """Returns what is wrong with a command that was to reach its end; or nothing."""
    if ended.status:
        return complaint_of(ended) or f"status {ended.status}: {ended.complaint}"
    if bad := _harm(folder, kept):
        return bad
    if left := leftovers(folder):
        left = f"left over: {', '.join(left[:2])}"
    return differences(content_of(folder), reference.content) or left


def _harm(folder: pathlib.Path, kept: dict[str, int]) -> str:
    """Returns what was lost or is not whole; or nothing."""
    if broken := unwhole(folder):
        return f"not whole: {', '.join(broken[:3])}"
    gone = lost(folder, kept)
    return f"lost: {gone}" if gone else ""


def _age(folder: pathlib.Path, rng: random.Random) -> None:
    """Gives each file a time of its own, in the past or in the future."""
    for path in folder.rglob("*"):
        moment = path.stat().st_mtime + rng.uniform(-1e7, 1e7)
        os.utime(path, (moment, moment))


def _fault(kind, reference: Reference, rng: random.Random):
    """Returns what the child does first, its signals, and how it may end."""
    killed, nothing = {-signal.SIGKILL}, lambda: None
    moment = rng.uniform(0, reference.seconds)
    match kind:
        case "operation":
            number = rng.randint(1, reference.operations)
            act = injection.kill_me
            return (lambda: injection.at_operation(number, act)), (), killed
        case "clock":
            number = rng.randint(1, reference.operations)
            jumps = rng.sample(_HOURS, len(_HOURS))

            def prepare():
                injection.jump_clock(jumps)
                injection.at_operation(number, injection.kill_me)

            return prepare, (), killed
        case "byte":
            size = int(_LEAST * (reference.largest / _LEAST) ** rng.random())
            return (lambda: injection.kill_at_byte(size)), (), {-signal.SIGXFSZ}
        case "time":
            return nothing, [(moment, signal.SIGKILL)], killed
        case "sigterm":
            # Outside of the loop the signal ends the process, as it does any other.
            ways = {143, -signal.SIGTERM}
            return nothing, [(moment, signal.SIGTERM)], ways
        case "ctrl-c":
            gap = rng.choice([0.0, 0.01, 0.1, 0.5])
            twice = [(moment + wait, signal.SIGINT) for wait in (0.0, gap)]
            return nothing, twice, {130}
    raise ValueError(kind)
