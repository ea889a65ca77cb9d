"""A benchmark's measures, tables and chart, compared with sums done by hand."""

import math

import numpy as np
import pytest

from dam_tf.plots import dots
from dam_tf.studies.benchmark.measures import Accuracy, measures, summarise
from dam_tf.studies.benchmark.report import tables


def cell(row, ipc=1, seed=0, kind="method", failed=None, **accuracies):
    line = {"row": row, "kind": kind, "ipc": ipc, "seed": seed, "reduction": ""}
    if failed:
        return {**line, "failed": failed}
    times = {"seconds": {"make": 60.0, "evaluate": 9.0}, "time_lost": seed == 1}
    return {**line, **times, "accuracies": accuracies, "device": "a processor"}


ALL = [
    cell("whole", 0, kind="whole", common=[0.8, 0.9]),
    cell("random", kind="coreset", common=[0.2, 0.3], plain=[0.1]),
    cell("dm", common=[0.4], plain=[0.2]),
    cell("dm", seed=1, common=[0.6], plain=[0.4]),
    cell("ld", common=[0.5], hard=[0.3], own=[0.7], random_own=[0.35]),
    cell("dc", failed="the loss became nan"),
    cell("dm", 10, common=[0.7]),
]


def lrs(difference):
    return (math.exp(difference) - math.exp(-1)) / (math.exp(1) - math.exp(-1))


def test_spreads_are_kept_apart():
    rng = np.random.default_rng(0)
    values = rng.uniform(size=[4, 3])
    found = Accuracy(values.tolist())
    assert found.mean == pytest.approx(values.mean(), abs=1e-6)
    assert found.over_sets == pytest.approx(values.mean(axis=1).std(), abs=1e-6)
    within = values - values.mean(axis=1, keepdims=True)
    assert found.over_networks == pytest.approx(within.std(), abs=1e-6)


class TestMeasures:
    def of(self, row, ipc=1, results=ALL):
        summaries = summarise(results)
        (one,) = (s for s in summaries if (s.row, s.ipc) == (row, ipc))
        return measures(one, summaries)

    def test_hard_labels_and_the_common_protocol(self):
        # Whole 0.85, random 0.25 and 0.1 without augmentation, the set 0.5 and 0.3.
        expected = {
            "hard_label_recovery": 0.35,
            "improvement_over_random": 0.25,
            "label_robust_score": lrs(0.5 * 0.25 - 0.5 * 0.35),
            "augmentation_robust_score": lrs(0.5 * 0.25 + 0.5 * 0.2),
        }
        assert self.of("dm") == pytest.approx(expected, abs=1e-5)

    def test_a_recipe_is_compared_with_random_images_by_it(self):
        expected = {
            "hard_label_recovery": 0.85 - 0.3,
            "improvement_over_random": 0.7 - 0.35,
            "label_robust_score": lrs(0.5 * 0.35 - 0.5 * 0.55),
        }
        assert self.of("ld") == pytest.approx(expected, abs=1e-5)

    def test_what_is_not_known_is_left_out(self):
        assert self.of("dc") == {} and self.of("whole", 0) == {}
        # There are no random images of 10 per class.
        assert set(self.of("dm", 10)) == {"hard_label_recovery"}
        assert self.of("dm", results=ALL[2:]) == {}


def test_tables_have_what_there_is():
    text = tables(summarise(ALL))
    lines = text.splitlines()
    head = next(line for line in lines if line.startswith("| row"))
    assert "kernel" not in head and "own recipe" in head
    dm, ten, cost, _ = (line for line in lines if line.startswith("| dm "))
    assert [word.strip() for word in dm.split("|")[1:3]] == ["dm", "50.0"]
    assert "± 10.0" in dm and "70.0" in ten
    assert "- dc, 1 image per class, seed 0: the loss became nan" in lines
    # The whole set stands in the table of each number of images.
    assert sum(line.startswith("| whole ") for line in lines) == 3
    assert "> 60" in cost


def test_dots_stand_where_their_values_are(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(
        dots, "save_figure", lambda figure, path: figures.append(figure)
    )
    rows = [
        dots.Dot("dm", (50, 1)),
        dots.Dot("dd", (30, 2), (70, 0)),
        dots.Dot("x", None),
    ]
    dots.save_dots(
        {"1 image": rows, "10 images": rows[:1]}, "digits", tmp_path / "a.png"
    )
    first, second = figures[0].axes
    points = {
        tuple(map(float, line.get_xydata()[0]))
        for line in first.lines
        if len(line.get_xydata()) == 1 and line.get_marker() in "os"
    }
    assert points == {(50, 0), (30, 1), (70, 1)}
    assert [text.get_text() for text in first.texts] == ["none"]
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["dm", "dd", "x"]
    assert len(figures[0].legends) == 1 and second.get_title() == "10 images"
