"""What is made of one image file: by NumPy formulas, and by known pixels."""

import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest

from dam_tf.data.sources.decoding import decode
from dam_tf.data.sources.image_files import LARGEST, Unreadable, read_header, reading

# 16 x 24 pixels in squares of 8, so that a JPEG shows them as they are.
STORED = np.array([[[10, 80, 0], [90, 20, 0], [160, 30, 200]], [[240] * 3] * 3])
STORED[1, 1] = 0
STORED = STORED.repeat(8, 0).repeat(8, 1).astype(np.uint8)

# What is shown, by the orientation that EXIF says (as its definition draws them).
SHOWN = {
    1: STORED,
    2: STORED[:, ::-1],
    3: STORED[::-1, ::-1],
    4: STORED[::-1],
    5: STORED.transpose(1, 0, 2),
    6: np.rot90(STORED, -1),
    7: STORED[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(STORED),
}


def read(file, shape=None):
    """Returns the pixels as they are shown, and whether white shows through."""
    with reading():
        stored = read_header(str(file)).shape
        images, transparent = decode(str(file), shape or stored)
    assert images.shape == (shape or stored) and images.dtype == np.uint8
    return images, transparent


def exif(orientation):
    tags = PIL.Image.Exif()
    tags[0x0112] = orientation
    return tags


def png(*chunks):
    """Returns the bytes of a PNG of these chunks; `None` stands for its pixels."""
    header = struct.pack(">IIBBBBB", 24, 16, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in STORED)
    parts = [
        (b"IHDR", header),
        *(chunk or (b"IDAT", zlib.compress(rows)) for chunk in chunks),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("jpg", {"quality": 100, "subsampling": 0}),
        ("png", {}),
        ("webp", {"lossless": True}),
        ("tif", {}),
        ("tiff", {"compression": "tiff_lzw"}),
    ],
)
def test_orientation(tmp_path, suffix, options, orientation):
    file = tmp_path / f"turned.{suffix}"
    PIL.Image.fromarray(STORED).save(file, exif=exif(orientation), **options)
    found = read(file)[0].astype(int)
    assert np.abs(found - SHOWN[orientation]).max() <= (2 if suffix == "jpg" else 0)
    PIL.Image.fromarray(STORED[..., 0]).save(file, exif=exif(orientation), **options)
    found = read(file)[0].astype(int)[..., 0]
    assert np.abs(found - SHOWN[orientation][..., 0]).max() <= 2


XMP = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'


@pytest.mark.parametrize(
    "chunk", [(b"eXIf", exif(6).tobytes()[6:]), (b"iTXt", XMP)], ids=["exif", "xmp"]
)
def test_a_png_may_say_its_turn_behind_its_pixels(tmp_path, chunk):
    for chunks in ((chunk, None), (None, chunk)):
        (tmp_path / "turned.png").write_bytes(png(*chunks))
        np.testing.assert_array_equal(read(tmp_path / "turned.png")[0], SHOWN[6])


@pytest.mark.parametrize("data", [b"", b"Exif\0\0MM", b"Exif\0\0II*\0\xff\xff\0\0"])
def test_damaged_exif_leaves_an_image_readable(tmp_path, data):
    for suffix in ("png", "jpg"):
        file = tmp_path / f"1.{suffix}"
        PIL.Image.fromarray(STORED).save(file, exif=data, quality=100, subsampling=0)
        assert np.abs(read(file)[0].astype(int) - STORED).max() <= 2
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(read(file)[0], SHOWN[2])


def on_white(colours, alpha):
    share = np.asarray(alpha)[..., np.newaxis] / 255
    return share * colours + (1 - share) * 255


ALPHA = np.linspace(0, 255, 16 * 24).reshape(16, 24).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_what_is_transparent_lies_on_white(tmp_path, suffix):
    file = tmp_path / f"1.{suffix}"
    image = PIL.Image.fromarray(np.dstack([STORED, ALPHA]))
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    image.save(file, **options)
    found, transparent = read(file)
    assert transparent and np.abs(found - on_white(STORED, ALPHA)).max() <= 1
    image.putalpha(255)
    image.save(file, **options)
    found, transparent = read(file)
    assert not transparent and (found == STORED).all()


def test_grey_with_alpha_stays_grey(tmp_path):
    grey = STORED[..., :1]
    PIL.Image.fromarray(np.dstack([grey, ALPHA])).save(tmp_path / "1.png")
    found, transparent = read(tmp_path / "1.png")
    assert transparent and found.shape == (16, 24, 1)
    assert np.abs(found - on_white(grey, ALPHA)).max() <= 1
    colour, _ = read(tmp_path / "1.png", (16, 24, 3))
    assert (colour == found).all()


@pytest.mark.parametrize("transparency", [0, bytes([0, 128]), bytes([255, 255])])
def test_palette_with_transparency(tmp_path, transparency):
    image = PIL.Image.new("P", (24, 16), 0)
    image.putpalette([17, 34, 51, 68, 85, 102])
    image.paste(1, (12, 0, 24, 16))
    image.save(tmp_path / "1.png", transparency=transparency)
    alpha = {0: [0, 255]}.get(transparency) or list(transparency)
    found, transparent = read(tmp_path / "1.png")
    expected = on_white(np.array([[17, 34, 51], [68, 85, 102]]), alpha)
    assert np.abs(found[0, [0, 20]] - expected).max() <= 1
    assert transparent == (alpha != [255, 255])


