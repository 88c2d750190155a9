"""The connection file of a run [shell]: what others of this user need in order to find it, and how its lease stands.

``parslab-RUN.json`` in Jupyter's runtime directory, readable by its owner only, replaced as a whole when something
changes, gone when the run has ended.  Its time of change says when the run was last known to live, which is all that
another host that shares the file system can know.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

from parslab.wire import invitations

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ConnectionFile"]

log = logging.getLogger(__name__)


class ConnectionFile:
    """Writes and removes it.

    Parameters
    ----------
    path
        Where it lies.
    content
        What never changes.
    """

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self._path = path
        self._content = content

    def write(self, **lease: Any) -> None:
        """Write it anew; a full disk costs the way in for others, not the run."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            invitations.write(self._path, {**self._content, **lease})
        except OSError as error:
            log.warning("no other notebook can attach, %s cannot be written: %s", self._path, error)

    def beat(self) -> None:
        """Show that the run lives."""
        with contextlib.suppress(OSError):
            os.utime(self._path)

    def remove(self) -> None:
        """The run is over."""
        with contextlib.suppress(OSError):
            self._path.unlink()
