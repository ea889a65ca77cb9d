"""A wheel, built and installed where there is nothing else of ours, and used there."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TINY = [
    "--iterations=2",
    "--batch_real=4",
    "--set=network.width=4",
    "--set=distillation.jit=none",
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    """The wheel, built from a copy of what is installed from, without network."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("dam_tf", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--no-index", "-w", "dist", "."],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (path,) = (folder / "dist").iterdir()
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> pathlib.Path:
    """A Python that has the wheel, and of other packages what this one has."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    site = pathlib.Path(sysconfig.get_path("purelib", "venv", vars=paths))
    zipfile.ZipFile(wheel).extractall(site)  # which is what installing it means
    # A plain path: .pth files in it, such as that of a checkout, are not read.
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "bin" / "python"


def run(python, *arguments, folder):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    result = subprocess.run(
        [python, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_it_holds_the_package_and_the_settings_of_the_data_sets(wheel):
    files = set(zipfile.ZipFile(wheel).namelist())
    for name in ("configs", "dam_tf"):
        for path in (ROOT / name).rglob("*.*"):
            if path.suffix in (".py", ".toml"):
                home = path.relative_to(ROOT / "dam_tf" if name == "dam_tf" else ROOT)
                assert f"dam_tf/{home}" in files
    tops = {file.split("/")[0] for file in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dam_tf"}


def test_python_finds_it_alone(python, tmp_path):
    code = (
        "import dam_tf\n"
        "from dam_tf.config.presets import own_file\n"
        "print(dam_tf.__file__)\n"
        "print(own_file('cifar10'))\n"
        "print(dam_tf.make_config(own_file('cifar10')).dataset.preprocessing)\n"
    )
    *files, preprocessing = run(python, "-c", code, folder=tmp_path).split()
    assert all(file.startswith(str(python.parents[1])) for file in files)
    assert preprocessing == "zca"


def test_a_run_from_beginning_to_end(python, tmp_path):
    def dam_tf(*arguments):
        return run(python, "-m", "dam_tf", *arguments, folder=tmp_path)

    assert "  distill    " in dam_tf()
    told = dam_tf("distill", "--dataset=digits", *TINY, "--output_dir=run")
    assert "10 images lie in run/distilled" in told
    told = dam_tf("evaluate", "--distilled=run", "--models=1", "--epochs=1")
    assert "% over 1 network\n" in told
    told = dam_tf("export", "--distilled=run", "--format=npz", "--output_dir=out")
    assert "npz: 10 images, in out/npz" in told
    assert "Page: run/report.html" in dam_tf("report", "run")
    (line,) = (tmp_path / "run" / "evaluation.jsonl").read_text().splitlines()
    assert json.loads(line)["config"]["augmentation"]["operations"] == [
        "color", "crop", "cutout", "scale", "rotate"
    ], "the settings of digits.toml, where a mirrored 2 is no 2"  # fmt: skip
