"""A run that extends another keeps its images, and learns the others beside them."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.config.settings import resolve
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.methods.feature_matching import FeatureMatching
from dam_tf.methods.method import Task
from dam_tf.methods.registry import METHODS, create
from dam_tf.runs.distiller import Distiller, create_distiller
from dam_tf.runs.extension import Extended
from dam_tf.runs.first import first_images
from dam_tf.runs.run import distill
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.methods.pools import config_of, trained_pool
from tests.runs.comparing import assert_same_run, final_state
from tests.tiny_data import make_data, tiny_config

pytestmark = pytest.mark.usefixtures("eagerly")

THROUGH_ANY = ("datadam", "dm", "feature_map", "pixel_mmd")
MORE = {"distillation__log_every": 1, "distillation__iterations": 3}


def settings(**changes):
    return tiny_config(**{**MORE, **changes})


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A finished run of one image per class, not to be changed."""
    folder = tmp_path_factory.mktemp("small") / "run"
    distill(settings(distillation__ipc=1), folder, data=make_data())
    return folder


def bytes_of(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files}


def assert_nested(larger: DistilledSet, smaller: DistilledSet) -> None:
    """The first images of each class are the smaller set, to the last bit."""
    first = larger.first(smaller.ipc)
    for name in ("images", "labels", "stored"):
        one, other = getattr(first, name), getattr(smaller, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.tobytes() == other.tobytes() and one.shape == other.shape
    assert first.class_names == smaller.class_names
    for one, other in zip(
        first.preprocessing.get_weights(),
        smaller.preprocessing.get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


class TestNested:
    def test_a_set_holds_those_that_it_extends(self, small, tmp_path):
        before, data = bytes_of(small), make_data()
        chosen = {"distillation__ipc": 2, "distillation__extends": str(small)}
        two = distill(settings(**chosen), tmp_path / "two", data=data)
        chosen |= {"distillation__extends": str(tmp_path / "two")}
        chosen |= {"distillation__ipc": 5, "distillation__classes_per_step": 2}
        chosen |= {"distillation__ema_decay": 0.5}
        five = distill(settings(**chosen), tmp_path / "five", data=data)
        assert (two.size, five.size, five.ipc) == (6, 15, 5)
        assert_nested(two, DistilledSet.load(small))
        assert_nested(DistilledSet.load(tmp_path / "five"), two)
        assert final_state(tmp_path / "five")["images"].shape == (9, 8, 8, 1)
        assert bytes_of(small) == before

    def test_the_others_are_learned(self, small, tmp_path):
        chosen = {"distillation__ipc": 3, "distillation__extends": str(small)}
        learned = distill(settings(**chosen), tmp_path / "run", data=make_data())
        chosen |= {"distillation__iterations": 0}
        start = distill(settings(**chosen), tmp_path / "start", data=make_data())
        moved = np.any(learned.images != start.images, axis=(1, 2, 3))
        np.testing.assert_array_equal(moved, [False, True, True] * 3)

    def test_stored_images_of_a_formation(self, tmp_path):
        data = make_data((9, 12, 15), 3)
        formation = {"distillation__formation": "factor:2"}
        formation |= {"distillation__init": "k-center"}
        chosen = {"distillation__ipc": 1, "method__name": "dm", **formation}
        chosen |= {"distillation__iterations": 1}
        one = distill(settings(**chosen), tmp_path / "one", data=data)
        chosen |= {
            "distillation__ipc": 2,
            "distillation__extends": str(tmp_path / "one"),
        }
        two = distill(settings(**chosen), tmp_path / "two", data=data)
        assert (two.ipc, two.size, len(two.images)) == (2, 6, 24)
        assert_nested(two, one)

    def test_through_a_pool(self, small, tmp_path):
        pool = trained_pool(tmp_path / "pool")
        chosen = {"distillation__ipc": 2, "distillation__extends": str(small)}
        config = config_of("ncfm", pool, **chosen)  # whose Adam takes dense gradients
        larger = distill(config, tmp_path / "run", data=make_data())
        assert_nested(larger, DistilledSet.load(small))
        state = final_state(tmp_path / "run")
        slots = [name for name in state if name.startswith("images/")]
        assert all(np.any(state[name][0]) for name in slots), "it has moved"


@pytest.mark.parametrize("name", THROUGH_ANY)
def test_images_that_stay_take_part_in_the_matching(name):
    """The others' gradient is that of a run in which all images are learned."""
    data, images = make_data(), np.random.default_rng(3)
    images = images.normal(size=(3, 3, 8, 8, 1)).astype(np.float32)
    # Two classes in a group, and one alone: batch norm sees all of them together.
    config = settings(method__name=name, network__norm="batch", distillation__ipc=3)
    layer = fit_preprocessing("standardize", data.train.images)
    whole = create_distiller(images, config, layer)
    config = resolve(config, data.image_shape)
    task = Task(config, data.image_shape, data.class_names, data=data, kept=1)
    method = create(config.method)
    method.check(task)
    beside = Distiller(images, method, task, layer)
    np.testing.assert_array_equal(beside.synthetic.images(), whole.synthetic.images())
    np.testing.assert_array_equal(beside.synthetic.labels(), whole.synthetic.labels())
    found, losses = zip(
        *(
            one.method.gradients(
                one.synthetic, iter(one.method.inputs(data, 0, 1)), tf.constant(0)
            )
            for one in (whole, beside)
        ),
        strict=True,
    )
    expected, now = (tf.convert_to_tensor(one["images"]).numpy() for one in found)
    expected = expected.reshape(3, 3, 8, 8, 1)[:, 1:].reshape(6, 8, 8, 1)
    assert np.abs(expected).max() > 0
    np.testing.assert_array_equal(now, expected)
    assert losses[0]["loss"] == losses[1]["loss"]


@pytest.mark.parametrize("are_needed", [True, False], ids=["new", "resumed"])
def test_the_first_images_of_a_run_are_those_that_networks_saw(are_needed, small):
    data = make_data()
    chosen = {"distillation__ipc": 2, "distillation__extends": str(small)}
    config = resolve(settings(**chosen), data.image_shape)
    extended = Extended.of(config, data.image_shape, data.class_names, data)
    task = Task(config, data.image_shape, data.class_names, data=data, kept=1)
    layer = extended.preprocessing
    images = first_images(task, layer, are_needed, extended)
    pixels, real = DistilledSet.load(small).images, data.train.images / 255
    expected = (pixels - real.mean()) / real.std()
    np.testing.assert_allclose(images[:, 0], expected, atol=1e-3)
    assert np.any(images[:, 1]) == are_needed


class TestResumed:
    def test_it_goes_on_bit_for_bit(self, small, tmp_path):
        chosen = {"distillation__ipc": 2, "distillation__extends": str(small)}
        distill(settings(**chosen), tmp_path / "whole", data=make_data())
        chosen |= {"distillation__iterations": 2}
        distill(settings(**chosen), tmp_path / "run", data=make_data())
        chosen |= {"distillation__iterations": 3}
        distill(settings(**chosen), tmp_path / "run", resume=True, data=make_data())
        assert_same_run(tmp_path / "run", tmp_path / "whole")

    def test_not_beside_other_images(self, small, tmp_path):
        changed = DistilledSet.load(small)
        chosen = {"distillation__ipc": 2, "distillation__extends": str(small)}
        distill(settings(**chosen), tmp_path / "run", data=make_data())
        before = bytes_of(tmp_path / "run")
        other = dataclasses.replace(changed, images=changed.images + 0.25)
        other.save(small)
        try:
            with pytest.raises(UserError, match="extends has other images than at its"):
                more = settings(**chosen, distillation__iterations=4)
                distill(more, tmp_path / "run", resume=True, data=make_data())
        finally:
            changed.save(small)
        assert bytes_of(tmp_path / "run") == before


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"distillation__ipc": 1}, "it has 1 images per class; give a larger ipc"),
            (
                {"distillation__formation": "factor:2"},
                "formation is 'raw', not 'factor",
            ),
            ({"dataset__preprocessing": "zca"}, "is 'standardize', not 'zca'"),
            ({"method__name": "dc"}, "method 'dc' cannot extend a run.*datadam, dm"),
            ({"method__name": "ld"}, "method 'ld' cannot extend a run"),
            ({"distillation__extends": "nowhere"}, "no run in .*nowhere"),
        ],
    )
    def test_settings_that_do_not_fit(self, changes, message, small, tmp_path):
        chosen = {"distillation__ipc": 2, "distillation__extends": str(small)}
        self._refused(settings(**{**chosen, **changes}), make_data(), message, tmp_path)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (make_data(seed=1), "made of other images than those of 'tiny' now"),
            (make_data(size=16), "its images are 8x8x1, not 16x16x1"),
            (make_data((9, 12)), "its classes have other names"),
        ],
        ids=["pixels", "size", "classes"],
    )
    def test_other_data(self, data, message, small, tmp_path):
        chosen = {"distillation__ipc": 2, "distillation__extends": str(small)}
        self._refused(settings(**chosen), data, message, tmp_path)

    def test_a_run_that_is_not_finished(self, small, tmp_path):
        text = (small / "config.toml").read_text()
        (small / "config.toml").write_text(
            text.replace("iterations = 3", "iterations = 9")
        )
        chosen = {"distillation__ipc": 2, "distillation__extends": str(small)}
        try:
            self._refused(
                settings(**chosen), make_data(), "has done 3 of 9 iterations", tmp_path
            )
        finally:
            (small / "config.toml").write_text(text)

    def test_another_preprocessing(self, small, tmp_path):
        other = fit_preprocessing("standardize", make_data(seed=4).train.images // 2)
        chosen = {"distillation__ipc": 2, "distillation__extends": str(small)}
        message = "cannot extend .* with another preprocessing than its own"
        self._refused(
            settings(**chosen), make_data(), message, tmp_path, preprocessing=other
        )

    def test_itself(self, small, tmp_path):
        chosen = {"distillation__ipc": 2, "distillation__extends": str(small)}
        before = bytes_of(small)
        with pytest.raises(UserError, match="cannot extend itself"):
            distill(settings(**chosen), small, overwrite=True, data=make_data())
        assert bytes_of(small) == before

    def test_a_step_without_a_run(self, small):
        config = settings(distillation__extends=str(small))
        with pytest.raises(UserError, match="only a run of its own can extend another"):
            images = np.zeros([3, 2, 8, 8, 1], np.float32)
            create_distiller(images, config, keras.layers.Identity())

    def _refused(self, config, data, message, tmp_path, **more):
        with pytest.raises(UserError, match=message) as raised:
            distill(config, tmp_path / "run", data=data, **more)
        assert "\n" not in str(raised.value)
        assert not list((tmp_path / "run").glob("*"))


def test_the_message_names_all_methods_that_can():
    can = {name for name, kind in METHODS.items() if kind.extends}
    assert can == {*THROUGH_ANY, "dance", "ncfm"}
    assert all(issubclass(METHODS[name], FeatureMatching) for name in can)
