"""The benchmarks are tools, too: quiet start, readable errors, this checkout."""

import pathlib
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
BENCHMARKS = REPOSITORY / "benchmarks"
sys.path.insert(0, str(REPOSITORY / "tools"))

import _command  # noqa: E402

run = _command.run
import_tensorflow = _command.import_tensorflow
