"""Files of a set that a stranger may have made: little is read, and no memory taken."""

import json
import os
import tracemalloc

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.synthetic import records
from dam_tf.synthetic.distilled_set import DistilledSet


def test_soft_labels_larger_than_their_record_take_no_memory(whole, tmp_path):
    """A million classes, as the files say, in records of a few hundred bytes."""
    whole.save(tmp_path)
    folder = tmp_path / "distilled"
    count = 1_000_000
    found = json.loads((folder / "features.json").read_text())
    features = found["featuresDict"]["features"]
    features["label"]["classLabel"]["numClasses"] = str(count)
    features["soft_label"]["tensor"]["shape"]["dimensions"] = [str(count)]
    (folder / "features.json").write_text(json.dumps(found))
    names = "\n".join(map(str, range(count)))
    (folder / "label.labels.txt").write_text(f"{names}\n")
    with pytest.raises(UserError, match=r"record 1 of 8, .* \(its image is inc"):
        DistilledSet.load(tmp_path)


@pytest.mark.parametrize("count", ["1000000000000", "-1", "0", "x", None, [], 1e400])
def test_lengths_that_cannot_be_are_told(run, count):
    path = run / "distilled" / "dataset_info.json"
    found = json.loads(path.read_text())
    found["splits"][0]["shardLengths"] = [count]
    path.write_text(json.dumps(found))
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            DistilledSet.load(run)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value) and str(run) in str(caught.value)
    assert peak < 10_000_000


@pytest.mark.parametrize(
    "name", ["features.json", "dataset_info.json", "metadata.json", "label.labels.txt"]
)
def test_no_text_is_read_that_no_set_has(run, name, monkeypatch):
    path = run / "distilled" / name
    with path.open("ab") as file:
        file.truncate(2**40)  # a hole, which takes no place on the disk
    with pytest.raises(UserError, match=r"is damaged: it has 1,099,511,627,776 bytes"):
        DistilledSet.load(run)
    monkeypatch.setattr(records, "_LARGEST_TEXT", 2**41)
    monkeypatch.setattr(records.pathlib.Path, "read_text", too_much)
    with pytest.raises(UserError, match=r"is damaged: there is no memory for it"):
        DistilledSet.load(run)


def too_much(*_, **__):
    raise MemoryError


@pytest.mark.parametrize(
    "name",
    ["features.json", "dataset_info.json", "label.labels.txt", "metadata.json",
     "distilled-train.tfrecord-00000-of-00001"],
)  # fmt: skip
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(run, name):
    path = run / "distilled" / name
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match=f"{name} is missing"):
        DistilledSet.load(run)


def test_a_preprocessing_of_other_images_is_refused(distilled, tmp_path):
    smaller = distilled.images[:, :4, :4]
    with pytest.raises(UserError, match=r"preprocessing is of images 6x5x3, and these"):
        DistilledSet(smaller, distilled.labels, "abcd", distilled.preprocessing)
    distilled.save(tmp_path)
    plain = DistilledSet(np.zeros([1, 4, 4, 1]), [0], ("only",))
    plain.save(tmp_path)
    path = tmp_path / "distilled" / "metadata.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"preprocessing": True}))
    with pytest.raises(UserError, match="its files do not fit together"):
        DistilledSet.load(tmp_path)
