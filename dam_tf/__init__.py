"""dam_tf distils labelled image data sets into a few synthetic images per class.

    import dam_tf
    config = dam_tf.make_config(overrides={"dataset.name": "cifar10"})
    distilled = dam_tf.distill(config, "runs/cifar10")
    print(dam_tf.evaluate("runs/cifar10"))

The names below are loaded when first used, so that importing the package, and
checking settings with it, does not wait for TensorFlow.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Config": "config",
    "DistilledSet": "distilled_set",
    "Distiller": "distiller",
    "Evaluation": "evaluation",
    "MaximumMeanDiscrepancy": "matching",
    "SpatialAttention": "matching",
    "UserError": "errors",
    "coreset": "selection",
    "distill": "distillation",
    "evaluate": "evaluation",
    "evaluate_whole_set": "evaluation",
    "export": "exporting",
    "load_dataset": "datasets",
    "make_config": "config",
    "random_real_set": "selection",
    "select": "selection",
}

_PACKAGES = ("datasets", "matching", "networks")

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__, *_PACKAGES]
