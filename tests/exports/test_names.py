"""Names of classes as names of folders, and in the table beside them."""

import csv

import numpy as np
import pytest

from dam_tf.exports.formats import export, folder_names
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.tiny_data import tiny_config


def test_a_name_with_a_tab_stays_one_name(tmp_path):
    names = ("a\tb", 'say "c"', "plain")
    odd = DistilledSet(np.zeros([3, 8, 8, 1]), [0, 1, 2], names)
    paths = export(odd, ["png"], tmp_path / "out", tiny_config())
    with (paths["png"] / "classes.tsv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    assert [row[2] for row in rows[1:]] == list(names)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["a/b", "a\\b", "a:b"], ["a_b", "a_b_2", "a_b_3"]),
        (["Cat", "cat", "cat_2"], ["Cat", "cat_2", "cat_2_2"]),
        (["..", ".", "-rf", "~", "end."], ["__", "_", "_rf", "__2", "end_"]),
        (["NUL", "com1.txt", "console"], ["NUL_", "com1.txt_", "console"]),
        (["a\tb", "犬"], ["a_b", "犬"]),
    ],
)
def test_folder_names_are_safe(names, expected):
    assert folder_names(names) == expected


def test_long_folder_names_are_cut():
    names = folder_names(["犬" * 300, "犬" * 301])
    assert len(set(names)) == 2
    assert all(len(name.encode()) < 140 for name in names)
