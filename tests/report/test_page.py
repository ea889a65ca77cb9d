"""The page: valid, self-contained, readable, and true to what the folders hold."""

import base64
import hashlib
import html.parser
import io
import json
import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from dam_tf.base.errors import UserError
from dam_tf.config.sections import DatasetConfig
from dam_tf.data.loading import load_dataset
from dam_tf.report import write_report
from dam_tf.runs.provenance import Provenance
from dam_tf.synthetic.distilled_set import DistilledSet
from tests.tiny_data import make_data, save_npz, save_run, tiny_config

VOID = {"meta", "link", "img", "source", "br"}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "a & b 'c' &amp; \u202e $x$",
)


class Page(html.parser.HTMLParser):
    """Reads a page strictly: every tag is closed in order, no attribute comes twice."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, dict(attributes), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes another"

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag):
        return [attributes for name, attributes, _ in self.elements if name == tag]

    def text(self, tag):
        return [text for name, text in self.texts if name == tag]


def read(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    return Page(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs, the first with hostile names, and a study; not to be changed."""
    root = tmp_path_factory.mktemp("runs")
    save_run(root / '<i>"one"&', names=HOSTILE)
    save_run(root / "two", seed=1, distillation__seed=1)
    study = root / "study"
    study.mkdir()
    (study / "settings.json").write_text(
        json.dumps({"<b>\x07": [1, None], "n": {"x": 2}})
    )
    (study / "trials.jsonl").write_text('{"trial": 1, "result": {}}\n' * 3)
    Image.new("RGB", (30, 20)).save(study / "chart.png")
    return root


@pytest.fixture(scope="module")
def page(folder):
    paths = [folder / '<i>"one"&', folder / "two", folder / "study"]
    return read(write_report(paths, folder / "page.html"))


def test_it_is_valid(page):
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes, _ in page.elements:
        for name in ("aria-labelledby", "for"):
            assert attributes.get(name) is None or attributes[name] in ids
        assert not any(name.startswith("on") for name in attributes)
    for link in page.all("a"):
        assert link["href"].removeprefix("#") in ids
    for tag, allowed in (
        ("tr", {"thead", "tbody"}), ("td", {"tr"}), ("th", {"tr"}), ("li", {"ul"}),
        ("caption", {"table"}), ("summary", {"details"}), ("figcaption", {"figure"}),
        ("source", {"picture"}),
    ):  # fmt: skip
        parents = {open_[-1] for name, _, open_ in page.elements if name == tag}
        assert parents and parents <= allowed, tag
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
    levels = [int(name[1]) for name, *_ in page.elements if re.match(r"h\d", name)]
    assert max(np.diff(levels)) <= 1, "no level of headings is left out"


def test_rows_are_as_long_as_their_heads(folder):
    text = (folder / "page.html").read_text(encoding="utf-8")
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    assert len(tables) >= 6
    for one in tables:
        rows = re.findall(r"<tr>.*?</tr>", one, re.DOTALL)
        assert len({len(re.findall(r"<t[hd][ >]", row)) for row in rows}) == 1


