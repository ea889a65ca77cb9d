"""A contender: the step of DataDAM the PyTorch way, written from the paper.

Its ways: class by class with one backward pass at the end, as PyTorch programs do;
class by class with a backward pass for each, which holds one class's maps at a time
(early); one forward pass for all classes together (whole); or that pass, from pixels to
loss, through torch.compile (compiled), which may replay CUDA's graphs (graphs). Each in
PyTorch's usual layout (nchw) or channels_last, in float32, with TF32 or without, or
bfloat16 by autocast. All give the same images. On a GPU, the real images lie there.
"""

import contextlib
import time

import _contender
import numpy as np
import torch
from torch_network import ConvNet, augment, augment_all, draw, fields

LAMBDA, SCALE = 0.01, 100.0


class Step:
    """One iteration of Algorithm 1: a fresh network, and SGD on the images.

    Args:
        images: Synthetic images `[classes, ipc, c, h, w]`, normalised.
        real: uint8 `[classes, n, c, h, w]`.
        mean: Of the pixels in 0..1, for each channel.
        deviation: Likewise.
        settings: `batch_real`, `width`, `depth`, `device`, and what a way says
            (`_ways.py`).
    """

    def __init__(self, images, real, mean, deviation, settings: dict):
        self._settings, self._device = settings, torch.device(settings["device"])
        self._real = real.to(self._device)
        self.format = torch.contiguous_format
        if settings["layout"] == "channels_last":
            self.format = torch.channels_last
        self._mean, self._deviation = (
            torch.as_tensor(v, dtype=torch.float32, device=self._device)
            for v in (mean, deviation)
        )
        self._random = np.random.default_rng(0)
        self.images = images.to(self._device, copy=True)
        self._optimizer = torch.optim.SGD([self.images], lr=1.0, momentum=0.5)
        if settings["compiled"]:
            self._network = self._new_network()
            mode = "reduce-overhead" if settings["graphs"] else None
            self._target_of, self._loss_of = (
                torch.compile(function, dynamic=False, mode=mode)
                for function in (self._target_of, self._loss_of)
            )

    def __call__(self) -> float | torch.Tensor:
        """Updates the images and returns the loss, a number or a tensor."""
        loss, self.images.grad = self.gradient(*self.draw())
        self._optimizer.step()
        return loss

    def draw(self):
        """Returns a network, one transform for each class, and its real images."""
        classes, available, _, size, _ = self._real.shape
        batch = self._settings["batch_real"]
        transforms = [draw(self._random, size) for _ in range(classes)]
        if self._settings["compiled"]:  # nothing of this waits for the device
            for layer in self._network.modules():
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()
            drawn = torch.rand(classes, available, device=self._device)
            return self._network, transforms, drawn.topk(batch, dim=1).indices
        rows = [
            torch.from_numpy(self._random.choice(available, batch, replace=False))
            for _ in range(classes)
        ]
        return self._new_network(), transforms, rows

    def _new_network(self):
        _, _, channels, size, _ = self._real.shape
        width, depth = self._settings["width"], self._settings["depth"]
        network = ConvNet(size, channels, width, depth).to(self._device)
        return network.to(memory_format=self.format).requires_grad_(False)

    def gradient(self, network, transforms, rows):
        """Returns the loss and its gradient in the images, in their shape."""
        compute = self._class_by_class
        if self._settings["whole"] or self._settings["compiled"]:
            compute = self._together
        precision = contextlib.nullcontext()
        if self._settings["precision"] == "bfloat16":
            precision = torch.autocast(self._device.type, torch.bfloat16)
        with precision:
            return compute(network, transforms, rows)

    def _class_by_class(self, network, transforms, rows):
        leaves = [images.detach().requires_grad_() for images in self.images]
        total = 0.0
        for k, transform in enumerate(transforms):
            with torch.no_grad():
                real = augment(self._normal(self._real[k][rows[k]]), *transform)
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
        if self._settings["compiled"]:
            if self._settings["graphs"]:
                torch.compiler.cudagraph_mark_step_begin()
            size = self.images.shape[-1]
            transforms = {
                name: torch.from_numpy(value).to(self._device, non_blocking=True)
                for name, value in fields(transforms, size).items()
            }
        real = torch.stack([self._real[k][some] for k, some in enumerate(rows)])
        with torch.no_grad():
            target = self._target_of(network, real, transforms)
        leaf = self.images.detach().requires_grad_()
        loss = self._loss_of(network, leaf, transforms, target)
        loss.backward()
        return loss.detach(), leaf.grad

    def _target_of(self, network, real, transforms):
        return self._means(network, self._normal(real), transforms)

    def _loss_of(self, network, images, transforms, target):
        return _loss(target, self._means(network, images, transforms))

    def _means(self, network, images, transforms):
        """Means `[classes, d]` of what is matched, of images `[classes, n, ...]`."""
        if self._settings["compiled"]:
            augmented = augment_all(images, transforms)
        else:
            parts = zip(images, transforms, strict=True)
            augmented = torch.cat([augment(part, *t) for part, t in parts])
        vectors = self._vectors(network, augmented)
        return [v.view(len(images), -1, v.shape[1]).mean(dim=1) for v in vectors]

    def _normal(self, pixels):
        mean, deviation = (v.view(-1, 1, 1) for v in (self._mean, self._deviation))
        return (pixels.float() / 255 - mean) / deviation

    def _vectors(self, network, images):
        """Attention of every block but the last, p = 4, and the last's features."""
        maps = network.blocks(images.contiguous(memory_format=self.format))
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
    network.to(memory_format=step.format).requires_grad_(False)
    names = ("warp", "brightness", "saturation", "contrast", "hole")
    transforms = [
        _operation({name: stored[name][k] for name in names}, size)
        for k in range(classes)
    ]
    return step, (network, transforms, [torch.arange(batch)] * classes)


def _operation(values, size):
    """The operation whose parameters differ from those that change nothing."""

    def one(*values):
        return [np.array([value]) for value in values]

    (xx, xy, right), (_, yy, down) = values["warp"]
    if values["hole"].any():
        keys = ("top", "left", "length")
        return "cutout", dict(zip(keys, one(*values["hole"][:3]), strict=True))
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
    return "color", {key: np.array([values[key]]) for key in keys}


class _DeviceMemory:
    """Peak of what PyTorch holds on the GPU, the real images among it."""

    def peak(self):
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return peak


def main() -> None:
    settings = {"device": "cpu", **_contender.settings()}
    torch.manual_seed(0)
    on_gpu = settings["device"] == "cuda"
    torch.backends.cudnn.allow_tf32 = settings["tf32"]
    torch.backends.cuda.matmul.allow_tf32 = settings["tf32"]
    torch.backends.cudnn.benchmark = settings["compiled"]
    state = {}
    problem = random_problem(settings)
    memory = _DeviceMemory() if on_gpu else _contender.Memory()

    def versions():
        return {"torch": torch.__version__, "threads": torch.get_num_threads()}

    def step(steps=1):
        if not state:
            state["step"] = Step(*problem, settings)
        start = time.perf_counter()
        for _ in range(steps):
            loss = state["step"]()
        if on_gpu:
            torch.cuda.synchronize()
        seconds = (time.perf_counter() - start) / steps
        return {"seconds": seconds, "loss": float(loss), "peak": memory.peak()}

    def check(file):
        checked, arguments = stored_problem(file, settings)
        loss, gradient = checked.gradient(*arguments)
        loss = float(loss)
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
