"""The command line, as a user meets it: what it says, and its exit status."""

import errno
import importlib
import json
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.synthetic.distilled_set import DistilledSet
from tests.tiny_data import make_data, save_npz

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = [
    "--set=network.width=8",
    "--set=distillation.jit=none",
    "--set=network.depth=2",
    "--iterations=4",
    "--batch_real=4",
    "--models=2",
    "--epochs=3",
]


def command(tool, *arguments):
    return [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *map(str, arguments)]


def run(tool, *arguments, folder):
    return subprocess.run(
        command(tool, *arguments), cwd=folder, capture_output=True, text=True
    )


@pytest.fixture
def dataset(tmp_path):
    return save_npz(tmp_path / "tiny.npz", make_data())


def test_distil_then_evaluate_then_random(dataset, tmp_path):
    arguments = [f"--dataset={dataset}", "--ipc=2", *TINY]
    result = run("distill", *arguments, "--evaluate", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    first, *_, last = result.stdout.splitlines()
    assert first.startswith(f"Distilling {dataset} into 2 images per class: datadam")
    assert last.startswith("Test accuracy: ") and last.endswith("% over 2 networks")
    assert "4 iterations will take about" in result.stderr
    for word in ("Warning", "WARNING", "Traceback", "cuda", "I0000", "E0000"):
        assert word not in result.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("_ipc2_datadam_seed0")
    assert DistilledSet.load(folder).images.shape == (6, 8, 8, 1)

    again = run(
        "evaluate", f"--distilled={folder}", "--json=out.jsonl", folder=tmp_path
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == last, "the same seed, the same accuracy"
    line = json.loads((tmp_path / "out.jsonl").read_text())
    assert len(line["accuracies"]) == 2
    assert line["config"]["evaluation"]["epochs"] == 3
    assert len((folder / "evaluation.jsonl").read_text().splitlines()) == 2

    assert np.sum(line["confusion"]) == 2 * 15, "two networks, 15 test images"
    assert len(line["per_class"]) == 3
    assert (folder / "confusion.png").read_bytes()[1:4] == b"PNG"


def results(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_baselines_and_what_is_reached_of_them(dataset, tmp_path):
    """Random images, the whole set, then several runs held against both."""
    common = [f"--dataset={dataset}", "--ipc=2", *TINY[:3], *TINY[-2:]]
    common.append("--json=results.jsonl")
    random = run("evaluate", "--distilled=random", "--sets=2", *common, folder=tmp_path)
    assert random.returncode == 0, random.stderr
    assert random.stdout.splitlines()[-1].endswith("over 4 networks on 2 sets")
    assert "set 0: " in random.stdout and "set 1: " in random.stdout
    whole = run("evaluate", "--whole_dataset", *common, folder=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert "recovery" not in random.stdout + whole.stdout

    for seed in (0, 1):
        run(
            "distill",
            f"--dataset={dataset}",
            "--ipc=2",
            *TINY,
            f"--seed={seed}",
            f"--output_dir={seed}",
            folder=tmp_path,
        )
    both = run(
        "evaluate", "--distilled=0,1", "--compare=results.jsonl", folder=tmp_path
    )
    assert both.returncode == 0, both.stderr
    assert "Hard label recovery: " in both.stdout
    assert "Improvement over random: " in both.stdout
    assert both.stdout.splitlines()[-1].endswith("over 4 networks on 2 sets")

    random_line, whole_line = results(tmp_path / "results.jsonl")
    assert whole_line["config"]["evaluation"]["epochs"] == 3
    (line,) = results(tmp_path / "1" / "evaluation.jsonl")
    assert line["distilled"] == "0,1" and line["sets"] == 2
    assert line["accuracies"][:2] != line["accuracies"][2:]
    improvement = line["accuracy"] - random_line["accuracy"]
    assert line["improvement_over_random"] == pytest.approx(improvement, abs=2e-6)
    recovery = whole_line["accuracy"] - line["accuracy"]
    assert line["hard_label_recovery"] == pytest.approx(recovery, abs=2e-6)


def test_another_network_keeps_nothing_of_the_runs(dataset, tmp_path):
    run(
        "distill",
        f"--dataset={dataset}",
        "--iterations=0",
        "--set=network.norm=batch",
        "--output_dir=run",
        folder=tmp_path,
    )
    result = run(
        "evaluate",
        "--distilled=run",
        "--network=mlp",
        "--epochs=1",
        "--models=1",
        "--schedule=paper",
        "--augmentation=none",
        folder=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    (line,) = results(tmp_path / "run" / "evaluation.jsonl")
    assert line["config"]["network"]["name"] == "mlp"
    assert "norm" not in line["config"]["network"]
    assert line["config"]["evaluation"]["schedule"] == "paper"
    assert line["config"]["evaluation"]["augmentation"] == "none"


def test_ctrl_c_saves_and_resume_continues(dataset, tmp_path):
    arguments = [f"--dataset={dataset}", *TINY[:3], "--iterations=100000"]
    arguments += ["--batch_real=4", "--output_dir=run", "--checkpoint_every=5"]
    process = subprocess.Popen(
        command("distill", *arguments),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list((tmp_path / "run").glob("checkpoints/*.npz")):
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    message = errors.splitlines()[-1]
    assert message.startswith("distill.py: stopped after iteration ")
    assert message.endswith("continue with --resume")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset=cifar1O"], "'cifar1O' (did you mean 'cifar10'?)"),
        (["--ipc=0"], "distillation.ipc must be at least 1, not 0"),
        (["--ipc=-3"], "distillation.ipc must be at least 1, not -3"),
        (["--ipc=many"], "distillation.ipc must be a whole number, not 'many'"),
        (["--init=nosie"], "(did you mean 'noise'?)"),
        (["--preset=papper"], "unknown preset 'papper' (did you mean 'paper'?)"),
        (["--set=network.widht=3"], "(did you mean 'network.width'?)"),
        (["--set=network"], "--set=network must be section.key=value"),
        (["--config=missing.toml"], "no such configuration file: missing.toml"),
        (["--config=broken.toml"], "cannot read configuration file broken.toml"),
        (["--config=unknown.toml"], "(did you mean 'distillation.ipc'?)"),
        (["--ipcc=1"], "--help"),
        (["--resume=perhaps"], "--help"),
        (["distil"], "unexpected argument 'distil'"),
        (["--resume", "--overwrite", "--output_dir=full"], "choose one of"),
        (["--output_dir=full"], "not of a run"),
        (["--output_dir=broken.toml"], "is a file"),
    ],
)
def test_a_wrong_word_is_named_in_one_line(arguments, message, tmp_path):
    (tmp_path / "broken.toml").write_text("[dataset\n")
    (tmp_path / "unknown.toml").write_text("[distillation]\nipcs = 3\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    result = run("distill", *arguments, folder=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("distill.py: ") and message in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --distilled"),
        (["--distilled=random", "--whole_dataset"], "give one of --distilled"),
        (["--distilled=random", "--compare=none.jsonl"], "no such file: none.jsonl"),
        (["--distilled=random", "--sets=0"], "--help"),
        (["--distilled=random", "--schedule=papr"], "(did you mean 'paper'?)"),
        (["--distilled=random", "--augmentation=das"], "(did you mean 'dsa'?)"),
        (["--distilled=random", "--network=vgg"], "(did you mean 'vgg11'?)"),
        (["--distilled=nowhere"], "no run in nowhere"),
        (["--distilled=random", "--dataset=mnits"], "(did you mean 'mnist'?)"),
        (["--distilled=random", "--models=0"], "evaluation.models must be at least 1"),
    ],
)
def test_a_wrong_word_to_evaluate(arguments, message, tmp_path):
    result = run("evaluate", *arguments, folder=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("evaluate.py: ") and message in line


def test_bad_data_is_one_line_too(dataset, tmp_path):
    result = run("distill", f"--dataset={dataset}", "--ipc=10", folder=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "ipc 10 is larger than class '0', which has 9 training images" in (
        result.stderr
    )


@pytest.mark.parametrize(
    "tool",
    [
        "ablate",
        "continual",
        "cost",
        "demo",
        "distill",
        "evaluate",
        "export",
        "nas",
        "select",
        "serve",
    ],
)
def test_help_shows_an_example(tool, tmp_path):
    result = run(tool, "--help", folder=tmp_path)
    assert f"python tools/{tool}.py" in result.stdout


def test_help_may_be_read_in_part(tmp_path):
    shown = subprocess.Popen(
        command("evaluate", "--help"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    shown.stdout.close()
    assert shown.communicate()[1] == b""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "run/x.npz"),
            "No space left on device (run/x.npz)",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, "x; No space left on device"),
            "x; No space left on device",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (ValueError("a mistake of ours"), None),
    ],
)
def test_a_full_disk_is_told_from_other_errors(error, reason, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    command_module = importlib.import_module("_command")
    assert command_module._disk_trouble(error) == reason
