"""Name the cells of a notebook in tracebacks: ``In [3]`` in place of the name of a file that does not exist.

The kernel compiles each cell under the name of a temporary file that it never writes. A worker stores the source of a
cell in ``linecache``. The title of the cell is the "full name" there, which Python does not use for an entry without a
file. So tracebacks of every process name the cell. In the notebook itself IPython has the number.
"""

from __future__ import annotations

import linecache
import re
import sys

__all__ = ["cell_title", "learn", "with_titles"]

_FRAME = re.compile(r'File "([^"\n]+)", line (?=\d+)')
_NUMBER = re.compile(r"\d+")


def cell_title(filename: str) -> str:
    """Return ``In [n]`` for the file name of a cell; empty for other files."""
    entry = linecache.cache.get(filename)
    if entry is None or len(entry) != 4 or entry[1] is not None:
        return ""  # the entry of a real file has a time of change, that of a cell has none
    if entry[3] != filename:
        return entry[3]
    module = sys.modules.get("IPython.core.interactiveshell")
    if module is None or not module.InteractiveShell.initialized():
        return ""
    named = module.InteractiveShell.instance().compile.format_code_name(filename)
    number = _NUMBER.search(named[1]) if named is not None else None
    return f"In [{number.group()}]" if number is not None else ""


def learn(filename: str, text: str, title: str) -> None:
    """Store the lines of a cell where tracebacks look for them."""
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), title or filename)


def with_titles(traceback: str) -> str:
    """Return the text of a traceback with the titles of cells in place of their file names."""

    def named(frame: re.Match[str]) -> str:
        title = cell_title(frame.group(1))
        return f"Cell {title}, line " if title else frame.group()

    return _FRAME.sub(named, traceback)
