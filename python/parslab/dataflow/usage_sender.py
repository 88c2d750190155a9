"""Sends the usage reports of a run: one datagram when it begins, and at level 3 another one when it ends.  [shell]

Nothing waits for a report, and none can fail the run.  A daemon thread (``parslab-usage``) looks up the address, which
may take long.  A datagram needs no answer.  The end of the run sends only if the address is known by then.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from typing import TYPE_CHECKING

import msgspec

from parslab.records.states import FAILURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from parslab.wire.run_files import UsageSettings

__all__ = ["UsageSender", "end_report"]

log = logging.getLogger(__name__)

_WITH_END = 3
"""The level from which on the end of a run is reported."""


def end_report(usage: UsageSettings, counts: Mapping[str, int], seconds: float) -> str:
    """Return the report with which a run ends.

    Parameters
    ----------
    usage
        The usage reports of the run.
    counts
        Number of tasks in each state.
    seconds
        How long the run took.
    """
    failed = sum(counts.get(state.name, 0) for state in FAILURES)
    report = {
        "format": msgspec.json.decode(usage.start)["format"],
        "event": "end",
        "id": usage.run_id,
        "level": usage.level,
        "seconds": round(seconds),
        "tasks": sum(counts.values()),
        "failed": failed,
    }
    return msgspec.json.encode(report).decode()


class UsageSender:
    """The usage reports of a run.

    Parameters
    ----------
    usage
        What to send and where to; None if nothing is to be sent.
    """

    def __init__(self, usage: UsageSettings | None) -> None:
        self._usage = usage
        self._first = True
        # The thread sets it once, and end() reads it once: neither waits for the other.
        self._socket: socket.socket | None = None

    def begin(self, first: bool = True) -> None:
        """Send the first report in another thread.

        Parameters
        ----------
        first
            False if an earlier DataFlowKernel of the run has sent it.
        """
        self._first = first
        if self._usage is not None:
            threading.Thread(target=self._begin, args=(self._usage,), name="parslab-usage", daemon=True).start()

    def _begin(self, usage: UsageSettings) -> None:
        try:
            opened = _connected(usage.address)
            if usage.level >= _WITH_END:
                self._socket = opened  # from here on end() may use and close it
            if self._first:
                _send(opened, usage, usage.start)
            if usage.level < _WITH_END:
                opened.close()
        except Exception as error:  # whatever goes wrong here, the run must not notice
            log.info("no usage report is sent to %s: %s", usage.address, error)

    def end(self, counts: Mapping[str, int], seconds: float) -> None:
        """Send the last report at once, if there is one; ``counts`` and ``seconds`` as for :func:`end_report`."""
        opened, self._socket = self._socket, None
        if self._usage is None or opened is None:
            return
        with contextlib.closing(opened):
            try:
                _send(opened, self._usage, end_report(self._usage, counts, seconds))
            except Exception as error:
                log.info("no usage report is sent to %s: %s", self._usage.address, error)


def _connected(address: str) -> socket.socket:
    """Return a socket for datagrams to an address."""
    host, _, port = address.rpartition(":")
    family, kind, protocol, _, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setblocking(False)
        opened.connect(place)
    except BaseException:
        opened.close()
        raise
    return opened


def _send(opened: socket.socket, usage: UsageSettings, report: str) -> None:
    # The log holds the very bytes that leave this host.
    log.info("usage report to %s: %s", usage.address, report)
    opened.send(report.encode())
