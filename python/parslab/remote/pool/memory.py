"""Was it the out-of-memory killer?  What the Linux kernel tells everybody about processes that it killed for memory.

It counts them for each control group (``memory.events``; ``memory.oom_control`` of version 1), which is that of the
batch job or container that the workers share with us, and for the whole host (``/proc/vmstat``).  A worker that was
killed while a count went up was killed by it, as far as anybody without root can know.  Asked by the pool, in its loop,
when a worker was killed; elsewhere than on Linux nothing is known.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["OutOfMemory"]

_TOGETHER = 1.0
"""Seconds within which several workers are killed for one lack of memory."""


class OutOfMemory:
    """Watches the count that is nearest to our processes.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._source = _source(root)
        self._seen = self._count()
        self._until = float("-inf")

    def struck(self, now: float) -> bool:
        """Whether it has killed something of ours lately: since this was asked last, or just before that."""
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
    """The first file that can be read and has a count of the out-of-memory killer."""
    for path in (*_of_our_group(root), root / "proc/vmstat"):
        with contextlib.suppress(OSError, ValueError):
            _count_in(path)
            return path
    return None


def _of_our_group(root: Path) -> list[Path]:
    """Files of our control group, of either version; inside a container its folder may lie at the root."""
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
