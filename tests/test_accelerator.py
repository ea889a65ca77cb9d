"""What accelerator.sh carries and measures, with contenders that only claim to work.

That it measures programs on JAX is tested where JAX is (`tests/jax/`).
"""

import importlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import textwrap
import time

import numpy as np
import PIL.Image
import pytest

from dam_tf import UserError

BENCHMARKS = pathlib.Path(__file__).resolve().parent.parent / "benchmarks"
CLASSES = ("cat", "dog")


@pytest.fixture(autouse=True)
def neighbours(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


def load(name):
    return importlib.import_module(f"_accelerator_{name}")


def write_archive(path, splits=("train", "test"), sizes=(8,)):
    """An archive of pictures, each of one colour that tells it."""
    with tarfile.open(path, "w:xz") as tar:
        for number, (split, label, row) in enumerate(
            (split, label, row)
            for split in splits
            for label in CLASSES
            for row in (1, 0)
        ):
            size = sizes[number % len(sizes)]
            picture = np.full([size, size, 3], colour(split, label, row), np.uint8)
            content = io.BytesIO()
            PIL.Image.fromarray(picture).save(content, "PNG")
            info = tarfile.TarInfo(f"{split}/{label}/{row:04}.png")
            info.size = content.tell()
            content.seek(0)
            tar.addfile(info, content)
    return path


def colour(split, label, row):
    return 100 * (split == "test") + 10 * CLASSES.index(label) + row


def test_an_archive_is_decoded_by_class_and_name(tmp_path):
    arrays = load("archive").decode(write_archive(tmp_path / "a.tar.xz"))
    assert arrays["x_train"].shape == (4, 8, 8, 3) and arrays["x_test"].dtype == "uint8"
    assert arrays["x_train"][:, 0, 0, 0].tolist() == [0, 1, 10, 11]
    assert arrays["x_test"][:, 0, 0, 0].tolist() == [100, 101, 110, 111]
    assert arrays["y_test"].tolist() == ["cat", "cat", "dog", "dog"]


def test_an_archive_that_is_none(tmp_path):
    decode = load("archive").decode
    path = tmp_path / "a.tar.xz"
    with pytest.raises(UserError, match="lacks test/CLASS"):
        decode(write_archive(path, ["train"]))
    with pytest.raises(UserError, match="differ in size"):
        decode(write_archive(path, sizes=(8, 9)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"cannot read .*a\.tar\.xz"):
        decode(path)
    with pytest.raises(UserError, match=r"cannot read .*nowhere"):
        decode(tmp_path / "nowhere")


def test_programs_are_packed_small_and_come_back_to_the_last_byte(tmp_path):
    archive, programs = load("archive"), tmp_path / "made" / "programs"
    random = np.random.default_rng(0)
    square = random.standard_normal((100, 100)).astype(np.float32)
    constants = {"whitening": square + square.T, "skew": square[:3, :3], "mean": square}
    for name in ("one", "two", "three"):
        (programs / name / "runner").mkdir(parents=True)
        (programs / name / "runner" / "same.py").write_text("pass\n")
        (programs / name / "own").write_text(name)
        np.savez(programs / name / "constants.npz", **constants)
        constants = (
            {"scalar": np.float32(3), **constants} if name == "two" else constants
        )
    before = {
        path.relative_to(programs): path.read_bytes()
        for path in programs.rglob("*")
        if path.is_file()
    }
    shared = archive.pack(programs, tmp_path)
    # Two more of the same file and of the triangle, one more of the other constants.
    assert len(shared) == 5
    packed = (tmp_path / archive.PROGRAMS).stat().st_size
    # The triangle once, and of two different files a matrix that is not symmetric.
    assert packed < 1.15 * (100 * 101 / 2 + 2 * 100 * 100) * 4

    back = tmp_path / "back"
    archive.unpack(tmp_path, shared, back)
    after = {
        path.relative_to(back): path.read_bytes()
        for path in back.rglob("*")
        if path.is_file()
    }
    assert after == before


def test_results_are_kept_as_they_come(tmp_path):
    report = load("report")
    results = report.Results(tmp_path)
    results.add("machine", card="a card", torch="2")
    for name, median, more in (
        ("dam_tf", 0.01, {}),
        ("PyTorch nchw", 0.05, {}),
        ("PyTorch best", 0.03, {}),
    ):
        spread = {"least": median / 2, "most": 2 * median, "seconds": [median] * 3}
        results.add(
            "step",
            ipc=10,
            step=name,
            median=median,
            first=9.0,
            peak=5e8,
            **spread,
            **more,
        )
    results.add("step", ipc=10, step="PyTorch broken", failed="no such thing", peak=0)
    results.add(
        "run",
        program="dm",
        iterations=10,
        all=8000,
        seconds_per_step=0.5,
        peak=1e9,
        accuracies=[0.5, 0.7],
        epochs=3,
        seconds=90.0,
    )
    results.leave_out("the rest", "time")
    rows = [
        json.loads(x) for x in (tmp_path / "results.jsonl").read_text().splitlines()
    ]
    assert rows == results.rows and rows[-1]["what"] == "the rest"
    text = (tmp_path / "report.md").read_text()
    assert (
        "| 10 | PyTorch nchw | 0.0500 | 0.0250 to 0.1000 | 3 | 9.0 | 500 | 5.00 |"
        in text
    )
    assert "| 10 | PyTorch broken | no such thing |" in text
    assert "| 10 | the paper, on an A100 | 0.08 | | | | 3,561 | |" in text
    assert "as it comes takes 5.00 times" in text
    assert "PyTorch best, its best, takes 3.00 times" in text
    assert "would take 1.3 minutes" in text  # 8,000 of 0.01 s
    assert "| dm | 10 | 8,000 | 0.5000 | 1,000 | 2, 3 | 60.0 ± 10.0 | 1.5 |" in text
    assert "- the rest: time" in text


FAKE = """
    import sys
    sys.path.insert(0, {benchmarks!r})
    import _contender
    told = _contender.settings()
    calls = []
    def step(steps=1):
        calls.append(steps)
        if told.get("layout") == "nchw" and told["tf32"]:
            sys.exit("no TF32 here")
        pace = 0.1 if "program" in told else 0.3 if told["compiled"] else 0.4
        pace -= 0.05 * (told.get("precision") == "bfloat16")
        return {{"seconds": pace, "loss": 0.0, "peak": steps}}
    def evaluate(first, last):
        return {{"seconds": 0.001 * (last - first), "peak": 1}}
    def versions():
        return {{}}
    _contender.serve(step=step, evaluate=evaluate, versions=versions)
"""
MANIFEST = {
    "ipc": 10,
    "iterations": 8000,
    "iterations_per_call": 100,
    "epochs": 1000,
    "data": {
        "class_names": ["a", "b"],
        "image_shape": [8, 8, 3],
        "train_counts": [5, 6],
    },
    "settings": {
        "distillation.batch_real": 4,
        "network.width": 8,
        "network.depth": 1,
    },
}


@pytest.fixture
def program(tmp_path):
    """A program that writes what it was asked for instead of doing it."""
    folder = tmp_path / "datadam"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(MANIFEST))
    (folder / "run_program.py").write_text(
        textwrap.dedent(
            """
            import json, pathlib, sys
            import numpy as np
            if "--self_test" in sys.argv:
                print("loss differs by 0.5", "The self-test FAILED", sep="\\n")
                sys.exit(1)
            told = dict(word[2:].split("=") for word in sys.argv[1:] if "=" in word)
            if pathlib.Path(told["data"]).name == "broken.npz":
                sys.exit("run_program.py: it is broken")
            out = pathlib.Path(told["output_dir"])
            out.mkdir()
            arrays = {"images": np.full([2, 2], int(told["iterations"]))}
            arrays["preprocessing_whitening"] = arrays["images"]
            np.savez(out / "distilled.npz", **arrays)
            (out / "results.json").write_text(json.dumps({
                "seconds_per_step": {"median": 0.1}, "peak_bytes": 7,
                "accuracies": [0.25, 0.75], "program": {}}))
            """
        )
    )
    return folder


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    folder = tmp_path / "fakes"
    folder.mkdir()
    for name in ("jax_step.py", "torch_step.py"):
        text = textwrap.dedent(FAKE).format(benchmarks=os.fspath(BENCHMARKS))
        (folder / name).write_text(text)
    for name in ("steps", "runs"):
        monkeypatch.setattr(load(name), "HERE", folder)
    monkeypatch.setattr(load("steps"), "torch_device", lambda: "cpu")


@pytest.fixture
def results(tmp_path):
    (tmp_path / "out").mkdir()
    return load("report").Results(tmp_path / "out")


def budget(seconds):
    return load("report").Budget(seconds, time.monotonic())


def test_contenders_take_turns_and_the_best_way_goes_on(program, fakes, results):
    load("steps").race(10, program, results, budget(600), tiny=True)
    found = {row["step"]: row for row in results.rows}
    assert found["PyTorch nchw+tf32"]["failed"] == "no TF32 here"
    assert len(found) == 6 and len(found["dam_tf"]["seconds"]) == 2
    assert found["dam_tf"]["median"] == 0.1
    load("steps").race(50, program, results, budget(600), tiny=False)
    rows = {row["step"]: row for row in results.rows if row["ipc"] == 50}
    best = "PyTorch channels_last+compiled+bfloat16"
    assert rows.keys() == {"dam_tf", "PyTorch nchw", best}
    assert len(rows[best]["seconds"]) == load("steps").TURNS
    assert rows["dam_tf"]["peak"] == 5, "half a second of steps of 0.1 s"


def test_without_pytorch_the_rest_is_measured(program, fakes, results, monkeypatch):
    monkeypatch.setattr(load("steps"), "torch_device", lambda: None)
    load("steps").race(10, program, results, budget(600), tiny=True)
    left, ours = results.rows
    assert left["what"] == "PyTorch at IPC 10" and ours["step"] == "dam_tf"


def test_a_self_test_that_fails_is_a_row(program, fakes, results):
    load("runs").self_test(program, results, budget(600))
    assert results.rows[0]["verdict"] == "The self-test FAILED"
    assert "The self-test FAILED" in load("report").report(results.rows)


def test_a_contender_is_ended_when_the_time_is_over(program, fakes, results):
    load("steps").race(10, program, results, budget(-1), tiny=True)
    assert all("when its time was over" in row["failed"] for row in results.rows)


def test_runs_have_the_iterations_that_fit(program, fakes, results, tmp_path):
    def run(seconds, data="data.npz", part=1.0, programs=(program,)):
        done, place = len(results.rows), (tmp_path / data, tmp_path, results)
        whole_runs = load("runs").whole_runs
        whole_runs(list(programs), *place, budget(seconds), part, tiny=False)
        return results.rows[done:]

    (row,) = run(600)
    assert row["accuracies"] == [0.25, 0.75] and row["all"] == 8000
    # The 598.8 s without the networks' 1.2 s, less the time to start, at 0.1 s each.
    most = load("runs").SURE * 598.8 / 0.1
    assert 0.5 * most < row["iterations"] <= most
    with np.load(tmp_path / "datadam.npz") as kept:
        assert kept.files == ["pixel_range", "images"]
        assert (kept["images"] == row["iterations"]).all()
    assert run(600, part=0.5)[0]["iterations"] <= most / 2
    first, second = run(600, programs=[program, program])
    assert first["iterations"] <= most / 2 < second["iterations"], "nothing was spent"
    assert run(10**6)[0]["iterations"] == 8000
    assert "do not suffice" in run(600, part=0.005)[0]["why"]
    assert "when its time was over" in run(-1)[0]["failed"]
    assert run(60, "broken.npz")[0]["failed"] == "run_program.py: it is broken"


@pytest.mark.parametrize(
    "words, text",
    [
        (["run", "nowhere", "out"], "nowhere is no folder that accelerator.sh prepare"),
        (["prepare", "nowhere.tar.xz", "full"], "full holds something"),
        (["prepare", "nowhere.tar.xz", "new"], "cannot read nowhere.tar.xz"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(words, text, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    done = subprocess.run(
        [BENCHMARKS / "accelerator.sh", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and text in done.stderr
    assert not (tmp_path / "new").exists() and not (tmp_path / "out").exists()
