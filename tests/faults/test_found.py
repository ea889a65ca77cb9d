"""What campaigns have found, one case each; the kind is mended where the test says."""

import itertools
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from dam_tf.base import files, messages
from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.base.npz import Array, read_npz
from dam_tf.base.output import check_output
from dam_tf.base.trials import check_folder
from dam_tf.commands import program
from dam_tf.config.sections import DatasetConfig
from dam_tf.config.settings import read_config
from dam_tf.data.loading import load_dataset
from dam_tf.data.preprocessing.preprocessing import Preprocessing
from dam_tf.networks.pools import NetworkPool
from dam_tf.runs.folder import RunFolder
from dam_tf.runs.provenance import read_provenance
from dam_tf.studies.pictures.curves import read_losses
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.faults.readers import tiny_imagenet
from tests.tiny_data import save_run

pytestmark = pytest.mark.usefixtures("eagerly")


class Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize(
    "text", ["preset = " + "9" * 5000, "preset = " + "[" * 3000, "a = 1\na = 2", "\0"]
)
def test_settings_that_python_itself_refuses(text, tmp_path):
    """config/schema.py: more digits than Python reads, more brackets than it nests."""
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"cannot read configuration file .*config"):
        read_config(file)


@pytest.mark.parametrize("text", ["[" * 9999, "9" * 9999, '{"a": NaN', "null", "\0"])
def test_json_that_python_itself_refuses(text, tmp_path):
    """base/json_lines.py `parse_json`: brackets and digits beyond what Python takes."""
    file = tmp_path / "provenance.json"
    file.write_text(text)
    with pytest.raises(UserError, match=r"provenance\.json is damaged"):
        read_provenance(file)
    assert read_json_lines(file) == []
    file.rename(tmp_path / "settings.json")
    with pytest.raises(UserError, match="not of a study"):
        check_folder(tmp_path, None, resume=True, overwrite=False)


@pytest.mark.parametrize("header", [b"{'descr': (", b"9" * 99, b"(", b"  1\n 2"])
def test_a_header_that_numpy_cannot_parse(header, tmp_path):
    """base/npz.py: NumPy looks at what Python 2 may have written with `tokenize`."""
    file = tmp_path / "images.npz"
    head = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", head)
    with pytest.raises(UserError, match=r"cannot read .*images\.npz"):
        read_npz(file, {"images": Array()}, "images")


@pytest.mark.parametrize("name", ["config.toml", "preprocessing", "settings.json"])
def test_a_folder_whose_first_file_was_never_finished(name, tmp_path):
    """base/output.py: it was taken for a folder of something else, for ever."""
    writing = files.atomic_file if "." in name else files.atomic_folder
    with writing(tmp_path / name) as temporary:
        left = temporary.name
    (tmp_path / name).rename(tmp_path / left)  # what a kill leaves
    for resume in (True, False):
        assert not check_output(tmp_path, "a run", lambda: False, resume, False)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="not of a run"):
        check_output(tmp_path, "a run", lambda: False, True, False)


def test_a_letter_of_a_class_name_that_a_disk_has_changed(tmp_path):
    """synthetic/folder.py: every export had the wrong name, without a word."""
    images = np.zeros([2, 8, 8, 1], np.float32)
    DistilledSet(images, [0, 1], ("cat", "dog")).save(tmp_path)
    file = tmp_path / "distilled" / "label.labels.txt"
    file.write_text("cat\ndig\n")
    with pytest.raises(UserError, match=r"label\.labels\.txt is damaged: its names"):
        DistilledSet.load(tmp_path)


@pytest.mark.parametrize("name", ["x" * 300, "\0", "", "../0.png", "\udcff"])
def test_a_name_that_no_image_can_have(name, tmp_path):
    """data/sources/known_folders.py: too long a name is an error of the system."""
    reader = tiny_imagenet(tmp_path)
    file = tmp_path / "val" / "val_annotations.txt"
    lines = file.read_text() + f"{name}\tn01\t0\t0\t8\t8\n"
    file.write_text(lines, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(UserError, match=r"val_annotations\.txt, line 5"):
        reader.read(tmp_path)


def test_a_picture_whose_palette_is_missing(tmp_path):
    """data/sources/image_files.py: Pillow decodes it and cannot convert it."""
    for split, label, number in itertools.product(("train", "test"), "ab", range(2)):
        path = tmp_path / split / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("P", (8, 8), number).save(path)
    data = path.read_bytes()
    start, end = data.index(b"PLTE") - 4, data.index(b"IDAT") - 4
    path.write_bytes(data[:start] + data[end:])
    with pytest.raises(UserError, match=r"test/b/1\.png.*its palette is missing"):
        load_dataset(DatasetConfig(f"folder:{tmp_path}"))


def test_a_message_stands_on_a_line_of_its_own(capsys):
    """commands/program.py: it stood behind the bar of a run whose disk was full."""
    with messages.progress_bar("Distilling", "it", total=6) as bar:
        bar.update(4)
        program.complain("No space left on device")
    lines = re.split(r"[\r\n]+", capsys.readouterr().err)
    assert [line for line in lines if line.endswith(": No space left on device")]
    assert not [line for line in lines if "Distilling" in line and "space" in line]


@pytest.mark.parametrize("value", ['"text"', "[1]", "null", "true", '{"a": 1}'])
def test_a_line_of_metrics_that_holds_no_number(value, tmp_path):
    """studies/pictures/curves.py: the line is passed over, as by the report."""
    save_run(tmp_path)
    run = RunFolder(tmp_path)
    before = read_losses(run)
    for key in ("iteration", "loss"):
        line = {"iteration": "9", "loss": "9", key: value}
        with open(run.metrics, "a") as file:
            file.write(
                f'{{"iteration": {line["iteration"]}, "loss": {line["loss"]}}}\n'
            )
    assert read_losses(run) == before


def test_a_message_that_quotes_a_damaged_file(capsys):
    """commands/program.py."""
    program.complain(f"preset must be a text, not {'9' * 70_000}")
    printed = capsys.readouterr().err
    assert len(printed) < 600 and "...(70,000 letters)..." in printed


def test_a_pool_of_two_kinds_of_networks():
    """networks/pools.py."""
    with pytest.raises(UserError, match="not of 2 kinds of shapes"):
        NetworkPool([[np.zeros([2])], [np.zeros([3])]])


def test_a_set_killed_while_its_preprocessing_is_written(tmp_path, monkeypatch):
    """synthetic/folder.py: it left a folder in a folder, which nobody removed."""
    preprocessing = Preprocessing("standardize")
    preprocessing.build((None, 8, 8, 1))
    images = np.zeros([2, 8, 8, 1], np.float32)
    distilled = DistilledSet(images, [0, 1], ("cat", "dog"), preprocessing)

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(files, "_remove", lambda path: None)
        patch.setattr(files, "publish_folder", kill)
        with pytest.raises(Killed):
            distilled.save(tmp_path)
    assert list(tmp_path.glob(".preprocessing-*.part"))
    distilled.save(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["distilled", "preprocessing"]
