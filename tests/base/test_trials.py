"""A study keeps each finished trial, and continues where it was stopped."""

import contextlib
import json
import threading

import pytest

from dam_tf.base.errors import UserError
from dam_tf.base.trials import Trials

SETTINGS = {"seed": 0, "widths": (4, 8)}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def squares(done):
    def trial(key):
        done.append(key)
        if key == 3:
            raise KeyboardInterrupt
        return {"square": key * key}

    return trial


def test_finished_trials_are_not_run_again(tmp_path):
    done = []
    with pytest.raises(KeyboardInterrupt):
        Trials(tmp_path, SETTINGS).run([1, 2, 3], squares(done), "Testing")
    trials = Trials(tmp_path, SETTINGS, resume=True)
    assert 2 in trials and 3 not in trials
    results = trials.run([2, 4, 1], squares(done), "Testing")
    assert results == [{"square": 4}, {"square": 16}, {"square": 1}]
    assert done == [1, 2, 3, 4]


def test_a_line_that_a_kill_cut_short_is_run_again(tmp_path):
    Trials(tmp_path, SETTINGS).run([1, 2], squares([]), "Testing")
    file = tmp_path / "trials.jsonl"
    file.write_bytes(file.read_bytes()[:-4])
    done = []
    trials = Trials(tmp_path, SETTINGS, resume=True)
    assert trials.run([1, 2], squares(done), "Testing")[1] == {"square": 4}
    assert done == [2]
    assert 1 in Trials(tmp_path, SETTINGS, resume=True)
    assert 2 in Trials(tmp_path, SETTINGS, resume=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"square": 4', '"square": 5'),
        ('"trial": 2', '"trial": 3'),
        ('"crc32": ', '"crc32": 1'),
        ('{"square": 4}', "4"),
    ],
)
def test_a_line_that_a_disk_has_changed_is_run_again(old, new, tmp_path, caplog):
    Trials(tmp_path, SETTINGS).run([1, 2], squares([]), "Testing")
    file = tmp_path / "trials.jsonl"
    first, second = file.read_text().splitlines(keepends=True)
    file.write_text(first + second.replace(old, new))
    done = []
    trials = Trials(tmp_path, SETTINGS, resume=True)
    assert trials.run([1, 2], squares(done), "Testing")[1] == {"square": 4}
    assert done == [2]
    assert "1 lines of" in caplog.text and "are damaged" in caplog.text


def test_lines_of_version_0_1_have_no_checksum(tmp_path):
    Trials(tmp_path, SETTINGS).begin()
    (tmp_path / "trials.jsonl").write_text('{"trial": 1, "result": {"square": 1}}\n')
    assert 1 in Trials(tmp_path, SETTINGS, resume=True)


def test_keys_of_several_parts(tmp_path):
    keys = [["a", 1], {"width": 4, "norm": "none"}]
    Trials(tmp_path, {}).run(keys, lambda key: {}, "Testing")
    trials = Trials(tmp_path, {}, resume=True)
    assert ("a", 1) in trials and {"norm": "none", "width": 4} in trials
    assert ["a", 2] not in trials


def test_overwrite_forgets(tmp_path):
    Trials(tmp_path, SETTINGS).run([1], squares([]), "Testing")
    before = contents(tmp_path)
    trials = Trials(tmp_path, {"seed": 1}, overwrite=True)
    assert 1 not in trials
    assert contents(tmp_path) == before, "nothing changes until the study begins"
    trials.begin()
    assert contents(tmp_path).keys() == {"settings.json"}


@pytest.mark.parametrize(
    ("settings", "flags", "message"),
    [
        (SETTINGS, {}, "holds another study"),
        ({"seed": 1, "widths": [4, 8]}, {"resume": True}, "seed = 1.* with 0"),
        ({"seed": 0}, {"resume": True}, "without widths"),
        (SETTINGS, {"resume": True, "overwrite": True}, "choose one"),
    ],
)
def test_another_study_is_left_alone(tmp_path, settings, flags, message):
    Trials(tmp_path, SETTINGS).begin()
    with pytest.raises(UserError, match=message):
        Trials(tmp_path, settings, **flags)


@pytest.mark.parametrize("content", ["[]", "{", "\x00"])
def test_files_of_somebody_else_are_left_alone(tmp_path, content):
    (tmp_path / "settings.json").write_text(content)
    for flags in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(UserError, match="not of a study"):
            Trials(tmp_path, SETTINGS, **flags)
    assert (tmp_path / "settings.json").read_text() == content


def test_a_result_that_is_no_json_is_a_mistake(tmp_path):
    with pytest.raises(TypeError):
        Trials(tmp_path, {}).run(["a"], lambda key: {"a": object()}, "Testing")
    assert "trial" not in (tmp_path / "settings.json").read_text()
    assert json.loads((tmp_path / "settings.json").read_text()) == {}


def test_each_worker_runs_one_trial_at_a_time(tmp_path):
    """Both run at once, each in a context of its own, and results keep their order."""
    current = threading.local()
    both = threading.Barrier(2, timeout=60)

    @contextlib.contextmanager
    def worker(name):
        assert not hasattr(current, "name"), "two contexts in one thread"
        current.name = name
        yield
        del current.name

    def trial(key):
        if key < 2:
            both.wait()  # passes only if another worker is here, too
        return {"worker": current.name, "square": key * key}

    workers = [lambda: worker("a"), lambda: worker("b")]
    results = Trials(tmp_path, {}).run(range(5), trial, "Testing", workers)
    assert [result["square"] for result in results] == [0, 1, 4, 9, 16]
    assert {results[0]["worker"], results[1]["worker"]} == {"a", "b"}
    again = Trials(tmp_path, {}, resume=True)
    assert again.run(range(5), None, "Testing", workers) == results


def test_an_error_in_a_thread_ends_the_study_and_keeps_what_is_finished(tmp_path):
    done, failed = [], threading.Event()

    def trial(key):
        done.append(key)
        if key == 1:
            failed.set()
            raise UserError("no")
        if key == 2:
            failed.wait(60)  # so the other worker fails while this one works
        return {}

    keys, workers = [0, 2, 1, *range(3, 500)], [contextlib.nullcontext] * 2
    with pytest.raises(UserError, match="no"):
        Trials(tmp_path, {}).run(keys, trial, "Testing", workers)
    assert len(done) < 500
    trials = Trials(tmp_path, {}, resume=True)
    assert all((key in trials) == (key != 1) for key in done)
