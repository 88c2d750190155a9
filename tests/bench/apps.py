"""The apps that the benchmarks call, in a module so that they ship by reference (``cases`` makes one by value)."""

from __future__ import annotations

import time

from parslab import python_app

__all__ = ["noop", "remembered", "sleep", "step", "wait_until"]


@python_app
def noop() -> None:
    """Nothing: what is left is the way of a task."""


@python_app
def step(value: int) -> int:
    """A link of a chain; the value at the end tells that each link ran once."""
    return value + 1


@python_app(cache=True)
def remembered(value: int) -> int:
    """The same as ``step``, of which results are remembered."""
    return value + 1


@python_app
def sleep(seconds: float) -> None:
    """Do nothing for a while."""
    time.sleep(seconds)


@python_app
def wait_until(when: float) -> float:
    """Do nothing until this time, so that many end together; answers when it began."""
    begun = time.time()
    time.sleep(max(0.0, when - begun))
    return begun
