"""Run a notebook through a real Jupyter kernel, print what each cell put out, keep the result as notebook and HTML.

`make demo` calls it on the quickstart.  It waits for nothing but the kernel, stops at the first cell that fails (the
notebook is kept up to there) and then ends with status 1.  The kernel works in the folder the results go to.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from traitlets.config import Config

CELL_TIMEOUT = 300  # seconds
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def shown(output: dict[str, Any]) -> str:
    """Return the text of one output; of pictures their kind."""
    match output["output_type"]:
        case "stream":
            return str(output["text"])
        case "error":
            return "\n".join(output["traceback"])
        case _:
            data = output["data"]
            return str(data.get("text/plain") or "")


class Printer:
    """Prints a cell's first line when it begins, its outputs when it has ended, and in the end what came later."""

    def __init__(self) -> None:
        self.begun = 0.0
        self.printed: dict[int, str] = {}

    def begin(self, cell: dict[str, Any], cell_index: int) -> None:
        """Name the cell."""
        self.begun = time.monotonic()
        if cell["cell_type"] == "code":
            print(f"\n[{cell_index}] {cell['source'].splitlines()[0]}", flush=True)

    def end(self, cell: dict[str, Any], cell_index: int, execute_reply: dict[str, Any]) -> None:
        """Print the outputs, indented, and the time if it was worth noticing."""
        self.outputs(cell, cell_index)
        if (took := time.monotonic() - self.begun) > 1:
            print(f"    ({took:.1f} s)", flush=True)

    def later(self, cells: list[dict[str, Any]]) -> None:
        """Print the outputs that changed after their cell had ended, as those of running tasks do."""
        changed = [index for index in self.printed if text_of(cells[index]) != self.printed[index]]
        if changed:
            print("\nIn the end it says under these cells:")
        for index in changed:
            print(f"[{index}] {cells[index]['source'].splitlines()[0]}")
            self.outputs(cells[index], index)

    def outputs(self, cell: dict[str, Any], cell_index: int) -> None:
        """Print the outputs of a cell; colours only where they are seen as such."""
        text = self.printed[cell_index] = text_of(cell)
        for line in (text if sys.stdout.isatty() else COLOUR.sub("", text)).splitlines():
            print(f"    {line}")


def text_of(cell: dict[str, Any]) -> str:
    """Return the text of all outputs of a cell."""
    return "\n".join(filter(None, (shown(output).rstrip("\n") for output in cell.get("outputs", ()))))


def html(notebook: Any) -> str:
    """Return one page that needs no network: the plots are inside, and nothing else is fetched."""
    exporter = HTMLExporter(embed_images=True)
    exporter.require_js_url = exporter.jquery_url = exporter.mathjax_url = exporter.mermaid_js_url = ""
    body, _ = exporter.from_notebook_node(notebook)
    return str(body)


def execute(notebook: Any, folder: Path) -> None:
    """Run all cells in a kernel that works in the folder.

    It is reached over unix sockets in a folder that is ours alone: on TCP others of this machine could listen in.
    """
    printer = Printer()
    with tempfile.TemporaryDirectory(prefix="parslab-") as private:
        NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{private}/kernel"}}),
            on_cell_start=printer.begin,
            on_cell_executed=printer.end,
        ).execute()
    printer.later(notebook.cells)


def run(source: Path, folder: Path) -> int:
    """Run the notebook and return the exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(source, as_version=4)
    begun = time.monotonic()
    status = 0
    try:
        execute(notebook, folder)
    except CellExecutionError as error:
        status = 1
        print(f"\n{source.name} stopped: {error.ename}: {error.evalue}")
    executed, page = folder / source.name, folder / source.with_suffix(".html").name
    nbformat.write(notebook, executed)
    page.write_text(html(notebook), encoding="utf-8")
    print(f"\n{source.name} ran for {time.monotonic() - begun:.0f} s")
    print(f"  notebook  {executed}\n  page      {page}")
    return status


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--to", type=Path, default=Path(".demo"), help="folder of the results (default: .demo)")
    options = parser.parse_args()
    return run(options.notebook, options.to)


if __name__ == "__main__":
    sys.exit(main())
