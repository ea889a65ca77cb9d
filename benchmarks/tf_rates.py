"""How fast TensorFlow convolves on this machine: oneDNN op by op, and XLA.

A contender: it lists the convolutions of the network of the settings, and measures
one of them at a time.
"""

import _contender
import _tools
from flops import convolutions


def main() -> None:
    settings = _contender.settings()
    _tools.import_tensorflow()
    import tensorflow as tf

    from dam_tf import networks
    from dam_tf.config.settings import read_config, resolve

    size = settings["image_size"]
    shape = (size, size, 3)
    config = resolve(read_config(overrides=settings["overrides"]), shape)

    def layers():
        network = networks.create(config.network.name, shape, 10, config.network)
        return {"layers": [vars(layer) for layer in convolutions(network)]}

    def rate(layer, precision, batch, seconds):
        layer = _contender.Namespace(layer)
        dtype = tf.as_dtype(precision)
        height, width = layer.height * layer.stride, layer.width * layer.stride
        images = tf.cast(tf.random.normal([batch, height, width, layer.inputs]), dtype)
        kernel = tf.cast(
            tf.random.normal([layer.size, layer.size, layer.inputs, layer.outputs]),
            dtype,
        )

        def convolve():
            return tf.nn.conv2d(images, kernel, layer.stride, "SAME")

        return {
            name: _contender.fastest(tf.function(convolve, jit_compile=jit), seconds)
            for name, jit in (("oneDNN", None), ("XLA", True))
        }

    _contender.serve(layers=layers, rate=rate)


if __name__ == "__main__":
    main()
