"""What evaluations find, against scikit-learn and DD-Ranking's formulas."""

import numpy as np
import pytest
from sklearn import metrics

from dam_tf.base.json_lines import append_json
from dam_tf.evaluation.results import Evaluation, find_references
from tests.tiny_data import tiny_config


def test_the_confusion_matrix_counts_every_answer():
    labels = np.array([0, 0, 1, 2, 2, 2])
    answers = [np.array([0, 1, 1, 2, 2, 0]), np.array([0, 0, 0, 2, 1, 2])]
    evaluation = Evaluation.of(answers, labels, 3)
    expected = sum(metrics.confusion_matrix(labels, answer) for answer in answers)
    np.testing.assert_array_equal(evaluation.confusion, expected)
    np.testing.assert_allclose(
        evaluation.per_class,
        metrics.recall_score(np.tile(labels, 2), np.concatenate(answers), average=None),
    )
    assert evaluation.accuracies == pytest.approx((4 / 6, 4 / 6))
    joined = Evaluation.join([evaluation, evaluation])
    assert joined.sets == 2 and joined.confusion.sum() == 24
    assert str(joined).endswith("over 4 networks on 2 sets")


def test_measures_of_dd_ranking():
    evaluation = Evaluation((0.4, 0.5))
    assert evaluation.compare(whole_set=0.9, random_real=0.25) == pytest.approx(
        {
            "share_of_full": 0.5,
            "hard_label_recovery": 0.45,
            "improvement_over_random": 0.2,
        }
    )
    assert evaluation.compare() == {}


def test_references_are_of_the_same_data_network_and_ipc(tmp_path):
    file, config = tmp_path / "results.jsonl", tiny_config()
    for what, accuracy, other in [
        ("random", 0.1, config),
        ("random", 0.2, config),
        ("random", 0.3, tiny_config(distillation__ipc=3)),
        ("whole", 0.7, tiny_config(evaluation__epochs=9, distillation__ipc=3)),
        ("whole", 0.8, tiny_config(network__width=4)),
        ("runs/x", 0.9, config),
    ]:
        append_json(file, Evaluation((accuracy,)).record(what, other))
    other = tmp_path / "metrics.jsonl"
    other.write_text('{"iteration": 3}\nnot JSON\n3\n')
    found = find_references([file, other, tmp_path / "missing.jsonl"], config)
    assert found == {"random_real": 0.2, "whole_set": 0.7}


def test_the_report_is_mean_and_deviation_over_networks():
    evaluation = Evaluation((0.1, 0.2, 0.6))
    assert evaluation.mean == pytest.approx(0.3)
    assert evaluation.deviation == pytest.approx(np.sqrt((0.04 + 0.01 + 0.09) / 3))
    assert str(evaluation) == "30.0 ± 21.6 % over 3 networks"
