"""Finds how many cores this process may use, by its affinity and its cgroup quota; the machine may have more.

Executor descriptions use this number as the default number of workers, in the client's process.  ``PARSLAB_CORES``
overrides it.  A quota of 1.5 cores counts as 2, because one worker would leave half a core idle.  Without ``/proc``
(macOS) only the number of processors is known.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["OVERRIDE", "cgroups", "quota", "usable_cores"]

OVERRIDE = "PARSLAB_CORES"
"""The environment variable that overrides the number."""


def usable_cores(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Return how many cores tasks may keep busy here, at least 1.

    Parameters
    ----------
    environment
        The environment that may have ``PARSLAB_CORES``.
    root
        The root of the file system in which ``proc`` and the cgroup mounts are found.

    Raises
    ------
    ConfigurationError
        ``PARSLAB_CORES`` is not a whole number of at least 1.
    """
    asked = environment.get(OVERRIDE, "").strip()
    if asked:
        if not asked.isascii() or not asked.isdigit() or int(asked) < 1:
            raise ConfigurationError(f"{OVERRIDE} must be a whole number of at least 1, not {asked!r}.")
        return int(asked)
    # os.cpu_count() ignores the affinity that batch systems set; macOS has no affinity.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = quota(root)
    return cores if limit is None else max(1, min(cores, math.ceil(limit)))


def quota(root: Path = Path("/")) -> float | None:
    """Return the smallest quota of our cgroup and all cgroups above it, in cores; None without a quota."""
    limits = [limit for folder, version in cgroups("cpu", root) if (limit := _limit(folder, version)) is not None]
    return min(limits, default=None)


def cgroups(controller: str, root: Path = Path("/")) -> Iterator[tuple[Path, int]]:
    """Yield the cgroup folders of one controller that bind this process, innermost first, each with the cgroup version.

    Parameters
    ----------
    controller
        ``cpu``, ``memory`` ...
    root
        As in :func:`usable_cores`.
    """
    try:
        ours = (root / "proc/self/cgroup").read_text()
        mounts = (root / "proc/self/mountinfo").read_text()
    except OSError:
        return
    paths: dict[int, str] = {}
    for line in ours.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            paths[2] = path
        elif controller in controllers.split(","):
            paths[1] = path
    for version, mount, top in _mounts(mounts, controller):
        if version not in paths:
            continue
        # Every ancestor limits us, too, so the walk goes up to the top of the mount.
        # In a container the top of the mount is the container's own cgroup, so the path may lie outside of the mount.
        inside = Path(paths[version])
        below = inside.relative_to(top) if inside.is_relative_to(top) else Path()
        base = root / mount.lstrip("/")
        folder = base / below
        yield folder, version
        while folder != base:
            folder = folder.parent
            yield folder, version


def _mounts(mountinfo: str, controller: str) -> Iterator[tuple[int, str, str]]:
    """Yield (version, mount point, top of the mounted tree) of each cgroup mount that can limit the controller."""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            yield 2, fields[4], fields[3]
        elif kind[0] == "cgroup" and controller in kind[2].split(","):
            yield 1, fields[4], fields[3]


def _limit(folder: Path, version: int) -> float | None:
    try:
        if version == 2:
            allowed, period = (folder / "cpu.max").read_text().split()
        else:
            allowed = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        cores = float(allowed) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max", which is no number, means no limit
        return None
    return cores if cores > 0 else None