def test_it_needs_nothing_else(page, folder):
    for _, attributes, _ in page.elements:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), value
        assert "style" not in attributes, "the policy allows none"
    (css,), (script,) = page.text("style"), page.text("script")
    assert "url(" not in css and "@import" not in css
    assert not re.search(r"fetch|import|XMLHttp|https?:", script)
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for kind, text in (("style", css), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert (folder / "page.html").stat().st_size < 1_000_000


def test_every_picture_has_words_and_a_size_and_can_be_read(page):
    assert len(page.all("img")) > 12
    for image in page.all("img"):
        assert image["alt"].strip(), image
        assert int(image["width"]) > 0 and int(image["height"]) > 0
    sources = [i["src"] for i in page.all("img")]
    sources += [source["srcset"] for source in page.all("source")]
    for address in sources:
        kind, _, content = address.partition(";base64,")
        content = base64.b64decode(content, validate=True)
        if kind == "data:image/svg+xml":
            assert ElementTree.fromstring(content).tag.endswith("svg")
        else:
            Image.open(io.BytesIO(content)).load()
    dark = [source["media"] for source in page.all("source")]
    assert set(dark) == {"(prefers-color-scheme: dark)"}


def test_hostile_names_are_text(page):
    assert len(page.all("script")) == 1
    assert not any("onerror" in attributes for _, attributes, _ in page.elements)
    names = page.text("h4")
    assert HOSTILE[0] in names and HOSTILE[1] in names
    assert HOSTILE[2] in names
    assert '<i>"one"&' in page.text("h3") and not page.all("i") and not page.all("b")
    assert "<b>\ufffd" in page.text("th")
    assert "<CPU>" in page.text("td")


def test_images_are_those_of_the_set(page, folder):
    distilled = DistilledSet.load(folder / "two")
    shown = [i for i in page.all("img") if i["alt"].endswith(", two")]
    alts = [image["alt"] for image in shown]
    assert alts[:3] == [
        "circle, image 1 of 2, two", "circle, image 2 of 2, two",
        "cross, image 1 of 2, two",
    ]  # fmt: skip
    assert len(shown) == len(distilled.images)
    for image, stored in zip(shown, distilled.images, strict=True):
        content = base64.b64decode(image["src"].partition(",")[2])
        pixels = np.asarray(Image.open(io.BytesIO(content)), float) / 255
        assert pixels.shape == (8, 8)
        slope, _ = np.polyfit(stored[..., 0].ravel(), pixels.ravel(), 1)
        correlation = np.corrcoef(stored.ravel(), pixels.ravel())[0, 1]
        assert slope > 0.5 and correlation > 0.99


def test_numbers_are_those_of_the_files(page):
    cells = [text.strip() for text in page.text("td")]
    assert cells.count("30.0 ± 5.0") == 2 and cells.count("60.0 ± 10.0") == 2
    assert "66.7 %" in cells and "100.0 %" in cells, "accuracies of the classes"
    assert cells.count("33") >= 2, "shares that were taken for the next class"
    assert cells.count("0.25") == 2, "1.5 seconds of 6 iterations"
    assert cells.count("72") == 2, "6 iterations of 3 classes with 4 images"
    charts = [i["alt"] for i in page.all("img") if "against the iteration" in i["alt"]]
    assert charts[0].endswith("two goes from 4 at iteration 2 to 1 at 6.")
    marked = [a for a in page.all("td") if a.get("class") == "differs"]
    assert len(marked) == 2, "the seeds differ, and nothing else"


def test_what_made_a_run_and_of_how_many_images(tmp_path):
    data = save_npz(tmp_path / "tiny.npz", make_data())
    save_run(tmp_path / "run", data, ("0", "1", "2"))
    real = load_dataset(DatasetConfig(name=data))
    made = Provenance.of(tiny_config(), real, networks=None)
    made.save(tmp_path / "run" / "provenance.json")
    cells = read(write_report([tmp_path / "run"], tmp_path / "page.html")).text("td")
    assert "train 36 (9 to 15 a class), test 15 (5 a class)" in cells
    (versions,) = (cell for cell in cells if cell.startswith("dam_tf "))
    assert made.versions["tensorflow"] in versions and made.commit in versions


def test_commands_repeat_what_ran(page, folder):
    lines = "\n".join(page.text("code")).splitlines()
    path = folder / "two"
    assert (
        f"python -m dam_tf distill --config={path}/config.toml --output_dir=again"
        in lines
    )
    assert f"python -m dam_tf evaluate --distilled={path}" in lines
    quoted = [line for line in lines if "one" in line and line.startswith("python")]
    assert quoted and all("'" in line for line in quoted), "the shell needs quotes"


def test_damaged_and_unfinished_runs_are_shown_as_far_as_they_go(folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder / "two", run)
    shutil.rmtree(run / "distilled")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": "x"}\n{"iteration": 8, "loss": NaN}\n[1]\n{"it')
    with (run / "evaluation.jsonl").open("a") as file:
        file.write('{"accuracy": "high"}\n{"accuracy": 0.5, "accuracies": []}\n')
        file.write('{"accuracy": 0.9, "accuracies": [0.9], "confusion": "no", ')
        file.write('"per_class": [1], "config": 3}\n')
    (run / "cost.jsonl").write_text('{"first": null}\n\x00')
    page = read(write_report([run], tmp_path / "page.html"))
    assert any("No images: " in text for text in page.text("p"))
    assert "90.0" in page.text("td")
    assert "0.25" in page.text("td"), "four iterations per second, of the metrics"
    alts = [i["alt"] for i in page.all("img")]
    assert any("run goes from 4 at iteration 2 to 1 at 6." in alt for alt in alts)


def test_a_coreset_and_many_classes(tmp_path):
    names = tuple(f"class_{k}" for k in range(120))
    save_run(tmp_path / "run", names=names, distillation__ipc=12)
    for name in ("checkpoints", "metrics.jsonl", "evaluation.jsonl", "cost.jsonl"):
        path = tmp_path / "run" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = read(write_report([tmp_path / "run"], tmp_path / "page.html"))
    tiles = [a for a in page.all("button") if a.get("class") == "tile"]
    assert len(tiles) == 600
    assert any("the first 5 of each class" in text for text in page.text("p"))
    assert "coreset: herding" in page.text("td")
    assert any("dam_tf coreset" in text for text in page.text("code"))


def test_a_study_alone(folder, tmp_path):
    page = read(write_report([folder / "study"], tmp_path / "page.html"))
    (image,) = page.all("img")
    assert (image["width"], image["height"]) == ("30", "20")
    assert not page.all("script"), "there is nothing to enlarge"
    assert "3 trials are finished." in page.text("p")


def test_what_is_no_picture_does_not_get_into_the_page(folder, tmp_path):
    study = shutil.copytree(folder / "study", tmp_path / "study")
    (tmp_path / "key").write_text("a secret")
    (study / "linked.png").symlink_to(tmp_path / "key")
    (study / "broken.png").symlink_to("nowhere")
    (study / "torn.gif").write_bytes(b"GIF89a")
    path = write_report([study], tmp_path / "page.html")
    page = read(path)
    assert len(page.all("img")) == 1
    said = [text for text in page.text("p") if "is no picture" in text]
    assert [text.split()[0] for text in said] == [
        "broken.png",
        "linked.png",
        "torn.gif",
    ]
    assert base64.b64encode(b"a secret").decode() not in path.read_text()


def test_what_is_no_run_is_said(folder, tmp_path):
    (tmp_path / "letter.txt").touch()
    with pytest.raises(UserError, match="no run in"):
        write_report([tmp_path], tmp_path / "page.html")
    with pytest.raises(UserError, match="twice"):
        write_report([folder / "two"] * 2, tmp_path / "page.html")
    with pytest.raises(UserError, match="folders of runs"):
        write_report([], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_page_is_the_same_for_the_same_folders(folder, tmp_path):
    pages = [write_report([folder / "two"], tmp_path / f"{n}.html") for n in "ab"]
    assert pages[0].read_bytes() == pages[1].read_bytes()
