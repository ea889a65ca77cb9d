"""The rooms of dam_tf import one way, and no two files import each other.

The files are read, not run, so an import within a function counts as well.
"""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# From the ground up: a room imports itself and those below. Rooms of one line do not
# know each other.
FLOORS = [
    ["base"],
    ["config"],
    ["plots", "data", "networks", "augmentation"],
    ["synthetic"],
    ["methods"],
    ["runs"],
    ["training"],
    ["evaluation", "coresets", "generators"],
    ["exports"],
    ["studies"],
    ["report"],
    ["api", "commands"],
    ["__main__"],
]
HEIGHTS = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def module_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, modules) -> set[str]:
    """The modules of dam_tf that `source` imports, by whatever kind of statement."""
    tree, found = ast.parse(source), set()
    for node in ast.walk(tree):  # what only a checker of types reads is not imported
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in inner]
        else:
            continue
        found.update(name for name in names if name in modules)
    return found - {"dam_tf"}


def room(module: str) -> str:
    return module.split(".")[1]


def upwards(imports: dict[str, set[str]]) -> list[str]:
    return [
        f"{module} imports {other}"
        for module, others in sorted(imports.items())
        for other in sorted(others)
        if room(module) != room(other) and HEIGHTS[room(module)] <= HEIGHTS[room(other)]
    ]


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What each file of dam_tf imports of it."""
    files = {module_of(path): path for path in (ROOT / "dam_tf").rglob("*.py")}
    return {
        module: imports_of(path.read_text("utf-8"), files)
        for module, path in files.items()
        if module != "dam_tf"  # the face of the package, which hands names on
    }


def test_every_room_has_a_floor(imports):
    assert {room(module) for module in imports} <= HEIGHTS.keys()


def test_no_room_imports_upwards(imports):
    assert upwards(imports) == []


def test_no_circle(imports):
    graphlib.TopologicalSorter(imports).prepare()  # raises a CycleError that names it


def test_what_would_be_found():
    modules = {"dam_tf.base.files", "dam_tf.config.settings", "dam_tf.config"}
    source = (
        "def f():\n    from dam_tf.config import settings\n"
        "import dam_tf.base.files, os\nfrom dam_tf.config import nothing\n"
        "if TYPE_CHECKING:\n    import dam_tf.typed\n"
    )
    assert imports_of(source, {*modules, "dam_tf.typed"}) == modules
    found = upwards({"dam_tf.base.files": {"dam_tf.config.settings"}})
    assert found == ["dam_tf.base.files imports dam_tf.config.settings"]
    assert upwards({"dam_tf.data.loading": {"dam_tf.plots.grids"}})
    assert not upwards({"dam_tf.runs.run": {"dam_tf.base.files", "dam_tf.runs.loop"}})
