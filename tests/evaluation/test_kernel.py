"""A set tested by its kernel, from Python and from the command line."""

import dataclasses
import re

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.base.json_lines import read_json_lines
from dam_tf.config.kernels import KIPSettings
from dam_tf.config.settings import Config
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.evaluation.kernel import kernel_accuracy
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.regression_set import probabilities
from tests.methods.kernels import numpy_answers
from tests.tiny_data import make_data, save_npz, save_run
from tests.tools.running import call

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.mark.parametrize("soft", [False, True])
def test_equals_numpy_with_the_targets_that_were_learned(soft, rng):
    data = make_data(size=4)
    preprocessing = fit_preprocessing("standardize", data.train.images)
    images = rng.random((5, 4, 4, 1)).astype(np.float32)
    targets = rng.standard_normal((5, 3)) if soft else np.eye(3)[[0, 1, 2, 0, 1]]
    found = probabilities(targets).numpy()
    distilled = DistilledSet(
        images,
        found.argmax(axis=1),
        data.class_names,
        preprocessing,
        soft_labels=found if soft else None,
    )
    method = KIPSettings(depth=2, kernel_network="conv", regularization=1e-3)
    config = dataclasses.replace(Config(), method=method)
    answers = numpy_answers(
        preprocessing(images).numpy(),
        targets - targets.mean(axis=1, keepdims=True),
        preprocessing(data.test.images / np.float32(255)).numpy(),
        1e-3,
        conv=True,
        depth=2,
    )
    evaluation = kernel_accuracy(distilled, config, data)
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (data.test.labels, answers.argmax(axis=1)), 1)
    np.testing.assert_array_equal(evaluation.confusion, confusion)
    assert evaluation.mean == np.diag(confusion).sum() / 15
    assert str(evaluation).endswith("% over 1 regression")


def test_a_set_of_other_classes_is_refused():
    data = make_data()
    other = DistilledSet(np.zeros([2, 8, 8, 1]), np.arange(2), ("cat", "dog"))
    with pytest.raises(UserError, match="other classes"):
        kernel_accuracy(other, Config(), data)


def test_the_command_prints_it_and_keeps_it_where_it_was_told(tmp_path):
    data = make_data()
    names = ("0", "1", "2")
    dataset = save_npz(tmp_path / "tiny.npz", data)
    save_run(tmp_path / "run", dataset, names, method__name="kip", method__depth=2)
    before = (tmp_path / "run" / "evaluation.jsonl").read_bytes()
    words = ["--distilled=run", "--by=kernel", "--json=out.jsonl"]
    result = call("evaluate", *words, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    first, *_, last = result.stdout.splitlines()
    kernel = "the NTK of a fully connected network with 2 hidden layers"
    assert first.endswith(f": regression with {kernel}")
    assert re.fullmatch(r"Test accuracy: [\d.]+ % over 1 regression", last)
    (line,) = read_json_lines(tmp_path / "out.jsonl")
    assert line["by"] == f"regression with {kernel}"
    assert (tmp_path / "run" / "evaluation.jsonl").read_bytes() == before
    random = ["--distilled=random", f"--dataset={dataset}", "--ipc=2", "--by=kernel"]
    result = call("evaluate", *random, "--sets=2", folder=tmp_path)
    assert result.stdout.splitlines()[-1].endswith("over 2 regressions on 2 sets")
