"""What is declared and pinned, and `make venv` on machines of every kind."""

import ast
import importlib.metadata
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def imported(folder: str) -> dict[str, set[str]]:
    """By module that a folder's Python files import, the distributions it may be of."""
    modules, files = set(), (ROOT / folder).rglob("*.py")
    apart = ROOT / "dam_tf/exports/program/runner"  # it runs where dam_tf is not
    for path in (file for file in files if apart not in file.parents):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules.add(node.module.split(".")[0])
    ours = {path.stem for path in ROOT.glob("*/*.py")}
    ours |= {"dam_tf", "tools", "tests", "runner"}
    homes = importlib.metadata.packages_distributions()
    return {
        module: {canonicalize_name(home) for home in homes[module]}
        for module in modules - ours - sys.stdlib_module_names
    }


def declared(requirements: list[str]) -> dict[str, Requirement]:
    parsed = map(Requirement, requirements)
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


def pinned(file: str = "requirements.txt") -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    pins = [line.split("#")[0].strip() for line in lines]
    pairs = [pin.split("==") for pin in pins if pin]
    return {canonicalize_name(name): version for name, version in pairs}


def test_what_is_imported_is_declared_and_the_other_way_round():
    said, modules = set(declared(PROJECT["dependencies"])), imported("dam_tf")
    for module, homes in modules.items():
        assert homes & said, f"no dependency has {module}"
    # TensorFlow Datasets needs the first and does not say so; tf.summary the second.
    unsaid = {"importlib-resources", "tensorboard"}
    assert said - unsaid <= set().union(*modules.values()), "some are not imported"


def test_pins_lie_within_the_ranges():
    extras = PROJECT["optional-dependencies"]
    ranges = declared(PROJECT["dependencies"] + extras["dev"])
    for name, requirement in ranges.items():
        assert requirement.specifier.contains(pinned()[name]), name


def test_pins_are_complete():
    """What the pinned packages need is pinned too, so that no surprise is installed."""
    for name in pinned():
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, needs):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert canonicalize_name(requirement.name) in pinned(), name


