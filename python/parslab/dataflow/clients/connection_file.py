"""Writes the connection file of a run, which holds its address and the state of its lease [shell].

The file is in Jupyter's runtime folder.  It is replaced when the lease changes, touched as a heartbeat, and removed
when the run ends.  The time of its last change shows when the run was last alive.  Another host that shares the file
system can see nothing else of the run.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import os
from typing import TYPE_CHECKING

import msgspec

from parslab.wire.descriptors import using_spare
from parslab.wire.notebooks import NotebookPlace, moved_to
from parslab.wire.run_files import write_connection_info

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.wire.run_files import ConnectionInfo

__all__ = ["ConnectionFile"]

log = logging.getLogger(__name__)


class ConnectionFile:
    """Writes and removes the connection file of one run.

    Parameters
    ----------
    path
        Path of the file.
    info
        Its first content; the fields of the lease change later.
    """

    def __init__(self, path: Path, info: ConnectionInfo) -> None:
        self.path = path
        self._prepared = path.with_suffix(".handover")
        self._info = info

    def write(
        self,
        *,
        linger: float,
        away: float | None,
        ends: float | None,
        heartbeat_period: float,
        clients: int,
        owners: list[int],
    ) -> None:
        """Replace the file, with these fields of the lease.

        A full disk costs other processes the way to the run, but not the run itself.
        """
        self._info = msgspec.structs.replace(
            self._info,
            linger=linger,
            away=away,
            ends=ends,
            heartbeat_period=heartbeat_period,
            clients=clients,
            owners=owners,
        )
        self._replace()

    def notebook_at(self, place: NotebookPlace) -> None:
        """Replace the file, because the notebook has moved."""
        self._info = msgspec.structs.replace(self._info, notebook_place=place)
        self._replace()

    # ----- a handover

    def begin_handover(self) -> None:
        """Say that the run is about to be handed over.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        info = msgspec.structs.replace(self._info, handing_over=True)
        self._write(self.path, info)
        self._info = info

    def prepare_handover(self, ends: float) -> None:
        """Write beside the file what :meth:`hand_over` puts into its place.

        Parameters
        ----------
        ends
            When the blocks end unless another host goes on with the run, in seconds since the epoch.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        info = msgspec.structs.replace(self._info, handed_over=True, ends=ends, owners=[], clients=0)
        self._write(self._prepared, info)

    def hand_over(self) -> None:
        """Say that another host may go on with the run.

        Raises
        ------
        OSError
            The file cannot be replaced.
        """
        # A new name for a whole file: at this step, which cannot be taken back, a full disk must not matter.
        os.replace(self._prepared, self.path)

    def give_up_handover(self) -> None:
        """Say that the run stays.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        self._info = msgspec.structs.replace(self._info, handing_over=False)
        with contextlib.suppress(FileNotFoundError):
            self._prepared.unlink()
        self._write(self.path, self._info)

    def _write(self, path: Path, info: ConnectionInfo) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        using_spare(lambda: write_connection_info(path, info))

    def _replace(self) -> None:
        try:
            self._write(self.path, self._info)
        # The run serves the clients that it has, whatever happens to the file.
        except OSError as error:
            log.warning("no other notebook can attach, because %s cannot be written: %s", self.path, error)

    def touch(self) -> None:
        """Show that the run is alive, and note the new path of its notebook if a user has renamed that."""
        place = self._info.notebook_place
        moved = moved_to(place.path, place.file)
        if moved:
            self.notebook_at(NotebookPlace(moved, place.file, place.kernel))
        with contextlib.suppress(OSError):
            # A touch and no write: it cannot fail half-way, and no reader sees a new file each minute.
            os.utime(self.path)

    def remove(self) -> None:
        """Remove the file, and what a process of this run left beside it when it was killed: the run is over."""
        unfinished = self.path.parent.glob(f".{glob.escape(self.path.stem)}.*")
        for path in (self.path, self._prepared, *unfinished):
            with contextlib.suppress(OSError):
                path.unlink()
