"""What a program gives on the machine that compiled it, for another to compare with."""

import numpy as np

from dam_tf.exports.program.functions import Functions

SEED = 7  # of the run, and of the noise that stands for real images
_VALUES = 2000  # that are kept of each result


def record(functions: Functions) -> dict[str, np.ndarray]:
    """Runs one iteration and one epoch on noise, and returns samples of the results.

    `real` is `numpy.random.default_rng(SEED).integers(0, 256, shape, numpy.uint8)`,
    `test` the same of SEED + 1. A run with that seed then does what a whole run does:
    `init`, `distill` of one iteration, `pixels`, `evaluate` of the first epoch.

    Returns:
        Of each result `<function>/<name>` some 2,000 values at most, evenly spaced.
    """
    before = {name: one.numpy() for name, one in functions.variables.items()}
    values = {**before, "seed": np.int32(SEED), "count": np.int32(1)}
    values |= {"first": np.int32(0), "last": np.int32(1)}
    found = {}
    for name in ("init", "distill", "pixels", "evaluate"):
        function = functions.by_name[name]
        for one, variable in functions.variables.items():
            variable.assign(values[one])
        given = {
            one: _given(one, spec, values) for one, spec in function.arguments.items()
        }
        results = dict(
            zip(function.results, function.call(*given.values()), strict=True)
        )
        results = {one: result.numpy() for one, result in results.items()}
        if name == "distill":
            results |= {
                one: functions.variables[one].numpy() for one in functions.state
            }
        values |= results
        found |= {
            f"{name}/{one}": sample(result)
            for one, result in results.items()
            if _is_telling(one)
        }
    for name, variable in functions.variables.items():
        variable.assign(before[name])
    return found


def sample(values: np.ndarray) -> np.ndarray:
    """Returns evenly spaced values of an array, flat.

    Example:
        >>> sample(np.arange(10_000)).tolist()[:3]
        [0, 5, 10]
    """
    return values.ravel()[:: max(1, values.size // _VALUES)]


def _is_telling(result):
    # Predictions are of networks that are not trained to the end, and a bias before a
    # norm has a gradient that is zero but for rounding.
    return result != "predictions" and not result.startswith("network/velocities/")


def _given(name, spec, values):
    if name in ("real", "test"):
        generator = np.random.default_rng(SEED + (name == "test"))
        return generator.integers(0, 256, spec.shape, np.uint8)
    return values.get(name, np.zeros(spec.shape, spec.dtype.as_numpy_dtype))
