"""Trials in which a file of a finished or half-finished folder is damaged or missing.

Then a command reads it. Either it refuses, in one good line, or what it leaves is what
it would have left without the damage, or it says what it passes over. A result that is
another without a word is a finding, but where the file is only there to be looked at.
"""

import pathlib
import random
import re
import shutil
from collections.abc import Callable

from tests.faults import injection
from tests.faults.comparing import content_of, differences
from tests.faults.stopping import Outcome, Workshop, complaint_of
from tests.faults.tools import TOOLS, Tool
from tests.faults.zygote import Ended

# Files that no result depends on, or that hold what can be shown only.
_SHOWN = re.compile(
    r"(metrics|cost|evaluation)\.jsonl$|\.(png|gif|html|md)$|tensorboard/|"
    r"saved_model/|operations$"
)
_SAID = re.compile(
    r"Warning|damaged|Passing over|again|anew|useless|left unfinished|cannot read"
)


_NOWHERE = "nowhere"  # what a broken link leads to
_DRAWING = ("grid", "evolution", "curves")  # commands whose pictures are the result


def _delete(path: pathlib.Path, rng: random.Random, other: pathlib.Path) -> None:
    path.unlink()


def _truncate(path: pathlib.Path, rng: random.Random, other: pathlib.Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data) or 1)])


def _empty(path: pathlib.Path, rng: random.Random, other: pathlib.Path) -> None:
    path.write_bytes(b"")


def _flip(path: pathlib.Path, rng: random.Random, other: pathlib.Path) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _garbage(path: pathlib.Path, rng: random.Random, other: pathlib.Path) -> None:
    path.write_bytes(rng.randbytes(path.stat().st_size or 100))


def _folder(path: pathlib.Path, rng: random.Random, other: pathlib.Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: pathlib.Path, rng: random.Random, other: pathlib.Path) -> None:
    path.unlink()
    path.symlink_to(_NOWHERE)


def _swap(path: pathlib.Path, rng: random.Random, other: pathlib.Path) -> None:
    """The file of another run, of the same settings but for the seed."""
    if other.is_file():
        shutil.copyfile(other, path)


_DAMAGES = (_delete, _truncate, _empty, _flip, _flip, _garbage, _folder, _link, _swap)

# What is damaged, and who reads it then.
_RUN_READERS = ("evaluate", "export", "report", "grid", "evolution", "curves", "nas")
_STUDIES = (
    "ablate",
    "pretraining",
    "experts",
    "continual",
    "nas",
    "cost",
    "attention",
    "curves",
    "cache",
)


def damage(shop: Workshop, number: int, rng: random.Random) -> Outcome:
    """Runs one trial: every second one is of a run, the others of studies in turn."""
    if number % 2:
        maker = TOOLS[_STUDIES[number // 2 % len(_STUDIES)]]
        reader, more = maker, maker.again
    else:
        maker = TOOLS["distill"]
        names = (*_RUN_READERS, "distill", "distill")
        reader = TOOLS[names[number // 2 % len(names)]]
        more = reader.again if reader is maker else ()
    folder = shop.trial_folder(maker)
    half = reader is maker and rng.random() < 0.5
    if half:
        _make_half(shop, maker, folder, rng)
    else:
        shutil.copytree(shop.reference(maker).folder, folder, dirs_exist_ok=True)
    if reader is maker and maker.name != "cache" and rng.random() < 0.1:
        more = ("--overwrite",)
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    if not files:
        return Outcome(f"{reader.name} damage", "nothing is there yet")
    path, way = rng.choice(files), rng.choice(_DAMAGES)
    name = path.relative_to(folder).as_posix()
    other = folder
    if way is _swap and maker.name == "distill":
        other = shop.reference(maker, seed=1).folder / name
    way(path, rng, other)
    ended = shop.start(reader, folder, more)
    what, bad = _judge(shop, reader, folder, name, ended)
    how = f"{name}{', half a run' if half else ''}, {way.__name__[1:]}"
    if bad:
        bad = f"{how}; {reader.command} {' '.join(more)}: {bad}"
    return Outcome(f"{reader.name} damage", what, bad)


def _make_half(shop, tool: Tool, folder: pathlib.Path, rng: random.Random) -> None:
    number = rng.randint(2, shop.reference(tool).operations)
    act: Callable[[], object] = injection.kill_me
    shop.start(tool, folder, (), lambda: injection.at_operation(number, act))


def _judge(
    shop: Workshop, reader: Tool, folder: pathlib.Path, name: str, ended: Ended
) -> tuple[str, str]:
    """Returns the class of outcome, and what is wrong, or nothing."""
    if bad := complaint_of(ended):
        return "ends wrongly", bad
    if ended.status == 2:
        return "is refused", ""
    if ended.status:
        return "ends wrongly", f"status {ended.status}: {ended.complaint}"
    reference = shop.reference(reader)
    found, expected = content_of(folder), dict(reference.content)
    own = found.pop(name, None) == expected.pop(name, None)
    found.pop((pathlib.Path(name).parent / _NOWHERE).as_posix(), None)
    for content in (found, expected):
        for one in list(content):
            foreign = reader.needs and one.startswith("run/")
            if foreign or (_SHOWN.search(one) and reader.name not in _DRAWING):
                content.pop(one)
    bad = differences(found, expected)
    if not bad and _told(ended) == _told(reference.ended):
        return ("gives the right result" if own else "is not looked at"), ""
    if _SAID.search(ended.errors):
        return "is said, and passed over", ""
    if _SHOWN.search(name):
        return "shows the difference", ""
    return "differs silently", bad or "another output"


def _told(ended: Ended) -> list[str]:
    """The lines of standard output that tell results."""
    return [line for line in ended.output.splitlines() if "%" in line or "|" in line]
