"""Networks: architectures by name, random weights, and stored networks."""

from dam_tf.networks.registry import ARCHITECTURES, create

__all__ = ["ARCHITECTURES", "create"]
