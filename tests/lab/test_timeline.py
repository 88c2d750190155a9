"""The timeline: bars of workers, what was busy and waiting, a brush that lists tasks, keys, themes and widths."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.lab.browser import until
from tests.lab.test_appearance import LOOKS, NARROWEST, USUAL, WIDE, focus, press_until
from tests.lab.test_blocks import STAGE
from tests.packaging.tree import PANEL, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Locator

    from tests.lab.browser import Lab, Notebook

NAPS = "[future.result() for future in [nap(0.1) for n in range(8)]][-1] > 0"

MANY = """
import time
from parslab.records.events import BlockMoved, ManagerMoved, TaskSubmitted
from parslab.records.states import TaskState
stage = Stage()
began = time.time()
for node in range(2):
    stage.happens(BlockMoved(began, 'htex', str(node), 'running'))
    stage.happens(ManagerMoved(began, f'm{node}', 'htex', str(node), 'ready', f'n{node}', 1, 4, 8, 1 << 34))
for n in range(%d):
    start = began + n // 8 / 100
    ended = TaskSubmitted(began, n, f'app{n %% 3}', TaskState.exec_done, 'htex', 1, ready=began, launched=start,
                          started=start, ended=start + 0.009, worker=f'm{n %% 2}')
    stage.happens(ended)
