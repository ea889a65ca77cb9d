"""A contender: evaluation networks trained by a PyTorch loop, from the protocol."""

import time

import _contender
import numpy as np
import torch
import torch.nn.functional as F
from torch_network import ConvNet, augment, draw


class Training:
    """One network and its optimizer, on a set in memory.

    Args:
        images: `[n, c, h, w]`, normalised.
        labels: `[n]`.
        settings: `width`, `depth`, `layout`, `batch_size`, `learning_rate`,
            `momentum` and `weight_decay`.
    """

    def __init__(self, images, labels, settings: dict):
        self._settings = settings
        self._format = torch.contiguous_format
        if settings["layout"] == "channels_last":
            self._format = torch.channels_last
        self._images = images.contiguous(memory_format=self._format)
        self._labels = labels
        self._random = np.random.default_rng(0)
        size = images.shape[2]
        self.network = ConvNet(size, 3, settings["width"], settings["depth"], 10)
        self.network.to(memory_format=self._format)
        self._optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=settings["learning_rate"],
            momentum=settings["momentum"],
            weight_decay=settings["weight_decay"],
        )

    def epoch(self, augmented: bool) -> float:
        """Passes once over the set, in a new order; returns the last batch's loss."""
        order = torch.randperm(len(self._images))
        for rows in order.split(self._settings["batch_size"]):
            images = self._images[rows]
            if augmented:
                transform = draw(self._random, images.shape[2], len(images))
                images = augment(images, *transform)
            logits = self.network(images.contiguous(memory_format=self._format))
            loss = F.cross_entropy(logits, self._labels[rows])
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
        return loss.item()


def main() -> None:
    settings = _contender.settings()
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    count, size = settings["images"], settings["image_size"]
    images = random.standard_normal((count, 3, size, size)).astype(np.float32)
    labels = torch.from_numpy(random.integers(0, 10, count))
    training = Training(torch.from_numpy(images), labels, settings)

    def train(augmentation):
        start = time.perf_counter()
        for _ in range(settings["epochs"]):
            loss = training.epoch(augmentation == "dsa")
        seconds = time.perf_counter() - start
        return {
            "seconds": seconds,
            "images": settings["epochs"] * count,
            "loss": loss,
        }

    _contender.serve(train=train)


if __name__ == "__main__":
    main()
