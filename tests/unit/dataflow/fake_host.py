"""A :class:`parslab.dataflow.host.Host` without a process: the test runs its timers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.records.events import Event


class FakeHost:
    """Keeps what components ask of it.

    Attributes
    ----------
    timers, posted
        The calls of ``call_at`` and ``call_soon`` that the test has not run.
    events, notices, end_reason
        What components passed on.
    """

    loop: Any = None

    def __init__(self) -> None:
        self.time = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.posted: list[Callable[[], None]] = []
        self.events: list[Event] = []
        self.notices: list[str] = []
        self.end_reason = ""

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        self.timers.append((when, call))

    def call_soon(self, call: Callable[[], None]) -> None:
        self.posted.append(call)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def notify(self, level: str, text: str) -> None:
        self.notices.append(text)

    def end_run(self, reason: str) -> None:
        self.end_reason = reason

    def run_timers(self) -> None:
        """Run all timers that are set now, whatever their time."""
        timers, self.timers = self.timers, []
        for _, call in timers:
            call()
