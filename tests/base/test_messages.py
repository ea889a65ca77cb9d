"""What is said while bars are shown, and which bars stay."""

import re
import subprocess
import sys

import pytest

from dam_tf.base.messages import log, progress_bar, show


@pytest.fixture
def shown():
    """The logger as tools set it up, and as it was afterwards."""
    before = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.propagate = before[0], before[2]
    log.setLevel(before[1])


def lines(text: str) -> list[str]:
    return [line.strip() for line in re.split(r"[\r\n]|\x1b\[A", text)]


def test_messages_stand_above_bars(shown, capsys):
    show()
    with progress_bar("Outer", "trial", total=3) as outer:
        outer.update(1)
        log.info("said in between")
        log.warning("mind this")
    found = lines(capsys.readouterr().err)
    assert "said in between" in found and "Warning: mind this" in found


@pytest.mark.parametrize("leave", [None, True, False])
def test_a_bar_within_a_bar_goes_when_it_is_done(leave, capsys):
    own = {} if leave is None else {"leave": leave}
    with progress_bar("Outer", "trial", total=1):
        with progress_bar("Inner", "epoch", total=1, **own) as inner:
            inner.update(1)
        seen = lines(capsys.readouterr().err)
    assert any(line.startswith("Inner: 100%") for line in seen) == bool(leave)
    assert any("Outer:   0%" in line for line in lines(capsys.readouterr().err))


def test_a_message_draws_no_bar_that_waits(shown, capsys):
    show()
    with progress_bar("Waits", "image", total=3, delay=60, leave=False) as bar:
        bar.update(1)
        log.info("said before")
    assert "".join(lines(capsys.readouterr().err)) == "said before"


def test_a_bar_alone_stays(capsys):
    for _ in progress_bar("Alone", "epoch", range(2)):
        pass
    assert any(
        line.startswith("Alone: 100%") for line in lines(capsys.readouterr().err)
    )


# A notebook, as tqdm knows one, whose widgets tell what becomes of them.
NOTEBOOK = """
import sys, types

class Widget:
    def __init__(self, children=(), **_):
        self.children, self.layout, self.style = children, Widget.Layout(), self
        self.value, self.bar_style = "", ""

    class Layout:
        visibility = "visible"

    def close(self):
        said.append("closed")

def display(widget):
    said.append("shown")

class ZMQInteractiveShell:
    pass

said = []
sys.modules["ipykernel.zmqshell"] = types.ModuleType("ipykernel.zmqshell")
shell = types.ModuleType("IPython")
shell.get_ipython = ZMQInteractiveShell
shell.display = types.ModuleType("IPython.display")
shell.display.display = display
sys.modules |= {"IPython": shell, "IPython.display": shell.display}
widgets = types.ModuleType("ipywidgets")
widgets.HBox = widgets.HTML = widgets.FloatProgress = Widget
sys.modules["ipywidgets"] = widgets if sys.argv[1] == "widgets" else None

from dam_tf.base.messages import progress_bar

with progress_bar("Outer", "trial", total=1) as outer:
    with progress_bar("Inner", "epoch", total=1) as inner:
        inner.update()
    outer.update()
print(said, outer.mininterval, type(outer).__mro__[1].__name__)
"""


@pytest.mark.parametrize(
    ("widgets", "expected"),
    [
        ("widgets", "['shown', 'shown', 'closed'] 0.1 tqdm_notebook"),
        ("none", "[] 30 tqdm"),
    ],
)
def test_a_notebook_has_bars_of_its_own_and_no_warning(widgets, expected):
    command = [sys.executable, "-W", "error", "-c", NOTEBOOK, widgets]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == expected
    assert ("Outer" in done.stderr) == (widgets == "none")
    assert "arning" not in done.stderr