def test_makefile_lists_its_commands():
    listing = subprocess.run(
        ["make"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in ("venv", "demo", "test", "test-addons", "test-jax", "bench", "lint"):
        assert re.search(rf"^make {target} +\w", listing, re.MULTILINE)


# A Python that knows its version and nothing else: it makes an environment that
# holds itself, and notes what pip is asked to install.
FAKE_PYTHON = """#!/bin/sh
case "$1 $2" in
    "-c "*) exec {real} -c "import sys
sys.version_info = {version}
$2" ;;
    "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
    "-m pip") echo "$@" >>"{log}"; {pip} ;;
    "-m pytest" | tests/*) echo "$@" >>"{log}" ;;
    *) exit 99 ;;
esac
"""


class Machine:
    """A computer with a copy of the project and some Pythons of our choice."""

    def __init__(self, folder: pathlib.Path):
        self.project = folder / "a path with spaces"
        (self.project / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "make_venv.sh", self.project / "tools")
        for name in (
            "requirements.txt",
            "requirements-addons.txt",
            "requirements-jax.txt",
            "pyproject.toml",
            "setup.py",
            "Makefile",
        ):
            shutil.copy(ROOT / name, self.project)
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "pip.log"
        for command in ("sh", "cat", "cksum", "rm", "mv", "mkdir", "cp", "dirname"):
            (self.bin / command).symlink_to(shutil.which(command))
        (self.bin / "sleep").symlink_to(shutil.which("sleep"))

    def add_python(self, name: str, version: tuple, pip: str = "exit 0") -> str:
        path = self.bin / name
        text = FAKE_PYTHON.format(
            real=sys.executable, version=version, log=self.log, pip=pip
        )
        path.write_text(text)
        path.chmod(0o755)
        return os.fspath(path)

    def start(self, target: str = "venv", **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [shutil.which("make"), "--no-print-directory", target],
            cwd=self.project,
            env={"PATH": os.fspath(self.bin), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def make(self, target: str = "venv", **environment: str) -> tuple[int, str, str]:
        process = self.start(target, **environment)
        output, errors = process.communicate(timeout=60)
        # The last line is make's own "*** Error 2".
        errors = "".join(line for line in errors.splitlines(True) if "***" not in line)
        return process.returncode, output, errors

    @property
    def installations(self) -> int:
        """How often pip was asked for the requirements."""
        text = self.log.read_text() if self.log.exists() else ""
        return text.count("-r requirements.txt")


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


def test_an_old_python_gets_a_clear_message(machine):
    machine.add_python("python3", (3, 9, 2))
    machine.add_python("python", (2, 7, 18))
    code, output, errors = machine.make()
    assert code != 0
    assert output == ""
    assert errors.count("\n") == 1
    assert "needs Python 3.11, 3.12 or 3.13" in errors
    assert "python3 is 3.9 (not supported)" in errors
    assert "python is 2.7 (not supported)" in errors
    assert not (machine.project / ".venv").exists()


def test_no_python_at_all_gets_a_clear_message(machine):
    code, _, errors = machine.make()
    assert code != 0
    assert ".venv needs Python 3.11, 3.12 or 3.13; found: none" in errors
    assert "make venv PYTHON=/path/to/python3.13" in errors


def test_a_python_without_venv_gets_advice(machine):
    path = machine.add_python("python3", (3, 12, 1))
    text = pathlib.Path(path).read_text()
    text = text.replace(
        "sys.version", "sys.modules['ensurepip'] = None\nsys.version", 1
    )
    pathlib.Path(path).write_text(text)
    code, _, errors = machine.make()
    assert code != 0
    assert "apt install python3.12-venv" in errors


def test_the_first_python_that_fits_is_taken(machine):
    machine.add_python("python3", (3, 14, 0))
    machine.add_python("python3.11", (3, 11, 0))
    machine.add_python("python3.12", (3, 12, 0))
    (machine.bin / "python3.13").write_text("#!/bin/sh\nexit 127\n")  # a broken shim
    (machine.bin / "python3.13").chmod(0o755)
    code, output, errors = machine.make()
    assert (code, errors) == (0, "")
    assert "python3.12" in output
    assert ".venv" in output


def test_a_chosen_python_is_the_only_one_tried(machine):
    machine.add_python("python3.12", (3, 12, 0))
    old = machine.add_python("my python", (3, 10, 0))
    code, _, errors = machine.make(PYTHON=old)
    assert code != 0
    assert "my python is 3.10 (not supported)" in errors
    new = machine.add_python("my python", (3, 13, 0))
    assert machine.make(PYTHON=new)[0] == 0
    # Without a choice the environment stays; with another one it is made anew.
    assert machine.make() == (0, "", "")
    assert machine.installations == 1
    machine.make(PYTHON="python3.12")
    assert machine.installations == 2


def test_nothing_is_done_twice(machine):
    machine.add_python("python3", (3, 11, 7))
    assert machine.make()[0] == 0
    asked = machine.log.read_text()
    assert "--no-deps --no-build-isolation -e ." in asked
    assert machine.make() == (0, "", "")
    assert machine.log.read_text() == asked, "pip is not asked again"


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml"])
def test_changed_requirements_are_installed(machine, name):
    machine.add_python("python3", (3, 11, 7))
    machine.make()
    with open(machine.project / name, "a") as file:
        file.write("# changed\n")
    machine.make()
    assert machine.installations == 2


def test_a_moved_project_is_installed_anew(machine):
    machine.add_python("python3", (3, 11, 7))
    machine.make()
    machine.project = machine.project.rename(machine.project.with_name("moved"))
    machine.make()
    assert machine.installations == 2


def test_a_failed_installation_starts_over(machine):
    machine.add_python("python3", (3, 11, 7), pip="echo no network >&2; exit 1")
    code, _, errors = machine.make()
    assert code != 0
    assert "no network" in errors
    (machine.project / ".venv" / "half").write_text("")
    machine.add_python("python3", (3, 11, 7))
    assert machine.make()[0] == 0
    assert not (machine.project / ".venv" / "half").exists()
    assert machine.make() == (0, "", "")


def test_a_killed_installation_starts_over(machine):
    machine.add_python("python3", (3, 11, 7), pip="exec sleep 5")
    process = machine.start()
    while machine.installations == 0:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    machine.add_python("python3", (3, 11, 7))
    assert machine.make()[0] == 0
    assert machine.installations == 2
    assert machine.make() == (0, "", "")


def test_two_at_once_install_once(machine):
    machine.add_python("python3", (3, 11, 7), pip="exec sleep 0.3")
    both = [machine.start() for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert machine.installations == 1


def test_the_addons_have_an_environment_of_their_own(machine):
    machine.add_python("python3", (3, 13, 0))
    machine.add_python("python3.10", (3, 10, 2))
    code, output, errors = machine.make("test-addons")
    assert (code, errors) == (0, "")
    assert ".venv with" in output and ".venv-addons with" in output
    *_, installed, recorded, tested = machine.log.read_text().splitlines()
    assert installed.endswith("-r requirements-addons.txt")
    assert recorded == "tests/addons/record.py build/addons"
    assert tested == "-m pytest -c tests/addons/pytest.ini tests/addons"
    assert machine.make("test-addons") == (0, "", "")
    assert machine.log.read_text().count("-r requirements-addons.txt") == 1
    assert machine.installations == 1


def test_the_addons_say_that_they_need_an_older_python(machine):
    machine.add_python("python3", (3, 12, 1))
    code, _, errors = machine.make("test-addons")
    assert code == 2
    assert errors.count("\n") == 1
    assert ".venv-addons needs Python 3.9, 3.10 or 3.11" in errors
    assert "python3 is 3.12 (not supported)" in errors
    assert "make test-addons ADDONS_PYTHON=/path/to/python3.11" in errors
    assert not (machine.project / ".venv-addons").exists()
    chosen = machine.add_python("my python", (3, 9, 1))
    code, output, _ = machine.make("test-addons", ADDONS_PYTHON=chosen)
    assert code == 0
    assert "my python" in output


def test_pins_of_the_addons_are_exact():
    pins = pinned("requirements-addons.txt")
    assert pins["tensorflow-addons"] == "0.23.0"
    assert pins["tensorflow-cpu"].startswith("2.15.")
    assert all(re.fullmatch(r"[\d.]+", version) for version in pins.values())


def test_jax_has_an_environment_of_its_own(machine):
    machine.add_python("python3", (3, 13, 0))
    code, output, errors = machine.make("test-jax")
    assert (code, errors) == (0, "")
    assert ".venv with" in output and ".venv-jax with" in output
    *_, installed, recorded, tested = machine.log.read_text().splitlines()
    assert installed.endswith("-r requirements-jax.txt")
    assert recorded == "tests/jax/record.py build/jax"
    assert tested == "-m pytest -c tests/jax/pytest.ini tests/jax"


def test_pins_of_jax_are_exact():
    pins = pinned("requirements-jax.txt")
    assert pins["jax"] == pins["jaxlib"]
    assert all(re.fullmatch(r"[\d.]+", version) for version in pins.values())
    for name in pins.keys() & pinned().keys():
        assert pins[name] == pinned()[name], "results are of the same NumPy"


def test_clean_removes_all_environments(machine):
    (machine.bin / "find").symlink_to(shutil.which("find"))
    for name in (".venv", ".venv-addons", ".venv-jax", "build", "runs"):
        (machine.project / name).mkdir()
    assert machine.make("clean") == (0, "", "")
    left = {path.name for path in machine.project.iterdir()}
    assert "runs" in left
    assert not left & {".venv", ".venv-addons", ".venv-jax", "build"}
