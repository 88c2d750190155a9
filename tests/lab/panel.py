"""The panel as its user sees it: roles, labels, and the data attributes that carry states and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


class Panel:
    """The side panel of one page."""

    NODE = "#parslab-panel"
    COUNTER = NODE + " .parslab-Counters [data-state='{state}']"
    CANVAS = NODE + " canvas[data-nodes]"

    def __init__(self, page: Page) -> None:
        self.page = page
        self.node = page.locator(self.NODE)
        self.drawer = self.node.get_by_role("complementary", name="Task details")
        self.rows = self.node.locator("[role=row][data-task]")
        self.canvas = page.locator(self.CANVAS)
        self.sidebar = page.locator(".jp-SideBar [data-id='parslab-panel']")

    def open(self) -> None:
        """Open it from the side bar, if it is not open."""
        expect(self.sidebar).to_be_visible()
        if not self.node.is_visible():
            self.sidebar.click()
        expect(self.node).to_be_visible()

    def resize(self, width: int) -> None:
        """Drag the edge of the panel until it is so wide."""
        box = self.node.bounding_box()
        assert box is not None
        left, middle = box["x"], box["y"] + box["height"] / 2
        self.page.mouse.move(left - 2, middle)
        self.page.mouse.down()
        self.page.mouse.move(left - 2 + box["width"] - width, middle, steps=4)
        self.page.mouse.up()
        expect(self.node).to_have_js_property("offsetWidth", width)

    def show(self, view: str) -> None:
        """Choose a tab."""
        tab = self.node.get_by_role("tab", name=view)
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")

    def says(self, sentence: str, seconds: float | None = None) -> None:
        """Wait for a sentence of the panel as a whole, as long as for anything else or for so many seconds."""
        place = self.node.locator(".parslab-Header").locator("[role=status], [role=alert]")
        expect(place).to_contain_text(sentence, timeout=seconds and seconds * 1000)

    def is_live(self) -> None:
        """Wait until a run is shown and goes on."""
        expect(self.node.locator(".parslab-RunLine")).to_have_attribute("data-status", "live")

    def counts(self, **states: int) -> None:
        """Wait until the overview counts so many tasks in these states."""
        for state, number in states.items():
            counter = self.page.locator(self.COUNTER.format(state=state))
            if number:
                expect(counter).to_have_attribute("data-count", str(number))
            else:
                expect(counter.and_(self.page.locator(":not([data-count='0'])"))).to_have_count(0)

    def row(self, app: str) -> Locator:
        """The rows of the tasks of an app."""
        cell = self.page.locator(".parslab-col-app").get_by_text(app, exact=True)
        return self.rows.filter(has=cell)

    def open_task(self, app: str) -> Locator:
        """Open the details of the only task of an app from the table."""
        self.show("Tasks")
        self.row(app).click()
        expect(self.drawer.get_by_role("heading", name=app)).to_be_visible()
        return self.drawer

    def close_task(self) -> None:
        """Close the details, if they are open."""
        if self.drawer.is_visible():
            self.drawer.get_by_role("button", name="Close task details").click()
        expect(self.drawer).to_be_hidden()

    def texts(self, selector: str) -> list[str]:
        """The texts of all that match inside the panel."""
        return [text.strip() for text in self.node.locator(selector).all_text_contents()]
