"""Files of arrays that are not what they should be: one error, and nothing inflated."""

import io
import pathlib
import re
import zipfile

import numpy as np
import pytest

from dam_tf.base import npz
from dam_tf.base.errors import UserError
from dam_tf.base.npz import Array, read_npz

IMAGES = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
EXPECTED = {"images": Array((None, 4, 5), np.float32), "count": Array((), np.integer)}


@pytest.fixture
def file(tmp_path) -> pathlib.Path:
    np.savez(tmp_path / "file.npz", images=IMAGES, count=7, other=np.zeros(3))
    return tmp_path / "file.npz"


def refusal(file, expected=EXPECTED, **options) -> str:
    with pytest.raises(UserError) as caught:
        read_npz(file, expected, "three images", **options)
    message = str(caught.value)
    assert re.fullmatch(rf"cannot read {file}: .*; it must be three images", message)
    return message


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_is_asked_for_comes_back(tmp_path, save):
    save(tmp_path / "file.npz", images=IMAGES, count=7, kind="zca", other=np.zeros(3))
    expected = {**EXPECTED, "kind": Array((), np.str_), "other": Array()}
    found = read_npz(tmp_path / "file.npz", expected, "three images")
    assert list(found) == ["images", "count", "kind", "other"]
    np.testing.assert_array_equal(found["images"], IMAGES)
    assert (int(found["count"]), str(found["kind"])) == (7, "zca")


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (Array((3, 4, 6)), r"its images is \[3, 4, 5\], not \[3, 4, 6\]"),
        (Array((None, 4)), r"its images is \[3, 4, 5\], not \[any, 4\]"),
        (Array(None, np.integer), "its images is float32, not integer"),
        (Array(None, np.float64), "its images is float32, not float64"),
    ],
)
def test_other_shapes_and_types_are_refused(file, array, reason):
    assert re.search(reason, refusal(file, {"images": array}))


def test_missing_arrays_and_files_are_named(file, tmp_path):
    asked = {"images": Array(), "labels": Array()}
    assert "it lacks labels (it holds: images, count, other)" in refusal(file, asked)
    assert "No such file or directory" in refusal(tmp_path / "none.npz")
    assert "Is a directory" in refusal(tmp_path)


def test_nothing_is_inflated_that_does_not_fit(tmp_path, monkeypatch):
    """A gigabyte of zeros takes a megabyte on disk; its header tells."""
    file = tmp_path / "bomb.npz"
    small = np.zeros(3, np.float32)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        for name, shape in (("small", (3,)), ("bomb", (2**14, 2**10))):
            with written.open(f"{name}.npy", "w") as member:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                member.write(bytes(4 * int(np.prod(shape))))
    inflated = []
    monkeypatch.setattr(npz, "_read", lambda file, name: inflated.append(name))
    asked = {"small": Array((3,)), "bomb": Array((3,))}
    assert "its bomb is [16384, 1024], not [3]" in refusal(file, asked)
    asked["bomb"] = Array()
    reason = "its arrays take 67,108,876 bytes, over 1,000,000"
    assert reason in refusal(file, asked, largest=1_000_000)
    assert inflated == []
    monkeypatch.undo()
    found = read_npz(file, {"small": Array((3,))}, "small")
    np.testing.assert_array_equal(found["small"], small)


def member(shape: str, content: bytes, descr="'<f4'", version=(1, 0)) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"
    start = b"\x93NUMPY" + bytes(version) + len(header).to_bytes(2, "little")
    return start + header.encode() + content


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (member("(3,)", bytes(12)), None),
        (member("(4,)", bytes(12)), "incomplete"),
        (member("(-3,)", bytes(12)), "incomplete"),
        (member("(-1, -3)", bytes(12)), ""),
        (member("(10**18,)", bytes(12)), "malformed"),
        (member(f"({2**62},)", bytes(12)), "incomplete"),
        (member("'x'", bytes(12)), "shape is not valid"),
        (member("(3,)", bytes(12), "'|O'"), "holds Python objects"),
        (member("(3,)", bytes(12), "'?!'"), "descr"),
        (member("(3,)", bytes(12), version=(2, 0)), "no plain array"),
        (b"\x93NUMPY", "magic"),
        (b"", "magic"),
        (b"nonsense" * 20, "magic"),
    ],
)
def test_members_that_are_no_arrays(tmp_path, data, reason):
    """The zip file is in order, so only what is in it can tell."""
    file = tmp_path / "file.npz"
    with zipfile.ZipFile(file, "w") as written:
        written.writestr("images.npy", data)
    if reason is None:
        found = read_npz(file, {"images": Array()}, "three images")
        np.testing.assert_array_equal(found["images"], np.zeros(3))
    else:
        assert reason in refusal(file, {"images": Array()})


def test_pickles_are_not_loaded(tmp_path):
    np.savez(tmp_path / "file.npz", images=np.array([{}]))
    refusal(tmp_path / "file.npz", {"images": Array(None, np.generic)})


def test_compression_of_other_programs_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, IMAGES)
    file = tmp_path / "file.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as written:
        written.writestr("images.npy", buffer.getvalue())
    assert "compressed in a way" in refusal(file, {"images": Array()})


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_whatever_is_damaged_is_refused_in_one_line(tmp_path, save):
    file = tmp_path / "file.npz"
    save(file, images=IMAGES, count=7)
    data, rng, refused = file.read_bytes(), np.random.default_rng(0), 0
    for number in range(300):
        changed = bytearray(data)
        for place in rng.integers(len(data), size=rng.integers(1, 4)):
            changed[place] = rng.integers(256)
        file.write_bytes(changed[: rng.integers(len(data))] if number % 4 else changed)
        try:
            found = read_npz(file, EXPECTED, "three images")
            np.testing.assert_array_equal(found["images"], IMAGES)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 200
