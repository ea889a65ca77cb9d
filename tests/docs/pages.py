"""The pages for users as the tests see them: their blocks, and the names they mention.

A block is fenced code of sh, python or toml. A comment before it says whether it runs
(`<!-- run -->`) or why it cannot (`<!-- check only: the reason -->`). What a page takes
for granted, such as a run that an earlier page made, is made by a hidden block:
`<!-- prepare sh` or `<!-- prepare python`, its lines, and `-->`.
"""

import dataclasses
import pathlib
import re
import shlex
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*GUIDES, ROOT / "BUILD.md", ROOT / "benchmarks" / "NOTES.md"]
LANGUAGES = ("sh", "python", "toml")

_FENCE = re.compile(r"```(\w*)")
_PREPARE = re.compile(r"<!-- prepare (sh|python)")
_RUN, _CHECK = "<!-- run -->", "<!-- check only: "


@dataclasses.dataclass(frozen=True)
class Block:
    """Code on a page.

    Attributes:
        where: The page and the line, for messages.
        language: One of `LANGUAGES`.
        text: The code.
        mark: The line before it, which says whether it runs; empty for a hidden block.
    """

    where: str
    language: str
    text: str
    mark: str

    @property
    def is_marked(self) -> bool:
        """Whether the page says what is to be done with it."""
        return self.hidden or self.runs or self.mark.startswith(_CHECK)

    @property
    def hidden(self) -> bool:
        """Whether only tests see it."""
        return not self.mark

    @property
    def runs(self) -> bool:
        """Whether the slow tests run it."""
        return self.hidden or self.mark == _RUN


def blocks(page: pathlib.Path) -> list[Block]:
    """Returns the blocks of a page, from top to bottom."""
    found, lines = [], page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        where = f"{page.relative_to(ROOT)}:{number + 1}"
        if fence := _FENCE.fullmatch(lines[number]):
            end = lines.index("```", number + 1)
            before = lines[number - 1].strip() or "nothing"
        elif fence := _PREPARE.fullmatch(lines[number]):
            end, before = lines.index("-->", number + 1), ""
        if fence:
            text = "\n".join(lines[number + 1 : end])
            found.append(Block(where, fence[1], text, before))
            number = end
        number += 1
    return found


def commands(text: str) -> Iterator[list[str]]:
    """Yields the words of each command of a sh block.

    Example:
        >>> list(commands("make test  # runs the tests"))
        [['make', 'test']]
    """
    waiting = ""
    for line in text.splitlines():
        waiting += line
        if waiting.endswith("\\"):
            waiting = waiting[:-1]
            continue
        try:
            words = shlex.split(waiting, comments=True)
        except ValueError:  # a quotation goes on in the next line
            waiting += "\n"
            continue
        waiting = ""
        while words and re.match(r"[A-Z_]+=", words[0]):  # of the environment
            del words[0]
        if words:
            yield words
    if waiting:
        raise ValueError(f"the command never ends: {waiting}")


def spans(page: pathlib.Path) -> set[str]:
    """Returns the pieces of code in the sentences of a page."""
    return set(re.findall(r"`([^`]+)`", prose(page)))


def links(page: pathlib.Path) -> set[str]:
    """Returns where a page links to, pictures included."""
    return set(re.findall(r"\]\(([^)]+)\)", prose(page)))


def headings(page: pathlib.Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub names them."""
    found = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in found
    }


def prose(page: pathlib.Path) -> str:
    """Returns a page without its blocks and its comments."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
