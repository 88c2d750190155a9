"""Tells the resource trackers of multiprocessing from other processes.

A program that uses multiprocessing, or loky, has a process beside it that removes the named semaphores and the shared
memory that the program leaves.  It does so, and ends, after the last process that uses it.  Who kills it before leaves
them in the system for good.
"""

from __future__ import annotations

__all__ = ["is_resource_tracker"]

_CODE = "resource_tracker import main"
"""Part of the code that Python, or loky, gives to the interpreter that it starts as a tracker."""


def is_resource_tracker(command_line: list[str]) -> bool:
    """Return whether the process with this command is a resource tracker, which ends by itself."""
    return any(_CODE in word for word in command_line)
