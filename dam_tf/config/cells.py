"""Cells of NAS-Bench-201 (Dong and Yang, ICLR 2020), as its texts write them.

A cell has four nodes: its input, number 0, and three that each sum an operation of
every node before. The text lists what enters nodes 1, 2 and 3:
`|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|`.
"""

import itertools
from collections.abc import Sequence

from dam_tf.base.errors import UserError, choice_error

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

# From which node to which each edge leads, in the order of the text.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))

# Two convolutions and a way around them.
RESIDUAL_CELL = (
    "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
)


def cell_text(operations: Sequence[str]) -> str:
    """Returns the text of the cell with `operations` on its six edges.

    Args:
        operations: One of `OPERATIONS` for each of `EDGES`.

    Example:
        >>> cell_text(["none"] * 6)
        '|none~0|+|none~0|none~1|+|none~0|none~1|none~2|'
    """
    nodes: dict[int, str] = {}
    for (start, end), operation in zip(EDGES, operations, strict=True):
        nodes[end] = f"{nodes.get(end, '|')}{operation}~{start}|"
    return "+".join(nodes.values())


def parse_cell(text: str) -> tuple[str, ...]:
    """Returns the operations on the six edges of a cell, in the order of `EDGES`.

    Args:
        text: As `cell_text` writes it.

    Raises:
        UserError: it is no such text, or an operation is unknown.

    Example:
        >>> parse_cell(RESIDUAL_CELL)[2:4]
        ('nor_conv_3x3', 'skip_connect')
    """
    entries = [
        tuple(entry.strip().rpartition("~")[::2])
        for node in text.split("+")
        for entry in node.strip().strip("|").split("|")
    ]
    operations = tuple(operation for operation, _ in entries)
    for operation, _ in entries:
        if operation and operation not in OPERATIONS:
            raise choice_error("operation of a cell", operation, OPERATIONS)
    if len(entries) != len(EDGES) or text.replace(" ", "") != cell_text(operations):
        raise UserError(
            f"network.cell {text!r} is no cell of NAS-Bench-201; write an operation "
            f"for each edge, as in {RESIDUAL_CELL!r}"
        )
    return operations


def all_cells() -> list[str]:
    """Returns the texts of all 5^6 cells.

    Example:
        >>> len(all_cells())
        15625
    """
    return [cell_text(edges) for edges in itertools.product(OPERATIONS, repeat=6)]
