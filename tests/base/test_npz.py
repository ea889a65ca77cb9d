"""Files of arrays that are not what they should be: one error, and nothing inflated."""

import io
import pathlib
import re
import zipfile

import numpy as np
import pytest

from dam_tf.base import npz
from dam_tf.base.errors import UserError
from dam_tf.base.machine import process_bytes
from dam_tf.base.npz import Array, read_npz

IMAGES = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
EXPECTED = {"images": Array((None, 4, 5), np.float32), "count": Array((), np.integer)}


@pytest.fixture
def file(tmp_path) -> pathlib.Path:
    np.savez(tmp_path / "file.npz", images=IMAGES, count=7, other=np.zeros(3))
    return tmp_path / "file.npz"


def refusal(file, expected=EXPECTED) -> str:
    with pytest.raises(UserError) as caught:
        read_npz(file, expected, "three images")
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
    monkeypatch.setattr(npz, "memory_bytes", lambda: 1_000_000)
    reason = "its arrays take 67 MB of memory, and this machine has 1.0 MB"
    assert reason in refusal(file, asked)
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
        (member("(-1, -3)", bytes(12)), "incomplete"),
        (member("(0, -3)", b""), "incomplete"),
        (member("(3,)", bytes(12), "'<f4', " + "'x': 1, " * 2000), "may not be safe"),
        (member("(1,)", bytes(12), "'<U3'"), "is <U3, not number"),
        (member("(1,)", bytes(8), "[('a', '<f4'), ('b', '<f4')]"), "not number"),
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


def patched(data: bytes, offset: int, value: int) -> bytes:
    """Returns a zip file of one member with four bytes of its directory changed."""
    place = data.index(b"PK\x01\x02") + offset
    return data[:place] + value.to_bytes(4, "little") + data[place + 4 :]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("declared", "offset", "size", "reason"),
    [
        (3, 24, 128 + 12, "CRC"),  # more is packed than the directory says
        (2**28, 24, 128 + 2**30, "incomplete"),  # ... less; a gigabyte of nothing
        (3, 20, 2**31, "incomplete"),  # packed in more bytes than the file has
    ],
)
def test_a_directory_that_lies(tmp_path, save, declared, offset, size, reason):
    """Never more is read than was declared, and never more declared than can be."""
    file = tmp_path / "file.npz"
    kind = zipfile.ZIP_STORED if save is np.savez else zipfile.ZIP_DEFLATED
    header = {"descr": "<f4", "fortran_order": False, "shape": (declared,)}
    with (
        zipfile.ZipFile(file, "w", kind) as written,
        written.open("images.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        member.write(bytes(1_000_000))
    file.write_bytes(patched(file.read_bytes(), offset, size))
    before = process_bytes("VmPeak")
    assert reason in refusal(file, {"images": Array()})
    assert process_bytes("VmPeak") - before < 500_000_000


@pytest.mark.parametrize("kind", ["|S0", "|V0", "<U0"])
def test_values_of_no_size_take_no_memory(tmp_path, kind):
    """NumPy makes one byte, or four, of each of them."""
    file = tmp_path / "file.npz"
    with zipfile.ZipFile(file, "w") as written:
        written.writestr("images.npy", member(f"({2**31},)", b"", f"'{kind}'"))
    assert "incomplete" in refusal(file, {"images": Array(dtype=np.generic)})


def test_many_arrays_are_not_all_named(tmp_path):
    np.savez(tmp_path / "file.npz", **{f"x{k}": np.zeros(1) for k in range(100)})
    message = refusal(tmp_path / "file.npz", {"images": Array()})
    assert "(it holds: x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, ... (100 in all))" in (
        message
    )


@pytest.mark.parametrize("order", "<>")
def test_letters_that_there_are_not_are_refused(tmp_path, order):
    asked = {"name": Array(dtype=np.str_)}
    for code, fine in ((0x10FFFF, True), (0x110000, False)):
        codes = np.full([4], code, f"{order}u4").tobytes()
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as written:
            text = member("(1, 2)", codes, f"'{order}U2'")
            written.writestr("name.npy", text)
        if fine:
            found = read_npz(tmp_path / "a.npz", asked, "names")["name"]
            assert found.tolist() == [2 * [2 * chr(code)]]
        else:
            with pytest.raises(UserError, match="its name holds what is no text"):
                read_npz(tmp_path / "a.npz", asked, "names")


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
