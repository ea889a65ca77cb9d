"""tools/ablate.py, as a user meets it."""

import json
import re

import pytest

from dam_tf.studies.ablation.ablations import ABLATIONS
from tests.tools.test_tools import ROOT, run

EXAMPLE = re.search(
    r"ablate.py (power .*?/power)\n", (ROOT / "tools/ablate.py").read_text(), re.DOTALL
)[1].replace("\\\n", "")


def test_the_example_of_its_help_and_more_seeds(tmp_path):
    """The example, shortened to two values and one short training."""
    words = [*EXAMPLE.split(), "--values=1,8", "--epochs=2", "--iterations=5"]
    words += ["--set=distillation.jit=none"]
    result = run("ablate", *words, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    first, *_, last = result.stdout.splitlines()
    assert first.startswith("Ablation of power of the attention maps (Figure 8) on dig")
    assert last.endswith("chart lies in runs/power/figure.png")
    for word in ("Warning", "WARNING", "Traceback", "cuda", "I0000", "E0000"):
        assert word not in result.stderr
    folder = tmp_path / "runs" / "power"
    assert (folder / "figure.png").read_bytes()[1:4] == b"PNG"
    assert (folder / "table.md").read_text(encoding="utf-8") in result.stdout
    again = run("ablate", *words, "--values=8,1", "--resume", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "Distilling" not in again.stderr, "all is kept"
    lines = (folder / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["variant"] for line in lines] == ["8", "1"]


def test_the_list_names_each_with_its_table_or_figure(tmp_path):
    result = run("ablate", "list", folder=tmp_path)
    assert result.returncode == 0
    usage = run("ablate", "--help", folder=tmp_path)
    for name, ablation in ABLATIONS.items():
        assert re.search(rf"^{name} +{ablation.reference}: ", result.stdout, re.M)
        assert f"{name}: {ablation.varies} ({ablation.reference})" in usage.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to do; one of: list, components"),
        (["powr"], "unknown command 'powr' (did you mean 'power'?)"),
        (["power", "loss"], "unexpected argument 'loss'"),
        (["power", "--points=3"], "--points is not for power"),
        (["loss", "--pretrained=3"], "--pretrained is not for loss"),
        (["power", "--values=1,x"], "method.power must be a number, not 'x'"),
        (["power", "--values=2,2.0"], "names one twice"),
        (["loss", "--values=msee"], "did you mean 'mse'"),
        (["power", "--seeds=0,0"], "--seeds=0,0 must be different whole numbers"),
        (["power", "--seeds=-1"], "at least 0"),
        (["power", "--seeds="], "--seeds= must be different whole numbers"),
        (["power", "--ipcs=0"], "--ipcs=0 must be different whole numbers"),
        (["power", "--ipcs=ten"], "--ipcs=ten must be different whole numbers"),
        (["power", "--ipc=0"], "distillation.ipc must be at least 1, not 0"),
        (["networks", "--pretrained=0"], "--help"),
        (["power", "--dataset=cifar1O"], "(did you mean 'cifar10'?)"),
        (["power", "--output_dir=full"], "not of a study"),
        (["power", "--resume", "--overwrite"], "choose one of"),
    ],
)
def test_a_wrong_word_is_named_in_one_line(arguments, message, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    result = run("ablate", *arguments, folder=tmp_path)
    assert result.returncode == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("ablate.py: ") and message in line
    assert not (tmp_path / "runs").exists()
