"""How long a run takes, in words."""


def in_words(seconds: float) -> str:
    """Returns a duration as people say it.

    Example:
        >>> in_words(40), in_words(600), in_words(7200)
        ('40 seconds', '10 minutes', '2.0 hours')
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
