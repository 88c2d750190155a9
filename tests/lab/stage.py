"""A run that nobody computes, for what a scheduler would have to be there for: put into a cell of a notebook as it is.

`stage.happens(...)` passes events to the monitoring that a DataFlowKernel has, and from `stage.open()` on the relay of
the kernel takes its feed to the panel; commands of the panel pile up in `stage.commands`. A thread turns as the loop
does.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from IPython.core.getipython import get_ipython

from parslab.jupyter.relay import Relay
from parslab.monitoring.monitor import Monitor
from parslab.records.events import Event, RunStarted


class Stage:
    """What the relay needs of a DataFlowKernel."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stage-", dir=os.getcwd()))
        self.run = "007"
        self.state = SimpleNamespace(left=False)
        self.on_feed: Any = None
        self.on_end: list[Any] = []
        self.commands: list[Any] = []
        self._lock = threading.RLock()
        self._monitor = Monitor(self.folder)
        self._over = threading.Event()
        now = time.time()
        self.happens(RunStarted(now, self.run, "login1", 4242, str(self.folder), ("htex",), "0.1.0"))
        shell: Any = get_ipython()
        self._relay = Relay(shell.kernel)

    def open(self) -> None:
        """Let panels look."""
        self._relay.serve(self)  # type: ignore[arg-type]
        threading.Thread(target=self._turn, daemon=True).start()

    def was(self, time: float) -> None:
        """Apply what has happened so far as if it had arrived at this time."""
        with self._lock:
            self._monitor._apply(time)

    def happens(self, *events: Event) -> None:
        """Pass events to monitoring."""
        with self._lock:
            self._monitor.record(list(events))

    def panel_ask(self, text: bytes) -> None:
        """Answer a panel as the loop does."""
        with self._lock:
            command = self._monitor.request(text, time.time(), self._tell)
        if command is not None:
            self.commands.append(command)
            self._tell(Monitor.command_reply(command.request_id, "It was done."))

    def close(self) -> None:
        """End the run."""
        self._over.set()
        with self._lock:
            self._monitor.close(time.time())
        for end in self.on_end:
            end("it was asked to")

    def _tell(self, text: bytes) -> None:
        if self.on_feed is not None:
            self.on_feed(text)

    def _turn(self) -> None:
        while not self._over.wait(0.05):
            with self._lock:
                for text in self._monitor.tick(time.time()):
                    self._tell(text)
