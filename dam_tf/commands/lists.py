"""Lists on the command line: items with commas between, some with commas in them."""

import csv
import io
import os
from collections.abc import Iterable

from absl import flags

from dam_tf.base.errors import UserError


class ListParser(flags.ArgumentParser):
    """Reads the text of a list flag.

    Args:
        paths: Whether the items are files and folders: then the name of one that is
            there is a single item, commas or not.
    """

    syntactic_help = 'a list with commas; an item that has one itself as "a, b"'

    def __init__(self, paths: bool):
        super().__init__()
        self._paths = paths

    def parse(self, argument: str | list) -> list:
        """Returns the items."""
        if isinstance(argument, list):
            return argument
        return split_items(argument, self._paths)


def split_items(text: str, paths: bool = False) -> list[str]:
    """Returns the items of a list flag's text.

    Args:
        text: Items with commas between them; one with a comma in it stands in double
            quotes.
        paths: Whether the name of a file or folder that is there is one item, commas
            or not.

    Raises:
        UserError: quotes do not end.

    Example:
        >>> split_items('cat,"naïve, dog"')
        ['cat', 'naïve, dog']
    """
    if paths and os.path.exists(text):
        return [text]
    try:
        rows = list(csv.reader([text], strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise UserError(f"its commas or quotes are wrong ({error})") from None
    return [item.strip() for row in rows for item in row]


def join_items(items: Iterable[str]) -> str:
    """Returns items as the text of a list flag.

    Example:
        >>> join_items(["runs/a", "runs/my, pictures"])
        'runs/a,"runs/my, pictures"'
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(items)
    return text.getvalue()
