"""Finds the line of a notebook cell in which a traceback ends.  [core]"""

from __future__ import annotations

import re

__all__ = ["cell_line"]

_FRAME = re.compile(r"^ *Cell (In \[\d+\]), line (\d+).*\n *(\S.*)$", re.MULTILINE)


def cell_line(traceback: str) -> tuple[str, str] | None:
    """Return the place and the text of the innermost line that is in a cell; None if no line is.

    Examples
    --------
    >>> cell_line("Traceback:\\n  Cell In [3], line 4, in fit\\n    return 1 / 0\\nZeroDivisionError: no")
    ('In [3], line 4', 'return 1 / 0')
    """
    frames = list(_FRAME.finditer(traceback))
    return (f"{frames[-1][1]}, line {frames[-1][2]}", frames[-1][3].rstrip()[:500]) if frames else None
