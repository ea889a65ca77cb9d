"""Modules joined into one file, which runs as they do."""

import subprocess
import sys

import pytest

from dam_tf.exports.program.joined import joined

PARTS = {
    "parts/words.py": '"""Words.\n\nMore of them."""\n\nimport json\n\nONE = "one"\n',
    "parts/said.py": (
        '"""What is said."""\n\nimport json\nfrom typing import (\n    Any,\n)\n\n'
        "from .words import ONE\n\n\ndef say(end: Any) -> str:\n"
        "    return json.dumps([ONE, end])\n"
    ),
    "main.py": (
        '"""Says it."""\n\nimport sys\n\nfrom parts.said import say\n\n'
        'if __name__ == "__main__":\n    print(say(sys.argv[1]), __doc__)\n'
    ),
}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "parts").mkdir()
    for name, text in PARTS.items():
        (tmp_path / name).write_text(text)
    return tmp_path / "main.py", [tmp_path / name for name in PARTS][:2]


def test_one_file_does_what_several_do(files, tmp_path):
    main, parts = files
    one = tmp_path / "elsewhere" / "one.py"
    one.parent.mkdir()
    one.write_text(joined(main, parts))
    said = [
        subprocess.check_output([sys.executable, file, "end"], text=True)
        for file in (main, one)
    ]
    assert said[0] == said[1] == '["one", "end"] Says it.\n'
    text = one.read_text()
    assert text.count("import json") == 1 and "from .words" not in text
    assert "# words: Words.\n" in text and text.startswith('"""Says it."""')


def test_a_name_for_two_things_is_refused(files):
    main, parts = files
    parts[1].write_text("ONE = 2\n")
    with pytest.raises(ValueError, match="ONE is defined twice"):
        joined(main, parts)
