"""The images of a run on the page, by class, each of which can be enlarged."""

from xml.etree import ElementTree

import numpy as np

from dam_tf.plots import caption, to_pixels
from dam_tf.report.facts import RunFacts
from dam_tf.report.markup import element, png_uri
from dam_tf.report.style import MOST_TILES, tiles
from dam_tf.synthetic.distilled_set import DistilledSet

_MOST = 600  # images of a run on the page
_SIDE = 128  # pixels of an image in the file, at most, where it is larger


def images_article(run: RunFacts) -> ElementTree.Element:
    """Returns a run's images, or why there are none."""
    distilled = run.distilled
    title = element("h3", run.title)
    if distilled is None:
        return element("article", title, element("p", f"No images: {run.trouble}"))
    if distilled.image_shape[2] not in (1, 3):
        channels = distilled.image_shape[2]
        words = f"Images of {channels} channels cannot be shown."
        return element("article", title, element("p", words))
    room = max(1, _MOST // distilled.num_classes)
    largest = int(np.bincount(distilled.labels).max())  # a formation makes many of ipc
    count = min(room, MOST_TILES, largest)
    method = run.config.method.name
    if run.is_coreset:
        method = f"chosen: {run.config.selection.method}"
    words = caption(distilled.name, distilled.ipc_text, method)
    if distilled.stored is not None:
        words += f"; networks see {largest} of each ({distilled.formation})"
    if count < largest:
        words += f"; the first {count} of each class are shown"
    kind = f"classes {tiles(count)}" + (" many" if count >= 5 else "")
    classes = [
        _one_class(distilled, label, count, run.title)
        for label in range(distilled.num_classes)
    ]
    return element(
        "article",
        title,
        element("p", words, class_="faint"),
        element("div", classes, class_=kind),
    )


def _one_class(distilled: DistilledSet, label: int, count: int, title: str):
    name = distilled.class_names[label]
    places = np.flatnonzero(distilled.labels == label)
    images = [
        element("button", _image(distilled, place, words), class_="tile", type="button")
        for place, words in (
            (place, f"{name}, image {number + 1} of {len(places)}, {title}")
            for number, place in enumerate(places[:count])
        )
    ]
    return element(
        "section",
        element("h4", name.replace("_", " ")),
        element("div", images or "no image", class_="tiles"),
    )


def _image(distilled: DistilledSet, place: int, words: str) -> ElementTree.Element:
    image = distilled.images[place]
    step = max(1, -(-max(image.shape[:2]) // _SIDE))
    pixels = to_pixels(image[::step, ::step])
    height, width = image.shape[:2]
    return element("img", src=png_uri(pixels), alt=words, width=width, height=height)
