"""The page in a real browser, from disk: nothing is asked of a network, and everything works."""

import numpy as np
import pytest

from experiments import Entry
from experiments.engine.page import told
from experiments.engine.page.vega import is_installed
from experiments.engine.pictures import files, picture_of, write
from experiments.engine.reopen import reopen
from tests.engine.browser import CHROMIUM, browser
from tests.engine.page_folder import HOSTILE, LAYERS, unequal_folder, write_folder
from tests.engine.toy import TOY

if not (CHROMIUM and is_installed()):
    reason = "needs a browser (chromium) and the extra `report`"
    pytest.skip(reason, allow_module_level=True)

HELP = """
window.all = (query) => [...document.querySelectorAll(query)];
window.one = (query) => document.querySelector(query);
window.chart = (name) => one(`figure[data-chart=${name}]`);
window.legend = (name) => [...chart(name).querySelectorAll('.legend button')];
window.after = async (name, act) => { act();
  await new Promise((resolve) => setTimeout(resolve)); await chart(name).drawing; };
window.choose = (name, control, value) => after(name, () => {
  const element = chart(name).querySelector(`[data-control=${control}]`);
  if (value === undefined) element.click(); else element.value = value;
  element.dispatchEvent(new Event('change', { bubbles: true })); });
window.rows = (name) => Number(chart(name).dataset.rows);
window.lines = (name) => chart(name).querySelectorAll('.mark-line path').length;
window.middle = (element) => { element.scrollIntoView({ block: 'center' });
  const box = element.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2]; };
"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def sixty(tmp_path_factory):
    """The page of six cells with ten seeds, and with names that try to break out."""
    folder = tmp_path_factory.mktemp("browser") / "sixty"
    opened = write_folder(
        folder, arms={"plain": {}, HOSTILE: {"decay": 0.1}}, vary={"rate": [0.03, 0.1, 0.3]},
        seeds=10, epochs=20, diagnose=True, question=f"Is {HOSTILE} better?",
    )  # fmt: skip
    write(folder / "pictures" / "cell_0", files({"filters": picture_of(np.eye(4))}))
    told.page_line(opened)
    return folder / "report.html"


@pytest.fixture
def page(tab, sixty):
    tab.requests.clear()
    tab.said.clear()
    tab.visit(sixty)
    tab.evaluate(HELP)
    yield tab
    assert tab.said == []
    assert [url for url in tab.requests if not url.startswith("data:")] == [sixty.as_uri()]


def test_it_is_lean_and_draws_everything(page, sixty):
    assert sixty.stat().st_size < 5e6
    names = page.evaluate(
        "all('figure.chart').map((f) => [f.dataset.chart, !!f.querySelector('svg')])"
    )
    assert {name for name, drawn in names if drawn} == {
        "final", "effects", "interaction-1", "curves", "layers", "epochs",
    }  # fmt: skip
    assert page.evaluate("all('img').map((image) => image.naturalWidth)") == [160]
    assert page.evaluate("one('#replicas').open = true") is True
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 100))")
    assert page.evaluate("all('#replicas tbody tr').length") == 60


def test_tables_are_sorted_by_keyboard(page):
    page.evaluate("one('#table-cells th:nth-child(4) button').focus()")
    orders = []
    for _ in range(2):
        page.press("Enter", 13)
        orders.append(
            page.evaluate("all('#table-cells td:nth-child(4)').map((e) => e.textContent)")
        )
    up, down = ([float(text) for text in order] for order in orders)
    assert up == sorted(up) and down == up[::-1] and len(set(up)) > 1
    assert page.evaluate("one('#table-cells [aria-sort]').ariaSort") == "descending"


def test_series_are_switched_and_axes_made_logarithmic(page):
    names = page.evaluate("legend('curves').map((button) => button.textContent)")
    cells = [f"arm={arm} rate={r}" for arm in ("plain", HOSTILE) for r in ("0.03", "0.1", "0.3")]
    assert names == [*cells, "all", "none"]
    assert (page.evaluate("rows('curves')"), page.evaluate("lines('curves')")) == (120, 6)
    page.evaluate("after('curves', () => legend('curves')[0].click())")
    assert (page.evaluate("rows('curves')"), page.evaluate("lines('curves')")) == (100, 5)
    assert page.evaluate("legend('curves')[0].getAttribute('aria-pressed')") == "false"
    page.evaluate("choose('curves', 'seeds')")
    assert page.evaluate("rows('curves')") == 100 + 5 * 10 * 20
    assert page.evaluate("lines('curves')") == 5 + 5 * 10
    before = page.evaluate("chart('curves').querySelector('.mark-line path').getAttribute('d')")
    page.evaluate("choose('curves', 'log-y')")
    assert before != page.evaluate(
        "chart('curves').querySelector('.mark-line path').getAttribute('d')"
    )
    page.evaluate("choose('curves', 'metric', 'train_loss')")
    page.evaluate("after('curves', () => legend('curves').at(-1).click())")
    assert (page.evaluate("rows('curves')"), page.evaluate("lines('curves')")) == (0, 0)
    page.evaluate("choose('layers', 'quantity', 'dead')")
    assert page.evaluate("rows('layers')") == 6 * 2


def test_hovering_tells_the_numbers(page):
    where = page.evaluate("middle(chart('effects').querySelector('.mark-symbol path'))")
    page.point(*where)
    tip = page.evaluate("one('#vg-tooltip-element.visible')?.textContent")
    assert tip and "estimate" in tip and "verdict" in tip and HOSTILE in tip
    x, y = page.evaluate("middle(chart('curves').querySelector('svg'))")
    page.point(x, y)
    page.point(x + 3, y)
    tip = page.evaluate("one('#vg-tooltip-element.visible')?.textContent")
    assert tip and "epoch" in tip and "low" in tip
    assert page.evaluate("all('img[onerror]').length") == 0


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_screen(page, sixty, width):
    page.requests.clear()
    page.visit(sixty, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_follows_the_readers_colours(page):
    ink = []
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.call("Emulation.setEmulatedMedia", features=[feature])
        ink.append(page.evaluate(
            "['body', 'figure.chart .role-axis-label text'].map((e) => getComputedStyle(one(e))"
            "[e === 'body' ? 'color' : 'fill'])"
        ))  # fmt: skip
    assert all(body == label for body, label in ink) and ink[0] != ink[1]


@pytest.mark.slow
def test_a_large_study_shows_most_of_its_points_only_when_asked_for(tab, large_page):
    """1,000 replicas of 50 evaluations."""
    tab.said.clear()
    tab.visit(large_page)
    tab.evaluate(HELP)
    assert not tab.evaluate("!!chart('curves').querySelector('canvas')")
    tab.evaluate("after('curves', () => legend('curves')[0].click())")
    tab.evaluate("choose('curves', 'seeds')")
    assert tab.evaluate("!!chart('curves').querySelector('canvas')") and tab.said == []


def test_a_page_without_results_has_no_error(tab, tmp_path):
    opened = write_folder(tmp_path / "empty", vary={"rate": [0.03, 0.1]}, seeds=2, replicas=0)
    told.page_line(opened)
    tab.said.clear()
    tab.visit(opened.folder / "report.html")
    assert tab.evaluate("document.querySelector('h1').textContent") == "toy: rate"
    assert tab.said == []


def test_layers_of_a_cell_that_ended_before_the_epoch_are_shown_as_it_ended(tab, tmp_path):
    opened = unequal_folder(tmp_path / "study")
    told.page_line(opened)
    tab.visit(opened.folder / "report.html")
    tab.evaluate(HELP)
    assert tab.evaluate("one('[data-control=epoch]').value") == "3"
    assert tab.evaluate("rows('layers')") == 2 * len(LAYERS)


def test_a_tuning_chart_can_be_logarithmic(tab, train_toy):
    """Tuned values need not be positive numbers."""
    folder = train_toy(tune={"rate": [0.03, 0.1], "decay": [0.0, 0.01]}, tune_seeds=1).folder
    told.page_line(reopen({"toy": Entry(TOY.summary, lambda: TOY)}, folder))
    tab.visit(folder / "report.html")
    tab.evaluate(HELP)
    before = tab.evaluate("chart('tuning-1').querySelector('.mark-line path').getAttribute('d')")
    tab.evaluate("choose('tuning-1', 'log-y')")
    assert tab.evaluate("rows('tuning-1')") == 4
    after = tab.evaluate("chart('tuning-1').querySelector('.mark-line path').getAttribute('d')")
    assert before != after
