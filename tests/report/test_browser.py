"""A report in a real browser: nothing is cut off, nothing fails, images enlarge.

This is the one test that is skipped where there is no Chromium.
"""

import html
import json
import re
import shutil
import subprocess

import pytest

from dam_tf.report import write_report
from tests.tiny_data import save_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--virtual-time-budget=60000", "--dump-dom",
)  # fmt: skip

# The page lies in a frame as wide as a phone or a screen, where it is looked at.
FRAME = """<!DOCTYPE html><meta charset="utf-8"><title>test</title>
<iframe width="WIDTH" height="900"></iframe><pre></pre><script>
const frame = document.querySelector("iframe"), found = { errors: [] };
// Virtual time runs ahead of what other threads do, unless it is spent in small turns.
const until = async (promise) => {
  let done = false;
  promise.then(() => { done = true; });
  for (let turn = 0; !done && turn < 4000; turn++)
    await new Promise((next) => setTimeout(next, 5));
};
frame.addEventListener("load", async () => {
  const page = frame.contentDocument, view = frame.contentWindow;
  if (!page.querySelector("main") || found.width) return;
  const note = (event) => found.errors.push(event.message || event.violatedDirective);
  view.addEventListener("error", note);
  page.addEventListener("securitypolicyviolation", note);
  const images = [...page.images];
  for (const details of page.querySelectorAll("details")) details.open = true;
  await until(Promise.all(images.map((image) => image.decode().catch(note))));
  found.width = view.innerWidth;
  found.wider = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  found.broken = images.filter((image) => !image.naturalWidth).length;
  const tiles = [...page.querySelectorAll("button.tile")];
  const darkest = page.querySelector("table.confusion td.shade-13");
  found.shade = view.getComputedStyle(darkest).backgroundColor;
  const dialog = page.getElementById("zoom"), large = dialog.querySelector("img");
  const key = (name) => dialog.dispatchEvent(
    new view.KeyboardEvent("keydown", { key: name, bubbles: true }));
  found.before = dialog.open;
  tiles[1].click();
  found.opened = dialog.open;
  found.first = large.alt;
  found.larger = large.getBoundingClientRect().width
    / tiles[1].getBoundingClientRect().width;
  found.fits = dialog.getBoundingClientRect().right <= view.innerWidth;
  key("ArrowRight");
  found.second = large.alt;
  key("ArrowLeft"); key("ArrowLeft"); key("ArrowLeft");
  found.last = large.alt;
  const click = (name) => dialog.querySelector(name).click();
  click(".after");
  found.around = large.alt;
  click(".before");
  // The page's own listener comes first, and gives the focus back.
  const closed = new Promise((done) => dialog.addEventListener("close", done));
  dialog.querySelector(".close").click();
  await until(closed);
  found.closed = !dialog.open;
  found.focus = page.activeElement === tiles.at(-1);
  document.querySelector("pre").textContent = JSON.stringify(found);
});
frame.srcdoc = PAGE;
</script>"""


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [390, 1280])
def test_in_chromium(tmp_path, width):
    names = ("a_class_with_a_rather_long_name_" * 3, "<script>throw 1</script>", "dog")
    runs = [tmp_path / f"a_run_whose_name_is_long_as_well_{n}" for n in range(2)]
    for seed, run in enumerate(runs):
        save_run(run, names=names, seed=seed)
    page = write_report(runs, tmp_path / "page.html").read_text(encoding="utf-8")
    frame = FRAME.replace("WIDTH", str(width))
    # Within a script, only this could end it.
    text = json.dumps(page).replace("</", "<\\/").replace("<!--", "<\\!--")
    path = tmp_path / "frame.html"
    path.write_text(frame.replace("PAGE", text), encoding="utf-8")
    result = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=240,
    )
    seen = re.search(r"<pre>(\{.*\})</pre>", result.stdout)
    assert seen, result.stderr[-2000:]
    found = json.loads(html.unescape(seen[1]))
    assert found.pop("larger") > 2
    assert "CONSOLE" not in result.stderr
    assert found == {
        "errors": [],
        "width": width,
        "wider": 0,
        "broken": 0,
        "shade": "rgba(0, 114, 178, 0.486)",
        "before": False,
        "opened": True,
        "first": f"{names[0]}, image 2 of 2, {runs[0].name}",
        "fits": True,
        "second": f"{names[1]}, image 1 of 2, {runs[0].name}",
        "last": f"dog, image 2 of 2, {runs[1].name}",
        "around": f"{names[0]}, image 1 of 2, {runs[0].name}",
        "closed": True,
        "focus": True,
    }
