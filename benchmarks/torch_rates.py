"""How fast PyTorch convolves on this machine, in both layouts: a contender."""

import _contender
import torch
import torch.nn.functional as F


def rate(layer, precision, batch, seconds):
    layer = _contender.Namespace(layer)
    dtype = getattr(torch, precision)
    height, width = layer.height * layer.stride, layer.width * layer.stride
    images = torch.randn(batch, layer.inputs, height, width, dtype=dtype)
    kernel = torch.randn(
        layer.outputs, layer.inputs, layer.size, layer.size, dtype=dtype
    )
    found = {}
    for name, layout in (
        ("PyTorch nchw", torch.contiguous_format),
        ("PyTorch channels_last", torch.channels_last),
    ):
        laid = [v.contiguous(memory_format=layout) for v in (images, kernel)]
        with torch.inference_mode():
            found[name] = _contender.fastest(
                lambda laid=laid: F.conv2d(
                    *laid, stride=layer.stride, padding=layer.size // 2
                ),
                seconds,
            )
    return found


if __name__ == "__main__":
    _contender.serve(rate=rate)
