"""accelerator.sh from its folder to its report, on jax's CPU and without PyTorch."""

import json
import os
import subprocess
import sys

import numpy as np

from tests.jax.running import RECORDED, ROOT, arrays


def measured(out, *flags):
    script = ROOT / "benchmarks" / "accelerator.sh"
    command = [script, "run", RECORDED / "accelerator", out, "--minutes=10", "--tiny"]
    environment = {**os.environ, "PYTHON": sys.executable}
    said = {"capture_output": True, "text": True, "check": False}
    return subprocess.run([*command, *flags], env=environment, **said)


def test_what_is_not_there_is_refused_before_anything_is_written(tmp_path):
    done = measured(tmp_path / "out", "--only=steps,mtt_paper_ipc1")
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    wanted = "--only=mtt_paper_ipc1: give any of steps, datadam_paper_ipc1, dm_paper_"
    assert wanted in done.stderr


def test_what_is_named_alone_is_measured(tmp_path):
    done = measured(tmp_path, "--only=dm_paper_ipc1")
    text = (tmp_path / "results.jsonl").read_text(encoding="utf-8")
    parts = [json.loads(line)["part"] for line in text.splitlines()]
    assert parts == ["machine", "data", "run", "end"], done.stderr
    assert "| dm_paper_ipc1 | 6 | 6 |" in (tmp_path / "report.md").read_text()


def test_a_prepared_folder_is_measured_and_run(tmp_path):
    out = tmp_path / "out"
    done = measured(out)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (out / "results.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    machine, tested, torch, step, data, *runs, end = rows
    assert machine["jax"] and "torch" not in machine and end["part"] == "end"
    assert "passed" in tested["verdict"]
    assert torch["why"] == "PyTorch is not installed here"
    assert step["step"] == "dam_tf" and len(step["seconds"]) == 2 and step["peak"] > 0
    assert (data["train"], data["test"]) == (36, 12)
    assert [row["program"] for row in runs] == ["datadam_paper_ipc1", "dm_paper_ipc1"]
    for row in runs:
        assert (row["iterations"], row["epochs"], len(row["accuracies"])) == (6, 2, 2)
        # Twelve test images, so these are twelfths; the pictures are the same ones.
        assert np.allclose(
            np.round(12 * np.array(row["accuracies"])) / 12, row["accuracies"]
        )
        kept = arrays(out / f"{row['program']}.npz")
        assert kept["images"].shape == (3, 8, 8, 3)
        assert kept["class_names"].tolist() == ["class_0", "class_1", "class_2"]
        assert not any("whitening" in name for name in kept)
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "| dm_paper_ipc1 | 6 | 6 |" in report and "- PyTorch at IPC 1" in report
