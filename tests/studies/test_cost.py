"""What a step costs: measured apart, told as a table, kept as a study."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dam_tf import plots
from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.base.trials import Trials
from dam_tf.config.settings import replace
from dam_tf.studies.cost import report as cost
from dam_tf.studies.cost import step as step_cost
from dam_tf.studies.cost.report import cost_report, measure_apart, table
from dam_tf.studies.rows import Base, find_rows
from tests.tiny_data import make_data, save_npz, tiny_config, tiny_overrides

pytestmark = pytest.mark.usefixtures("eagerly")
SLOW = pytest.mark.slow


@pytest.fixture
def dataset(tmp_path):
    return save_npz(tmp_path / "tiny.npz", make_data())


def test_the_steps_are_those_of_a_run(monkeypatch, tmp_path):
    """After n measured steps the images are those of a run of as many iterations."""
    from dam_tf.runs.run import distill

    made = []

    def keep(*arguments):
        made.append(original(*arguments))
        return made[-1]

    original = step_cost.create_distiller
    monkeypatch.setattr(step_cost, "create_distiller", keep)
    data, config = make_data(), tiny_config(dataset__preprocessing="none")
    done = []
    found = step_cost.measure(config, 3, done.append, data)
    assert done == [1, 2, 3]
    count = int(made[0].iteration.numpy())
    assert count == 3 + step_cost._WARM_UP
    run = replace(config, distillation__iterations=count)
    expected = distill(run, tmp_path / "run", data=data)
    np.testing.assert_array_equal(made[0].synthetic.stored.numpy(), expected.images)
    assert found["classes"] == 3 and found["image_shape"] == [8, 8, 1]
    assert found["memory_of"] in ("process", "GPU") and found["device"]


def test_times_are_of_single_steps_without_the_warm_up(monkeypatch):
    """A clock that says so: the first steps take 100 s, the others 1, 2 and 3 s."""
    spans = [100.0] * step_cost._WARM_UP + [1.0, 2.0, 3.0]
    ticks = iter([t for span in spans for t in (0.0, span)])
    monkeypatch.setattr(step_cost.time, "perf_counter", lambda: next(ticks))
    found = step_cost.measure(tiny_config(), 3, data=make_data())
    assert found["seconds_per_step"] == pytest.approx(2)
    assert found["deviation"] == pytest.approx(np.std([1, 2, 3]))
    assert found["seconds_to_compile"] == 100


@pytest.mark.skipif(sys.platform != "linux", reason="the mark is Linux's")
def test_peaks_are_of_the_iterations_alone():
    """200 MB that were held before, and are free again, are no part of the peak."""
    large = np.ones(200 << 20, np.uint8)
    del large
    step_cost._forget_peak()
    low = step_cost._peak(None)["peak_memory"]
    large = np.ones(200 << 20, np.uint8)
    del large
    high = step_cost._peak(0)
    assert 190 << 20 < high["peak_memory"] - low < 260 << 20
    assert high["memory_before"] == 0


def test_asking_imports_no_tensorflow():
    program = (
        "import sys, dam_tf.studies.cost.report; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.slow
def test_a_report_of_two_processes(dataset, tmp_path):
    base = Base(overrides=tiny_overrides(dataset__name=dataset))
    folder = tmp_path / "report"
    rows = find_rows(["datadam", "pixel_mmd"])
    lines = cost_report(rows, base, [2], folder, iterations=2)
    assert read_json_lines(folder / "results.jsonl") == lines
    for line, method in zip(lines, ["datadam", "pixel_mmd"], strict=True):
        assert (line["study"], line["method"], line["ipc"]) == ("cost", method, 2)
        assert line["iterations"] == 2
        assert line["seconds_per_step"] > 0 and line["deviation"] >= 0
        assert line["config"]["method"]["name"] == method
        if line["memory_of"] == "process":
            assert line["peak_memory"] > 50 << 20
    with Image.open(folder / "cost.png") as picture:
        assert picture.format == "PNG"
    again = cost_report(rows[1:], base, [2], folder, iterations=2, resume=True)
    assert again == lines[1:], "what was measured is not measured again"
    with pytest.raises(UserError, match="measured_iterations = 3"):
        cost_report(rows, base, [2], folder, iterations=3, resume=True)


@pytest.mark.parametrize(
    ("methods", "ipcs", "changes", "message"),
    [
        (["dm", "datadan"], [1], {}, r"'datadan' \(did you mean 'datadam'\?\)"),
        (["dm", "random"], [1], {}, "unknown method 'random'"),
        (["dm"], [1, 1], {}, "ipcs must name one or more, each once"),
        # Said by a process that imports TensorFlow.
        pytest.param(["dm"], [1, 4000], {}, "ipc 4000 is larger than", marks=SLOW),
        pytest.param(
            ["dm"], [1], {"network__name": "vgg11"}, "vgg11 is too deep", marks=SLOW
        ),
    ],
)
def test_what_is_refused_costs_nothing(
    dataset, tmp_path, methods, ipcs, changes, message
):
    old = tmp_path / "report"
    Trials(old, {"study": "cost"}).run(["old"], lambda _: {}, "Old")
    before = {path: path.read_bytes() for path in old.iterdir()}
    base = Base(overrides=tiny_overrides(dataset__name=dataset, **changes))
    with pytest.raises(UserError, match=message):
        rows = find_rows(methods)
        cost_report(rows, base, ipcs, old, iterations=2, overwrite=True)
    assert {path: path.read_bytes() for path in old.iterdir()} == before


@pytest.fixture
def apart(monkeypatch):
    """Measures in a process that does what `cost_child.measure` does."""
    monkeypatch.setattr(cost, "_MODULE", "tests.studies.cost_child")

    def measured(what, on_progress=lambda _: None):
        return measure_apart(tiny_config(dataset__name=what), 7, on_progress)

    return measured


def test_progress_and_result_of_the_other_process(apart):
    done = []
    assert apart("result", done.append) == {"ipc": 2, "iterations": 7}
    assert done == [3]


@pytest.mark.parametrize(
    ("what", "failed"),
    [
        ("killed", "killed by the system, as when memory runs out"),
        ("bad_alloc", "out of memory"),
        ("memory", "out of memory"),
        ("exhausted", "out of memory"),
    ],
)
def test_a_process_that_memory_runs_out_for(what, failed, apart):
    assert apart(what) == {"failed": failed}


def test_mistakes_of_users_and_of_ours_are_told_apart(apart):
    with pytest.raises(UserError, match="no such thing"):
        apart("user")
    with pytest.raises(RuntimeError, match="KeyError: 'ours'"):
        apart("mistake")


def test_ctrl_c_leaves_no_process_behind(apart, tmp_path):
    def stop(done):
        raise KeyboardInterrupt  # as Python does where a signal is not ignored

    with pytest.raises(KeyboardInterrupt):
        apart(f"sleep:{tmp_path / 'id'}", stop)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "id").read_text()), 0)


def line(method, ipc, seconds=None, memory=0):
    if seconds is None:
        return {"method": method, "ipc": ipc, "failed": "out of memory"}
    return {
        "method": method,
        "ipc": ipc,
        "seconds_per_step": seconds,
        "deviation": 0.01,
        "peak_memory": memory << 20,
        "memory_of": "process",
    }


def test_the_table_says_what_was_measured():
    text = table([line("dm", 1, 0.08, 3323), line("datadam", 50)])
    head, first, second = text.splitlines()
    assert head.split("  ")[-1] == "peak process memory (MiB)"
    assert first.split() == ["dm", "1", "0.0800", "±", "0.0100", "3,323"]
    assert second.split() == ["datadam", "50", "-", "out", "of", "memory"]
    assert len({len(row) for row in text.splitlines()}) == 1


def test_bars_are_as_high_as_their_values(monkeypatch, tmp_path):
    figures = []
    from dam_tf.plots import costs

    monkeypatch.setattr(
        costs, "save_figure", lambda figure, path: figures.append(figure)
    )
    lines = [line("dm", 1, 0.1, 100), line("dm", 10, 0.2, 200), line("datadam", 1)]
    plots.save_costs(lines, tmp_path / "x.png")
    seconds, memory = figures[0].axes
    heights = [sorted(b.get_height() for b in a.patches) for a in (seconds, memory)]
    assert heights[0] == [0.1, 0.2]
    assert heights[1] == [0, 0, 100, 200]  # two are the legend's
    assert "process" in memory.get_ylabel()
    assert "failed" in [text.get_text() for text in seconds.texts]
