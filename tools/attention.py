"""`python -m dam_tf attention` from a checkout, installed or not; --help tells more."""

import pathlib
import sys

sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from dam_tf.commands import program  # noqa: E402

if __name__ == "__main__":
    program.tool(__file__)
