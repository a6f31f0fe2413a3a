"""The page in a real browser, from disk: nothing is asked of a network, and everything works."""

import json
import re
import shutil
import subprocess
import time

import numpy as np
import pytest

from experiments.engine.page import told
from experiments.engine.page.vega import is_installed
from experiments.engine.pictures import picture_of, write
from tests.engine.page_folder import write_folder
from tests.engine.test_page import HOSTILE

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
if not (BROWSER and is_installed()):
    reason = "needs a browser (chromium) and the extra `report`"
    pytest.skip(reason, allow_module_level=True)

HARNESS = """
<script>
(async () => {
  const found = {}, root = document.documentElement;
  const all = (query) => [...document.querySelectorAll(query)];
  const one = (query) => document.querySelector(query);
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const drawn = async (figure) => { await pause(20); await figure.drawing; };
  try {
    while (root.dataset.ready !== "true") await pause(20);
    found.loaded = performance.now();
    %s
  } catch (error) { found.error = String(error.stack); }
  found.requests = performance.getEntriesByType("resource").map((entry) => entry.name);
  const place = document.createElement("pre");
  place.id = "found";
  place.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(found))));
  document.body.append(place);
})();
</script></body>"""


def browse(page, tmp_path, steps, *flags):
    """What JavaScript `steps` found in the page, and what the browser's console said."""
    import base64

    source = page.read_text("utf-8")
    probed = tmp_path / "probed.html"
    head, _, tail = source.rpartition("</body>")
    probed.write_text(head + HARNESS % steps + tail, "utf-8")
    command = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000",
        "--window-size=1200,900", *flags, "--dump-dom", probed.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    said = [line for line in done.stderr.splitlines() if ":CONSOLE:" in line]
    found = re.search(r'<pre id="found">([^<]*)</pre>', done.stdout)
    assert found, said
    return json.loads(base64.b64decode(found[1])), said


@pytest.fixture(scope="module")
def sixty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser") / "sixty"
    opened = write_folder(
        folder, arms={"plain": {}, HOSTILE: {"decay": 0.1}}, vary={"rate": [0.03, 0.1, 0.3]},
        seeds=10, epochs=20, diagnose=True, question=f"Is {HOSTILE} better?",
    )  # fmt: skip
    write(folder / "pictures" / "cell_0", {"filters": picture_of(np.eye(4))})
    told.page_line(opened)
    return folder / "report.html"


def test_it_draws_and_answers_to_clicks(sixty, tmp_path):
    """Sorting, legends, seeds, log axes, choices and hover, in one visit."""
    assert sixty.stat().st_size < 5e6
    started = time.perf_counter()
    steps = """
    found.charts = all("figure.chart").map((f) => [f.dataset.chart, !!f.querySelector("svg")]);
    found.images = all("img").map((image) => image.naturalWidth);
    const table = one("#table-cells"), buttons = [...table.querySelectorAll("th button")];
    const column = (i) => [...table.tBodies[0].rows].map((row) => row.cells[i].textContent);
    const mean = buttons.findIndex((b) => b.textContent.startsWith("mean"));
    buttons[mean].click(); found.up = column(mean);
    buttons[mean].click(); found.down = column(mean);
    found.sorted = buttons[mean].closest("th").getAttribute("aria-sort");
    const curves = one("figure[data-chart=curves]");
    const lines = () => curves.querySelectorAll(".mark-line path").length;
    found.rows = [Number(curves.dataset.rows)]; found.lines = [lines()];
    const press = async (button) => { button.click(); await drawn(curves);
      found.rows.push(Number(curves.dataset.rows)); found.lines.push(lines()); };
    const legend = [...curves.querySelectorAll(".legend button")];
    found.names = legend.map((button) => button.textContent);
    legend[0].focus(); found.focused = document.activeElement === legend[0];
    await press(legend[0]);
    found.pressed = legend[0].getAttribute("aria-pressed");
    await press(curves.querySelector("[data-control=seeds]"));
    await press(curves.querySelector("[data-control=log-y]"));
    found.ticks = [...curves.querySelectorAll(".role-axis-label text")].map((t) => t.textContent);
    await press(legend[legend.length - 1]);
    await press(legend[legend.length - 2]);
    const spot = one("figure[data-chart=final] .mark-symbol path");
    const at = spot.getBoundingClientRect();
    const where = { bubbles: true, clientX: at.x + at.width / 2, clientY: at.y + at.height / 2 };
    spot.dispatchEvent(new PointerEvent("pointermove", where));
    spot.dispatchEvent(new MouseEvent("mousemove", where));
    await pause(50);
    const tip = one("#vg-tooltip-element");
    found.tip = tip && tip.classList.contains("visible") ? tip.textContent : null;
    const quantity = one("figure[data-chart=layers] [data-control=quantity]");
    quantity.value = "dead"; quantity.dispatchEvent(new Event("change", { bubbles: true }));
    await drawn(one("figure[data-chart=layers]"));
    found.dead = Number(one("figure[data-chart=layers]").dataset.rows);
    one("#replicas").open = true; await pause(50);
    found.replicas = all("#replicas tbody tr").length;
    found.injected = all("img[onerror]").length;
    """
    found, said = browse(sixty, tmp_path, steps)
    assert said == [] and "error" not in found, (said, found.get("error"))
    assert found["requests"] == []
    assert [drawn for _, drawn in found["charts"]] == [True] * len(found["charts"])
    assert {"final", "effects", "interaction-1", "curves", "layers", "epochs"} == {
        name for name, _ in found["charts"]
    }
    assert found["images"] == [160] and found["injected"] == 0
    numbers = [float(text) for text in found["up"]]
    assert numbers == sorted(numbers) and len(set(numbers)) > 1
    assert [float(text) for text in found["down"]] == numbers[::-1]
    assert found["sorted"] == "descending" and found["focused"]
    assert found["names"] == [
        *(f"arm={arm} rate={r}" for arm in ("plain", HOSTILE) for r in ("0.03", "0.1", "0.3")),
        "all",
        "none",
    ]
    assert found["rows"] == [120, 100, 100 + 5 * 10 * 20, 100 + 5 * 10 * 20, 0, 120 + 60 * 20]
    assert found["lines"][:3] == [6, 5, 55] and found["pressed"] == "false"
    assert found["lines"][4] == 0
    assert found["tip"] and "seed" in found["tip"] and "finished" in found["tip"]
    assert found["dead"] == 6 * 2 and found["replicas"] == 60
    assert found["loaded"] < 3000
    assert time.perf_counter() - started < 60


def test_a_page_without_results_has_no_error(tmp_path):
    opened = write_folder(tmp_path / "empty", vary={"rate": [0.03, 0.1]}, seeds=2, replicas=0)
    told.page_line(opened)
    found, said = browse(
        opened.folder / "report.html", tmp_path, "found.text = one('h1').textContent;"
    )
    assert said == [] and "error" not in found and found["requests"] == []
    assert found["text"] == "toy: rate"


def test_it_fits_a_phone(sixty, tmp_path):
    """Nothing but tables in their own frames is wider than the screen."""
    steps = """
    found.width = root.clientWidth; found.scroll = root.scrollWidth;
    """
    found, said = browse(sixty, tmp_path, steps, "--window-size=500,900")
    assert said == [] and found["scroll"] <= found["width"] <= 500
