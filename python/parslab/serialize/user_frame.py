"""Find the line of the user that a warning is about."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["frames_to_user"]


def frames_to_user() -> int:
    """Return how many frames above the caller the first frame outside of parslab is."""
    frame: FrameType | None = sys._getframe(1)
    count = 1
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("parslab."):
        frame, count = frame.f_back, count + 1
    return count
