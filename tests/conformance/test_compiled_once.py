"""What XLA compiles for a method does not depend on values, so it compiles it once.

XLA makes constants of the values that a shape seems to depend on, without a word, and
compiles anew for each other value. So it was with LD where a network pads its images.
"""

import pytest
import tensorflow as tf

from dam_tf.exports.program.lowering import count_arguments, graphs, module_of
from dam_tf.methods.registry import METHODS
from dam_tf.runs.run import distill
from dam_tf.training.experts import train_missing
from tests.tiny_data import make_data, tiny_config

STEPS = {"steps": 1, "expert_epochs": 1, "max_start": 1}
EPOCHS = {"most_epochs": 1}
SHORT = {"mtt": STEPS, "tesla": STEPS, "cafe": EPOCHS, "cafe_dsa": EPOCHS}
CASES = [(name, SHORT.get(name, {})) for name in METHODS]
CASES += [("ld", {"variant": "second_order"}), ("ncfm", {"sampler": "learned"})]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_no_value_is_a_constant_of_what_xla_compiles(
    name, settings, monkeypatch, tmp_path, eagerly
):
    called, graph_of = {}, tf.function

    def noted(function=None, **keywords):
        made = graph_of(function, **keywords)
        if function is None or not keywords.get("jit_compile"):
            return made

        def call(*given):
            called[made] = given
            return made(*given)

        return call

    monkeypatch.setattr(tf, "function", noted)
    if place := METHODS[name].Settings.networks_in:
        own = {"train_networks": 1, "train_epochs": 2, place: str(tmp_path / "own")}
        settings = {**settings, **own}
    config = tiny_config(
        method__name=name,
        distillation__jit="xla",
        distillation__iterations=1,
        network__depth=2,
        **{f"method__{key}": value for key, value in settings.items()},
    )
    data = make_data(size=28)  # padded to 32
    distill(config, tmp_path / "run", data=data, train=train_missing)
    assert called
    for one, given in called.items():
        with graphs():
            text = module_of(one, given)
            inputs = one.get_concrete_function(*given).inputs
        assert count_arguments(text) == len(inputs), one.__name__
