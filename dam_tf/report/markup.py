"""HTML as a tree of elements, so that nothing is ever forgotten to be escaped."""

import base64
import io
import re
from collections.abc import Iterable
from xml.etree import ElementTree

import numpy as np

Child = "ElementTree.Element | str | int | float | None | Iterable[Child]"

UNKNOWN = "-"  # stands in a table where nothing is known

# What HTML does not allow in a text, or UTF-8 cannot write.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def element(tag: str, *children: Child, **attributes: object) -> ElementTree.Element:
    """Returns an HTML element.

    Args:
        tag: Its name.
        *children: Elements and texts, or lists of them; None is left out.
        **attributes: A `_` at the end is dropped, others become `-`; True is an
            attribute without a value, None and False are none at all.

    Example:
        >>> to_html(element("p", "a < b", class_="x", data_y='"', hidden=True))
        '<p class="x" data-y="&quot;" hidden="">a &lt; b</p>'
    """
    made = ElementTree.Element(tag)
    for name, value in attributes.items():
        if value is not None and value is not False:
            text = "" if value is True else _clean(str(value))
            made.set(name.removesuffix("_").replace("_", "-"), text)
    _append(made, children)
    return made


def to_html(root: ElementTree.Element) -> str:
    """Returns an element as HTML text, everything escaped."""
    return ElementTree.tostring(root, encoding="unicode", method="html")


def table(
    caption: str,
    head: Iterable[Child],
    rows: Iterable[Iterable[Child]],
    class_: str | None = None,
) -> ElementTree.Element:
    """Returns a table that scrolls by itself where the page is narrow.

    Args:
        caption: Says what it holds; shown above.
        head: Column titles.
        rows: Cells of each row, the first one its title; a cell may be a `td`.
        class_: Of the table.
    """
    body = []
    for first, *cells in rows:
        line = [element("th", first, scope="row")]
        for cell in cells:
            ready = isinstance(cell, ElementTree.Element) and cell.tag == "td"
            line.append(cell if ready else element("td", cell))
        body.append(element("tr", line))
    titles = [element("th", title, scope="col") for title in head]
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", element("tr", titles)),
            element("tbody", body),
            class_=class_,
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def folded(title: str, *inner: Child, open_: bool = False) -> ElementTree.Element:
    """Returns what is seen when its title is clicked, or at once if `open_`."""
    return element("details", element("summary", title), *inner, open=open_)


def data_uri(content: bytes, kind: str) -> str:
    """Returns `content` as an address that needs no file.

    Example:
        >>> data_uri(b"GIF", "image/gif")
        'data:image/gif;base64,R0lG'
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def png_uri(pixels: np.ndarray) -> str:
    """Returns uint8 pixels `[h, w, 1 or 3]` as the address of a PNG picture."""
    from PIL import Image

    text = io.BytesIO()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture.save(text, format="PNG", optimize=True)
    return data_uri(text.getvalue(), "image/png")


def _append(parent: ElementTree.Element, children: Iterable[Child]) -> None:
    for child in children:
        if child is None:
            continue
        if isinstance(child, ElementTree.Element):
            parent.append(child)
        elif isinstance(child, (str, int, float)):
            text = _clean(str(child))
            if len(parent):
                parent[-1].tail = (parent[-1].tail or "") + text
            else:
                parent.text = (parent.text or "") + text
        else:
            _append(parent, child)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
