"""Finds the run that a panel wants among the connection files of this user [shell].

Many panels may wait for a run, and each of them looks again twice a second.  So they share one look, a folder is not
listed again until it changes, and a file is not read again until it changes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from parslab.paths import runtime_dir
from parslab.wire.run_files import read_connection_info

if TYPE_CHECKING:
    from parslab.wire.run_files import ConnectionInfo

__all__ = ["LiveRuns", "WantedRun"]

_PREFIX, _SUFFIX = "parslab-", ".json"

_SETTLED = 3.0
"""Seconds after which two changes of a folder surely have different times; some file systems store whole seconds."""


class WantedRun(NamedTuple):
    """The run that a panel wants: by its name, or by the kernel of its notebook."""

    run: str = ""
    kernel: str = ""
    """Identifier of the Jupyter kernel."""

    def is_met_by(self, info: ConnectionInfo) -> bool:
        """Return whether a run is the wanted one."""
        if self.run:
            return info.run == self.run
        return bool(self.kernel) and info.notebook_place.kernel == self.kernel


class LiveRuns:
    """The connection files of one folder.

    Parameters
    ----------
    folder
        The folder; None: Jupyter's runtime folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = runtime_dir() if folder is None else folder
        self._known: dict[str, tuple[tuple[int, int], ConnectionInfo | None]] = {}
        self._listed: tuple[int, int] | None = None
        """The version of the folder when it was last listed; None if it may change without a new version."""
        self._reading: asyncio.Future[list[ConnectionInfo]] | None = None

    async def look(self, wanted: WantedRun) -> ConnectionInfo | None:
        """Do what :meth:`find` does, without stopping the loop.

        Only one thread looks at a time, because the folder may be on a file system that does not answer.
        """
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(asyncio.to_thread(self.all))
        # A page that goes must not end the look of the others.
        return _newest(await asyncio.shield(self._reading), wanted)

    def find(self, wanted: WantedRun) -> ConnectionInfo | None:
        """Return the newest run of this host that is the wanted one; None if there is none."""
        return _newest(self.all(), wanted)

    def all(self) -> list[ConnectionInfo]:
        """Return the runs of this host that this user's processes have announced."""
        self._read()
        here = socket.gethostname()
        return [info for _, info in self._known.values() if info is not None and info.host == here]

    def _read(self) -> None:
        """Read the files that are new or have changed, and forget those that are gone."""
        known: dict[str, tuple[tuple[int, int], ConnectionInfo | None]] = {}
        try:
            status = os.stat(self._folder)
            # A run replaces its file, which changes the folder.
            version = (status.st_ino, status.st_mtime_ns)
            if version == self._listed:
                return
            self._listed = version if time.time() - status.st_mtime > _SETTLED else None
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX):
                        self._look(entry, known)
        except OSError:
            self._listed = None  # there is no such folder before the first kernel starts
        self._known = known

    def _look(self, entry: os.DirEntry[str], known: dict[str, tuple[tuple[int, int], ConnectionInfo | None]]) -> None:
        try:
            status = entry.stat()
        except OSError:
            return  # its run has just removed it
        # A file is always replaced as a whole, so its inode changes with its content.
        version = (status.st_ino, status.st_mtime_ns)
        before = self._known.get(entry.name)
        if before is not None and before[0] == version:
            known[entry.name] = before
            return
        try:
            info: ConnectionInfo | None = read_connection_info(Path(entry.path))
        except (OSError, ValueError):
            info = None  # not ours, or not the file of a run
        known[entry.name] = version, info


def _newest(infos: list[ConnectionInfo], wanted: WantedRun) -> ConnectionInfo | None:
    return max(filter(wanted.is_met_by, infos), key=lambda info: info.started, default=None)
