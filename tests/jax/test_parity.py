"""What jax makes of a program is what TensorFlow made of it."""

import json
import re

import numpy as np
import pytest

from tests.jax.running import RECORDED, arrays

TOLERANCE = 1e-4  # of the largest value


@pytest.mark.parametrize("name", ["toy", "datadam"])
def test_an_iteration_and_an_epoch_are_those_of_tensorflow(runs, name):
    status, output, errors = runs.run("--self_test", program=RECORDED / name)
    assert status == 0, output + errors
    gaps = dict(re.findall(r"(\w+: \S+) differs by (\S+)", output))
    manifest = json.loads((RECORDED / name / "manifest.json").read_text())
    for expected in ("distill: losses", "pixels: pixels", "distill: images"):
        assert expected in gaps
    assert any(gap.startswith("evaluate: network/weights") for gap in gaps)
    assert set(manifest["state"]) <= {gap.split(": ")[1] for gap in gaps}
    assert max(map(float, gaps.values())) < TOLERANCE, output


def test_a_whole_run_is_that_of_tensorflow(runs):
    folder, expected = runs.distill("out"), arrays(RECORDED / "expected.npz")
    found = arrays(folder / "distilled.npz")
    for ours, theirs in (("images", "pixels"), ("model_images", "images")):
        np.testing.assert_allclose(found[ours], expected[theirs], atol=1e-5)
    losses = np.loadtxt(folder / "losses.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(losses, expected["losses"], rtol=1e-4, atol=1e-5)
    labels = np.sort(arrays(RECORDED / "toy.npz")["y_test"])
    results = json.loads((folder / "results.json").read_text())
    right = (expected["answers"] == labels).mean(axis=1)
    assert results["accuracies"] == right.tolist()
    assert results["iterations"] == 40 and results["seed"] == 3
    assert 0 < results["seconds_per_step"]["lowest"] < results["distill_seconds"]
    assert results["peak_bytes"] > 1e7 and "jax" in results["versions"]


def test_the_set_holds_what_dam_tf_writes(runs):
    found = arrays(runs.distill("out", "--no_evaluate") / "distilled.npz")
    assert found["images"].shape == (4, 8, 8, 1) and found["images"].dtype == np.float32
    assert found["labels"].tolist() == [0, 0, 1, 1]
    assert found["class_names"].tolist() == ["0", "1"]
    assert found["preprocessing_kind"] == "standardize" and found["formation"] == "raw"
    seen = (found["images"] - found["preprocessing_mean"]) / 0.5
    np.testing.assert_allclose(found["model_images"], seen, atol=1e-6)
    assert json.loads(str(found["provenance"]))["seed"] == "3"


def test_datadam_runs_to_the_end(runs):
    """The program is whitened, and a matrix of the two is left out of it."""
    program = RECORDED / "datadam"
    words = (
        f"--data={RECORDED / 'digits.npz'}",
        "--output_dir=out",
        "--json=line.jsonl",
    )
    status, output, errors = runs.run(*words, program=program)
    assert status == 0, output + errors
    assert re.search(r"Test accuracy: [\d.]+ ± [\d.]+ % over 2 networks", output)
    found = arrays(runs.folder / "out" / "distilled.npz")
    flat = found["images"].reshape(6, 64) - found["preprocessing_zca_mean"]
    seen = (flat @ found["preprocessing_whitening"]).reshape(6, 8, 8, 1)
    np.testing.assert_allclose(found["model_images"], seen, atol=1e-3)
    np.testing.assert_allclose(
        found["preprocessing_whitening"] @ found["preprocessing_unwhitening"],
        np.eye(64),
        atol=1e-3,
    )
    (line,) = (runs.folder / "line.jsonl").read_text().splitlines()
    assert json.loads(line)["accuracy_mean"] > 0.34  # of three classes


def test_another_seed_gives_another_set(runs):
    first, again, other = (
        arrays(
            runs.distill(f"out{k}", f"--seed={seed}", "--no_evaluate") / "distilled.npz"
        )
        for k, seed in enumerate((3, 3, 4))
    )
    np.testing.assert_array_equal(first["images"], again["images"])
    assert np.abs(first["images"] - other["images"]).max() > 0.01
