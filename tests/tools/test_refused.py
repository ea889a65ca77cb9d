"""What a command refuses, it refuses before it writes or deletes anything.

Each command is called, in this process, with settings that it must refuse, over a
finished folder of its kind. It answers with one line and status 2, and every file of
the folder has the bytes and the time of writing that it had before. `pytest -s` prints
what is answered to what.
"""

import json
import shutil

import pytest

from dam_tf.base.json_lines import append_json
from dam_tf.exports.formats import export
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.tiny_data import make_data, save_npz, save_run, tiny_config
from tests.tools.refused import REFUSED
from tests.tools.running import call

STUDIES = (
    "curves", "tsne", "ablation", "continual", "nas", "cost", "benchmark", "experts",
    "pool", "attention",
)  # fmt: skip
# `cost` and `benchmark` keep the real data out of their process: another one answers.
APART = ("--dataset=npz:m", "--network=vgg11", "--set=network.depth", "--ipc=1,10")
CASES = [
    pytest.param(
        tool,
        always,
        refused,
        message,
        id=f"{tool} {refused}",
        marks=[pytest.mark.slow]
        * (tool in ("cost", "benchmark") and refused.startswith(APART)),
    )
    for tool, (always, cases) in REFUSED.items()
    for refused, message in cases.items()
]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with a finished one of each kind: runs, an export, studies."""
    folder = tmp_path_factory.mktemp("finished")
    save_npz(folder / "tiny.npz", make_data())
    save_npz(folder / "other.npz", make_data(size=12))
    for name, file in (("run", "tiny"), ("coreset", "tiny"), ("other", "other")):
        dataset = f"npz:{folder / file}.npz"
        save_run(folder / name, dataset, ("0", "1", "2"), network__depth=1)
    for name in ("snapshots", "checkpoints"):
        shutil.rmtree(folder / "coreset" / name)
    distilled = DistilledSet.load(folder / "run")
    export(distilled, ["npz"], folder / "export", tiny_config())
    for name in STUDIES:
        (folder / name / "buffers").mkdir(parents=True)
        settings = {"study": name, "seed": 1}
        (folder / name / "settings.json").write_text(json.dumps(settings))
        append_json(folder / name / "trials.jsonl", {"trial": [1], "result": {}})
        for other in ("results.jsonl", "network.npz", "picture.png", "buffers/1.npz"):
            (folder / name / other).write_bytes(b"finished")
    (folder / "program").mkdir()
    (folder / "program" / "manifest.json").write_text('{"format": "dam_tf program"}')
    (folder / "letters").mkdir()
    (folder / "letters" / "one.txt").write_text("Dear")
    (folder / "folder.html").mkdir()
    return folder


@pytest.fixture
def finished(original, tmp_path):
    """A copy of it, so that a command that writes spoils no other test."""
    return shutil.copytree(original, tmp_path / "finished")


def state(folder):
    """What lies in a folder, and the bytes and the time of writing of its files."""
    return {
        str(path): path.is_file() and (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize(("tool", "always", "refused", "message"), CASES)
def test_nothing_is_touched(finished, tool, always, refused, message):
    before = state(finished)
    name, *words = tool.split()
    result = call(name, *words, *always, *refused.split(), folder=finished)
    assert result.returncode == 2, result.stderr
    *news, line = result.stderr.splitlines()
    assert news == ["Checking what is to be measured."] * (len(news) > 0)
    start, _, answer = line.partition(": ")
    print(f"| {tool} | {refused} | {answer} |")
    assert start == f"{name}.py" and message in answer
    after = state(finished)
    assert sorted(after) == sorted(before)
    assert [path for path in after if after[path] != before[path]] == []
