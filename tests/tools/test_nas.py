"""tools/nas.py, as a user meets it."""

import json
import random
import signal
import subprocess
import time

import pytest

from tests.tiny_data import make_data, save_npz
from tests.tools.test_tools import command, run

TINY = [
    "--ipc=2",
    "--epochs=2",
    "--whole_epochs=2",
    "--proxy=random,early_stopping",
    "--depths=1",
    "--widths=4",
    "--activations=relu,sigmoid",
    "--norms=none",
    "--poolings=avg,max",
]


@pytest.fixture
def dataset(tmp_path):
    return save_npz(tmp_path / "tiny.npz", make_data())


def results(folder):
    lines = [json.loads(x) for x in (folder / "results.jsonl").read_text().splitlines()]
    return [{k: v for k, v in x.items() if "seconds" not in k} for x in lines]


def test_killed_and_resumed(dataset, tmp_path):
    arguments = [f"--dataset={dataset}", *TINY]
    whole = run("nas", *arguments, "--output_dir=whole", folder=tmp_path)
    assert whole.returncode == 0, whole.stderr
    first, *_, last = whole.stdout.splitlines()
    assert first.startswith("Searching 4 of 4 architectures of convnet720 on npz:")
    assert "| random | " in whole.stdout and last.startswith("3 rows lie in whole")
    for word in ("Warning", "WARNING", "Traceback"):
        assert word not in whole.stderr

    file = tmp_path / "killed" / "trials.jsonl"
    process = subprocess.Popen(
        command("nas", *arguments, "--output_dir=killed"),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not file.exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(random.uniform(0, 4))
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = run("nas", *arguments, "--output_dir=killed", folder=tmp_path)
    assert again.returncode == 2 and "--resume" in again.stderr
    kept = file.read_text().splitlines()[0]
    resumed = run("nas", *arguments, "--output_dir=killed", "--resume", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert file.read_text().splitlines()[0] == kept, "not trained again"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--proxy is missing"),
        (["--proxy=nowhere"], "no run in nowhere"),
        (["--proxy=radnom"], "no run in radnom"),
        (["--proxy=random", "--space=convnet702"], "did you mean 'convnet720'"),
        (["--proxy=random", "--widths=wide"], "--widths: 'wide' is no whole number"),
        (["--proxy=random", "--depths=0"], "network.depth must be at least 1"),
        (["--proxy=random", "--norms="], "--norms is empty"),
        (["--proxy=random", "--norms=bacth"], "did you mean 'batch'"),
        (["--proxy=random", "--cells=3"], "--cells is of --space=nasbench201"),
        (
            ["--proxy=random", "--space=nasbench201", "--widths=3"],
            "--widths is of --space=convnet720",
        ),
        (["--proxy=random", "--sample=0"], "--sample"),
        (["--proxy=random", "--ipc=0"], "distillation.ipc must be at least 1"),
        (["--proxy=random", "--epochs=0"], "evaluation.epochs must be at least 1"),
        (["--proxy=random", "--whole_epochs=0"], "--whole_epochs"),
        (["--proxy=random", "--resume", "--overwrite"], "choose one of"),
        (["--proxy=random", "--output_dir=full"], "not of a study"),
        (["--proxy=run", "--ipc=3"], "distillation.ipc is that of the run in run"),
        (["--proxy=run", "--config=run/config.toml"], "--config is for a search"),
    ],
)
def test_a_wrong_word_is_named_in_one_line(arguments, message, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").touch()
    (tmp_path / "folder").mkdir()
    folder = [] if "--output_dir" in str(arguments) else ["--output_dir=folder"]
    if "--resume" in arguments:
        (tmp_path / "folder" / "x").touch()
    result = run("nas", *arguments, *folder, folder=tmp_path)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("nas.py: ") and message in line


def test_cells(dataset, tmp_path):
    result = run(
        "nas",
        f"--dataset={dataset}",
        "--proxy=random",
        "--space=nasbench201",
        "--cells=1",
        "--sample=2",
        "--nowhole",
        "--epochs=1",
        "--whole_epochs=1",
        folder=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Searching 2 of 15,625 architectures")
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("_nas_nasbench201_seed0")
    (line,) = results(folder)
    assert line["chosen"].count("~") == 6 and line["correlation"] is None
