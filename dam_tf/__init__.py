"""dam_tf distils labelled image data sets into a few synthetic images per class.

    import dam_tf
    distilled = dam_tf.distill(x_train, y_train, ipc=10)
    model.fit(distilled.as_dataset("network").batch(32), epochs=300)
    print(dam_tf.evaluate(distilled, x_test, y_test))

The names below are loaded when first used, so that importing the package, and
checking settings with it, does not wait for TensorFlow.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "AugmentationConfig": "config.settings",
    "Config": "config.settings",
    "DistilledSet": "synthetic.distilled_set",
    "Distiller": "runs.distiller",
    "Evaluation": "evaluation.results",
    "MaximumMeanDiscrepancy": "methods.mmd",
    "NetworkConfig": "config.settings",
    "SpatialAttention": "methods.attention",
    "UserError": "base.errors",
    "coreset": "coresets.select",
    "distill": "api.distill",
    "evaluate": "api.evaluate",
    "evaluate_whole_set": "evaluation.evaluate",
    "export": "exports.formats",
    "export_program": "exports.program.folder",
    "load": "api.evaluate",
    "load_dataset": "data.loading",
    "make_config": "config.presets",
    "random_real_set": "coresets.select",
    "relabel": "training.relabel",
    "select": "coresets.select",
    "train_experts": "api.train_experts",
}

_PACKAGES = ("data", "methods", "networks")

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__, *_PACKAGES]
