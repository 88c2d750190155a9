"""One direction of a link in virtual time, and the interface that every part of a simulated run uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from parslab.testing.faults import Faults

__all__ = ["Line", "Simulation"]


class Simulation(Protocol):
    """The clock, the random numbers and the faults of a simulated run."""

    now: float
    random: random.Random
    faults: Faults

    def at(self, when: float, happen: Callable[[], None]) -> None:
        """Call ``happen`` at the time ``when``."""

    def after(self, delay: float, happen: Callable[[], None]) -> None:
        """Call ``happen`` after ``delay`` seconds."""


class Line:
    """One direction of a link: it delays messages, and keeps their order.

    Parameters
    ----------
    simulation
        The run.
    opens
        The time before which no message arrives.
    """

    def __init__(self, simulation: Simulation, opens: float = 0.0) -> None:
        self._simulation = simulation
        self._free = opens

    def carry(self, deliver: Callable[[], None]) -> None:
        """Call ``deliver`` when the message has arrived."""
        # A message needs half a millisecond on average, and never overtakes an earlier one.
        self._free = max(self._free, self._simulation.now + self._simulation.random.expovariate(2000.0))
        self._simulation.at(self._free, deliver)
