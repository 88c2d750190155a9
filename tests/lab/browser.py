"""JupyterLab as the tests use it: pages, notebooks and their cells.

Every wait is on a condition with a deadline. What the pages complain of is collected, so that a test in which the
extension complained can fail.
"""

from __future__ import annotations

import itertools
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from playwright.sync_api import expect

from tests.lab.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, WebError

    from tests.lab.server import Server

PATIENCE = 20.0
OPENING = 60.0
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
DRIVE = Path(__file__).with_name("drive.js")
SLOW_MACHINE = re.compile(r"(Plugin \S+) \(with \d+ dependants\) took [\d.]+ms to activate\.")
"""What JupyterLab itself says of every plugin that became active while the machine was busy."""

UNTIL_THEN = "{} is taking too long to activate."
"""What JupyterLab may say of the same plugin before that."""

JUPYTERLAB = "/static/lab/"
"""In the addresses of JupyterLab's own files, and of no file of an extension."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")

expect.set_options(timeout=PATIENCE * 1000)


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Ask until the answer is true and return it; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds:g} s still not: {what}")
        time.sleep(0.02)
    return found


@dataclass
class Desk:
    """A browser with JupyterLab open: the first page, more on demand, and what they complained of."""

    server: Server
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def at(cls, browser: Browser, server: Server) -> Desk:
        """A new browser profile."""
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        context.set_default_timeout(PATIENCE * 1000)
        context.add_init_script(path=DRIVE)
        desk = cls(server, context)
        context.on("console", desk._on_console)
        context.on("weberror", desk._on_error)
        return desk

    def lab(self) -> Lab:
        """A new page with JupyterLab in a workspace of its own, with the panel open."""
        lab = Lab(self, self.context.new_page(), f"{self.server.url}lab/workspaces/w{next(self.numbers)}")
        lab.page.goto(lab.address, timeout=OPENING * 1000)
        lab.wait_until_ready()
        lab.panel.open()
        return lab

    def _on_error(self, error: WebError) -> None:
        # JupyterLab itself throws this when a page or notebook is closed before a kernel has answered everything.
        if not str(error.error).startswith("Error: Canceled future for"):
            self.complaints.append(f"uncaught: {error.error}")

    def _on_console(self, message: ConsoleMessage) -> None:
        place = message.location.get("url", "")
        if message.type not in ("error", "warning") or "parslab" not in f"{place} {message.text}":
            return
        slow = SLOW_MACHINE.fullmatch(message.text)
        if message.type != "warning" or not slow or JUPYTERLAB not in place:
            self.complaints.append(f"{message.type}: {message.text} ({place})")
            return
        # A plugin that never becomes active is still complained of, because only this sentence takes that one back.
        earlier = f"warning: {UNTIL_THEN.format(slow[1])} ({place})"
        self.complaints[:] = [complaint for complaint in self.complaints if complaint != earlier]


class Lab:
    """One page."""

    def __init__(self, desk: Desk, page: Page, address: str) -> None:
        self.desk = desk
        self.page = page
        self.address = address
        self.panel = Panel(page)

    def wait_until_ready(self) -> None:
        """Return when JupyterLab can be used."""
        self.page.wait_for_function("window.jupyterapp !== undefined", timeout=OPENING * 1000)
        self.page.evaluate("window.jupyterapp.restored.then(() => null)")

    def drive(self, call: str, *arguments: object) -> Any:
        """Call a function of drive.js."""
        return self.page.evaluate(f"words => window.drive.{call}(...words)", list(arguments))

    def command(self, name: str, **arguments: object) -> None:
        """Execute a command of JupyterLab."""
        self.page.evaluate(
            "([name, words]) => window.jupyterapp.commands.execute(name, words).then(() => null)", [name, arguments]
        )

    def reload(self, notebook: Notebook) -> None:
        """Load the page again and return when this notebook is open again."""
        # By its address: the workspace remembers what was open only some time after the last change.
        self.page.goto(f"{self.address}/tree/{notebook.path}", timeout=OPENING * 1000)
        self.wait_until_ready()
        until(lambda: notebook.path in self.drive("books"), "the notebook is open again")
        # The workspace may open it before the address does; the address would open it again after a test closed it.
        until(lambda: self.page.evaluate("window.drive.addressed"), "the address of the page has been followed")

    def theme(self, name: str) -> None:
        """Change the theme, and wait until it is there."""
        self.command("apputils:change-theme", theme=name)
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-name", name)
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0)

    def notebook(self, path: str | None = None) -> Notebook:
        """Open a notebook in this page, a new one unless a path is given."""
        if path is None:
            path = f"book{next(self.desk.numbers)}.ipynb"
            write(self.desk.server.folder / path, [""])
        self.drive("open", path)
        return Notebook(self, path)

    @contextmanager
    def working(self) -> Iterator[Notebook]:
        """A new notebook for a while; its kernel and run are ended afterwards."""
        notebook = self.notebook()
        try:
            yield notebook
        finally:
            notebook.close(shutdown=True)


class Notebook:
    """One notebook of a page and its kernel."""

    def __init__(self, lab: Lab, path: str) -> None:
        self.lab = lab
        self.path = path

    @property
    def file(self) -> Path:
        """Where it is saved."""
        return self.lab.desk.server.folder / self.path

    def start(self, source: str) -> Cell:
        """Run a new last cell and do not wait for it."""
        return Cell(self, int(self.lab.drive("start", self.path, source)))

    def run(self, source: str) -> str:
        """Run a new last cell to its end and return its output; fail if it failed."""
        cell = self.start(source)
        cell.wait()
        if cell.error:
            pytest.fail(f"{source}\n\n{cell.output}")
        return cell.output

    def cells(self) -> list[Cell]:
        """All its cells."""
        return [Cell(self, place) for place in range(len(self.lab.drive("sources", self.path)))]

    def load(self, workers: int = 2, more: str = "") -> None:
        """Load a run with so many workers (and ``more`` words in its Config) and make what the tests use."""
        self.start_run(workers, more)
        self.lab.panel.is_live()

    def start_run(self, workers: int = 2, more: str = "") -> None:
        """Do what :meth:`load` does, and do not look at the panel."""
        self.run(LOAD.format(workers=workers, more=more and f", {more}"))

    def show(self) -> None:
        """Bring it to the front."""
        self.lab.drive("show", self.path)

    def interrupt(self) -> None:
        """Interrupt the kernel."""
        self.lab.drive("interrupt", self.path)

    def restart(self) -> None:
        """Restart the kernel."""
        self.lab.drive("restart", self.path)

    def save(self) -> int:
        """Save and return the size of the file."""
        self.lab.drive("save", self.path)
        return self.file.stat().st_size

    def close(self, shutdown: bool = False) -> None:
        """Close it; the kernel goes on unless it is shut down."""
        self.lab.drive("close", self.path, shutdown)


@dataclass
class Cell:
    """A cell that was run."""

    notebook: Notebook
    place: int

    @property
    def ended(self) -> float | None:
        """When it ended, in seconds since the epoch."""
        found: float | None = self.notebook.lab.drive("ended", self.notebook.path, self.place)
        return found

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """What the notebook would save."""
        return list(self.notebook.lab.drive("outputs", self.notebook.path, self.place) or [])

    @property
    def error(self) -> str:
        """`Name: text` of the exception that ended it."""
        return next((f"{o['ename']}: {o['evalue']}" for o in self.outputs if o["output_type"] == "error"), "")

    @property
    def output(self) -> str:
        """All its outputs as text."""
        return "\n".join(map(text_of, self.outputs))

    def wait(self, seconds: float = PATIENCE) -> float:
        """Wait for the end and return when it was."""
        return float(until(lambda: self.ended, "the cell has ended", seconds))

    def says(self, text: str, seconds: float = PATIENCE) -> None:
        """Wait until the output contains this."""
        until(lambda: text in self.output, f"{text!r} in the output of the cell", seconds)


def text_of(output: dict[str, Any]) -> str:
    """The text of one output."""
    if output["output_type"] == "error":
        return COLOUR.sub("", "\n".join(output["traceback"]))
    text = output.get("text") or output.get("data", {}).get("text/plain") or ""
    return "".join(text)


def write(path: Path, cells: list[str]) -> None:
    """Write a notebook with these code cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


LOAD = """
import os, time
from concurrent.futures import CancelledError
from pathlib import Path
import parslab
from parslab import Config, LowLatencyExecutor, python_app

dfk = parslab.load(Config(executors=[LowLatencyExecutor(workers={workers})]{more}))

@python_app
def stamp(*after):
    '''Return when it ran.'''
    import time
    return time.time()

@python_app
def nap(seconds, *after):
    '''Take a while and return when it was over.'''
    import time
    time.sleep(seconds)
    return time.time()

@python_app
def held(gate, *after):
    '''Run until a file of this name is there.'''
    import os, time
    while not os.path.exists(gate):
        time.sleep(0.01)
    return 'through'

@python_app
def bad(number):
    raise ValueError(f'number {{number}} ' + 'is bad ' * 40)
"""
