"""The tools of continual learning and of cost, as a user meets them."""

import json

import pytest

from tests.tiny_data import make_data, save_npz
from tests.tools.test_tools import run

SMALL = ["--set=network.width=4", "--set=network.depth=1", "--batch_real=4"]
SMALL += ["--set=distillation.jit=none"]


@pytest.fixture
def dataset(tmp_path):
    return save_npz(tmp_path / "tiny.npz", make_data())


def test_continual_learning(dataset, tmp_path):
    arguments = [f"--dataset={dataset}", *SMALL, "--steps=3,1", "--ipc=2"]
    arguments += ["--orders=1", "--iterations=2", "--epochs=2", "--models=1"]
    result = run("continual", *arguments, "--memory=random,dm", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    first, *_, last = result.stdout.splitlines()
    assert first.startswith(f"Continual learning on {dataset} in 3 and 1 steps")
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("_ipc2_continual_seed0")
    assert "accuracy.png" in last
    lines = [json.loads(x) for x in (folder / "results.jsonl").read_text().splitlines()]
    assert [(x["steps"], x["memory"]) for x in lines] == [
        (3, "random"),
        (3, "dm"),
        (1, "random"),
        (1, "dm"),
    ]
    for word in ("Warning", "WARNING", "Traceback", "cuda", "I0000", "E0000"):
        assert word not in result.stderr
    again = run("continual", *arguments, "--memory=random", folder=tmp_path)
    assert again.returncode == 2 and "continue it with --resume" in again.stderr
    more = run("continual", *arguments, "--memory=random", "--resume", folder=tmp_path)
    assert more.returncode == 0, more.stderr
    assert "Evaluating" not in more.stderr, "nothing is left to do"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps=0"], "steps must be at least 1, not 0"),
        (["--steps=five"], "--steps must be whole numbers, as in 5,10, not 'five'"),
        (["--orders=0"], "orders must be at least 1, not 0"),
        (["--orders=some"], "--help"),
        (["--memory="], "memory must name one or more"),
        (["--memory=dm,dm"], "each once, not dm,dm"),
        (["--statistics=frist"], "(did you mean 'first_step'?)"),
        (["--ipc=0"], "distillation.ipc must be at least 1, not 0"),
        (["--dataset=digit"], "(did you mean 'digits'?)"),
        (["--output_dir=full"], "not of a study"),
        (["--resume", "--overwrite"], "choose one of"),
    ],
)
def test_a_wrong_word_to_continual(arguments, message, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    result = run("continual", *arguments, folder=tmp_path)
    assert result.returncode == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("continual.py: ") and message in line
    assert not (tmp_path / "runs").exists()


def test_an_unknown_memory_and_too_many_steps(dataset, tmp_path):
    for argument, message in (
        ("--memory=random,datadan", "(did you mean 'datadam'?)"),
        ("--steps=4", "4 steps are more than the 3 classes"),
    ):
        result = run(
            "continual", f"--dataset={dataset}", "--ipc=2", argument, folder=tmp_path
        )
        assert result.returncode == 2
        assert message in result.stderr.splitlines()[-1]


def test_cost(dataset, tmp_path):
    arguments = [f"--dataset={dataset}", *SMALL, "--method=dm", "--ipc=2"]
    result = run("cost", *arguments, "--iterations=2", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith(
        f"Measuring a step on {dataset}, 4 real images per class"
    )
    assert any(line.split()[:2] == ["dm", "2"] for line in lines)
    for word in ("Warning", "WARNING", "Traceback", "cuda", "I0000", "E0000"):
        assert word not in result.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "cost.png").read_bytes()[1:4] == b"PNG"
    assert json.loads((folder / "results.jsonl").read_text())["iterations"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ipc=0"], "--ipc must be whole numbers from 1, not '0'"),
        (["--ipc=1,many"], "not 'many'"),
        (["--ipc="], "--ipc must name one or more"),
        (["--ipc=1,1"], "each once, not 1,1"),
        (["--method="], "--method must name one or more"),
        (["--method=dm,dm"], "each once, not dm,dm"),
        (["--iterations=0"], "--help"),
        (["--dataset=digit"], "(did you mean 'digits'?)"),
    ],
)
def test_a_wrong_word_to_cost(arguments, message, tmp_path):
    result = run("cost", *arguments, folder=tmp_path)
    assert result.returncode == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("cost.py: ") and message in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("tool", ["continual", "cost"])
def test_help_shows_an_example(tool, tmp_path):
    assert f"python tools/{tool}.py" in run(tool, "--help", folder=tmp_path).stdout
