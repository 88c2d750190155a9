"""The apps that the benchmarks call, in a module so that they ship by reference (``cases`` makes one by value)."""

from __future__ import annotations

import time

from parslab import python_app

__all__ = ["noop", "step"]


@python_app
def noop() -> None:
    """Nothing: what is left is the way of a task."""


@python_app
def step(value: int) -> int:
    """A link of a chain; the value at the end tells that each link ran once."""
    return value + 1


@python_app
def sleep(seconds: float) -> None:
    """Do nothing for a while."""
    time.sleep(seconds)
