"""Kills at random all over a run: workers, managers and whole blocks, while tasks go on.

The kills are spread over the progress of the run, not over time, so that a slow machine sees as many as a quick one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cloudpickle

from parslab import python_app
from tests.process.blocks import Ends, attempts, block_leaders, managers, workers
from tests.process.sandbox import until

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from parslab import DataFlowKernel

__all__ = ["Report", "begin", "kill_at_random"]

cloudpickle.register_pickle_by_value(sys.modules[__name__])

_WEIGHTS = {"worker": 80, "manager": 14, "block": 6}


@dataclass
class Report:
    """What was done, and what it cost."""

    kills: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    again: int = 0
    """Times that a task was begun again."""
    seconds: float = 0.0


@python_app(executors=["htex"])
def begin(path: Path, number: int, seconds: float = 0.0) -> int:
    """Write down that the task is begun, then take some time."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{number}\n".encode())
    os.close(descriptor)
    time.sleep(seconds)
    return number


def kill_at_random(
    dfk: DataFlowKernel, log: Path, tasks: int, kills: int, dice: random.Random, seconds: float = 0.01
) -> Report:
    """Run so many tasks under so many kills; every task must end well, once.

    Parameters
    ----------
    log
        A file in which tasks write down that they were begun.
    seconds
        That a task takes, about.
    """
    report, ends, began = Report(), Ends(), time.monotonic()
    futures = [ends.watch(begin(log, number, dice.uniform(0, 2 * seconds))) for number in range(tasks)]
    for number in range(kills):
        due = tasks * number // kills
        until(lambda due=due: len(ends.ended) >= due, 60, f"{due} tasks are finished")  # type: ignore[misc]
        kind = dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        _kill(dfk.pid, kind, dice)
        report.kinds[kind] += 1
        report.kills += 1
    assert [future.result(60) for future in futures] == list(range(tasks))
    ends.must_be_one_each(dfk)
    begun = attempts(log)
    assert set(begun) == set(range(tasks))
    report.again = begun.total() - tasks
    report.seconds = time.monotonic() - began
    return report


def _kill(dfk: int, kind: str, dice: random.Random) -> None:
    """Kill one of a kind, as soon as there is one."""
    find = {"worker": workers, "manager": managers, "block": block_leaders}[kind]
    while True:
        pid = dice.choice(until(lambda: find(dfk), 30, f"a {kind} is there"))
        with contextlib.suppress(ProcessLookupError):  # it ended just now
            if kind == "block":
                os.killpg(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)
            return
