"""Bytes that are nearly right: what disks, editors and strangers make of files.

Pure functions of the bytes and of random numbers; `readers.py` says who reads them.
"""

import json
import random
import re
import string
import struct
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

Mutation = Callable[[bytes, random.Random, Sequence[bytes]], bytes]

_WORDS = (
    "1e999", "-1e999", "NaN", "nan", "inf", "-Infinity", "1e308", "9" * 25, "-1", "0",
    "2147483648", "18446744073709551616", "0x10", "1_0", "true", "null", "None",
    '""', '"\\u0000"', "[]", "{}", '"\\ud800"', "9" * 5000, "[" * 3000, '"a"="b"',
    "é", "犬", "../../x", "\x00", "\x1b[2J", "1979-05-27", "1e-400",
)  # fmt: skip


def flip(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Bits of some bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8, 64])):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_early(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A byte among the first, where headers are, of any value."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        if changed:
            place = rng.randrange(min(len(changed), 64))
            changed[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    return bytes(changed)


def number(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A number of 2, 4 or 8 bytes somewhere, of a dangerous value."""
    code = rng.choice("HIQ")
    bits = 8 * struct.calcsize(code)
    values = [0, 1, 2 ** (bits - 1) - 1, 2 ** (bits - 1), 2**bits - 1]
    part = struct.pack(rng.choice("<>") + code, rng.choice(values))
    place = rng.randrange(max(1, len(data)))
    return data[:place] + part + data[place + len(part) :]


def truncate(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """The end is missing."""
    return data[: rng.randrange(max(1, len(data)))]


def behead(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """The beginning is missing."""
    return data[rng.randrange(max(1, len(data))) :]


def insert(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Random bytes within."""
    place = rng.randint(0, len(data))
    return data[:place] + rng.randbytes(rng.choice([1, 4, 100])) + data[place:]


def append(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Bytes after the end."""
    return data + rng.choice([b"\0" * 512, b"\n", rng.randbytes(64), data])


def duplicate(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A block twice."""
    start, end = sorted(rng.randint(0, len(data)) for _ in range(2))
    return data[:end] + data[start:end] + data[end:]


def zero(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A block of zeros, as after a crash of the system."""
    start, end = sorted(rng.randint(0, len(data)) for _ in range(2))
    return data[:start] + b"\0" * (end - start) + data[end:]


def splice(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """The beginning of this file, and the end of another."""
    other = rng.choice(others) if others else data[::-1]
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def replace(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Another file, or none, or nonsense."""
    return rng.choice([b"", b"\n", rng.randbytes(200), b"\xff\xfe", *others])


def token(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A word or number of a text becomes another."""
    found = list(re.finditer(rb'"[^"\n]*"|[\w.+-]+', data))
    if not found:
        return insert(data, rng, others)
    match = rng.choice(found)
    new = rng.choice(_WORDS).encode("utf-8", "surrogatepass")
    return data[: match.start()] + new + data[match.end() :]


def line(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Lines of a text twice, gone, in another order, or with another end."""
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            lines.insert(place, lines[place])
        case 1:
            del lines[place]
        case 2:
            rng.shuffle(lines)
        case 3:
            return b"\r\n".join(lines)
        case 4:
            return rng.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\x00"]) + data
    return b"\n".join(lines)


def value(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A value of JSON or TOML becomes one of another type or size."""
    lines = data.decode("utf-8", "replace").splitlines() or [""]
    place = rng.randrange(len(lines))
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        try:
            found = json.loads(lines[place])
        except (ValueError, RecursionError):
            return _toml_value(data, rng, others)
        lines[place] = _dump(_with_other_value(found, rng))
        return "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n"
    return _dump(_with_other_value(found, rng)).encode("utf-8", "surrogatepass")


def _toml_value(data, rng, others) -> bytes:
    try:
        tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return token(data, rng, others)
    lines = data.decode().splitlines()
    places = [i for i, text in enumerate(lines) if "=" in text]
    if not places:
        return token(data, rng, others)
    place = rng.choice(places)
    name = lines[place].partition("=")[0]
    new = rng.choice(
        ['"text"', "7", "-7", "0.5", "nan", "inf", "-inf", "true", "[]", "[1, [2]]",
         "{}", "{a = 1}", '"\\u0000"', "9" * 18, "1e300", "1979-05-27", '"""\n"""',
         "'''" + "x" * 70000 + "'''"]
    )  # fmt: skip
    lines[place] = f"{name}= {new}"
    if rng.random() < 0.2:
        lines.insert(place, f"{rng.choice(string.ascii_letters)}{name}= {new}")
    return "\n".join(lines).encode()


def _dump(found: Any) -> str:
    return json.dumps(found, ensure_ascii=False)


def _with_other_value(found: Any, rng: random.Random, depth: int = 0) -> Any:
    if isinstance(found, dict) and found and (depth == 0 or rng.random() < 0.7):
        key = rng.choice(sorted(found))
        changed = dict(found)
        match rng.randrange(8):
            case 0:
                del changed[key]
            case 1:
                changed[rng.choice([key.upper(), "", "x" * 300, "\0"])] = changed[key]
            case _:
                changed[key] = _with_other_value(found[key], rng, depth + 1)
        return changed
    if isinstance(found, list) and found and rng.random() < 0.7:
        place = rng.randrange(len(found))
        new = _with_other_value(found[place], rng, depth + 1)
        return [*found[:place], new, *found[place + rng.randrange(2) :]]
    nested: Any = []
    for _ in range(rng.choice([1, 900])):
        nested = [nested]
    return rng.choice(
        [None, True, 0, -1, 0.5, 2**31, 2**63, 2**64, 10**30, 1e308, float("nan"),
         float("inf"), "", "text", "\0", "7", "\ud800", "x" * 70000, [], {}, [1, 2],
         {"a": 1}, nested, [found, found]]
    )  # fmt: skip


def member(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A member of a zip file, such as an npz, is mutated, and its checksum is right."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as file:
            members = {name: file.read(name) for name in file.namelist()}
    except Exception:  # whatever an earlier mutation has made of it
        return flip(data, rng, others)
    if not members:
        return flip(data, rng, others)
    name = rng.choice(sorted(members))
    match rng.randrange(6):
        case 0:
            del members[name]
        case 1:
            members[
                rng.choice(["x.npy", "../x.npy", f"{name}.npy", name[1:] or "y"])
            ] = members[name]
        case 2:
            members[name] = members[rng.choice(sorted(members))]
        case 3:
            members[name] = _header(members[name], rng)
        case _:
            way = rng.choice([flip, flip_early, number, truncate, append, zero, token])
            members[name] = way(members[name], rng, others)
    buffer = BytesIO()
    kind = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(buffer, "w", kind) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def _header(data: bytes, rng: random.Random) -> bytes:
    """The header of an .npy file says something else; its length stays right."""
    start = data.find(b"{")
    end = data.find(b"\n", start)
    if start < 0 or end < 0:
        return data
    text = data[start:end].decode("latin1").rstrip()
    descr = rng.choice(
        [
            "|O",
            "<f8",
            "<f4",
            "|u1",
            "<U9",
            "<i8",
            "<c16",
            "|b1",
            "<M8[s]",
            "|V8",
            "f4,f4",
        ]
    )
    shape = rng.choice(
        ["()", "(0,)", "(-1,)", "(2, 3)", "(99999999999,)", f"({2**62}, 4)", "(1.5,)",
         "(True,)", "None", "(" + "1, " * 40 + ")", "('a',)"]
    )  # fmt: skip
    match rng.randrange(4):
        case 0:
            text = re.sub(r"'descr': [^,]+,", f"'descr': '{descr}',", text)
        case 1:
            text = re.sub(r"\(.*?\)", shape, text)
        case 2:
            text = text.replace("False", "True")
        case 3:
            text = rng.choice(["{}", "[]", "", "__import__('os')", text[:-1], "9" * 99])
    new = text.encode("latin1") + b"\n"
    version = rng.choice(
        [b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"]
    )
    return data[:6] + version + struct.pack("<H", len(new)) + new + data[end + 1 :]


def chunk(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A chunk of a PNG file is mutated, and its checksum is right."""
    if data[:4] != b"\x89PNG":
        return number(data, rng, others)
    place, chunks = 8, []
    while place + 12 <= len(data):
        length = struct.unpack(">I", data[place : place + 4])[0]
        chunks.append(
            (data[place + 4 : place + 8], data[place + 8 : place + 8 + length])
        )
        place += 12 + length
    if not chunks:
        return flip(data, rng, others)
    number_ = rng.randrange(len(chunks))
    name, content = chunks[number_]
    way = rng.choice([flip, flip_early, number, truncate, append, zero, splice])
    chunks[number_] = name, way(content, rng, others)
    if rng.random() < 0.2:
        chunks.insert(number_, rng.choice(chunks))
    return data[:8] + b"".join(
        struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c))
        for n, c in chunks
    )


_PLAIN = (flip, flip, flip_early, number, truncate, behead, insert, append, duplicate,
          zero, splice, replace)  # fmt: skip
_TEXT = (token, token, token, line, value, value, value, value)


def mutate(
    name: str, data: bytes, rng: random.Random, others: Sequence[bytes]
) -> tuple[bytes, list[str]]:
    """Returns what has become of a file, and the names of what was done to it.

    Args:
        name: Of the file; its suffix tells what may be done to its parts.
        data: Its bytes.
        rng: Decides.
        others: Other files, of which parts may get in.
    """
    suffix = name.rpartition(".")[2]
    ways: tuple[Mutation, ...] = _PLAIN
    if suffix in ("json", "jsonl", "toml", "txt"):
        ways += 2 * _TEXT
    elif suffix == "npz":
        ways += 8 * (member,)
    elif suffix == "png":
        ways += 6 * (chunk,)
    chosen = [rng.choice(ways) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    for way in chosen:
        data = way(data, rng, others)
    return data, [way.__name__ for way in chosen]
