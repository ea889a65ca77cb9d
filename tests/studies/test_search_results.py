"""Choosing, ranking and the table, against figures worked out by hand and SciPy's."""

import itertools

import numpy as np
import pytest

from dam_tf.studies.search.results import (
    Scores,
    markdown_table,
    proxy_result,
    rank_correlation,
    top_fifth,
)

NAN = np.nan


def scores(validation, accuracy=None, seconds=None):
    validation = np.array(validation, float)
    accuracy = validation if accuracy is None else np.array(accuracy, float)
    seconds = np.ones(len(validation)) if seconds is None else np.array(seconds, float)
    return Scores(validation, accuracy, seconds)


def spearman_by_hand(first, second):
    """Pearson's correlation of mean ranks, by counting."""

    def ranks(values):
        return np.array(
            [np.sum(values < v) + (np.sum(values == v) + 1) / 2 for v in values]
        )

    return np.corrcoef(ranks(first), ranks(second))[0, 1]


def test_rank_correlation_with_equals(rng):
    for _ in range(20):
        first, second = rng.integers(0, 6, [2, 15]) / 10
        expected = spearman_by_hand(first, second)
        assert rank_correlation(first, second) == pytest.approx(expected)


def test_rank_correlation_is_of_order_alone(rng):
    values = rng.permutation(20) / 20
    assert rank_correlation(values, np.exp(5 * values)) == pytest.approx(1)
    assert rank_correlation(values, -(values**3)) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("first", "second"),
    [([], []), ([1, 2], [1, 2]), ([1, NAN, 2], [1, 2, 3]), ([1, 2, 3], [1, 1, 1])],
)
def test_without_meaning_there_is_no_correlation(first, second):
    assert rank_correlation(np.array(first, float), np.array(second, float)) is None


def test_those_left_out_do_not_count():
    first = np.array([0.1, NAN, 0.2, 0.3, 0.4])
    second = np.array([0.5, 0.9, 0.4, NAN, 0.3])
    assert rank_correlation(first, second) == pytest.approx(-1)


@pytest.mark.parametrize(("count", "expected"), [(720, 144), (10, 2), (11, 3), (1, 1)])
def test_the_best_fifth_has_so_many(count, expected, rng):
    values = rng.permutation(count) / count
    top = top_fifth(scores(values))
    assert len(top) == expected
    assert set(values[top]) == set(np.sort(values)[::-1][:expected])
    assert all(a < b for a, b in itertools.pairwise(top))


def test_the_best_fifth_is_of_those_that_were_trained():
    assert top_fifth(scores([NAN, 0.1, NAN, 0.3, 0.2, 0.0, 0.05])).tolist() == [3]


def test_the_choice_is_by_validation_and_the_report_by_test():
    own = scores([0.5, 0.9, 0.7], accuracy=[0.6, 0.4, 0.5], seconds=[60, 120, 30])
    whole = scores([0.1, 0.2, 0.3], accuracy=[0.7, 0.8, 0.9])
    result = proxy_result("random", 10, ["a", "b", "c"], own, whole)
    assert (result.chosen, result.performance) == ("b", 0.8)
    assert result.correlation == pytest.approx(-0.5)  # 1 - 6 (4 + 1 + 1) / 24
    assert result.correlation_top is None, "one architecture"
    assert (result.seconds, result.seconds_top) == (210, 30)


def test_the_correlation_of_the_best_fifth():
    whole = scores(np.arange(15) / 15)  # the best: 12, 13, 14
    own = scores([*range(12), 14, 13, 12])
    result = proxy_result("p", 1, [str(k) for k in range(15)], own, whole)
    assert result.correlation_top == pytest.approx(-1)
    assert result.correlation > 0.9
    assert result.seconds_top == 3


def test_where_only_the_chosen_one_was_trained_on_everything():
    own = scores([0.5, NAN, 0.9, 0.7], seconds=[1, NAN, 1, 1])
    whole = scores([NAN, NAN, 0.3, NAN])
    result = proxy_result("p", 1, list("abcd"), own, whole)
    assert (result.chosen, result.performance) == ("c", 0.3)
    assert result.correlation is None and result.seconds_top is None
    assert result.architectures == 3 and result.seconds == 3


def test_the_table_is_markdown_even_with_cells():
    own = scores([0.5])
    cell = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    table = markdown_table([proxy_result("runs/x", 500, [cell], own, own)])
    header, line, row = table.splitlines()
    columns = header.count("|")
    assert line.count("|") == row.replace("\\|", "").count("|") == columns
    assert cell in row.replace("\\|", "|")
