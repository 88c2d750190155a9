"""What a component of the DataFlowKernel may ask of the process that it runs in.

A component receives a :class:`Host` in its constructor, and its other collaborators one by one. It never receives the
whole :class:`parslab.dataflow.kernel.Kernel`: so each component can be read and tested alone, and no import makes a
cycle. All methods but ``call_soon`` are for the thread of the loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.records.events import Event
    from parslab.remote.loop import Loop

__all__ = ["Host"]


class Host(Protocol):
    """The loop of the DataFlowKernel process, its timers, and the way to monitoring.

    Attributes
    ----------
    loop
        The poll loop, for components that watch sockets.
    """

    loop: Loop

    def now(self) -> float:
        """Return the time in seconds since the epoch."""

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread at the time ``when``."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread soon; safe from any thread."""

    def emit(self, event: Event) -> None:
        """Pass an event to monitoring."""

    def notify(self, level: str, text: str) -> None:
        """Show the user a notice; ``level`` is ``info``, ``warning`` or ``error``."""
