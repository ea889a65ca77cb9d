"""How much memory there is, and the one line for what takes more."""

import os

import pytest

from dam_tf.base import memory
from dam_tf.base.errors import UserError
from dam_tf.base.memory import check_memory, memory_bytes, size_text


def group(folder, path, name, text):
    place = folder / path
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_text(text)


@pytest.mark.parametrize(
    ("lines", "limits"),
    [
        ("0::/jobs/one\n", {3_000, 2_000}),  # version 2: its own and its parent's
        ("0::/\n", set()),
        ("4:memory:/box\n0::/\n", {7_000}),  # version 1
        ("5:cpu,memory:/on/the/host\n", {9_000}),  # a path that is not there inside
        ("3:cpuset:/jobs/one\n", set()),
        ("", set()),
    ],
)
def test_limits_of_control_groups(tmp_path, lines, limits):
    groups, mounted = tmp_path / "cgroup", tmp_path / "mounted"
    groups.write_text(lines)
    group(mounted, "jobs/one", "memory.max", "3000\n")
    group(mounted, "jobs", "memory.max", "2000\n")
    group(mounted, ".", "memory.max", "max\n")
    group(mounted, "memory/box", "memory.limit_in_bytes", "7000\n")
    if "host" in lines:
        group(mounted, "memory", "memory.limit_in_bytes", "9000\n")
    assert set(memory._group_limits(groups, mounted)) == limits


def test_the_smaller_of_machine_and_group(monkeypatch):
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(memory, "_group_limits", lambda: iter([2**63]))
    assert memory_bytes() == machine
    monkeypatch.setattr(memory, "_group_limits", lambda: iter([10**9, 5 * 10**8]))
    assert memory_bytes() == 5 * 10**8


def cube(changed):
    if changed.get("--side", 9) < 3:
        raise UserError("too small")
    return 10**6 * changed.get("--side", 9) ** 3 * changed.get("--count", 4)


@pytest.mark.parametrize(
    ("limit", "advice"),
    [
        (2_000_000_000, "give --side (at most 6 fits) or --count (at most 1 fits)"),
        (300_000_000, "give --side (at most 3 fits)"),
        (200_000_000, "give smaller images, or fewer at a time"),
    ],
)
def test_what_fits_is_proposed_with_room_to_spare(limit, advice):
    choices = {"--side": [8, 6, 4, 3, 2, 1], "--count": [2, 1]}
    with pytest.raises(UserError) as caught:
        check_memory("a cube", cube, choices, limit)
    assert str(caught.value) == (
        f"a cube takes about 2.9 GB of memory, and this machine has "
        f"{size_text(limit)}; {advice}"
    )


@pytest.mark.parametrize("limit", [None, 2_916_000_000])
def test_what_fits_or_cannot_be_known_passes(limit):
    check_memory("a cube", cube, {}, limit)
