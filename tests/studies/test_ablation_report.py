"""The table and the figure of an ablation."""

import dataclasses

import pytest

from dam_tf.evaluation.evaluate import Evaluation
from dam_tf.studies.ablation.ablations import ABLATIONS
from dam_tf.studies.ablation.report import save_report, table
from dam_tf.studies.ablation.study import Result


def some_results(name, ipcs=(10,), iterations=(8,), none=()):
    return [
        Result(
            variant,
            ipc,
            iteration,
            None if variant.name in none else Evaluation((0.25, 0.35)),
            "why" if variant.name in none else "",
        )
        for variant in ABLATIONS[name].variants(3)
        for ipc in ipcs
        for iteration in iterations
    ]


def rows_of(text):
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def test_ours_stand_beside_the_papers():
    text = table(ABLATIONS["components"], some_results("components", none=["sam"]))
    head, _, mmd, sam, *_ = rows_of(text)
    assert head == ["loss", "IPC 10", "paper, IPC 10"]
    assert mmd == ["mmd", "30.0 ± 5.0", "48.9 ± 0.6"]
    assert sam == ["sam", "-", "49.8 ± 0.7"]
    assert text.splitlines()[-1] == "sam: why"


def test_several_ipcs_are_columns():
    results = some_results("networks", ipcs=(1, 50))
    head, _, random, *_ = rows_of(table(ABLATIONS["networks"], results))
    assert head[1:] == ["IPC 1", "IPC 50", "paper, IPC 1", "paper, IPC 50"]
    assert random[3:] == ["32.0 ± 2.0", "67.0 ± 0.4"]


def test_curves_are_rows_of_iterations():
    results = some_results("initialization", iterations=(0, 4, 8))
    head, _, *rows = rows_of(table(ABLATIONS["initialization"], results))
    assert head == ["iteration", "random", "k-center", "noise"]
    assert [row[0] for row in rows] == ["0", "4", "8"]


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_is_drawn(name, tmp_path):
    curves = ABLATIONS[name].chart == "curves"
    for ipcs in ((1,), (1, 10, 50)):
        results = some_results(name, ipcs, (0, 8) if curves else (8,))
        first = dataclasses.replace(results[0], evaluation=None)
        save_report(ABLATIONS[name], [first, *results[1:]], tmp_path)
        assert (tmp_path / "figure.png").read_bytes()[1:4] == b"PNG"
        assert "±" in (tmp_path / "table.md").read_text(encoding="utf-8")