@pytest.mark.parametrize(
    ("pixels", "key", "expected"),
    [
        (np.array([[7, 8]], np.uint8), 7, [[255], [8]]),
        (np.array([[25700, 25701]], np.uint16), 25700, [[255], [100]]),
        (
            np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8),
            (1, 2, 3),
            [[255] * 3, [4, 5, 6]],
        ),
    ],
)
def test_one_transparent_colour(tmp_path, pixels, key, expected):
    PIL.Image.fromarray(pixels).save(tmp_path / "1.png", transparency=key)
    found, transparent = read(tmp_path / "1.png")
    assert transparent and found[0].tolist() == expected


SIXTEEN = np.array([[0, 128, 129, 4095], [25700, 40000, 65278, 65535]], np.uint16)


@pytest.mark.parametrize("kind", ["png", "tiff", "big-endian", "ppm", "jpeg2000"])
def test_sixteen_bits(tmp_path, kind):
    file = tmp_path / "picture"
    if kind == "big-endian":
        PIL.Image.frombytes("I;16B", (4, 2), SIXTEEN.astype(">u2").tobytes()).save(
            file, "tiff"
        )
    else:
        PIL.Image.fromarray(SIXTEEN).save(file, kind)
    found, _ = read(file)
    np.testing.assert_array_equal(found[..., 0], np.round(SIXTEEN / 257))


def tiff(pixels: bytes, **tags):
    """Returns a TIFF of two pixels, not compressed, of one channel."""
    tags = {256: 2, 257: 1, 259: 1, 273: 8, 277: 1, 278: 1, 279: len(pixels)} | {
        int(name.strip("_")): value for name, value in tags.items()
    }
    entries = (struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    start = struct.pack("<4sI", b"II*\0", 8 + len(pixels)) + pixels
    return start + struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)


@pytest.mark.parametrize(
    ("bits", "zero", "pixels", "expected"),
    [
        (16, 1, struct.pack("<HH", 65535, 0), [255, 0]),
        (16, 0, struct.pack("<HH", 65535, 0), [0, 255]),  # 0 is white
        (8, 0, bytes([255, 0]), [0, 255]),
        (12, 1, bytes([0xFF, 0xF8, 0x00]), [255, 128]),
    ],
)
def test_white_of_a_tiff(tmp_path, bits, zero, pixels, expected):
    (tmp_path / "1.tif").write_bytes(tiff(pixels, _258=bits, _262=zero))
    assert read(tmp_path / "1.tif")[0].ravel().tolist() == expected


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_numbers_of_no_known_range_are_refused(tmp_path, kind):
    PIL.Image.fromarray(np.array([[0, 1]], kind)).save(tmp_path / "1.tif")
    with (
        reading(),
        pytest.raises(Unreadable, match=r"mode [IF], whose black and white"),
    ):
        read_header(str(tmp_path / "1.tif"))


@pytest.mark.parametrize(
    ("mode", "suffix", "red"),
    [
        ("CMYK", "jpg", (0, 255, 255, 0)),
        ("CMYK", "tif", (0, 255, 255, 0)),
        ("YCbCr", "jpg", (76, 85, 255)),
        ("YCbCr", "tif", (76, 85, 255)),
        ("LAB", "tif", (138, 209, 198)),  # CIELAB (D50): 54.3, 80.8, 69.9
        ("RGBX", "tif", (255, 0, 0, 0)),
    ],
)
def test_red_stays_red(tmp_path, mode, suffix, red):
    file = tmp_path / f"red.{suffix}"
    PIL.Image.new(mode, (24, 16), red).save(file, quality=100)
    assert np.abs(read(file)[0][8, 8].astype(int) - [255, 0, 0]).max() <= 5


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "pbm", "gif"])
def test_one_bit(tmp_path, suffix):
    PIL.Image.fromarray(ALPHA > 100).save(tmp_path / f"1.{suffix}")
    found, _ = read(tmp_path / f"1.{suffix}")
    assert (found == np.where(ALPHA > 100, 255, 0)[..., np.newaxis]).all()


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif", "avif"])
def test_of_an_animation_the_first_frame(tmp_path, suffix):
    frames = [PIL.Image.new("RGB", (16, 16), (shade,) * 3) for shade in (50, 200, 90)]
    file, other = tmp_path / f"1.{suffix}", tmp_path / f"2.{suffix}"
    frames[0].save(file, save_all=True, append_images=frames[1:], lossless=True)
    frames[0].save(other, lossless=True)
    with reading():
        assert read_header(str(file)).more and not read_header(str(other)).more
    assert np.abs(read(file)[0].astype(int) - 50).max() <= 1


def test_previews_of_a_photograph_are_no_animation(tmp_path):
    frames = [PIL.Image.new("RGB", (16, 16), (shade,) * 3) for shade in (50, 200)]
    frames[0].save(tmp_path / "1.mpo", save_all=True, append_images=frames[1:])
    (tmp_path / "1.mpo").rename(tmp_path / "1.jpg")
    with reading():
        assert read_header(str(tmp_path / "1.jpg")) == ((16, 16, 3), False, False)


def test_pillow_is_left_as_it_was(monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(KeyError), reading():
        assert PIL.Image.MAX_IMAGE_PIXELS * 2 == LARGEST
        assert not PIL.ImageFile.LOAD_TRUNCATED_IMAGES
        raise KeyError
    assert PIL.Image.MAX_IMAGE_PIXELS is None
    assert PIL.ImageFile.LOAD_TRUNCATED_IMAGES
