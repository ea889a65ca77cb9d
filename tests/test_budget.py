"""The limit that `conftest.py` sets to every test that is not marked slow."""

import pathlib

import pytest

CONFTEST = pathlib.Path(__file__).resolve().parents[1] / "conftest.py"


class Item:
    """A test as pytest knows it, with or without the mark."""

    def __init__(self, *marks: str):
        self.marks = marks

    def get_closest_marker(self, name: str) -> bool:
        return name in self.marks


@pytest.mark.parametrize(
    ("seconds", "marks", "fails"),
    [(21, (), True), (21, ("slow",), False), (19, (), False)],
)
def test_a_test_over_the_budget_fails(seconds, marks, fails, request):
    conftest = request.config.pluginmanager.get_plugin(str(CONFTEST))
    clock = iter([100.0, 100.0 + seconds])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "cpu_seconds", lambda: next(clock))
        run = conftest.spend(Item(*marks))
        next(run)
        expected = pytest.fail.Exception if fails else StopIteration
        with pytest.raises(expected) as ended:
            run.send("result")
    words = "took 21 seconds of the processor, and 20 are allowed"
    assert words in str(ended.value) if fails else ended.value.value == "result"
