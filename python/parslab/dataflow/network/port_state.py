"""What the port of a run leaves for its next life [shell].

A DataFlowKernel that is started again after a crash listens where the last one did, with the same keys, so that
managers, and jobs that still wait in a queue, find it.

``<run_dir>/hub.json``, readable by us alone; it goes when the run ends in good order.
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

__all__ = ["PortState", "forget", "keep", "kept"]

log = logging.getLogger(__name__)

NAME = "hub.json"


class PortState(NamedTuple):
    """Where the last one listened."""

    keys: CurveKeys
    port: int


def keep(run_dir: Path, keys: CurveKeys, port: int) -> None:
    """Write it down; a disk that is full costs the next life its managers, not this one anything."""
    try:
        invitations.write(run_dir / NAME, {"server": keys.server_secret, "client": keys.client_secret, "port": port})
    except OSError as error:
        log.warning("what managers would need after a crash cannot be written: %s", error)


def kept(run_dir: Path) -> PortState | None:
    """What was written down; None: nothing that can be used."""
    try:
        told = invitations.read(run_dir / NAME)
        return PortState(CurveKeys((told["server"], told["client"])), int(told["port"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, zmq.ZMQError) as error:
        log.warning("the port and keys of the run before the crash cannot be read: %s", error)
        return None


def forget(run_dir: Path) -> None:
    """The run has ended in good order."""
    with contextlib.suppress(OSError):
        (run_dir / NAME).unlink()
