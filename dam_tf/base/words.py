"""Numbers in words: how a mean and its deviation are written, everywhere."""


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
