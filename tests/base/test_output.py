"""Which folders may be written to."""

import errno
import pathlib

import pytest

from dam_tf.base.errors import UserError
from dam_tf.base.output import check_output, check_same, unwritable, write_results


def made(tmp_path, what):
    folder = tmp_path / "out"
    if what == "file":
        folder.write_text("")
    elif what == "broken link":
        folder.symlink_to(tmp_path / "nowhere")
    elif what != "missing":
        folder.mkdir()
        if what != "empty":
            (folder / what).write_text("")
    return folder


def check(folder, resume=False, overwrite=False):
    one = folder / "ours"
    return check_output(folder, "an export", one.is_file, resume, overwrite)


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
@pytest.mark.parametrize("what", ["missing", "empty"])
def test_free_folders(tmp_path, what, flags):
    assert not check(made(tmp_path, what), **flags)


@pytest.mark.parametrize("flags", [{"resume": True}, {"overwrite": True}])
def test_ours_is_continued_or_replaced(tmp_path, flags):
    assert check(made(tmp_path, "ours"), **flags)


@pytest.mark.parametrize(
    ("what", "flags", "message"),
    [
        ("ours", {}, "holds another export; continue it with --resume"),
        ("ours", {"resume": None}, "holds another export; replace it"),
        ("ours", {"resume": True, "overwrite": True}, "choose one of"),
        ("missing", {"resume": True, "overwrite": True}, "choose one of"),
        ("theirs", {"resume": True}, "not of an export; choose another with --output"),
        ("theirs", {"overwrite": True}, "not of an export"),
        ("file", {"overwrite": True}, "is a file"),
        ("broken link", {}, "is a file"),
    ],
)
def test_refused(tmp_path, what, flags, message):
    folder = made(tmp_path, what)
    with pytest.raises(UserError, match=message):
        check(folder, **flags)


def test_moved_images_are_no_other_setting(tmp_path):
    """What they are is compared once they are read."""
    check_same(
        tmp_path, "the run", {"dataset.name": "npz:a"}, {"dataset.name": "npz:b"}
    )
    with pytest.raises(UserError, match=r"dataset\.name = 'digits'"):
        stored, given = {"dataset.name": "npz:a"}, {"dataset.name": "digits"}
        check_same(tmp_path, "the run", stored, given)


def test_what_can_be_written_is_found_out_without_writing(tmp_path):
    (tmp_path / "old.jsonl").write_text("{}\n")
    for name in ("old.jsonl", "new.jsonl", "new/folder/x.jsonl"):
        assert unwritable(tmp_path / name) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["old.jsonl"]
    assert (tmp_path / "old.jsonl").read_text() == "{}\n"
    assert unwritable(tmp_path) == "Is a directory"
    assert unwritable(tmp_path / "old.jsonl" / "x") == "Not a directory"
    assert unwritable(pathlib.Path("/proc/1/x.jsonl"))


def test_what_cannot_be_written_is_named_and_all_else_is_written(tmp_path):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = tmp_path / "kept"
    outputs = [("a.png", full), (kept, kept.touch), ("b.png", full)]
    message = r"not kept in a.png \(No space left on device\), b.png \(No space"
    with pytest.raises(UserError, match=message):
        write_results(outputs)
    assert kept.exists()
    write_results(outputs[1:2])


def test_the_first_setting_that_differs_is_named(tmp_path):
    check_same(tmp_path, "the run", {"a": 1, "b": None}, {"a": 1})
    with pytest.raises(UserError, match=r"without b: the run was started with \[2\]"):
        check_same(tmp_path, "the run", {"a": 1, "b": [2]}, {"a": 1, "c": 3})
