"""A benchmark: its rows, its cells in processes of their own, stops and neighbours."""

import json
import signal
import subprocess
import sys
import time

import pytest

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.studies.benchmark import study
from dam_tf.studies.benchmark.study import Extent, run_benchmark
from dam_tf.studies.rows import KINDS, Base, Row, check_base, find_rows
from tests.studies import benchmark_child as child

FAST = Base(overrides={"distillation.iterations": 7})


@pytest.fixture(autouse=True)
def _no_tensorflow(monkeypatch):
    monkeypatch.setattr(study, "_MODULE", "tests.studies.benchmark_child")
    monkeypatch.setattr(study, "_LOOK_EVERY", 0.1)


def rows(**iterations):
    return [
        Row(name, name, {"distillation.iterations": count} if count else {})
        for name, count in iterations.items()
    ]


class TestRows:
    def test_all_names_every_kind_once(self):
        names = [row.name for row in find_rows(["all", "dm", "coresets"])]
        assert sorted(names) == sorted(name for kind in KINDS.values() for name in kind)
        assert {row.kind for row in find_rows(["all"])} == set(KINDS)

    def test_a_plan_has_rows_of_its_own(self, tmp_path):
        plan = tmp_path / "plan.toml"
        plan.write_text(
            '[long]\nby = "datadam"\nipc = 10\nmethod.power = 2.0\n'
            "[dm]\ndistillation.iterations = 3\n"
        )
        long, dm = find_rows([], plan=plan)
        assert (long.method, long.kind, long.ipcs) == ("datadam", "method", (10,))
        config = FAST.config(10, 2, long)
        assert (config.method.power, config.distillation.iterations) == (2.0, 7)
        assert (config.distillation.ipc, config.distillation.seed) == (10, 2)
        # What a row says comes over the flags.
        assert FAST.config(1, 0, dm).distillation.iterations == 3
        # A name of the plan takes the place of the usual row.
        assert find_rows(["dm", "dc"], plan=plan)[0].overrides

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "has no row"),
            ("a = 1", "a outside of a row"),
            ("[datadan]", r"\(did you mean 'datadam'\?\)"),
            ('[x]\nby = "y"', "unknown method 'y'"),
            ("[all]", "cannot be the name of a row"),
            ('["a/b"]\nby = "dm"', "cannot be the name of a row"),
            ("[dm]\nipc = 0", "ipc = 0 must be whole numbers"),
            ("[dm]\nipc = [true]", "must be whole numbers"),
            ("[dm]\nevaluation.epochs = 3", "evaluation.epochs is the same for all"),
            ("[dm]\ndistillation.seed = 3", "distillation.seed is the same for all"),
            ("[dm]\nmethod.powr = 3", r"\[dm\] of .*powr"),
            ("[dm", "cannot read configuration file"),
        ],
    )
    def test_plans_that_cannot_be_used(self, text, message, tmp_path):
        plan = tmp_path / "plan.toml"
        plan.write_text(text)
        with pytest.raises(UserError, match=message):
            find_rows(["dm"], plan=plan)

    def test_other_mistakes(self):
        with pytest.raises(UserError, match="--methods is missing"):
            find_rows([])
        with pytest.raises(UserError, match="unknown row of --without 'dm'"):
            find_rows(["dc"], without=["dm"])
        with pytest.raises(UserError, match="--without leaves no row"):
            find_rows(["dm"], without=["dm"])
        with pytest.raises(UserError, match="is for one method"):
            check_base({"method.power": "3"})
        with pytest.raises(UserError, match="recipe=own is not for all rows"):
            check_base({"evaluation.recipe": "own"})

    def test_methods_keep_what_they_were_published_with(self):
        dc, dm = (Base().config(1, 0, row) for row in rows(dc=0, dm=0))
        assert (dc.distillation.init, dm.distillation.init) == ("noise", "random")


