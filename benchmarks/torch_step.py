"""A contender: the step of DataDAM the PyTorch way, written from the paper.

Its ways: class by class with one backward pass at the end, as PyTorch programs do;
class by class with a backward pass for each, which holds one class's maps at a time
(early); or one forward pass for all classes together (whole). Each in PyTorch's usual
layout (nchw) or channels_last, in float32, or bfloat16 by autocast. All give the same
images.
"""

import contextlib
import time

import _contender
import numpy as np
import torch
from torch_network import ConvNet, augment, draw

LAMBDA, SCALE = 0.01, 100.0


class Step:
    """One iteration of Algorithm 1: a fresh network, and SGD on the images.

    Args:
        images: Synthetic images `[classes, ipc, c, h, w]`, normalised.
        real: uint8 `[classes, n, c, h, w]`.
        mean: Of the pixels in 0..1, for each channel.
        deviation: Likewise.
        settings: `batch_real`, `width`, `depth`, `layout`,
            `early`, `whole` and `precision`.
    """

    def __init__(self, images, real, mean, deviation, settings: dict):
        self._real, self._settings = real, settings
        self._format = torch.contiguous_format
        if settings["layout"] == "channels_last":
            self._format = torch.channels_last
        self._mean, self._deviation = (
            torch.as_tensor(v, dtype=torch.float32).view(1, -1, 1, 1)
            for v in (mean, deviation)
        )
        self._random = np.random.default_rng(0)
        self.images = images.clone()
        self._optimizer = torch.optim.SGD([self.images], lr=1.0, momentum=0.5)

    def __call__(self) -> float:
        """Updates the images and returns the loss."""
        loss, self.images.grad = self.gradient(*self.draw())
        self._optimizer.step()
        return loss

    def draw(self):
        """Returns a network, one transform for each class, and its real images."""
        classes, available, channels, size, _ = self._real.shape
        batch = self._settings["batch_real"]
        network = ConvNet(
            size, channels, self._settings["width"], self._settings["depth"]
        )
        transforms = [draw(self._random, size) for _ in range(classes)]
        rows = [
            torch.from_numpy(self._random.choice(available, batch, replace=False))
            for _ in range(classes)
        ]
        return network, transforms, rows

    def gradient(self, network, transforms, rows) -> tuple[float, torch.Tensor]:
        """Returns the loss and its gradient in the images, in their shape."""
        network = network.to(memory_format=self._format).requires_grad_(False)
        compute = self._together if self._settings["whole"] else self._class_by_class
        precision = contextlib.nullcontext()
        if self._settings["precision"] == "bfloat16":
            precision = torch.autocast("cpu", torch.bfloat16)
        with precision:
            return compute(network, transforms, rows)

    def _class_by_class(self, network, transforms, rows):
        leaves = [images.detach().requires_grad_() for images in self.images]
        total = 0.0
        for k, transform in enumerate(transforms):
            with torch.no_grad():
                real = augment(self._normal(k, rows[k]), *transform)
                target = [v.mean(dim=0) for v in self._vectors(network, real)]
            vectors = self._vectors(network, augment(leaves[k], *transform))
            loss = _loss(target, [v.mean(dim=0) for v in vectors])
            if self._settings["early"]:
                loss.backward()
                loss = float(loss)
            total += loss
        if not self._settings["early"]:
            total.backward()
        return float(total), torch.stack([leaf.grad for leaf in leaves])

    def _together(self, network, transforms, rows):
        classes, ipc = self.images.shape[:2]
        with torch.no_grad():
            real = torch.cat(
                [
                    augment(self._normal(k, rows[k]), *transform)
                    for k, transform in enumerate(transforms)
                ]
            )
            target = [
                v.view(classes, -1, v.shape[1]).mean(dim=1)
                for v in self._vectors(network, real)
            ]
        del real
        leaf = self.images.detach().requires_grad_()
        fake = torch.cat([augment(leaf[k], *t) for k, t in enumerate(transforms)])
        vectors = self._vectors(network, fake)
        loss = _loss(
            target, [v.view(classes, ipc, v.shape[1]).mean(dim=1) for v in vectors]
        )
        loss.backward()
        return float(loss), leaf.grad

    def _normal(self, k, rows):
        images = self._real[k][rows].float() / 255
        return (images - self._mean) / self._deviation

    def _vectors(self, network, images):
        """Attention of every block but the last, p = 4, and the last's features."""
        maps = network.blocks(images.contiguous(memory_format=self._format))
        vectors = []
        for _ in range(self._settings["depth"] - 1):
            # Two squares: PyTorch's pow(4) is slower.
            attention = next(maps).float().square().square().sum(dim=1)
            attention = attention.flatten(start_dim=1)
            vectors.append(torch.nn.functional.normalize(attention, dim=1))
        *_, embedding = maps
        return [*vectors, embedding.float()]


