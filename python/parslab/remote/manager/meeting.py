"""Find the DataFlowKernel of a manager: when its block starts, and again after its connection broke [shell].

Each attempt reads the invitation in the run's folder again.  A restarted DataFlowKernel may have written another port,
and the invitation says when the run is over.  The pauses between attempts grow and are random, because a thousand
managers may have lost the same DataFlowKernel at once.
"""

from __future__ import annotations

import random
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from parslab.remote.manager.link import connect_locally, reachable
from parslab.wire.invitations import ManagerInvitation, read_invitation

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Connected", "Unreachable", "meet", "pauses"]

_ROUND = 2.0
"""Seconds within which one of the addresses must answer."""
_FIRST, _GROWTH, _LONGEST = 0.1, 1.5, 3.0
"""Seconds before the second attempt, their growth per attempt, and their limit."""


class Unreachable(Exception):
    """The DataFlowKernel cannot be reached; the text names the addresses and the reasons."""


class Connected(NamedTuple):
    """How a manager reaches its DataFlowKernel: ``sock`` on the same host, ``address`` elsewhere."""

    invitation: ManagerInvitation
    sock: socket.socket | None
    """The connection, if the DataFlowKernel runs on this host."""
    address: str
    """The address to connect to, if it runs on another host."""


def meet(path: str, patience: float) -> Connected:
    """Find the DataFlowKernel that the invitation at ``path`` names.

    Raises
    ------
    Unreachable
        No address answered within ``patience`` seconds.
    parslab.wire.invitations.RunOver
        The run has ended.
    OSError, ConfigurationError
        The invitation cannot be read.
    """
    deadline = time.monotonic() + patience
    for pause in pauses(random.Random()):
        invitation = read_invitation(path)
        sock = connect_locally(invitation)
        if sock is not None:
            return Connected(invitation, sock, "")
        # Never less than a tenth of a second: the last attempt must have a chance, too.
        address, failures = reachable(invitation.addresses, max(0.1, min(_ROUND, deadline - time.monotonic())))
        if address:
            return Connected(invitation, None, address)
        left = deadline - time.monotonic()
        if left <= 0:
            tried = ", ".join(f"{address} ({why})" for address, why in failures.items())
            raise Unreachable(
                f"{socket.gethostname()} cannot reach the DataFlowKernel of the run: {tried}. It has ended, or a "
                "firewall is between: name an address that nodes can reach with HighThroughputExecutor(address=...)."
            )
        time.sleep(min(pause, left))
    raise AssertionError("unreachable")


def pauses(dice: random.Random) -> Iterator[float]:
    """Yield the seconds between attempts, for ever: they grow, and each manager has others."""
    pause = _FIRST
    while True:
        yield pause * dice.uniform(0.75, 1.25)
        pause = min(pause * _GROWTH, _LONGEST)