class TestStudy:
    def test_tables_lines_and_a_chart(self, tmp_path, capsys):
        folder = tmp_path / "benchmark"
        made = [*rows(random=0, dm=0), Row("ten", "dm", ipcs=(10,))]
        extent = Extent((1, 10), (0, 1), plain=True)
        results = run_benchmark([Row("whole", "whole"), *made], FAST, extent, folder)
        cells = [(line["row"], line["ipc"], line["seed"]) for line in results]
        first = [("whole", 0, 0), ("random", 1, 0), ("dm", 1, 0), ("random", 10, 0)]
        first += [("dm", 10, 0), ("ten", 10, 0)]
        assert cells == [*first, *((row, ipc, 1) for row, ipc, _ in first)]
        assert read_json_lines(folder / "results.jsonl") == results
        assert (folder / "figure.png").read_bytes()[1:4] == b"PNG"
        text = (folder / "table.md").read_text()
        assert "## 1 image per class" in text and "## 10 images per class" in text
        # Seeds 0 and 1 have means 0.11 and 0.21, and 0.01 over the networks.
        assert "| dm     | 16.0 ± 1.0 | 10.0            | ± 5.0" in text
        assert "a line that the user sees" in capsys.readouterr().err

    def test_failures_are_cells(self, tmp_path, caplog):
        made = rows(dm=0, dc=child.REFUSED, dsa=child.DIVERGES, cafe=child.MEMORY)
        made += rows(kip=child.MISTAKE)
        results = run_benchmark(made, FAST, Extent(), tmp_path)
        failed = {line["row"]: line.get("failed") for line in results}
        assert failed.pop("kip").startswith("KeyError: 'ours' (")
        assert failed == {
            "dm": None,
            "dc": "cannot be on these data",
            "dsa": "the loss became nan",
            "cafe": "out of memory",
        }
        text = (tmp_path / "table.md").read_text()
        assert "- dsa, 1 image per class, seed 0: the loss became nan" in text
        assert "kip/ipc1/seed0" in str(child.calls(tmp_path))
        # They are kept, too, unless somebody asks.
        count = len(child.calls(tmp_path))
        run_benchmark(made, FAST, Extent(), tmp_path, resume=True)
        assert len(child.calls(tmp_path)) == count
        run_benchmark(made, FAST, Extent(), tmp_path, resume=True, retry=True)
        assert child.calls(tmp_path)[count:] == [
            f"{name}/ipc1/seed0" for name in ("dsa", "cafe", "kip")
        ]

    def test_what_cannot_be_at_all_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="cannot be on these data"):
            run_benchmark(rows(dm=child.REFUSED), FAST, Extent(), tmp_path / "a")
        with pytest.raises(UserError, match="seeds must name one or more"):
            run_benchmark(rows(dm=0), FAST, Extent(seeds=()), tmp_path / "a")
        with pytest.raises(UserError, match="no row is for these images per class"):
            run_benchmark([Row("a", "dm", ipcs=(2,))], FAST, Extent(), tmp_path / "a")
        assert not (tmp_path / "a").exists()

    def test_it_grows_and_keeps_what_is_finished(self, tmp_path):
        run_benchmark(rows(dm=0), FAST, Extent(), tmp_path)
        wider = Extent((1, 2), (0, 1))
        run_benchmark(rows(dm=0, dc=0), FAST, wider, tmp_path, resume=True)
        calls = child.calls(tmp_path)
        assert len(calls) == len(set(calls)) == 8
        # More iterations go on with the set; another setting is another row.
        (line,) = run_benchmark(rows(dm=9), FAST, Extent(), tmp_path, resume=True)
        assert line["iterations"] == 9 and child.calls(tmp_path)[8:] == [calls[0]]
        for other in (
            rows(dm=8),
            [Row("dm", "dm", {"distillation.momentum": 0.1})],
            [Row("dm", "datadam")],
        ):
            with pytest.raises(UserError, match="give the row another name in --plan"):
                run_benchmark(other, FAST, Extent(), tmp_path, resume=True)
        with pytest.raises(UserError, match=r"cannot resume .* with evaluation.epochs"):
            base = Base(overrides={**FAST.overrides, "evaluation.epochs": 3})
            run_benchmark(rows(dm=9), base, Extent(), tmp_path, resume=True)
        with pytest.raises(UserError, match="holds another study"):
            run_benchmark(rows(dm=9), FAST, Extent(), tmp_path)

    def test_overwriting_leaves_other_files(self, tmp_path):
        run_benchmark(rows(dm=0, mtt=0), FAST, Extent(), tmp_path)
        (tmp_path / "dm" / "notes").write_text("mine")
        (tmp_path / "calls").unlink()
        run_benchmark(rows(dc=0), FAST, Extent(), tmp_path, overwrite=True)
        assert child.calls(tmp_path) == ["dc/ipc1/seed0"]
        names = {path.name for path in tmp_path.iterdir()} - {"calls"}
        tables = {"results.jsonl", "table.md", "figure.png", "settings.json"}
        assert names == {"dc", "dm", "experts.txt", *tables}
        assert [path.name for path in (tmp_path / "dm").iterdir()] == ["notes"]

    def test_a_damaged_result_is_done_again(self, tmp_path, caplog):
        run_benchmark(rows(dm=0, dc=0), FAST, Extent(), tmp_path)
        file = tmp_path / "dm" / "ipc1" / "seed0" / "result.json"
        file.write_bytes(file.read_bytes()[:30])
        run_benchmark(rows(dm=0, dc=0), FAST, Extent(), tmp_path, resume=True)
        assert child.calls(tmp_path)[2:] == ["dm/ipc1/seed0"]
        assert json.loads(file.read_text())["iterations"] == 7

    def test_experts_are_trained_once_for_those_that_follow(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path.parent)
        theirs = Row("theirs", "mtt", {"method.experts": "elsewhere"})
        extent = Extent(experts=4, expert_epochs=2)
        made = [theirs, *rows(dm=0, mtt=0, dance=0)]
        results = run_benchmark(made, FAST, extent, tmp_path.name)
        assert len(results) == 4
        assert child.calls(tmp_path / "experts") == ["experts 4 2"]
        # A benchmark that was moved goes on.
        moved = tmp_path.with_name("moved")
        tmp_path.rename(moved)
        assert len(run_benchmark(made, FAST, extent, moved, resume=True)) == 4
        assert len(child.calls(moved)) == 4
        moved.rename(tmp_path)

    def test_gpus_have_workers_of_their_own(self, tmp_path, monkeypatch):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        assert study._workers(0) == study._workers(1) == [{}]
        two = study._workers(2)
        assert [one["CUDA_VISIBLE_DEVICES"] for one in two] == ["0", "1"]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
        two = study._workers(2)
        assert [one["CUDA_VISIBLE_DEVICES"] for one in two] == ["3", "5"]
        monkeypatch.setattr(study, "_workers", lambda gpus: two)
        made = rows(dm=child.SLEEPS, dc=child.SLEEPS, dsa=child.SLEEPS)
        results = run_benchmark(made, FAST, Extent(), tmp_path)
        assert {line["device"] for line in results} == {"processor 3", "processor 5"}

    def test_without_experts_their_cells_fail(self, tmp_path):
        extent = Extent(experts=child.NONE)
        mtt, dm = run_benchmark(rows(mtt=0, dm=0), FAST, extent, tmp_path)
        assert mtt["failed"] == "no experts: networks cannot be trained"
        assert "failed" not in dm


