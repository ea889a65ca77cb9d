"""What a program's runner reads and writes, without jax: the manifest, and files."""

import os
import re

import numpy as np
import pytest

from dam_tf.exports.program.runner import files
from dam_tf.exports.program.runner.files import Program, Refused


def test_a_program_says_what_its_functions_take(program):
    found = Program(program.path)
    assert found.takes["distill"] == {"images": ((2, 4, 4, 1), "float32")}
    assert found.state == {"images": ((2, 4, 4, 1), "float32")}
    assert found.constants["mean"].tolist() == [0.5]


def test_its_digest_is_that_of_its_files(program):
    before = Program(program.path).digest
    program.write(settings={"note": "other"})
    assert Program(program.path).digest == before
    program.write(files={"constants.npz": program.manifest["files"]["constants.npz"]})
    assert Program(program.path).digest != before


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"dam_tf program"', "\udcff"])
def test_a_manifest_that_is_none_is_refused(program, text):
    (program.path / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(Refused, match=r"cannot use .*manifest.json: .*copy the whole"):
        Program(program.path)


def test_a_missing_manifest_is_refused(program):
    (program.path / "manifest.json").unlink()
    with pytest.raises(Refused, match=r"manifest.json: No such file"):
        Program(program.path)


@pytest.mark.parametrize("part", ["data", "losses", "epochs", "files", "functions"])
@pytest.mark.parametrize("change", [None, "some text"])
def test_a_part_that_is_missing_or_wrong_is_refused(program, part, change):
    program.write(**{part: change})
    with pytest.raises(Refused, match=f"cannot use .*{part}"):
        Program(program.path)


@pytest.mark.parametrize("change", [{"version": 2}, {"format": "another"}])
def test_another_format_is_refused(program, change):
    program.write(**change)
    with pytest.raises(Refused, match=r"runs 'dam_tf program', version 1"):
        Program(program.path)


def test_a_changed_file_is_refused(program):
    path = program.path / "distill.stablehlo"
    path.write_bytes(path.read_bytes().replace(b"jax", b"JAX"))
    with pytest.raises(Refused, match=r"distill.stablehlo: .*not what was compiled"):
        Program(program.path)
    path.unlink()
    with pytest.raises(Refused, match=r"distill.stablehlo: No such file"):
        Program(program.path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.npz"
    files.write(path, lambda file: file.write(b"old"))
    assert os.listdir(path.parent) == ["file.npz"]

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(Refused, match=r"file.npz: No space left on device; what was"):
        files.write(path, fail)
    with pytest.raises(KeyboardInterrupt):
        files.write(path, lambda file: signal_within(file))
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file.npz"]


def signal_within(file):
    file.write(b"half")
    raise KeyboardInterrupt


def test_a_folder_is_refused_that_holds_something_else(tmp_path):
    os.close(files.check_folder(tmp_path / "out", False, False))
    lock = files.check_folder(tmp_path / "out", False, False)
    with pytest.raises(Refused, match="another process writes"):
        files.check_folder(tmp_path / "out", False, False)
    os.close(lock)
    (tmp_path / "out" / "results.json").touch()
    with pytest.raises(Refused, match="holds another run; continue it with --resume"):
        files.check_folder(tmp_path / "out", False, False)
    os.close(files.check_folder(tmp_path / "out", True, False))
    os.close(files.check_folder(tmp_path / "out", False, True))
    with pytest.raises(Refused, match="one of --resume and --overwrite"):
        files.check_folder(tmp_path / "out", True, True)
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(Refused, match=r"holds thesis.txt, which is no run's"):
        files.check_folder(tmp_path / "out", False, True)
    with pytest.raises(Refused, match=r"cannot write into .*: (File exists|Not a)"):
        files.check_folder(tmp_path / "out" / "thesis.txt", False, False)


def test_a_bar_says_how_long_the_rest_takes(capsys, monkeypatch):
    now = 100.0
    monkeypatch.setattr(files.time, "monotonic", lambda: now)
    bar = files.Bar("Distilling:", 1000, 3000)
    now = 110.0
    bar.show(1100)  # too soon to say anything, where there is no terminal
    now = 140.0
    bar.show(1400, ", loss 2.5")
    bar.show(3000)
    first, last = capsys.readouterr().err.splitlines()
    assert first == "Distilling: 1,400/3,000, 10/s, 0:02:40 left, loss 2.5"
    assert last == "Distilling: 3,000/3,000, 50/s, 0:00:00 left"


def test_a_terminal_has_one_line_that_is_written_over(capsys, monkeypatch):
    now = 0.0
    with monkeypatch.context() as patch:  # pytest, too, looks at the clock
        patch.setattr(files.time, "monotonic", lambda: now)
        patch.setattr(files.sys.stderr, "isatty", lambda: True)
        patch.setenv("COLUMNS", "31")
        bar = files.Bar("Distilling:", 0, 10)
        for done in (1, 4, 10):
            now += 1
            bar.show(done, ", loss 2.5")
    lines = capsys.readouterr().err.split("\r")
    assert [len(line.rstrip("\n")) for line in lines] == [0, 30, 30, 30]
    assert lines[2].startswith("Distilling: 4/10, 2/s, 0:00:0")
    assert lines[-1].endswith("\n") and "\n" not in lines[-2]


def test_an_npz_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "some.npz"
    for content in (b"", b"text", b"PK\x03\x04 and so on", b"\x93NUMPY"):
        path.write_bytes(content)
        with pytest.raises(Refused, match=r"^cannot read .*some.npz: [^\n]+$"):
            files.read_npz(path)
    np.savez(path, x=np.array([{}], object))
    with pytest.raises(Refused, match="cannot read"):
        files.read_npz(path)
    whole = tmp_path / "whole.npz"
    np.savez(whole, a=np.arange(1000), b=np.zeros(3))
    path.write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(Refused, match="cannot read"):
        files.read_npz(path)
    assert files.read_npz(whole, {"b", "c"})["b"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "--data is missing"),
        (("--data=no.npz",), r"cannot read no.npz: No such file"),
        (("--data=x.npz", "--iterations=0"), "must be a whole number from 1 on"),
        (("--data=x.npz", "--seed=-1"), "from 0 to 2147483647, not '-1'"),
        (("--dat=x.npz",), "unrecognized arguments: --dat=x.npz; --help lists"),
        (("--data=x.npz", "--device=abacus"), "invalid choice: 'abacus'"),
        (("--bench=10", "--json=/no/where.jsonl"), "/no/where.jsonl: No such file"),
        (("--bench=10",), "No module named 'jax'; jax, NumPy and Pillow are needed"),
    ],
)
def test_what_is_wrong_is_one_line(program, words, line):
    status, _, errors = program.run(*words)
    assert (status, errors.count("\n")) == (2, 1), errors
    assert re.search(line, errors) and errors.startswith("run_program.py: ")


def test_help_says_what_there_is(program):
    status, output, _ = program.run("--help")
    assert status == 0 and "python run_program.py --self_test" in output
    for flag in ("--any_data", "--no_evaluate", "--bench", "--checkpoint_every"):
        assert flag in output
