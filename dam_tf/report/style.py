"""How a report looks, and what happens when an image is clicked.

Whatever differs from element to element is a class, never a `style` attribute: so the
page's policy can name this style sheet and this script by their digests, and a browser
takes no others.
"""

import base64
import hashlib

MOST_TILES = 10  # images of a class, at most, for which there is a width
_SHADES = 20  # steps between no color and the darkest


def shade(share: float) -> str:
    """Returns the class of a cell that is the darker, the more `share` nears 1.

    Example:
        >>> shade(0.0), shade(0.5), shade(1.0)
        ('shade-0', 'shade-10', 'shade-20')
    """
    return f"shade-{round(_SHADES * min(max(share, 0), 1))}"


def tiles(count: int) -> str:
    """Returns the class of images that are shown `count` beside each other.

    Example:
        >>> tiles(3)
        'tiles-3'
    """
    return f"tiles-{count}"


def digest(text: str) -> str:
    """Returns how a content security policy names a style sheet or a script.

    Example:
        >>> digest("")
        "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    """
    code = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{code}'"


def _shades() -> str:
    return "".join(
        f"td.{shade(step / _SHADES)} "
        f"{{ background: rgba(0, 114, 178, {0.75 * step / _SHADES:.3f}); }}\n"
        for step in range(_SHADES + 1)
    )


def _widths() -> str:
    """How wide an image and its class are, by how many images stand beside it."""
    lines = []
    for count in range(1, MOST_TILES + 1):
        tile = max(2.0, min(4.0, 22 / count))
        wide = max(5.6, count * (tile + 0.2))  # most names need as much
        lines.append(
            f".{tiles(count)} {{ --tile: {tile:.2f}rem; --class: {wide:.2f}rem; }}\n"
        )
    return "".join(lines)


_CSS = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --card: #f5f6f8; --ink: #1c1e21; --faint: #5b626b;
  --line: #d5d9de; --link: #005ea8; --bar: #0072b2; --mark: #fff0c2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15171a; --card: #1f2226; --ink: #e8e8e8; --faint: #a3abb5;
    --line: #3a4048; --link: #7cc0f5; --bar: #56b4e9; --mark: #4a3d10;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
header, main, footer { max-width: 76rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 1.5rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1.05rem; margin: 1rem 0 .5rem; }
h4 { font-size: .85rem; font-weight: 600; margin: 0 0 .2rem; }
p { margin: .5rem 0; }
.faint, figcaption { color: var(--faint); font-size: .9rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0; margin: 0; }
nav li { list-style: none; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table {
  border-collapse: collapse; font-size: .9rem;
  font-variant-numeric: tabular-nums;
}
caption { text-align: left; color: var(--faint); padding-bottom: .3rem; }
th, td {
  text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: normal;
}
th { font-weight: 600; }
tbody th { font-weight: 400; color: var(--faint); }
td.differs { background: var(--mark); padding-left: .4rem; }
td.share { white-space: nowrap; min-width: 9rem; }
meter { width: 5rem; height: .8rem; margin-right: .5rem; vertical-align: middle; }
table.confusion th, table.confusion td { padding: .2rem .35rem; text-align: center; }
table.confusion tbody th { text-align: right; }
pre {
  background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: .7rem; overflow-x: auto; font-size: .85rem; overflow-wrap: normal;
}
summary { cursor: pointer; padding: .3rem 0; }
.beside {
  display: grid; gap: 1.25rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
}
.charts {
  display: grid; gap: 1.25rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr));
}
.charts > *, .beside > * { min-width: 0; }
article, .card {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .25rem 1rem 1rem;
}
.card { padding: .75rem; margin: 0; }
.card img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.paper img { background: #ffffff; }
.classes {
  display: grid; gap: .7rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--class)), 1fr));
}
.tiles { display: flex; flex-wrap: wrap; gap: 3px; }
.tile {
  padding: 0; border: 0; background: none; cursor: zoom-in; line-height: 0;
  width: var(--tile);
}
.tile img { width: 100%; height: auto; image-rendering: pixelated; }
@media (max-width: 30rem) { .many .tile { width: calc((100% - 12px) / 5); } }
dialog {
  border: 0; border-radius: 10px; padding: 1rem; max-width: 96vw; max-height: 96vh;
  background: var(--ground); color: var(--ink); text-align: center;
}
dialog::backdrop { background: rgba(0, 0, 0, .75); }
dialog img {
  width: min(80vw, 70vh); height: min(80vw, 70vh); object-fit: contain;
  image-rendering: pixelated;
}
dialog button {
  font: inherit; color: inherit; background: var(--card); padding: .5rem 1rem;
  border: 1px solid var(--line); border-radius: 6px; cursor: pointer; margin: 0 .2rem;
}
footer { padding-top: 2rem; padding-bottom: 2rem; }
"""
CSS = _CSS + _shades() + _widths()

SCRIPT = """
"use strict";
(() => {
  const dialog = document.getElementById("zoom");
  const tiles = [...document.querySelectorAll("button.tile")];
  const large = dialog.querySelector("img");
  const words = dialog.querySelector("p");
  let shown = 0;
  const show = (index) => {
    shown = (index + tiles.length) % tiles.length;
    const image = tiles[shown].querySelector("img");
    large.src = image.src;
    large.alt = image.alt;
    words.textContent = image.alt;
    if (!dialog.open) dialog.showModal();
  };
  tiles.forEach((tile, index) => tile.addEventListener("click", () => show(index)));
  dialog.querySelector(".before").addEventListener("click", () => show(shown - 1));
  dialog.querySelector(".after").addEventListener("click", () => show(shown + 1));
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(shown - 1);
    if (event.key === "ArrowRight") show(shown + 1);
  });
  dialog.addEventListener("close", () => tiles[shown].focus());
})();
"""
