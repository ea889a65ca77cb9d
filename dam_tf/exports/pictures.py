"""A distilled set as 8-bit pictures: PNG files in a folder a class, and Parquet.

Learned pixels may leave 0..1, and 8 bits hold 256 values. So they are clipped to 0..1,
or, when the user asks for it, the whole range is mapped to 0..255. A `Scale` says how,
and undoing it is the same line for both: `low + (high - low) * value / 255`. It stands
in `set.json` beside the PNG files, in the text of each PNG file, and in the metadata of
the Parquet file.
"""

import dataclasses
import io
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image, PngImagePlugin

from dam_tf.base.messages import log
from dam_tf.synthetic.distilled_set import DistilledSet

Pixels = Literal["clipped", "scaled"]
PIXELS: tuple[Pixels, ...] = ("clipped", "scaled")

_LARGEST = 255  # of 8 bits
_MUCH = 0.05  # share of clipped pixels above which networks learn visibly less

# What some file system does not allow in a name, and what UTF-8 cannot write.
_UNSAFE = re.compile('[\x00-\x1f\x7f-\x9f<>:"/\\\\|?*\ud800-\udfff]')
_LONGEST = 120  # bytes of a folder's name; file systems allow 255


@dataclasses.dataclass(frozen=True)
class Scale:
    """Which pixels the smallest and the largest of 8 bits stand for.

    Attributes:
        low: The pixel that is written as 0.
        high: The pixel that is written as 255.

    Example:
        >>> Scale().to_uint8(np.array([-0.2, 0.5, 1.3])).tolist()
        [0, 128, 255]
        >>> Scale(-1.0, 1.55).to_uint8(np.array([-0.2, 0.5, 1.3])).tolist()
        [80, 150, 230]
    """

    low: float = 0.0
    high: float = 1.0

    def to_uint8(self, images: np.ndarray) -> np.ndarray:
        """Returns pixels as 0..255; those beyond `low` and `high` are clipped."""
        shares = (np.asarray(images, np.float64) - self.low) / (self.high - self.low)
        return np.round(np.clip(shares, 0, 1) * _LARGEST).astype(np.uint8)


def scale_of(images: np.ndarray, pixels: Pixels) -> Scale:
    """Returns how pixels become 8 bits: one scale for a whole set, around 0..1.

    Args:
        images: Pixels of any shape, nominally 0..1.
        pixels: "clipped", or "scaled": as wide as the images are.

    Example:
        >>> scale_of(np.array([-1.0, 0.5]), "scaled"), scale_of(np.ones(1), "scaled")
        (Scale(low=-1.0, high=1.0), Scale(low=0.0, high=1.0))
    """
    if pixels == "clipped":
        return Scale()
    return Scale(min(0.0, float(images.min())), max(1.0, float(images.max())))


def clipped_share(images: np.ndarray) -> float:
    """Returns the share of pixels that clipping changes by more than rounding does.

    Example:
        >>> clipped_share(np.array([-0.1, -0.001, 0.5, 1.2]))
        0.5
    """
    rounding = 0.5 / _LARGEST
    return float(np.mean((images < -rounding) | (images > 1 + rounding)))


def say_what_8_bits_hold(formats: str, images: np.ndarray, scale: Scale) -> None:
    """Says, in one line, what becomes of the range of the pixels.

    Args:
        formats: The names of the formats that hold 8 bits, in words.
        images: Pixels of any shape.
        scale: How they become 8 bits.
    """
    share = clipped_share(images)
    if scale != Scale():
        log.info(
            "%s: pixels from %.4g to %.4g are written as 0 to 255, in steps of %.2g; "
            "pixel = low + (high - low) * value / 255, with low and high of set.json "
            "or of a file's own text.",
            formats, scale.low, scale.high, (scale.high - scale.low) / _LARGEST,
        )  # fmt: skip
    elif share <= _MUCH:
        log.info(
            "%s: %.1f %% of the pixels lie outside 0..1 and are clipped.",
            formats, 100 * share,
        )  # fmt: skip
    else:
        log.warning(
            "%s: %.1f %% of the pixels lie outside 0..1 and are clipped, so networks "
            "learn less from these files; --pixels=scaled keeps the range, and "
            "--format=npz or tfrecord keeps every value.",
            formats, 100 * share,
        )  # fmt: skip


