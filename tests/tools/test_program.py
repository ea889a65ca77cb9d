"""The program itself: what it lists, how it ends, and what it does not import."""

import errno
import re
import subprocess
import sys

import pytest
import tensorflow as tf

from dam_tf.commands import COMMANDS, program
from tests.tools.running import ROOT, call, command, run

# Runs a command up to its first printed line, and says what was imported until then.
FIRST_LINE = """
import sys
class FirstLine(Exception):
    pass
def write(text):
    raise FirstLine(text)
from dam_tf.commands import program
sys.stdout.write = write
try:
    program.run(sys.argv[1], sys.argv[2:])
except FirstLine as first:
    heavy = {"tensorflow", "keras", "matplotlib", "sklearn", "tensorflow_datasets"}
    print(first, sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""


def module(*arguments, folder=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "dam_tf", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_commands_are_listed(arguments):
    result = module(*arguments)
    assert result.returncode == 0 and result.stderr == ""
    for name in COMMANDS:
        assert re.search(rf"^  {name} +[A-Z].{{20,80}}\.$", result.stdout, re.MULTILINE)


def test_the_nearest_command_is_named():
    result = module("distil", "--dataset=digits")
    assert result.returncode == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("dam_tf: unknown command 'distil' (did you mean 'distill'?)")


def test_the_package_and_the_tool_are_one(tmp_path):
    for result, name in (
        (module("cost", "--ipc=0"), "dam_tf cost"),
        (run("cost", "--ipc=0", folder=tmp_path), "cost.py"),
    ):
        assert result.returncode == 2 and result.stdout == ""
        assert result.stderr.startswith(f"{name}: --ipc=0 must be different whole ")
        assert len(result.stderr.splitlines()) == 1
    ours = module("cost", "--help").stdout
    tools = run("cost", "--help", folder=tmp_path).stdout
    assert "    python -m dam_tf cost --dataset=cifar10" in ours
    path = ROOT / "tools" / "cost.py"
    assert ours.replace("python -m dam_tf cost", f"python {path}") == tools


@pytest.mark.parametrize("name", COMMANDS)
def test_a_tool_ends_with_status_2(name, tmp_path):
    """In a real process, for every file of tools/; test_refused.py has the rest."""
    result = run(name, "--nonsense", folder=tmp_path)
    assert result.returncode == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{name}.py: Unknown command line flag 'nonsense'")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_and_the_flags(name, tmp_path):
    result = call(name, "--help", folder=tmp_path)
    assert result.returncode == 0 and result.stderr == ""
    assert f"\n    python {name}.py" in result.stdout
    flag = "port" if name == "serve" else "output_dir"
    if name != "evaluate":
        assert re.search(rf"^  --{flag}: [A-Z]", result.stdout, re.MULTILINE)
    assert max(map(len, result.stdout.splitlines())) <= 88


def test_choices_in_the_help_are_those_that_are_accepted(tmp_path):
    text = " ".join(call("distill", "--help", folder=tmp_path).stdout.split())
    for flag in ("method", "network", "init", "preset"):
        names = re.search(rf"--{flag}: [^;]*; one of: ([^.]*)\.", text)[1]
        answer = call("distill", f"--{flag}=zz", folder=tmp_path).stderr
        assert answer.endswith(f"choose one of: {names}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["distill", "--dataset=cifar100"],
        ["coreset", "--dataset=cifar10"],
        ["generate", "--model=cgan", "--dataset=cifar10"],
        ["experts", "--dataset=cifar10"],
        ["pretrain", "--dataset=cifar10"],
        ["evaluate", "--whole_dataset"],
        ["ablate", "power"],
        ["ablate", "list"],
        ["continual", "--dataset=cifar100"],
        ["nas", "--proxy=random"],
        ["attention"],
        ["cost"],
        ["demo"],
        ["serve", "--distilled=run"],
    ],
)
def test_a_command_speaks_before_anything_heavy_is_imported(arguments, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", FIRST_LINE, *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    (line,) = result.stderr.splitlines()
    assert line.endswith(" []"), line
    assert list(tmp_path.iterdir()) == []


def test_help_may_be_read_in_part():
    shown = subprocess.Popen(
        command("evaluate", "--help"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    shown.stdout.close()
    assert shown.communicate()[1] == b""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "run/x.npz"),
            "No space left on device (run/x.npz)",
        ),
        (
            tf.errors.ResourceExhaustedError(
                None,
                None,
                "{{function_node __wrapped__SaveV2_device_/job:a/device:CPU:0}} "
                "x; No space left on device [Op:SaveV2]",
            ),
            "x; No space left on device",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (
            IsADirectoryError(errno.EISDIR, "Is a directory", "study/trials.jsonl"),
            "Is a directory (study/trials.jsonl)",
        ),
        (OSError(errno.EIO, "Input/output error", "x"), "Input/output error (x)"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a mistake of ours"), None),
        (ValueError("a mistake of ours"), None),
    ],
)
def test_a_full_disk_is_told_from_other_errors(error, reason):
    assert program.disk_trouble(error) == reason