def _loss(target, found):
    *sam, mmd = ((t - f).square().sum() for t, f in zip(target, found, strict=True))
    return SCALE * (sum(sam) + LAMBDA * mmd)


def random_problem(settings: dict):
    """Returns synthetic and real images of the shapes that are asked for."""
    random = np.random.default_rng(0)
    size, classes = settings["image_size"], settings["classes"]
    shape = (classes, settings["per_class"], 3, size, size)
    real = torch.from_numpy(random.integers(0, 256, shape, np.uint8))
    images = random.standard_normal((classes, settings["ipc"], 3, size, size))
    return torch.from_numpy(images.astype(np.float32)), real, [0.5] * 3, [0.25] * 3


def stored_problem(file: str, settings: dict):
    """Returns a `Step` and what it is called with, as TensorFlow stored them."""
    stored = np.load(file, allow_pickle=False)

    def channels_first(name):
        return torch.from_numpy(np.moveaxis(stored[name], -1, 2).copy())

    real = channels_first("real")
    step = Step(
        channels_first("images"), real, stored["mean"], stored["deviation"], settings
    )
    classes, batch, channels, size, _ = real.shape
    network = ConvNet(size, channels, settings["width"], settings["depth"])
    with torch.no_grad():
        for block in range(settings["depth"]):
            kernel, *others = (stored[f"weight_{4 * block + i}"] for i in range(4))
            bias, gamma, beta = map(torch.from_numpy, others)
            convolution, norm = network.convolutions[block], network.norms[block]
            kernel = np.transpose(kernel, (3, 2, 0, 1)).copy()
            convolution.weight.copy_(torch.from_numpy(kernel))
            convolution.bias.copy_(bias)
            norm.weight.copy_(gamma)
            norm.bias.copy_(beta)
    fields = ("warp", "brightness", "saturation", "contrast", "hole")
    transforms = [
        _operation({name: stored[name][k] for name in fields}, size)
        for k in range(classes)
    ]
    return step, (network, transforms, [torch.arange(batch)] * classes)


def _operation(fields, size):
    """The operation whose parameters differ from those that change nothing."""

    def one(*values):
        return [np.array([value]) for value in values]

    (xx, xy, right), (_, yy, down) = fields["warp"]
    if fields["hole"].any():
        keys = ("top", "left", "length")
        return "cutout", dict(zip(keys, one(*fields["hole"][:3]), strict=True))
    if xy:
        return "rotate", {"angle": one(np.arctan2(-xy, xx))[0]}
    if right or down:
        moved = one(round(down * size / 2), round(right * size / 2))
        return "crop", dict(zip(("down", "right"), moved, strict=True))
    if xx == -1:
        return "flip", {"mirrored": np.array([True])}
    if xx != 1 or yy != 1:
        return "scale", dict(zip(("x", "y"), one(xx, yy), strict=True))
    keys = ("brightness", "saturation", "contrast")
    return "color", {key: np.array([fields[key]]) for key in keys}


def main() -> None:
    settings = _contender.settings()
    torch.manual_seed(0)
    state = {}
    problem = random_problem(settings)
    memory = _contender.Memory()

    def versions():
        return {"torch": torch.__version__, "threads": torch.get_num_threads()}

    def step():
        if not state:
            state["step"] = Step(*problem, settings)
        start = time.perf_counter()
        loss = state["step"]()
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "loss": loss, "peak": memory.peak()}

    def check(file):
        checked, arguments = stored_problem(file, settings)
        loss, gradient = checked.gradient(*arguments)
        stored = np.load(file, allow_pickle=False)
        found = np.moveaxis(gradient.numpy(), 2, -1)
        wanted = stored["gradient"]
        return {
            "operations": [name for name, _ in arguments[1]],
            "loss": loss,
            "loss_difference": abs(loss / float(stored["loss"]) - 1),
            "gradient_difference": float(
                np.abs(found - wanted).max() / np.abs(wanted).max()
            ),
        }

    _contender.serve(versions=versions, step=step, check=check)


if __name__ == "__main__":
    main()
