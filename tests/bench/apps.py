"""The apps that the benchmarks call, in a module so that they ship by reference (``cases`` makes one by value)."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

from parslab import bash_app, join_app, python_app

__all__ = ["command", "join", "noop", "remembered", "run_command", "size_of", "sleep", "spin", "step", "wait_until"]


@python_app
def noop() -> None:
    """Nothing: what is left is the way of a task."""


@python_app
def step(value: int) -> int:
    """A link of a chain; the value at the end shows that each link ran once."""
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


@python_app
def spin(seconds: float, *needs: Any) -> None:
    """Keep a core busy for so long, once what it needs is there."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@join_app
def join() -> Any:
    """A body that returns one more task."""
    return noop()


@bash_app
def command() -> str:
    """The shortest command line."""
    return "true"


@python_app
def run_command() -> float:
    """What a bash app does, without one; answers how many seconds it took in the worker."""
    begun = time.perf_counter()
    subprocess.run(["/bin/bash", "-c", "true"], check=True)
    return time.perf_counter() - begun


@python_app
def size_of(path: Any, seconds: float) -> int:
    """The size of a file, after some seconds."""
    time.sleep(seconds)
    return os.stat(path).st_size


def same(value: Any) -> Any:
    return value


def leaf(number: int, size: int = 5_000_000) -> Any:
    import numpy as np

    return np.full(size // 8, float(number))


def add_arrays(one: Any, other: Any) -> Any:
    return one + other


def arrays(count: int) -> Any:
    import numpy as np

    return [np.full(1024, number) for number in range(count)]
