"""A small campaign, and what `benchmarks/faults.py` trusts to judge a long one.

It runs in a process of its own, which may fork since TensorFlow has not run there.
"""

import json
import pathlib
import random
import subprocess
import sys

import pytest

from tests.faults.comparing import content_of, differences, leftovers, unwhole
from tests.faults.mutations import mutate

ROOT = pathlib.Path(__file__).resolve().parents[2]


def campaign(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "faults.py"), *arguments],
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_nothing_is_found(tmp_path):
    """Some tools are killed, some damaged, and every reader is fed some files."""
    file = tmp_path / "trials.jsonl"
    for part, most in (("stops,damages", 8), ("mutations", 130)):
        words = ["--seed=12", "--minutes=10", f"--part={part}", f"--most={most}"]
        result = campaign(*words, f"--json={file}")
        assert result.returncode == 0, result.stdout + result.stderr
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == 8 + 8 + 130
    assert sum(line["kills"] for line in lines) > 4
    readers = {line["kind"] for line in lines if line["part"] == "mutations"}
    assert len(readers) > 15
    assert {"refused", "accepted, the same"} <= {line["what"] for line in lines}
    assert result.stdout.splitlines()[0] == "Faults with seed 12: mutations"
    assert "146 trials" in result.stdout and " 0 findings" in result.stdout


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--part=earthquakes"], "'earthquakes' is none of stops, damages, mutations"),
        (["--only=3"], "--only is the number of a trial of one part"),
    ],
)
def test_what_cannot_be_is_refused(words, reason):
    result = campaign(*words)
    assert result.returncode == 2
    assert reason in result.stderr


class TestOracle:
    """What the campaign trusts to tell two folders apart."""

    def write(self, folder, **files):
        for name, text in files.items():
            path = folder / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    def test_times_and_older_lines_do_not_count(self, tmp_path):
        line = '{"iteration": 1, "loss": 2.0, "iterations_per_second": %d}\n'
        one = self.write(
            tmp_path / "one", metrics_jsonl=line % 3, evaluation_jsonl='{"a": 1}\n'
        )
        two = self.write(
            tmp_path / "two",
            metrics_jsonl=line % 5,
            evaluation_jsonl='{"a": 0}\n{"cut\n{"a": 1}\n',
            cost_jsonl='{"seconds": 1}\n',
        )
        assert not differences(content_of(one), content_of(two))

    def test_all_else_does(self, tmp_path):
        one = self.write(tmp_path / "one", a_txt="1", b_txt="1", metrics_jsonl="{}\n")
        two = self.write(tmp_path / "two", a_txt="2", c_txt="1", metrics_jsonl="")
        found = differences(content_of(one), content_of(two))
        assert found == "missing: c.txt; too many: b.txt; other: a.txt, metrics.jsonl"

    def test_half_a_file_and_what_is_left_over_are_seen(self, tmp_path):
        folder = self.write(
            tmp_path, good_json="{}", bad_json='{"a": ', page_html="<p>"
        )
        (folder / ".good-1.part.json").write_text("")
        assert unwhole(folder) == ["bad.json", "page.html"]
        assert leftovers(folder) == [".good-1.part.json"]


@pytest.mark.parametrize("name", ["a.json", "a.toml", "a.npz", "a.png", "a.bin"])
def test_mutations_follow_from_the_seed(name):
    data = b'{"a": [1, 2]}'
    found = [mutate(name, data, random.Random(5), [b"other"]) for _ in range(2)]
    assert found[0] == found[1]
    many = {mutate(name, data, random.Random(n), [b"other"])[0] for n in range(50)}
    assert len(many) > 20
