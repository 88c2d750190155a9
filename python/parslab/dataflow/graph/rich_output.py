"""Keeps the rich output of cells as long as their tasks [core], so that a cell shows it again after a restart.

The DataFlowKernel's loop adds what workers send; a client that follows a task receives what is kept.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from parslab.wire.messages.base import OutputPrinted

__all__ = ["DISPLAY", "RichOutput"]

DISPLAY = 3
"""The stream of rich output in ``OutputPrinted``."""
_BOUND = 64 * 1024 * 1024
"""Bytes that are kept for all tasks of a run; later output is shown, but not kept."""


class RichOutput:
    """The rich output of each task that has some."""

    def __init__(self) -> None:
        self._messages: dict[int, list[OutputPrinted]] = {}
        self._bytes = 0

    def add(self, message: OutputPrinted, alive: Container[int]) -> str:
        """Keep a message and return its plain text, with a line end.

        Parameters
        ----------
        message
            From a worker, in the stream ``DISPLAY``.
        alive
            The tasks that the run still holds: the output of all others may be dropped.
        """
        size = len(message.text)
        # Only when the bound is reached: a look at all tasks for each message would be too slow.
        if self._bytes + size > _BOUND:
            for task in [task for task in self._messages if task not in alive]:
                self._bytes -= sum(len(kept.text) for kept in self._messages.pop(task))
        if self._bytes + size <= _BOUND:
            self._bytes += size
            self._messages.setdefault(message.task, []).append(message)
        try:
            # Monitoring keeps text only; clients that follow the task receive the rich form.
            text = json.loads(bytes(message.text))["data"]["text/plain"]
        except (ValueError, LookupError, TypeError):  # a message that clears, or not one of ours
            return ""
        return f"{text}\n"

    def of(self, task: int) -> list[OutputPrinted]:
        """Return what a task has shown so far."""
        return self._messages.get(task, [])
