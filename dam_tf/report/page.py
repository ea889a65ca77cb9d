"""The page: what is known of the runs, put together and written at once."""

import os
import pathlib
from collections.abc import Sequence
from xml.etree import ElementTree

from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_file
from dam_tf.base.output import check_no_file
from dam_tf.report.facts import RunFacts, StudyFacts, read_run, sort_folders, words
from dam_tf.report.markup import data_uri, element, to_html
from dam_tf.report.sections import Sections, run_sections, study_section
from dam_tf.report.style import CSS, SCRIPT, digest
from dam_tf.runs.folder import find_runs

# The page asks for nothing: neither it nor what is in it can reach the network. Its
# own style sheet and script run, and nothing that a name could smuggle in.
_POLICY = (
    f"default-src 'none'; img-src data:; style-src {digest(CSS)}; "
    f"script-src {digest(SCRIPT)}; base-uri 'none'; form-action 'none'"
)

# The picture of nothing, where no image is chosen yet.
_NOTHING = data_uri(
    bytes.fromhex(
        "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002"
        "0144003b"
    ),
    "image/gif",
)


def write_report(
    paths: Sequence[os.PathLike | str], output: os.PathLike | str
) -> pathlib.Path:
    """Writes a page about runs, side by side, and about studies.

    It holds everything, pictures included, and opens from disk. What a folder does
    not know is left out.

    Args:
        paths: Folders of runs, and of studies (with settings.json and pictures).
        output: The HTML file to write; an old one is replaced at once.

    Returns:
        The file.

    Raises:
        UserError: a folder is neither, or its settings cannot be read.
    """
    output = pathlib.Path(output)
    if output.is_dir():
        raise UserError(f"the page {output} is a folder; name a file")
    check_no_file(output.parent)
    folders, studies = sort_folders(paths)
    found = find_runs(folders) if folders else {}
    runs = [read_run(title, folder) for title, folder in found.items()]
    page = "<!DOCTYPE html>\n" + to_html(_page(runs, studies)) + "\n"
    with atomic_file(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return output


def _page(
    runs: Sequence[RunFacts], studies: Sequence[StudyFacts]
) -> ElementTree.Element:
    sections: Sections = run_sections(runs) if runs else {}
    if studies:
        inner = element("div", map(study_section, studies), class_="beside")
        sections["Studies"] = [inner]
    titles = [one.title for one in (*runs, *studies)]
    title = f"Distilled: {', '.join(titles)}"
    links, parts = [], []
    for name, inner in sections.items():
        key = words(name).replace(" ", "-").lower()
        links.append(element("li", element("a", name, href=f"#{key}")))
        head = element("h2", name, id=f"{key}-title")
        parts.append(
            element("section", head, inner, id=key, aria_labelledby=f"{key}-title")
        )
    return element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element(
                "meta", name="viewport", content="width=device-width, initial-scale=1"
            ),
            element("title", title),
            element("link", rel="icon", href="data:,"),
            element("style", CSS),
        ),
        element(
            "body",
            element(
                "header",
                element("h1", title),
                element("nav", element("ul", links), aria_label="Sections"),
            ),
            element("main", parts),
            element("footer", element("p", "Made by dam_tf.", class_="faint")),
            *([_dialog(), element("script", SCRIPT)] if runs else []),
        ),
        lang="en",
    )


def _dialog() -> ElementTree.Element:
    buttons = [
        element("button", text, class_=name, type="button")
        for name, text in (("before", "← previous"), ("after", "next →"),
                           ("close", "close"))
    ]  # fmt: skip
    return element(
        "dialog",
        element("img", src=_NOTHING,
                alt="The chosen image, enlarged", width=1, height=1),
        element("p"),
        element("div", buttons),
        id="zoom",
        aria_label="Enlarged image",
    )  # fmt: skip