def start(folder, iterations):
    words = [sys.executable, "-m", "tests.studies.benchmark_child", folder, iterations]
    return subprocess.Popen([str(word) for word in words])


class TestProcesses:
    def test_a_kill_costs_one_cell(self, tmp_path):
        """The process is killed while it is at the second of three cells."""
        assert start(tmp_path, child.KILLED).wait() == -9
        assert child.calls(tmp_path) == ["dm/ipc1/seed0", "datadam/ipc1/seed0"]
        assert start(tmp_path, child.KILLED).wait() == 0
        assert child.calls(tmp_path)[2:] == ["datadam/ipc1/seed0", "dc/ipc1/seed0"]
        assert len(read_json_lines(tmp_path / "results.jsonl")) == 3

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_stops_the_cell_too(self, number, tmp_path):
        process = start(tmp_path, child.STOPS)
        while not (tmp_path / "datadam" / "ipc1" / "seed0" / "again").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait() == 7 + number
        assert child.calls(tmp_path)[1:] == ["datadam/ipc1/seed0", "saved"]
        assert start(tmp_path, child.STOPS).wait() == 0
        assert len(read_json_lines(tmp_path / "results.jsonl")) == 3

    def test_two_processes_share_the_cells(self, tmp_path):
        both = [start(tmp_path, child.SLEEPS) for _ in range(2)]
        assert [one.wait() for one in both] == [0, 0]
        calls = child.calls(tmp_path)
        assert len(calls) == len(set(calls)) == 3
        assert len(read_json_lines(tmp_path / "results.jsonl")) == 3
