"""The ConvNet and the augmentation that PyTorch's contenders use.

Written from the papers' description with PyTorch's own layers: what a PyTorch user
would write. No import of dam_tf, TensorFlow or Keras.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")


class ConvNet(nn.Module):
    """Blocks of 3x3 convolution, instance norm, ReLU and 2x2 average pooling.

    The weights are PyTorch's default, U(-1/sqrt(fan_in), 1/sqrt(fan_in)).

    Args:
        size: Height and width of the images.
        channels: Of the images.
        width: Kernels of each convolution.
        depth: Blocks.
        classes: Outputs of the classifier; 0: no classifier.
    """

    def __init__(
        self, size: int, channels: int, width: int, depth: int, classes: int = 0
    ):
        super().__init__()
        inputs = [channels] + [width] * (depth - 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(count, width, 3, padding=1) for count in inputs
        )
        self.norms = nn.ModuleList(nn.GroupNorm(width, width) for _ in inputs)
        self.classifier = None
        if classes:
            self.classifier = nn.Linear(width * (size // 2**depth) ** 2, classes)

    def blocks(self, images: torch.Tensor):
        """Yields each block's map after the ReLU, then the embedding `[n, d]`."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            images = F.relu(norm(convolution(images)), inplace=True)
            yield images
            images = F.avg_pool2d(images, 2)
        yield images.flatten(start_dim=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        *_, embedding = self.blocks(images)
        return self.classifier(embedding)


def draw(random: np.random.Generator, size: int, rows: int = 1) -> tuple[str, dict]:
    """Returns one operation of DSA, and its strengths for each of `rows` images."""
    name = OPERATIONS[random.integers(len(OPERATIONS))]

    def uniform(low, high):
        return random.uniform(low, high, rows).astype(np.float32)

    if name == "color":
        return name, {
            "brightness": uniform(-0.5, 0.5),
            "saturation": uniform(0, 2),
            "contrast": uniform(0.5, 1.5),
        }
    if name == "crop":
        reach = int(size * 0.125 + 0.5)
        down, right = random.integers(-reach, reach + 1, (2, rows))
        return name, {"down": down, "right": right}
    if name == "cutout":
        length = int(size * 0.5 + 0.5)
        top, left = random.integers(0, size + 1 - length % 2, (2, rows)) - length // 2
        return name, {"top": top, "left": left, "length": np.full(rows, length)}
    if name == "flip":
        return name, {"mirrored": random.uniform(size=rows) < 0.5}
    if name == "scale":
        return name, {"x": uniform(1 / 1.2, 1.2), "y": uniform(1 / 1.2, 1.2)}
    limit = math.radians(15)
    return name, {"angle": uniform(-limit, limit)}


def augment(images: torch.Tensor, name: str, strengths: dict) -> torch.Tensor:
    """Returns `images` `[n, c, h, w]` under one operation.

    `strengths` has a value for each image, or one for all of them.
    """
    values = {k: torch.as_tensor(v) for k, v in strengths.items()}
    count = len(next(iter(values.values())))
    if count > 1 or name not in ("crop", "flip"):  # those two need only know which
        values = {k: v.to(images.device) for k, v in values.items()}
    return _AUGMENT[name](images, **values)


def fields(operations: list[tuple[str, dict]], size: int) -> dict[str, np.ndarray]:
    """Returns operations, one for each class, as numbers that any operation has.

    Returns:
        `warp` `[classes, 2, 3]` as `affine_grid` takes it, `brightness`, `saturation`
        and `contrast` `[classes]`, `hole` `[classes, 3]`: top, left, length. Where an
        operation was not drawn, they are those that change nothing.
    """
    found = {
        "warp": np.tile(np.eye(2, 3), [len(operations), 1, 1]),
        "brightness": np.zeros(len(operations)),
        "saturation": np.ones(len(operations)),
        "contrast": np.ones(len(operations)),
        "hole": np.zeros([len(operations), 3]),
    }
    for k, (name, strengths) in enumerate(operations):
        values = {key: value[0] for key, value in strengths.items()}
        warp = found["warp"][k]
        if name == "color":
            for key, value in values.items():
                found[key][k] = value
        elif name == "cutout":
            found["hole"][k] = values["top"], values["left"], values["length"]
        elif name == "crop":
            warp[:, 2] = 2 * values["right"] / size, 2 * values["down"] / size
        elif name == "flip":
            warp[0, 0] = -1 if values["mirrored"] else 1
        elif name == "scale":
            warp[0, 0], warp[1, 1] = values["x"], values["y"]
        else:
            cos, sin = np.cos(values["angle"]), np.sin(values["angle"])
            warp[:, :2] = [[cos, -sin], [sin, cos]]
    return {key: value.astype(np.float32) for key, value in found.items()}


def augment_all(images: torch.Tensor, values: dict[str, torch.Tensor]) -> torch.Tensor:
    """Returns `images` `[classes, n, c, h, w]` as `[classes * n, c, h, w]`, augmented.

    `values` are `fields` as tensors; no operation asks which class has which, so that
    all classes pass together and a compiler sees one program.
    """
    count = images.shape[1]
    images = images.flatten(0, 1)

    def each(value):
        return value.repeat_interleave(count, dim=0)

    images = _warp(images, each(values["warp"]))
    images = _color(
        images, *(each(values[k]) for k in ("brightness", "saturation", "contrast"))
    )
    top, left, length = each(values["hole"]).unbind(dim=1)
    return _cutout(images, top, left, length)


def _color(images, brightness, saturation, contrast):
    images = images + brightness.view(-1, 1, 1, 1)
    grey = images.mean(dim=1, keepdim=True)
    images = (images - grey) * saturation.view(-1, 1, 1, 1) + grey
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * contrast.view(-1, 1, 1, 1) + mean


def _crop(images, down, right):
    height, width = images.shape[2:]
    if len(down) == 1:
        down, right = int(down), int(right)
        padding = (max(-right, 0), max(right, 0), max(-down, 0), max(down, 0))
        padded = F.pad(images, padding)
        down, right = max(down, 0), max(right, 0)
        return padded[:, :, down : down + height, right : right + width]
    reach = int(max(down.abs().max(), right.abs().max()))
    padded = F.pad(images, [reach] * 4).permute(0, 2, 3, 1)
    place = {"device": images.device}
    rows = torch.arange(height, **place)[None, :, None] + (down + reach)[:, None, None]
    columns = torch.arange(width, **place)[None, None] + (right + reach)[:, None, None]
    which = torch.arange(len(images), **place)[:, None, None]
    return padded[which, rows, columns].permute(0, 3, 1, 2)


def _cutout(images, top, left, length):
    height, width = images.shape[2:]
    row = torch.arange(height, device=images.device)[None, :, None]
    column = torch.arange(width, device=images.device)[None, None]
    top, left, length = (v[:, None, None] for v in (top, left, length))
    hole = (row >= top) & (row < top + length)
    hole = hole & (column >= left) & (column < left + length)
    return images * (~hole)[:, None].to(images.dtype)


def _flip(images, mirrored):
    if len(mirrored) == 1:
        return images.flip(3) if bool(mirrored) else images
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)


def _scale(images, x, y):
    zero = torch.zeros_like(x)
    return _warp(images, torch.stack([x, zero, zero, zero, y, zero], dim=1))


def _rotate(images, angle):
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _warp(images, torch.stack([cos, -sin, zero, sin, cos, zero], dim=1))


def _warp(images, theta):
    theta = theta.view(-1, 2, 3).expand(len(images), 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(
        images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )


_AUGMENT = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}
