"""Finds the run that a panel wants among the connection files of this user [shell].

Many panels may wait for a run, and each of them looks again every second.  So a file is read once and not again until
it changes.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from parslab.paths import runtime_dir
from parslab.wire.run_files import read_connection_info

if TYPE_CHECKING:
    from parslab.wire.run_files import ConnectionInfo

__all__ = ["LiveRuns", "WantedRun"]

_PREFIX, _SUFFIX = "parslab-", ".json"


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

    def find(self, wanted: WantedRun) -> ConnectionInfo | None:
        """Return the newest run of this host that is the wanted one; None if there is none."""
        here = socket.gethostname()
        found = [info for info in self._read() if info.host == here and wanted.is_met_by(info)]
        return max(found, key=lambda info: info.started, default=None)

    def _read(self) -> list[ConnectionInfo]:
        """Read the files that are new or have changed, and forget those that are gone."""
        known: dict[str, tuple[tuple[int, int], ConnectionInfo | None]] = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX):
                        self._look(entry, known)
        except OSError:
            pass  # there is no such folder before the first kernel starts
        self._known = known
        return [info for _, info in known.values() if info is not None]

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
