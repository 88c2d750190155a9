"""Times taken in the browser: kept for the summary of the test run and held against their bounds."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.browser import Cell, Lab

BOUND = 1.0
"""Seconds in which the panel promises to have drawn an event, or to have carried out a command."""

measured: list[str] = []


def delays(lab: Lab, name: str, cell: Cell) -> list[float]:
    """Seconds from each event that the cell reports until the panel had painted its number.

    Parameters
    ----------
    name
        Its name in `drive.watch`.
    """
    happened = json.loads(cell.output)
    drawn = "([name, last]) => window.watched[name].some(([number]) => number >= last)"
    lab.page.wait_for_function(drawn, arg=[name, len(happened)])
    seen = lab.page.evaluate("name => window.watched[name]", name)
    return [
        min(painted for counted, painted in seen if counted >= number) - moment
        for number, moment in enumerate(happened, start=1)
    ]


def report(what: str, found: list[float]) -> None:
    """Keep a measurement for the summary and hold it against the bound."""
    middle, longest = statistics.median(found), max(found)
    measured.append(f"{what}: median {middle:.3f} s, longest {longest:.3f} s of {len(found)}")
    assert middle <= BOUND, measured[-1]
