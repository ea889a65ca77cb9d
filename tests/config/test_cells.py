"""The texts of NAS-Bench-201's cells."""

import pytest

from dam_tf.base.errors import UserError
from dam_tf.config.cells import (
    EDGES,
    OPERATIONS,
    all_cells,
    cell_text,
    parse_cell,
)


def test_a_cell_that_the_benchmark_names():
    """Its best on CIFAR-10, as its authors' programs print it."""
    text = (
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
        "+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    )
    operations = parse_cell(text)
    assert dict(zip(EDGES, operations, strict=True)) == {
        (0, 1): "nor_conv_3x3",
        (0, 2): "nor_conv_3x3",
        (1, 2): "nor_conv_3x3",
        (0, 3): "skip_connect",
        (1, 3): "nor_conv_3x3",
        (2, 3): "nor_conv_1x1",
    }
    assert cell_text(operations) == text


def test_all_cells_are_different_and_read():
    cells = all_cells()
    assert len(set(cells)) == len(cells) == 5**6
    assert len({parse_cell(cell) for cell in cells}) == 5**6
    assert {operation for cell in cells for operation in parse_cell(cell)} == set(
        OPERATIONS
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no cell"),
        ("none", "is no cell"),
        ("|none~0|+|none~0|none~1|", "is no cell"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~1|", "is no cell"),
        ("|none~0|none~0|none~1|+|none~0|none~1|none~2|", "is no cell"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|+", "is no cell"),
        ("|nor_conv_3x4~0|+|none~0|none~1|+|none~0|none~1|none~2|", "'nor_conv_3x3'"),
        ("|none~0|+|none~0|zero~1|+|none~0|none~1|none~2|", "unknown operation"),
    ],
)
def test_what_is_no_cell_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        parse_cell(text)
