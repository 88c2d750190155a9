"""How a manager finds its DataFlowKernel: when its block starts, and again when the connection broke [shell].

Each attempt reads the invitation in the run's folder anew: a DataFlowKernel that was started again after a crash may
have written another port there, and one that has ended, or whoever buried it, that nobody will come.  Attempts become
rarer, each manager at moments of its own, because a thousand of them may have lost the same DataFlowKernel.
"""

from __future__ import annotations

import random
import socket
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from parslab.remote.manager.link import near, reachable
from parslab.wire import invitations

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Connected", "Unreachable", "meet", "pauses"]

_ROUND = 2.0
"""Seconds that all addresses together have to answer."""
_FIRST, _GROWTH, _LONGEST = 0.1, 1.5, 3.0
"""Seconds before the second attempt, and how they grow."""


class Unreachable(Exception):
    """The DataFlowKernel cannot be reached; the text says at which addresses, and why."""


class Connected(NamedTuple):
    """What a manager found."""

    settings: dict[str, Any]
    sock: socket.socket | None
    """The connection, on the run's own host."""
    address: str
    """Where to connect to, elsewhere."""


def meet(path: str, patience: float) -> Connected:
    """Find the DataFlowKernel that the invitation at ``path`` names.

    Raises
    ------
    Unreachable
        It was not there within ``patience`` seconds.
    parslab.wire.invitations.RunOver
        It will not be.
    OSError
        The invitation cannot be read.
    """
    deadline = time.monotonic() + patience
    for pause in pauses(random.Random()):
        settings = invitations.read(path)
        sock = near(settings)
        if sock is not None:
            return Connected(settings, sock, "")
        address, said = reachable(settings["addresses"], max(0.1, min(_ROUND, deadline - time.monotonic())))
        if address:
            return Connected(settings, None, address)
        left = deadline - time.monotonic()
        if left <= 0:
            tried = ", ".join(f"{address} ({why})" for address, why in said.items())
            raise Unreachable(
                f"{socket.gethostname()} cannot reach the DataFlowKernel of the run: {tried}. It has ended, or a "
                "firewall is between: name an address that nodes can reach with HighThroughputExecutor(address=...)."
            )
        time.sleep(min(pause, left))
    raise AssertionError("unreachable")


def pauses(dice: random.Random) -> Iterator[float]:
    """Seconds between attempts, for ever: growing, and not the same for all."""
    pause = _FIRST
    while True:
        yield pause * dice.uniform(0.75, 1.25)
        pause = min(pause * _GROWTH, _LONGEST)
