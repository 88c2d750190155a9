"""Stores the port and the keys of a run on disk [shell].

A DataFlowKernel that is started again after a crash listens where the last one did, with the same keys.  So managers
find it, and so do jobs that still wait in a queue.  The file is ``<run_dir>/hub.json``; only its owner can read it.
The DataFlowKernel removes it when the run ends normally.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, NamedTuple

import zmq

from parslab.wire import invitations
from parslab.wire.curve import CurveKeys

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PortState", "read", "remove", "write"]

log = logging.getLogger(__name__)

NAME = "hub.json"


class PortState(NamedTuple):
    """The port of the last DataFlowKernel and its keys."""

    keys: CurveKeys
    port: int


def write(run_dir: Path, keys: CurveKeys, port: int) -> None:
    """Write the file; a full disk only means that managers cannot find the next DataFlowKernel."""
    try:
        invitations.write(run_dir / NAME, {"server": keys.server_secret, "client": keys.client_secret, "port": port})
    except OSError as error:
        log.warning("what managers would need after a crash cannot be written: %s", error)


def read(run_dir: Path) -> PortState | None:
    """Return the content of the file; None if it cannot be used."""
    try:
        # A run without this file still works: managers then find the new port in the run's folder.
        content = invitations.read(run_dir / NAME)
        return PortState(CurveKeys((content["server"], content["client"])), int(content["port"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, zmq.ZMQError) as error:
        log.warning("the port and keys of the run before the crash cannot be read: %s", error)
        return None


def remove(run_dir: Path) -> None:
    """Remove the file: the run has ended normally."""
    with contextlib.suppress(OSError):
        (run_dir / NAME).unlink()
