"""A control group of Linux for one worker and all processes that its tasks start [shell].

A process can leave its process group, its session and its environment, and so hide from those who clean up.  It cannot
leave its control group without the right to write there.  So the end of a worker also ends daemons that a task has
started with a cleared environment.

Such a group can be made where the group of this process is one of version 2 that this user may change: in user sessions
of systemd, and in containers and jobs that have been given a group of their own.  Elsewhere there is none, and only
processes that keep their environment are found.

The groups lie side by side below the group of the parent: ``parslab-RUN-NAMESPACE-PARENT-WORKER``, with two process
numbers and the number of the namespace in which they are valid.

Where there is no group, a mark in the environment names the parent of a worker and of what its tasks start.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from parslab.cores import cgroups
from parslab.paths import pid_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["ControlGroup", "groups_of", "parent_of", "remove_empty_groups", "worker_mark"]

_KILL = 1.0
"""Seconds within which killed processes must have left their group."""


class ControlGroup:
    """One group.

    Parameters
    ----------
    path
        Its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def make(cls, run: str, worker: int) -> ControlGroup | None:
        """Put the process ``worker``, a child of this one, into a new group; None where none can be made."""
        own = _own_group()
        if own is None:
            return None
        group = cls(own / f"parslab-{run}-{_namespace()}-{os.getpid()}-{worker}")
        try:
            group.path.mkdir()
            (group.path / "cgroup.procs").write_text(str(worker))
        except OSError:  # often ``mkdir`` is allowed, and to move a process is not
            with contextlib.suppress(OSError):
                group.path.rmdir()
            return None
        return group

    @property
    def parent(self) -> int | None:
        """The process that made the group; None if it belongs to another namespace of processes."""
        namespace, parent, _ = self.path.name.split("-")[-3:]
        return int(parent) if namespace == _namespace() else None

    @property
    def made_at(self) -> float:
        """When the group was made, in seconds since the epoch."""
        return self.path.stat().st_ctime

    def kill(self) -> None:
        """Kill all processes of the group but this one, and remove the group."""
        deadline = time.monotonic() + _KILL
        while True:
            for pid in self._processes():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return
            # The system refuses while a killed process has not ended.
            except OSError:
                if time.monotonic() > deadline:
                    return
                time.sleep(0.002)
            else:
                return

    def _processes(self) -> list[int]:
        try:
            pids = map(int, (self.path / "cgroup.procs").read_text().split())
        except OSError:
            return []
        # 0 stands for a process of another namespace.
        return [pid for pid in pids if pid not in (0, os.getpid())]


def groups_of(run: str) -> Iterator[ControlGroup]:
    """Yield the groups of a run below the group of this process."""
    own = _own_group()
    if own is not None:
        for path in own.glob(f"parslab-{run}-*-*"):
            yield ControlGroup(path)


def remove_empty_groups() -> None:
    """Remove the empty groups of all runs below the group of this process whose parent was killed.

    A container's groups are left to those who live in it: no number there tells us whether a process lives.
    """
    own = _own_group()
    for path in () if own is None else own.glob("parslab-*-*-*-*"):
        with contextlib.suppress(OSError, ValueError):
            # A living parent may be about to put a worker into it.
            parent = ControlGroup(path).parent
            if parent is not None and not os.path.exists(f"/proc/{parent}"):
                path.rmdir()  # fails where a process is left


def worker_mark(worker: str) -> str:
    """Return what the environment of a worker of this process says in ``PARSLAB_WORKER_OF``; tasks inherit it."""
    return f"{os.getpid()}@{_namespace()}/{worker}"


def parent_of(mark: str) -> int | None:
    """Return the process that started the worker of a mark; None if it belongs to another namespace of processes.

    A host and its containers give the same numbers to different processes.
    """
    parent, _, namespace = mark.partition("/")[0].partition("@")
    return int(parent) if namespace == _namespace() else None


def _namespace() -> str:
    """Return the number of this process's namespace of processes; empty where there are no namespaces."""
    return "".join(filter(str.isdigit, pid_namespace()))


@functools.cache
def _own_group() -> Path | None:
    """Return the folder of this process's group of version 2; None where there is none."""
    if sys.platform != "linux":
        return None
    folder = next((folder for folder, version in cgroups("") if version == 2), None)
    try:
        # A container may show us another group than ours at this place.
        if folder is not None and str(os.getpid()) in (folder / "cgroup.procs").read_text().split():
            return folder
    except OSError:
        pass
    return None