def folder_names(class_names: Sequence[str]) -> list[str]:
    """Returns a folder name for each class: its label, and its name as far as it can.

    Sorted as text they are in the order of the labels, whatever the classes are
    called, and any file system accepts them.

    Example:
        >>> folder_names(["cat", "a/b", "犬"])
        ['0_cat', '1_a_b', '2_犬']
        >>> names = folder_names([str(k) for k in range(1, 13)])
        >>> names[0], names[-1], sorted(names) == names
        ('00_1', '11_12', True)
    """
    digits = len(str(len(class_names) - 1))
    names = []
    for label, class_name in enumerate(class_names):
        name = _UNSAFE.sub("_", class_name).encode()[:_LONGEST].decode(errors="ignore")
        names.append(re.sub("[. ]$", "_", f"{label:0{digits}}_{name}"))
    return names


def write_png(distilled: DistilledSet, folder: pathlib.Path, scale: Scale) -> None:
    """Writes `train/<label>_<class>/<position>.png`, and `set.json` for programs.

    Args:
        distilled: The set.
        folder: An empty folder.
        scale: How pixels become 8 bits.
    """
    names = folder_names(distilled.class_names)
    for name in names:
        (folder / "train" / name).mkdir(parents=True)
    digits = len(str(len(distilled.images) - 1))
    files = _png_files(distilled, scale)
    for position, (label, data) in enumerate(zip(distilled.labels, files, strict=True)):
        path = folder / "train" / names[label] / f"{position:0{digits}}.png"
        path.write_bytes(data)
    described = {
        "source": distilled.name,
        **dataclasses.asdict(scale),
        "classes": [
            {"label": label, "folder": folder_name, "name": name}
            for label, (folder_name, name) in enumerate(
                zip(names, distilled.class_names, strict=True)
            )
        ],
    }
    text = json.dumps(described, indent=1, ensure_ascii=False)
    (folder / "set.json").write_text(f"{text}\n", encoding="utf-8")
    counts = np.bincount(distilled.labels, minlength=distilled.num_classes)
    if empty := [name for name, count in zip(names, counts, strict=True) if not count]:
        log.warning(
            "png: %d of %d classes have no image (the first is %s); a reader that "
            "passes over empty folders gives later classes other labels.",
            len(empty), len(names), empty[0],
        )  # fmt: skip


def write_parquet(distilled: DistilledSet, folder: pathlib.Path, scale: Scale) -> None:
    """Writes `train-00000-of-00001.parquet`, as Hugging Face `datasets` reads it.

    Args:
        distilled: The set.
        folder: An empty folder.
        scale: How pixels become 8 bits.
    """
    # It takes its time to import, and only this format needs it.
    import pyarrow
    import pyarrow.parquet

    image_type = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(distilled.class_names)},
    }
    types = {"image": image_type, "label": pyarrow.int64()}
    images = [{"bytes": data, "path": None} for data in _png_files(distilled, scale)]
    columns = {"image": images, "label": distilled.labels}
    if distilled.soft_labels is not None:
        probability = {"_type": "Value", "dtype": "float32"}
        features["soft_label"] = {
            "_type": "Sequence",
            "feature": probability,
            "length": distilled.num_classes,
        }
        types["soft_label"] = pyarrow.list_(pyarrow.float32(), distilled.num_classes)
        columns["soft_label"] = list(distilled.soft_labels)
    metadata = {
        "huggingface": json.dumps({"info": {"features": features}}),
        "scale": json.dumps(dataclasses.asdict(scale)),
    }
    schema = pyarrow.schema(types, metadata=metadata)
    table = pyarrow.table(columns, schema=schema)
    # Into memory first: an error of the disk is then Python's, and says so.
    data = io.BytesIO()
    pyarrow.parquet.write_table(table, data)
    (folder / "train-00000-of-00001.parquet").write_bytes(data.getbuffer())


def _png_files(distilled: DistilledSet, scale: Scale) -> list[bytes]:
    text = PngImagePlugin.PngInfo()
    for name, value in dataclasses.asdict(scale).items():
        text.add_text(name, repr(value))
    files = []
    for image in scale.to_uint8(distilled.images):
        file = io.BytesIO()
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        picture.save(file, format="PNG", pnginfo=text)
        files.append(file.getvalue())
    return files
