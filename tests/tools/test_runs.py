"""Distilling, choosing, testing and drawing, as a user does it."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest

from dam_tf.base.json_lines import read_json_lines
from dam_tf.commands import evaluate as evaluating
from dam_tf.commands import results
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.tiny_data import make_data, save_npz, save_run
from tests.tools.running import call, command, run

SMALL = [
    "--ipc=2",
    "--set=network.width=8",
    "--set=network.depth=2",
    "--set=distillation.jit=none",
]
STEPS = ["--iterations=4", "--batch_real=4"]
KINDS = ["soft", "hard"]  # of labels
NETWORKS = ["--models=2", "--epochs=3"]
ONE_NETWORK = ["--models=1", "--epochs=1"]
# What networks learn is not the subject here.
pytestmark = pytest.mark.usefixtures("eagerly")

NOISE = ("Warning", "WARNING", "Traceback", "cuda", "I0000", "E0000")


@pytest.fixture
def dataset(tmp_path):
    return save_npz(tmp_path / "tiny.npz", make_data())


@pytest.fixture
def runs(tmp_path):
    """Folder with the finished runs `one` and `two`, and their data."""
    dataset = save_npz(tmp_path / "tiny.npz", make_data())
    for seed, name in enumerate(("one", "two")):
        save_run(tmp_path / name, dataset, ("0", "1", "2"), distillation__seed=seed)
        for file in ("evaluation.jsonl", "confusion.png"):
            (tmp_path / name / file).unlink(missing_ok=True)
    return tmp_path


@pytest.mark.slow
def test_distil_then_evaluate(dataset, tmp_path):
    arguments = [f"--dataset={dataset}", *SMALL, *STEPS, *NETWORKS]
    result = run("distill", *arguments, "--evaluate", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    first, *_, last = result.stdout.splitlines()
    assert first.startswith(f"Distilling {dataset} into 2 images per class: datadam")
    assert last.startswith("Test accuracy: ") and last.endswith("% over 2 networks")
    assert "4 iterations will take about" in result.stderr
    assert not [word for word in NOISE if word in result.stderr]
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
    assert len(read_json_lines(folder / "evaluation.jsonl")) == 2
    assert np.sum(line["confusion"]) == 2 * 15, "two networks, 15 test images"
    assert len(line["per_class"]) == 3
    assert (folder / "confusion.png").read_bytes()[1:4] == b"PNG"


def test_each_run_keeps_the_results_of_its_own_networks(runs):
    alone = {}
    for name in ("one", "two"):
        copy = shutil.copytree(runs / name, runs / "copies" / name)
        result = call("evaluate", f"--distilled={copy}", *NETWORKS, folder=runs)
        assert result.returncode == 0, result.stderr
        (alone[name],) = read_json_lines(copy / "evaluation.jsonl")

    arguments = ["--distilled=one,two", "--json=both.jsonl", *NETWORKS]
    result = call("evaluate", *arguments, folder=runs)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].endswith("over 4 networks on 2 sets")
    for name in ("one", "two"):
        (line,) = read_json_lines(runs / name / "evaluation.jsonl")
        assert line == alone[name] | {"distilled": name}
        pictures = [runs / name, runs / "copies" / name]
        one, other = ((path / "confusion.png").read_bytes() for path in pictures)
        assert one == other
    (joint,) = read_json_lines(runs / "both.jsonl")
    assert joint["distilled"] == "one,two" and joint["sets"] == 2
    both = [*alone["one"]["accuracies"], *alone["two"]["accuracies"]]
    assert joint["accuracies"] == both
    assert joint["accuracy"] == pytest.approx(np.mean(both), abs=2e-6)


def test_runs_of_other_images_are_not_evaluated(runs):
    save_npz(runs / "tiny.npz", make_data(seed=1))
    result = call("evaluate", "--distilled=one,two", *NETWORKS, folder=runs)
    assert result.returncode == 2
    assert "one was made of other images" in result.stderr
    assert not (runs / "one" / "evaluation.jsonl").exists()


def test_baselines_and_what_is_reached_of_them(runs):
    """Random images, the whole set, then a run held against both."""
    common = ["--dataset=npz:tiny.npz", *SMALL, *NETWORKS, "--json=results.jsonl"]
    random = call("evaluate", "--distilled=random", "--sets=2", *common, folder=runs)
    assert random.returncode == 0, random.stderr
    assert random.stdout.splitlines()[-1].endswith("over 4 networks on 2 sets")
    assert "set 0: " in random.stdout and "set 1: " in random.stdout
    whole = call("evaluate", "--whole_dataset", *common, folder=runs)
    assert whole.returncode == 0, whole.stderr
    assert "recovery" not in random.stdout + whole.stdout

    arguments = ["--distilled=one", "--compare=results.jsonl", *NETWORKS]
    arguments.append("--dataset=npz:tiny.npz")
    result = call("evaluate", *arguments, folder=runs)
    assert result.returncode == 0, result.stderr
    assert "Hard label recovery: " in result.stdout
    assert "Improvement over random: " in result.stdout
    random_line, whole_line = read_json_lines(runs / "results.jsonl")
    assert whole_line["config"]["evaluation"]["epochs"] == 3
    (line,) = read_json_lines(runs / "one" / "evaluation.jsonl")
    improvement = line["accuracy"] - random_line["accuracy"]
    assert line["improvement_over_random"] == pytest.approx(improvement, abs=2e-6)
    recovery = whole_line["accuracy"] - line["accuracy"]
    assert line["hard_label_recovery"] == pytest.approx(recovery, abs=2e-6)


def test_a_read_only_run_is_tested_and_that_it_keeps_nothing_is_said_first(
    runs, monkeypatch
):
    monkeypatch.setattr(evaluating, "unwritable", lambda _: "Read-only file system")
    before = {path: path.stat().st_mtime_ns for path in (runs / "one").rglob("*")}
    result = call("evaluate", "--distilled=one", *ONE_NETWORK, folder=runs)
    assert result.returncode == 0, result.stderr
    first = result.stderr.splitlines()[0]
    assert first.startswith("Warning: one cannot be written to (Read-only file system)")
    last = result.stdout.splitlines()[-1]
    assert re.fullmatch(r"Test accuracy: \d+\.\d % over 1 network", last)
    after = {path: path.stat().st_mtime_ns for path in (runs / "one").rglob("*")}
    assert after == before
    words = ["--distilled=one", "--json=results.jsonl", *ONE_NETWORK]
    result = call("evaluate", *words, folder=runs)
    assert result.returncode == 2 and result.stdout == ""
    message = "--json: results.jsonl cannot be written to (Read-only file system)"
    assert message in result.stderr


def test_a_result_that_cannot_be_kept_was_printed(runs, monkeypatch):
    def full(path, line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(results, "append_json", full)
    result = call("evaluate", "--distilled=one", *ONE_NETWORK, folder=runs)
    assert result.returncode == 2
    assert result.stdout.splitlines()[-1].startswith("Test accuracy: ")
    kept = "the result above is not kept in one/evaluation.jsonl (No space left on"
    assert kept in result.stderr.splitlines()[-1]
    assert (runs / "one" / "confusion.png").is_file(), "all else is kept"


@pytest.mark.slow
def test_a_second_run_in_a_folder_is_told_of_the_first(dataset, tmp_path):
    """Also before the first has a checkpoint, and whatever the second wants."""
    always = [f"--dataset={dataset}", *SMALL, "--iterations=100000", "--batch_real=4"]
    first = subprocess.Popen(
        command("distill", *always, "--output_dir=run"),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (tmp_path / "run" / "config.toml").exists():
            assert first.poll() is None
        for flag in ("--overwrite", "--resume", "--nooverwrite"):
            second = call("distill", *always, "--output_dir=run", flag, folder=tmp_path)
            assert second.returncode == 2 and second.stdout == ""
            (line,) = second.stderr.splitlines()
            told = f"distill.py: output folder run is in use: process {first.pid} on "
            assert line.startswith(told)
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    words = [*always, "--output_dir=run", "--resume", "--iterations=1"]
    again = call("distill", *words, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert not (tmp_path / "run" / ".lock").exists()


def test_runs_that_differ_are_not_joined(runs):
    dataset = f"npz:{runs / 'tiny.npz'}"
    save_run(runs / "wide", dataset, ("0", "1", "2"), network__width=4)
    result = call("evaluate", "--distilled=one,wide", folder=runs)
    assert result.returncode == 2 and result.stdout == ""
    assert "runs one and wide differ in network.width (8 and 4)" in result.stderr


def test_sets_of_other_programs(tmp_path):
    """Standardised images, channels first, with hard and with soft labels."""
    rng, labels = np.random.default_rng(0), [0, 1, 2]
    images = rng.standard_normal([3, 1, 8, 8]).astype(np.float32)
    moments = {"mean": [0.5], "deviation": [0.25]}
    np.savez(tmp_path / "hard.npz", images=images, labels=labels, **moments)
    soft = np.full([3, 3], 0.1) + 0.7 * np.eye(3)
    np.savez(tmp_path / "soft.npz", images=images, labels=soft, **moments)
    dataset = save_npz(tmp_path / "tiny.npz", make_data())
    arguments = [f"--dataset={dataset}", *NETWORKS, *SMALL[1:], "--json=out.jsonl"]
    files = "--distilled=npz:hard.npz,npz:soft.npz"
    result = call("evaluate", files, *arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "npz:hard.npz: " in result.stdout and "npz:soft.npz: " in result.stdout
    lines = read_json_lines(tmp_path / "out.jsonl")
    assert [line["config"]["evaluation"]["label_type"] for line in lines] == KINDS
    for line in lines:
        assert line["distilled"] == "npz:hard.npz,npz:soft.npz"
        assert line["config"]["distillation"]["ipc"] == 1 and line["sets"] == 2


def test_another_network_keeps_nothing_of_the_runs(tmp_path):
    dataset = save_npz(tmp_path / "tiny.npz", make_data())
    save_run(tmp_path / "run", dataset, ("0", "1", "2"), network__norm="batch")
    (tmp_path / "run" / "evaluation.jsonl").unlink()
    arguments = ["--network=mlp", "--epochs=1", "--models=1", "--schedule=paper"]
    arguments += ["--distilled=run", "--augmentation=none"]
    result = call("evaluate", *arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    (line,) = read_json_lines(tmp_path / "run" / "evaluation.jsonl")
    assert line["config"]["network"]["name"] == "mlp"
    assert "norm" not in line["config"]["network"]
    assert line["config"]["evaluation"]["schedule"] == "paper"
    assert line["config"]["evaluation"]["augmentation"] == "none"


@pytest.mark.slow
def test_ctrl_c_saves_and_resume_continues(dataset, tmp_path):
    arguments = [f"--dataset={dataset}", *SMALL, "--iterations=100000"]
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


def test_a_refused_setting_costs_no_run_and_blocks_none(runs):
    """Tried by hand once: --overwrite with a network that is too deep."""
    before = DistilledSet.load(runs / "one").images
    wrong = ["--dataset=npz:tiny.npz", *SMALL, *STEPS, "--output_dir=one"]
    result = call("distill", *wrong, "--overwrite", "--network=vgg11", folder=runs)
    assert result.returncode == 2 and "vgg11 is too deep" in result.stderr
    np.testing.assert_array_equal(DistilledSet.load(runs / "one").images, before)

    wrong[-1] = "--output_dir=new"
    result = call("distill", *wrong, "--network=vgg11", folder=runs)
    assert result.returncode == 2 and not (runs / "new").exists()
    result = call("distill", *wrong, "--iterations=0", folder=runs)
    assert result.returncode == 0, result.stderr


def test_pictures_lie_where_they_were_asked_for(runs):
    result = call("visualize", "evolution", "--runs=one", "--at=0,6", folder=runs)
    assert result.returncode == 0, result.stderr
    first, *rest = result.stdout.splitlines()
    place = "runs/pictures_one"
    assert first == f"Drawing how the images came about of one, into {place}"
    assert rest == [f"Picture: {place}/evolution_one.{x}" for x in ("png", "gif")]
    assert len(read_json_lines(runs / place / "evolution.jsonl")) == 4


def test_losses_alone_and_what_lies_there_is_not_replaced_unasked(runs):
    arguments = ["curves", "--runs=one", "--points=0", "--output_dir=out"]
    result = call("visualize", *arguments, folder=runs)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "Picture: out/curves.png"
    again = call("visualize", *arguments, folder=runs)
    assert again.returncode == 2 and again.stdout == ""
    assert "--resume" in again.stderr and len(again.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "page"),
    [
        ([], "two/report.html"),
        (["--output_dir=new"], "new/report.html"),
        (["--output=both.html"], "both.html"),
    ],
)
def test_a_report_of_words_and_flags(runs, given, page):
    result = call("report", "--runs=one", "two", *given, folder=runs)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["Reporting on two, one", f"Page: {page}"]
    text = (runs / page).read_text(encoding="utf-8")
    assert "<title>Distilled: two, one</title>" in text
