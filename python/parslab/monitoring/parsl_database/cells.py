"""Turns cells of Parsl's database into values of ours.  [core]

Parsl writes times as texts in the time zone of the host that ran it, without saying which that was.  They are read in
the time zone of this host, so an import belongs on the host that ran Parsl, or on one with the same zone.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from parslab.monitoring.view.text import TEXT, clipped

if TYPE_CHECKING:
    from parslab.monitoring.parsl_database.database import Cell

__all__ = ["Cells"]

_HOURS = 10_000
"""Hours whose distance from 1970 is kept: a year of monitoring."""


class Cells:
    """Reads cells, and counts those that cannot be read."""

    def __init__(self) -> None:
        self.unreadable = 0
        self._hours: dict[str, float] = {}

    def time(self, cell: Cell) -> float | None:
        """Return a time in seconds since the epoch; None if there is none, or if it cannot be read."""
        if cell is None or cell == "":
            return None
        if isinstance(cell, (int, float)):
            return float(cell)
        try:
            return self._text_time(cell if isinstance(cell, str) else cell.decode())
        except (ValueError, OverflowError, OSError):
            self.unreadable += 1
            return None

    def _text_time(self, text: str) -> float:
        # `2024-05-01 10:20:30.123456`.  The conversion of the local time is slow, so it is done once for each hour.
        hour, rest = text[:13], text[13:]
        began = self._hours.get(hour)
        if began is None:
            if len(self._hours) >= _HOURS:
                self._hours.clear()
            began = self._hours[hour] = datetime.strptime(hour.replace("T", " "), "%Y-%m-%d %H").timestamp()
        if not rest:
            return began
        if rest[0] != ":" or rest[3:4] not in ("", ":"):
            raise ValueError(text)
        return began + 60.0 * int(rest[1:3]) + float(rest[4:] or 0.0)

    def text(self, cell: Cell, size: int = TEXT) -> str:
        """Return a cell as a text of at most ``size`` characters; empty for none."""
        if cell is None:
            return ""
        return clipped(cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell), size)

    def number(self, cell: Cell) -> int:
        """Return a cell as a whole number, 0 for none and for what is no number."""
        try:
            return min(max(int(cell or 0), -(1 << 62)), 1 << 62)
        except (ValueError, OverflowError):
            self.unreadable += 1
            return 0

    def numbers(self, cell: Cell) -> list[int]:
        """Return the numbers of a list such as ``3,5,8``."""
        found = []
        for word in self._whole(cell).replace("[", "").replace("]", "").split(","):
            if word.strip():
                try:
                    found.append(int(word))
                except ValueError:
                    self.unreadable += 1
        return found

    def _whole(self, cell: Cell) -> str:
        return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else "" if cell is None else str(cell)
