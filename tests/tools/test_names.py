"""Names and paths that people have, on the command line: commas, accents, spaces."""

import os
import shlex
import shutil

import numpy as np
import PIL.Image
import pytest

from dam_tf.base.errors import UserError
from dam_tf.commands.options import Options
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.tiny_data import make_data, save_npz, save_run
from tests.tools.running import call, run

pytestmark = pytest.mark.usefixtures("eagerly")

SET = ("--ipc=1", "--method=random", "--output_dir=set", "--set=network.depth=1")
PATH = "my, [odd] runs/*é 犬?"  # characters that shells, commas and globs care for


@pytest.fixture
def odd_run(tmp_path):
    """A finished run whose folder and data have such a name."""
    folder = tmp_path / PATH
    folder.parent.mkdir()
    dataset = save_npz(folder.parent / "a, [b]*.npz", make_data())
    save_run(folder, dataset, ("0", "1", "2"))
    shutil.copytree(folder, tmp_path / "other")
    for file in ("evaluation.jsonl", "confusion.png"):
        (folder / file).unlink(missing_ok=True)
    return folder


def test_a_comma_in_a_path(odd_run, tmp_path):
    few = ("--models=1", "--epochs=1")
    result = call("evaluate", f"--distilled={PATH}", *few, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (odd_run / "confusion.png").is_file()
    both = f'--runs="{PATH}",other'
    result = call("visualize", "grid", both, "--output_dir=a, b", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "a, b").glob("*.png"))) == 2
    result = call("report", PATH, f'--runs="{PATH}",other', folder=tmp_path)
    assert result.returncode == 2 and "is given twice" in result.stderr
    result = call("report", PATH, "--runs=other", folder=tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_page_prints_a_command_that_works(odd_run, tmp_path):
    from dam_tf.report.facts import read_run
    from dam_tf.runs.folder import find_run

    few = ("--models=1", "--epochs=1")
    call("evaluate", f"--distilled={PATH}", *few, folder=tmp_path)
    facts = read_run("odd", find_run(odd_run))
    command = facts.evaluate_command(facts.evaluations[-1])
    _, _, _, name, *words = shlex.split(command)
    result = call(name, *words, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    first, second = read_run("odd", find_run(odd_run)).evaluations
    assert first["accuracies"] == second["accuracies"]


def test_odd_folders_can_be_exported_to(odd_run, tmp_path):
    where = (f"--distilled={PATH}", "--output_dir=out, [1]*")
    result = call("export", *where, "--format=npz,png,parquet", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert {"npz", "png", "parquet"} <= set(os.listdir(tmp_path / "out, [1]*"))


@pytest.mark.parametrize(
    ("words", "items"),
    [
        ([], ["x"]),
        (["--runs=a,b"], ["a", "b"]),
        (["--runs=there, too"], ["there, too"]),
        (['--runs="there, too",b'], ["there, too", "b"]),
        (['--runs="not, there",b'], ["not, there", "b"]),
        (['--runs=b, "not, there"'], ["b", "not, there"]),
        (["--runs="], []),
    ],
)
def test_lists_of_paths(tmp_path, monkeypatch, words, items):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there, too").mkdir()
    options = Options()
    options.items("runs", "x", "Folders.", paths=True)
    options.items("classes", None, "Names.")
    options.parse(words)
    assert options["runs"] == items and options["classes"] is None
    options.parse(["--classes=there, too"])
    assert options["classes"] == ["there", "too"] and options["runs"] == ["x"]


def test_quotes_that_do_not_end_are_refused():
    options = Options()
    options.items("classes", None, "Names.")
    with pytest.raises(UserError, match=r"--classes=\"a,b: its commas or quotes are w"):
        options.parse(['--classes="a,b'])


def pictures(root, *classes):
    for split in ("train", "test"):
        for label, name in enumerate(classes):
            for number in range(2):
                file = os.path.join(root, split, name, f"{number}.png")
                os.makedirs(os.path.dirname(file), exist_ok=True)
                shade = np.full([8, 8], 60 * label + number, np.uint8)
                PIL.Image.fromarray(shade).save(file, "PNG")


def coreset(folder, *more):
    return call("coreset", "--dataset=folder:pets, mine", *SET, *more, folder=folder)


def test_names_of_classes_reach_the_set(tmp_path):
    pictures(tmp_path / "pets, mine", "cat ", "cafe\u0301", "naïve, dog", "犬")
    latin = os.path.join(os.fsencode(tmp_path), b"pets, mine/train/cat /caf\xe9.png")
    shutil.copy(tmp_path / "pets, mine/train/cat /0.png", latin)
    result = coreset(tmp_path, "--set=dataset.cache=disk", "--data_dir=kept")
    assert result.returncode == 0, result.stderr
    assert "(2 to 3 a class)" in result.stderr
    assert "spaces around the names of classes are left out: 'cat '" in result.stderr
    saved = DistilledSet.load(tmp_path / "set")
    assert saved.class_names == ("café", "cat", "naïve, dog", "犬")


def test_a_damaged_file_whose_name_is_not_utf8_is_named(tmp_path):
    pictures(tmp_path / "pets, mine", "cat", "dog")
    latin = os.path.join(os.fsencode(tmp_path), b"pets, mine/train/cat/caf\xe9.png")
    with open(latin, "wb") as file:
        file.write(b"no image")
    result = coreset(tmp_path)
    assert result.returncode == 2 and "caf\\udce9.png" in result.stderr
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("name", ["a\tb", "a\nb", b"caf\xe9"])
def test_names_that_cannot_be_kept_are_refused_before_anything_is_written(
    tmp_path, name
):
    pictures(tmp_path / "pets, mine", "cat", os.fsdecode(name))
    result = coreset(tmp_path)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
    assert "rename it" in result.stderr
    assert not (tmp_path / "set").exists()


def test_arguments_that_are_not_utf8_are_refused(tmp_path):
    result = coreset(tmp_path, "--output_dir=caf\udce9")
    assert result.returncode == 2 and "is not UTF-8; rename" in result.stderr


@pytest.mark.slow
def test_a_terminal_without_the_letters_gets_their_codes(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    pictures(tmp_path / "犬", "cat", "犬")
    words = ("--dataset=folder:犬", *SET, "--output_dir=é")
    result = run("coreset", *words, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "into \\xe9" in result.stdout
