"""visualize.py and report.py on the command line."""

import pytest

from dam_tf.base.json_lines import read_json_lines
from tests.tiny_data import save_run
from tests.tools.test_tools import run


@pytest.fixture
def folder(tmp_path):
    save_run(tmp_path / "runs" / "one")
    return tmp_path


def test_pictures_lie_where_they_were_asked_for(folder):
    result = run("visualize", "evolution", "--runs=runs/one", "--at=0,6", folder=folder)
    assert result.returncode == 0, result.stderr
    first, *rest = result.stdout.splitlines()
    place = "runs/pictures_one"
    assert first == f"Drawing how the images came about of runs/one, into {place}"
    assert rest == [f"Picture: {place}/evolution_one.{x}" for x in ("png", "gif")]
    assert len(read_json_lines(folder / place / "evolution.jsonl")) == 4
    assert "Warning" not in result.stderr and "Traceback" not in result.stderr


def test_losses_alone_and_what_lies_there_is_not_replaced_unasked(folder):
    arguments = ["curves", "--runs=runs/one", "--points=0", "--output_dir=out"]
    result = run("visualize", *arguments, folder=folder)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "Picture: out/curves.png"
    again = run("visualize", *arguments, folder=folder)
    assert again.returncode == 2 and again.stdout == ""
    assert "--resume" in again.stderr and len(again.stderr.splitlines()) == 1


def test_a_report_of_words_and_flags(folder):
    save_run(folder / "runs" / "two", seed=1)
    result = run("report", "--runs=runs/two", "runs/one", folder=folder)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "Reporting on runs/one, runs/two",
        "Page: runs/one/report.html",
    ]
    page = (folder / "runs/one/report.html").read_text(encoding="utf-8")
    assert "<title>Distilled: one, two</title>" in page


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("visualize", [], "say what to do; one of: grid, evolution, tsne, curves"),
        ("visualize", ["gird"], "unknown command 'gird' (did you mean 'grid'?)"),
        ("visualize", ["grid", "tsne"], "unexpected argument 'tsne'"),
        ("visualize", ["grid"], "--runs is missing"),
        ("visualize", ["grid", "--runs=runs/none"], "no run in runs/none"),
        ("visualize", ["grid", "--runs=runs/one", "--epochs=3"], "--epochs is not for"),
        ("visualize", ["--runs=runs/one", "grid", "--per_class=0"], "--help"),
        ("visualize", ["evolution", "--runs=runs/one", "--at=x"], "--at=x must be"),
        ("visualize", ["curves", "--runs=runs/one", "--epochs=0"], "at least 1"),
        ("visualize", ["tsne", "--runs=runs/one", "--output_dir=runs"], "not of a"),
        ("visualize", ["grid", "--runs=runs/one", "--output_dir=file"], "is a file"),
        ("report", [], "say which: report.py RUN"),
        ("report", ["runs/none"], "no such folder: runs/none"),
        ("report", ["runs/one", "--output=runs"], "is a folder"),
        ("report", ["runs/one", "--outptu=x"], "--help"),
    ],
)
def test_a_wrong_word_is_named_in_one_line(folder, tool, arguments, message):
    (folder / "file").touch()
    result = run(tool, *arguments, folder=folder)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{tool}.py: ") and message in line


@pytest.mark.parametrize("tool", ["visualize", "report"])
def test_help_shows_an_example(tool, tmp_path):
    result = run(tool, "--help", folder=tmp_path)
    assert f"python tools/{tool}.py" in result.stdout
    assert "--runs" in result.stdout
