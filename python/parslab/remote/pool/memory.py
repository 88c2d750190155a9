"""Find out whether the out-of-memory killer of Linux has killed a worker.

The kernel counts its kills for each control group (``memory.events``; ``memory.oom_control`` of version 1) and for the
whole host (``/proc/vmstat``).  Workers share the control group of this process: that of the batch job or container.
If the count rose when a worker was killed, the killer was the cause; without root nobody can know more.  The pool asks
in its loop when a worker was killed.  On other systems nothing is known.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["OutOfMemory"]

_TOGETHER = 1.0
"""Seconds within which one lack of memory may kill several workers."""


class OutOfMemory:
    """Watches the kill count of the smallest group of processes that includes this one.

    Parameters
    ----------
    root
        The root of the file system in which ``proc`` and ``sys`` are found.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._source = _source(root)
        # The counts are never reset: kills before this moment belong to others.
        self._seen = self._count()
        self._until = float("-inf")

    def struck(self, now: float) -> bool:
        """Return whether the killer acted since the last call, or within a second before it."""
        # The pool learns of the deaths one by one, and the first call already sees the count of all of them.
        before, self._seen = self._seen, self._count()
        if self._seen > before:
            self._until = now + _TOGETHER
        return now < self._until

    def _count(self) -> int:
        if self._source is not None:
            with contextlib.suppress(OSError, ValueError):
                return _count_in(self._source)
        return 0


def _source(root: Path) -> Path | None:
    """Return the first readable file with a count of the out-of-memory killer; None if there is none."""
    for path in (*_of_our_group(root), root / "proc/vmstat"):
        with contextlib.suppress(OSError, ValueError):
            _count_in(path)
            return path
    return None


def _of_our_group(root: Path) -> list[Path]:
    """Return the files of our control group, of both versions."""
    # A container may see its own group as the root of the hierarchy although /proc names the full path.
    found: list[Path] = []
    mounted = root / "sys/fs/cgroup"
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, _, rest = line.partition(":")
            controllers, _, group = rest.partition(":")
            inside = group.strip("/")
            if number == "0" and not controllers:
                found += [mounted / inside / "memory.events", mounted / "memory.events"]
            elif "memory" in controllers.split(","):
                place = mounted / "memory"
                found += [place / inside / "memory.oom_control", place / "memory.oom_control"]
    return found


def _count_in(path: Path) -> int:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    raise ValueError(f"{path} counts no kills")
