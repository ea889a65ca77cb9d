"""The benchmarks, on shapes that take a second; without PyTorch, or with a fake one."""

import importlib.util
import json
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from dam_tf import networks
from dam_tf.config.sections import NetworkConfig

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
TINY = ["--image_size=8", "--set=network.width=8", "--set=network.depth=2"]


def load(name):
    """A file of benchmarks/ as a module; those that import no neighbour."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


flops = load("flops")
contender = load("_contender")


def run(name, *arguments, folder):
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def fake_torch(tmp_path) -> str:
    """A Python that claims to have PyTorch, and a step that takes 2 seconds."""
    script = tmp_path / "fake.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            sys.path.insert(0, {str(BENCHMARKS)!r})
            import _contender
            way = _contender.settings()
            def step():
                if way["layout"] == "channels_last":
                    sys.exit("no such layout")
                seconds = 2.0 if way["early"] else 3.0
                return {{"seconds": seconds, "loss": 0.0, "peak": 5e8}}
            def rate(**question):
                return {{"fake": 1e-12 * question["batch"]}}
            _contender.serve(step=step, rate=rate)
            """
        )
    )
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exit 0\nexec {sys.executable} {script} "$2"\n'
    )
    python.chmod(0o755)
    return str(python)


@pytest.mark.slow
def test_step_beside_another(fake_torch, tmp_path):
    result = run(
        "step",
        *TINY,
        "--classes=3",
        "--ipc=2",
        "--batch_real=4",
        "--per_class=5",
        "--steps=2",
        "--rate_seconds=0",
        "--rate_batches=4",
        "--json=out.jsonl",
        f"--torch_python={fake_torch}",
        folder=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "| PyTorch channels_last | no such layout |" in result.stdout
    found = {line["step"]: line for line in lines(tmp_path / "out.jsonl")}
    assert {name for name in found if name.startswith("PyTorch")} == {
        "PyTorch nchw",
        "PyTorch nchw+early+kept",
    }
    ours = next(line for name, line in found.items() if name.startswith("dam_tf"))
    assert len(ours["seconds"]) == 2 and 1e6 < ours["peak"] < 4e9
    (row,) = [
        r for r in result.stdout.splitlines() if r.startswith(f"| {ours['step']}")
    ]
    ratio = float(row.split("|")[5])
    assert ratio == pytest.approx(2 / ours["median"], rel=0.01), "of PyTorch's best"
    # Two layers, 8 channels, 8x8 and 4x4; 3 classes of 4 real and 2 synthetic images,
    # of which the latter pass twice. The fake's rate is the best there is.
    layers = [2 * 27 * 8 * 64, 2 * 72 * 8 * 16]
    assert ours["floor"] == pytest.approx(3 * (4 + 2 * 2) * 2 * 1e-12)
    slowest = min(layers) / 1e-12, max(layers) / 1e-12
    assert ours["floor_by_best_layer"] == pytest.approx(
        3 * (4 + 2 * 2) * sum(layers) / slowest[1]
    )


@pytest.mark.slow
def test_memory_and_evaluation_without_pytorch(tmp_path):
    result = run(
        "memory",
        *TINY,
        "--classes=2,4",
        "--batch_real=2",
        "--steps=1",
        "--json=memory.jsonl",
        folder=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "memory.png").read_bytes()[1:4] == b"PNG"
    small, large = lines(tmp_path / "memory.jsonl")
    assert (small["classes"], large["classes"]) == (2, 4)
    assert large["synthetic"] == 2 * small["synthetic"] == 4 * 4 * 8 * 8 * 3 * 4
    assert large["beyond"] == large["peak"] - large["synthetic"]

    result = run(
        "evaluation",
        *TINY,
        "--images=4",
        "--norms=batch",
        "--turns=2",
        "--images_a_turn=8",
        "--torch_python=nowhere",
        "--json=evaluation.jsonl",
        folder=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("No PyTorch at nowhere: measuring the rest.")
    (line,) = lines(tmp_path / "evaluation.jsonl")
    assert line["training"] == "dam_tf, batch norm"
    assert len(line["rates"]) == 2 and line["images_per_second"] > 0
    share = 1 - np.median(line["rates"]) / np.median(line["rates_without_augmentation"])
    assert line["augmentation_share"] == pytest.approx(share)


def test_operations_of_a_step():
    layers = flops.convolutions(networks.create("convnet", (32, 32, 3), 10))
    per_image = 2 * 9 * 128 * (3 * 32 * 32 + 128 * 16 * 16 + 128 * 8 * 8)
    assert sum(layer.flops for layer in layers) == per_image
    # 2,560 images forward, 100 forward and back.
    assert flops.passes(10, 10, 256) == 2560 + 200
    rates = {layer.name: 2.0 for layer in layers}
    assert flops.floor_seconds(layers, rates, 2760) == 2760 * per_image / 2

    # ResNet-18 on 32x32 images is known to take 0.56 billion multiply-adds.
    layers = flops.convolutions(
        networks.create("resnet18", (32, 32, 3), 10, NetworkConfig(width=128))
    )
    assert sum(layer.flops for layer in layers) / 2 == pytest.approx(0.556e9, rel=0.01)


def test_a_contender_that_answers_and_one_that_ends(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        + textwrap.dedent(
            """
            import os
            import _contender
            memory = _contender.Memory()
            def hold(megabytes):
                print("not an answer")
                block = b"1" * (megabytes * 10**6)
                return {"peak": memory.peak(), "set": os.environ.get("GIVEN")}
            def end():
                raise ValueError("the last words")
            _contender.serve(hold=hold, end=end)
            """
        )
    )
    child = contender.Contender(sys.executable, script, {}, {"GIVEN": "yes"})
    answer = child.ask("hold", megabytes=200)
    assert answer["set"] == "yes"
    assert 190e6 < answer["peak"] < 230e6
    assert child.ask("hold", megabytes=20)["peak"] < 230e6
    late = contender.Contender(sys.executable, script, {}, limit=0)
    with pytest.raises(contender.ContenderError, match="when its time was over"):
        late.ask("hold", megabytes=1)
    late.close()
    with pytest.raises(contender.ContenderError, match="ValueError: the last words"):
        child.ask("end")
    child.close()


@pytest.mark.parametrize(
    "name, argument, words",
    [
        ("step", "--ipc=0", "--ipc is a list of whole numbers from 1, not '0'"),
        ("step", "--classes=ten", "--classes is a list of whole numbers"),
        ("step", "--set=network.wdth=8", "network.wdth"),
        ("step", "--torch=nhwc", "--torch: unknown way 'nhwc'"),
        ("memory", "--image_size=", "--image_size is a list"),
        ("evaluation", "--set=network", "must be section.key=value"),
    ],
)
def test_bad_flags(name, argument, words, tmp_path):
    result = run(name, argument, folder=tmp_path)
    assert result.returncode == 2
    assert words in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.slow
def test_larger_than_memory(tmp_path):
    """Its parts, which a process without a control group can run, too."""
    flags = [
        "--classes=4",
        "--per_class=8",
        "--image_size=8",
        f"--cache_dir={tmp_path}",
    ]
    flags += ["--batch_real=4", "--width=4", "--steps=1", "--rounds=1"]
    found = {}
    for part in ("build", "read"):
        done = run("larger_than_memory", *flags, f"--part={part}", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        found[part] = json.loads(done.stdout)
    assert found["build"]["images"] == 4 * (8 + 1)
    assert found["read"]["step_bytes"] == 4 * 4 * 8 * 8 * 3
    for steps in found["read"]["steps"].values():
        assert len(steps) == 1 and 0 <= steps[0]["waited"] <= steps[0]["seconds"]
    enough = run("larger_than_memory", *flags, folder=tmp_path)
    assert enough.returncode == 2
    assert "--limit_mb=1536 is not less than the 0 MB" in enough.stderr
