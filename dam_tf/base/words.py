"""Numbers in words and in tables: how results are written, everywhere."""

from collections.abc import Sequence


def counted(number: int, word: str) -> str:
    """Returns a number of things, of which several end in an s.

    Example:
        >>> counted(1, "image"), counted(10, "image")
        ('1 image', '10 images')
    """
    return f"{number} {word}{'s' if number > 1 else ''}"


def mean_and_deviation(
    mean: float, deviation: float, count: int = 2, digits: int = 1
) -> str:
    """Returns a mean with its standard deviation, where there is one.

    Args:
        mean: Of the values.
        deviation: Over the values.
        count: How many they are; of one, a deviation says nothing.
        digits: After the point.

    Example:
        >>> mean_and_deviation(35, 5, count=2), mean_and_deviation(35, 0, count=1)
        ('35.0 ± 5.0', '35.0')
    """
    text = f"{mean:.{digits}f}"
    return f"{text} ± {deviation:.{digits}f}" if count > 1 else text


def cutmix_in_words(share: float) -> str:
    """Returns how `evaluation.cutmix` is named beside a result.

    Example:
        >>> cutmix_in_words(0.5)
        'CutMix of 50 % of batches'
    """
    return f"CutMix of {100 * share:.0f} % of batches"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table, aligned, so that it is readable as it is.

    Args:
        head: Of each column.
        rows: A text for each column.

    Example:
        >>> for line in markdown_table(["ipc", "s"], [["1", "0.08"]]):
        ...     print(line)
        | ipc | s    |
        | --- | ---- |
        | 1   | 0.08 |
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "| " + " | ".join(c.ljust(w) for c, w in zip(x, widths, strict=True)) + " |"
        for x in (head, ["-" * width for width in widths], *rows)
    ]
