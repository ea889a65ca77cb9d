"""The commands of studies, as a user meets them: whole, small, in processes."""

import json
import re
import signal
import subprocess
import time

import pytest

from dam_tf.studies.ablation.ablations import ABLATIONS
from tests.tiny_data import make_data, save_npz, save_run
from tests.tools.running import ROOT, call, command, run

NOISE = ("Warning", "WARNING", "Traceback", "cuda", "I0000", "E0000")
SMALL = [
    "--set=network.width=4",
    "--set=network.depth=1",
    "--set=distillation.jit=none",
    "--batch_real=4",
]


@pytest.fixture
def dataset(tmp_path):
    return save_npz(tmp_path / "tiny.npz", make_data())


def results(folder):
    lines = [json.loads(x) for x in (folder / "results.jsonl").read_text().splitlines()]
    return [{k: v for k, v in x.items() if "seconds" not in k} for x in lines]


@pytest.mark.slow
def test_the_example_of_ablate_and_more_seeds(tmp_path):
    """The example, shortened to two values and one short training."""
    text = (ROOT / "dam_tf/commands/ablate.py").read_text()
    example = re.search(r"ablate (power .*?/power)\n", text, re.DOTALL)[1]
    words = [*example.replace("\\\n", "").split(), "--values=1,8", "--epochs=2"]
    words += ["--iterations=5", "--set=distillation.jit=none"]
    result = run("ablate", *words, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    first, *_, last = result.stdout.splitlines()
    assert first.startswith("Ablation of power of the attention maps (Figure 8) on dig")
    assert last.endswith("chart lies in runs/power/figure.png")
    assert not [word for word in NOISE if word in result.stderr]
    folder = tmp_path / "runs" / "power"
    assert (folder / "figure.png").read_bytes()[1:4] == b"PNG"
    assert (folder / "table.md").read_text(encoding="utf-8") in result.stdout
    again = run("ablate", *words, "--values=8,1", "--resume", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "Distilling" not in again.stderr, "all is kept"
    assert [line["variant"] for line in results(folder)] == ["8", "1"]


def test_the_list_names_each_with_its_table_or_figure(tmp_path):
    result = call("ablate", "list", folder=tmp_path)
    assert result.returncode == 0
    usage = call("ablate", "--help", folder=tmp_path)
    for name, ablation in ABLATIONS.items():
        assert re.search(rf"^{name} +{ablation.reference}: ", result.stdout, re.M)
        assert f"{name}: {ablation.varies} ({ablation.reference})" in usage.stdout


@pytest.mark.slow
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
    assert [(x["steps"], x["memory"]) for x in results(folder)] == [
        (3, "random"),
        (3, "dm"),
        (1, "random"),
        (1, "dm"),
    ]
    assert not [word for word in NOISE if word in result.stderr]
    more = run("continual", *arguments, "--memory=random", "--resume", folder=tmp_path)
    assert more.returncode == 0, more.stderr
    assert "Evaluating" not in more.stderr, "nothing is left to do"


@pytest.mark.slow
def test_attention(dataset, tmp_path):
    save_run(tmp_path / "mine", dataset, ("0", "1", "2"))
    arguments = [f"--dataset={dataset}", *SMALL[:3], "--batch_real=4", "--ipc=2"]
    arguments += ["--distilled=mine", "--powers=1,4", "--networks=1"]
    result = run("attention", *arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    first, *_, last = result.stdout.splitlines()
    assert first.startswith("Measuring SAM for p = 1, 4, and MMD, on npz:")
    assert not [word for word in NOISE if word in result.stderr]
    (folder,) = (tmp_path / "runs").iterdir()
    assert last.endswith("results.jsonl") and "figure.png" in last
    assert (folder / "table.md").read_text(encoding="utf-8") in result.stdout
    before = (folder / "trials.jsonl").read_bytes()
    arguments[-1] = "--networks=2"
    more = run("attention", *arguments, "--resume", folder=tmp_path)
    assert more.returncode == 0, more.stderr
    assert (folder / "trials.jsonl").read_bytes().startswith(before)
    sets = [(x["norm"], x["set"], x["networks"]) for x in results(folder)]
    assert sets == [
        (norm, name, 2)
        for norm in ("instance", "batch")
        for name in ("floor", "random", "k-center", "mine")
        for _ in (1, 4)
    ]


@pytest.mark.slow
def test_cost(dataset, tmp_path):
    arguments = [f"--dataset={dataset}", *SMALL, "--method=dm", "--ipc=2"]
    result = run("cost", *arguments, "--iterations=2", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith(
        f"Measuring a step on {dataset}, 4 real images per class"
    )
    assert any(line.split()[:2] == ["dm", "2"] for line in lines)
    assert not [word for word in NOISE if word in result.stderr]
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "cost.png").read_bytes()[1:4] == b"PNG"
    assert json.loads((folder / "results.jsonl").read_text())["iterations"] == 2


@pytest.mark.slow
def test_a_search_killed_and_resumed(dataset, tmp_path):
    arguments = [f"--dataset={dataset}", "--ipc=2", "--epochs=2", "--whole_epochs=2"]
    arguments += ["--proxy=random,early_stopping", "--depths=1", "--widths=4"]
    arguments += ["--activations=relu,sigmoid", "--norms=none", "--poolings=avg,max"]
    whole = run("nas", *arguments, "--output_dir=whole", folder=tmp_path)
    assert whole.returncode == 0, whole.stderr
    first, *_, last = whole.stdout.splitlines()
    assert first.startswith("Searching 4 of 4 architectures of convnet720 on npz:")
    assert "| random | " in whole.stdout and last.startswith("3 rows lie in whole")
    assert not [word for word in NOISE[:3] if word in whole.stderr]

    file = tmp_path / "killed" / "trials.jsonl"
    process = subprocess.Popen(
        command("nas", *arguments, "--output_dir=killed"),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not file.exists() or file.read_bytes().count(b"\n") < 5:  # of 12
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = file.read_text().splitlines()[:5]
    resumed = run("nas", *arguments, "--output_dir=killed", "--resume", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert file.read_text().splitlines()[:5] == kept, "not trained again"


@pytest.mark.slow
def test_cells(dataset, tmp_path):
    arguments = [f"--dataset={dataset}", "--proxy=random", "--space=nasbench201"]
    arguments += ["--cells=1", "--sample=2", "--nowhole", "--epochs=1"]
    result = run("nas", *arguments, "--whole_epochs=1", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Searching 2 of 15,625 architectures")
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("_nas_nasbench201_seed0")
    (line,) = results(folder)
    assert line["chosen"].count("~") == 6 and line["correlation"] is None