stage.open()
"""
PIXELS = """selector => {
  const find = root => root.querySelector('canvas') ?? [...root.querySelectorAll('*')]
    .filter(one => one.shadowRoot).map(one => find(one.shadowRoot)).find(found => found);
  const canvas = find(document.querySelector(selector));
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Set();
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] === 255) { colours.add(`${data[i]},${data[i + 1]},${data[i + 2]}`); }
  }
  return [...colours];
}"""
COLOUR = """() => {
  const probe = document.querySelector('.parslab-TimelineChart').appendChild(document.createElement('i'));
  probe.style.color = 'var(--parslab-success)';
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found.match(/\\d+/g).slice(0, 3).join(',');
}"""


@pytest.fixture
def plain(lab: Lab) -> Iterator[Lab]:
    """The page, light and of usual width again afterwards."""
    yield lab
    lab.panel.close_task()
    lab.theme("JupyterLab Light")
    lab.panel.resize(USUAL)


def chart(lab: Lab) -> Locator:
    return lab.panel.node.locator(".parslab-TimelineChart")


def pane(lab: Lab) -> Locator:
    return lab.panel.node.get_by_role("application", name="Arrow keys move between tasks")


def shown(lab: Lab, rows: int) -> None:
    """Show the timeline and wait until it has so many rows."""
    lab.panel.show("Timeline")
    expect(chart(lab)).to_have_attribute("data-rows", str(rows))


def window(lab: Lab) -> float:
    """How many seconds the chart shows."""
    node = chart(lab)
    return float(node.get_attribute("data-until") or 0) - float(node.get_attribute("data-since") or 0)


def brush(lab: Lab, left: float, top: float, right: float, bottom: float) -> None:
    """Drag over a part of the chart; shares of its width and height."""
    box = pane(lab).bounding_box()
    assert box is not None
    lab.page.mouse.move(box["x"] + left * box["width"], box["y"] + top * box["height"])
    lab.page.mouse.down()
    lab.page.mouse.move(box["x"] + right * box["width"], box["y"] + bottom * box["height"], steps=4)
    lab.page.mouse.up()


def test_bokeh_is_loaded_when_the_timeline_is_shown(lab: Lab) -> None:
    names: list[str] = []
    lab.desk.context.on("request", lambda request: names.append(request.url))
    fresh = lab.desk.lab()
    try:
        with fresh.working() as notebook:
            notebook.load()
            notebook.run(NAPS)
            fresh.panel.show("Tasks")
            assert any("/parslab/static/remoteEntry." in name for name in names)
            assert not any("/parslab/static/timeline." in name for name in names)
            shown(fresh, 2)
            assert any("/parslab/static/timeline." in name for name in names)
            asked = {urlsplit(name).netloc for name in names if name.startswith("http")}
            assert asked == {urlsplit(fresh.desk.server.url).netloc}
    finally:
        fresh.page.close()


def scripts() -> dict[str, bytes]:
    """The scripts of the panel that was built."""
    return {path.name: path.read_bytes() for path in (ROOT / PANEL / "static").glob("*.js")}


def test_the_page_loads_little_until_the_timeline_is_shown() -> None:
    found = scripts()
    # The chart, and Bokeh, which is the only large script.
    late = {name for name, text in found.items() if name.startswith("timeline.") or b"bk-Canvas" in text}
    assert len(late) == 2, sorted(found)
    sizes = {name: len(gzip.compress(text, 9)) for name, text in found.items()}
    assert sum(size for name, size in sizes.items() if name not in late) <= 60_000
    assert sum(sizes[name] for name in late) <= 300_000


def test_no_script_makes_code_of_texts_or_names_another_server() -> None:
    for name, text in scripts().items():
        # A policy without unsafe-eval forbids both.
        assert not re.search(rb"\bnew Function\b|[^.\w]eval\(", text), name
        hosts = set(re.findall(rb"https?://([\w.-]+)", text))
        # A namespace, and two links of Bokeh's tool bar, which nothing shows.
        assert hosts <= {b"www.w3.org", b"bokeh.org", b"docs.bokeh.org"}, (name, hosts)


def test_workers_are_rows_and_live(plain: Lab, loaded: Notebook) -> None:
    shown(plain, 2)
    loaded.run(NAPS)
    view = plain.panel.node.get_by_role("tabpanel", name="Timeline")
    expect(view).to_contain_text("2 workers, busy for")
    expect(view.get_by_label("Key", exact=True)).to_contain_text("Done")
    expect(pane(plain)).to_have_attribute("aria-label", re.compile("2 workers, busy for .* tasks waiting"))
    view.get_by_label("Colours").select_option("app")
    expect(view.get_by_label("Key", exact=True)).to_contain_text("nap")


def test_keys_read_the_bars_and_open_a_task(plain: Lab, loaded: Notebook) -> None:
    loaded.run(NAPS)
    shown(plain, 2)
    plain.panel.node.get_by_label("Colours").select_option("state")
    # The first picture may be older than the tasks.
    expect(plain.panel.node.locator(".parslab-TimelineHead")).to_contain_text("Done")
    plain.panel.node.get_by_role("tab", name="Timeline").focus()
    for _ in range(20):
        plain.page.keyboard.press("Tab")
        if focus(plain.panel).startswith("application"):
            break
    spoken = chart(plain).get_by_role("status")
    plain.page.keyboard.press("ArrowRight")
    expect(spoken).to_contain_text(re.compile(r": #\d nap: done"))
    first = spoken.text_content()
    plain.page.keyboard.press("ArrowRight")
    expect(spoken).not_to_have_text(first or "")
    plain.page.keyboard.press("Shift+ArrowRight")
    area = plain.panel.node.get_by_role("group", name="Selection")
    expect(area).to_contain_text("on 1 row")
    plain.page.keyboard.press("Enter")
    expect(plain.panel.drawer.get_by_role("heading", name="nap")).to_be_visible()
    plain.page.keyboard.press("Escape")
    expect(area).to_be_hidden()
    whole = window(plain)
    plain.page.keyboard.press("+")
    until(lambda: window(plain) < 0.8 * whole, "the window is shorter")
    plain.page.keyboard.press("0")
    until(lambda: window(plain) > 0.95 * whole, "the whole run is shown again")


def test_a_brush_lists_the_tasks_of_its_workers_and_its_time(plain: Lab, book: Notebook) -> None:
    book.run(STAGE)
    book.run(MANY % 800)
    plain.panel.is_live()
    shown(plain, 8)
    plain.panel.resize(WIDE)
    expect(plain.panel.node.locator(".parslab-Timeline-summary")).to_contain_text("8 workers")
    # Only rows of the first node: those of the second begin in the middle of the bars.
    brush(plain, 0.3, 0.1, 0.6, 0.2)
    area = plain.panel.node.get_by_role("group", name="Selection")
    expect(area).to_contain_text(re.compile("on [1-4] rows?"))
    area.get_by_role("button", name="List tasks").click()
    total = plain.panel.node.locator(".parslab-Tasks-total")
    expect(total).to_contain_text("matching tasks")
    until(lambda: 0 < int(total.get_attribute("data-total") or 0) <= 400, "the tasks of one node in a part of the time")
    chip = plain.panel.node.get_by_role("button", name="Show tasks of all times and workers")
    expect(chip).to_contain_text("Ran from 0:00 to 0:00, 1 worker")
    chip.click()
    expect(total).to_have_attribute("data-total", "800")

    plain.panel.show("Timeline")
    whole = window(plain)
    area.get_by_role("button", name="Zoom in").click()
    until(lambda: window(plain) < 0.6 * whole, "the window is that of the area")
    expect(area).to_be_hidden()
    plain.panel.node.get_by_role("button", name="Show the whole run").click()
    until(lambda: window(plain) > 0.95 * whole, "the whole run is shown again")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_the_timeline_can_be_read(plain: Lab, book: Notebook, theme: str) -> None:
    book.run(STAGE)
    book.run(MANY % 80)
    plain.theme(theme)
    shown(plain, 8)
    plain.panel.node.get_by_label("Colours").select_option("state")  # an earlier test chose apps
    for width in (NARROWEST, USUAL, WIDE):
        plain.panel.resize(width)
        expect(pane(plain)).to_be_visible()
        assert (width, plain.page.evaluate(LOOKS)) == (width, [])
    done = plain.page.evaluate(COLOUR)
    until(
        lambda: done in plain.page.evaluate(PIXELS, ".parslab-TimelineBars"),
        "the bars have the colour of the theme",
    )


@pytest.mark.timeout(300)
def test_100_000_tasks_are_seen_soon(plain: Lab, book: Notebook) -> None:
    book.run(STAGE)
    book.start(MANY % 100_000).wait(120.0)
    plain.panel.show("Tasks")
    expect(plain.panel.node.locator(".parslab-Tasks-total[data-total='100000']")).to_be_visible(timeout=60_000)
    shown(plain, 8)
    expect(pane(plain)).to_have_attribute("aria-label", re.compile("8 workers"))
    before = window(plain)
    box = pane(plain).bounding_box()
    assert box is not None
    plain.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    for _ in range(8):
        plain.page.mouse.wheel(0, -500)
    until(lambda: window(plain) < before / 20, "the window is much shorter")
    press_until(plain.panel, "Shift+Tab", "tab Timeline")
