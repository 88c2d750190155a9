"""Find the DataFlowKernel of a manager: when its block starts, and again after its connection broke [shell].

Each attempt reads the invitation in the run's folder again.  A restarted DataFlowKernel may have written another port,
and the invitation says when the run is over.  The pauses between attempts grow and are random, because a thousand
managers may have lost the same DataFlowKernel at once.

An open port proves nothing: another program may have taken the port of a killed DataFlowKernel.  So an attempt ends
with the handshake, which only the holder of the run's keys can complete.  A handshake has a time limit, and the manager
gives it up when the invitation changes.
"""

from __future__ import annotations

import random
import secrets
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from parslab.remote.manager.link import LocalManagerLink, ManagerLink, connect_locally
from parslab.wire.invitations import ManagerInvitation, file_version, read_invitation
from parslab.wire.reachable import reachable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["Connected", "Unreachable", "meet", "pauses"]

_ROUND = 2.0
"""Seconds within which one of the addresses must answer."""
_HANDSHAKE = 10.0
"""Seconds within which a handshake must succeed; a DataFlowKernel that has just started may be busy for a moment."""
_FIRST, _GROWTH, _LONGEST = 0.1, 1.5, 3.0
"""Seconds before the second attempt, their growth per attempt, and their limit."""


class Unreachable(Exception):
    """The DataFlowKernel cannot be reached; the text names the addresses and the reasons."""


class Connected(NamedTuple):
    """The connection of a manager to its DataFlowKernel."""

    invitation: ManagerInvitation
    link: LocalManagerLink | ManagerLink
    """A unix socket if the DataFlowKernel runs on this host, else an encrypted connection."""
    name: str
    """The name of the manager; no other connection has it."""


def meet(path: str, block: str, patience: float) -> Connected:
    """Connect to the DataFlowKernel that the invitation at ``path`` names.

    Parameters
    ----------
    path
        The path of the invitation.
    block
        The block of the manager.
    patience
        Seconds after which no other attempt begins.

    Raises
    ------
    Unreachable
        No DataFlowKernel answered within ``patience`` seconds.
    parslab.wire.invitations.RunOver
        The run has ended.
    OSError, ConfigurationError
        The invitation cannot be read.
    """
    deadline = time.monotonic() + patience
    unanswered: dict[str, str] = {}
    for pause in pauses(random.Random()):
        seen = file_version(path)
        invitation = read_invitation(path)
        # The DataFlowKernel must not confuse a new manager with one of the same node and block that it has lost.
        name = f"{invitation.label}-{block}-{socket.gethostname()}-{secrets.token_hex(4)}"
        sock = connect_locally(invitation)
        if sock is not None:
            return Connected(invitation, LocalManagerLink(sock), name)
        address, failures = _found(invitation, unanswered, deadline)
        if address:
            link = ManagerLink(invitation, address, name.encode())
            why = link.handshake(time.monotonic() + _HANDSHAKE, lambda: file_version(path) != seen)  # noqa: B023
            if not why:
                return Connected(_by_relay(invitation, address), link, name)
            failures = {address: why}
        left = deadline - time.monotonic()
        failures = {**unanswered, **failures}
        if left <= 0:
            raise Unreachable(_sentence(failures))
        # If none of the others answers, all were tried.  A new invitation may come from a new process at that address.
        unanswered = failures if address and file_version(path) == seen else {}
        if file_version(path) == seen:
            time.sleep(min(pause, left))
    raise AssertionError("unreachable")


def _found(invitation: ManagerInvitation, unanswered: Collection[str], deadline: float) -> tuple[str, dict[str, str]]:
    """Return the address of the run that answers, and why the others do not."""
    failures: dict[str, str] = {}
    # An address whose handshake failed is tried again only after all others.
    ways = [[one for one in way if one not in unanswered] for way in (invitation.addresses, invitation.relays)]
    for addresses in ways if any(ways) else (invitation.addresses, invitation.relays):
        # Never less than a tenth of a second: the last attempt must have a chance, too.
        address, why = reachable(addresses, max(0.1, min(_ROUND, deadline - time.monotonic())))
        failures.update(why)
        if address:
            return address, failures
    return "", failures


def _by_relay(invitation: ManagerInvitation, address: str) -> ManagerInvitation:
    """Return the invitation for other connections of this node, which take the same way."""
    return msgspec.structs.replace(invitation, addresses=[address]) if address in invitation.relays else invitation


def _sentence(failures: dict[str, str]) -> str:
    tried = ", ".join(f"{address} ({why})" for address, why in failures.items())
    return (
        f"{socket.gethostname()} cannot reach the DataFlowKernel of the run: {tried}. It has ended, or a firewall is "
        "between: name an address that nodes can reach with HighThroughputExecutor(address=...)."
    )


def pauses(dice: random.Random) -> Iterator[float]:
    """Yield the seconds between attempts, for ever: they grow, and each manager has others."""
    pause = _FIRST
    while True:
        yield pause * dice.uniform(0.75, 1.25)
        pause = min(pause * _GROWTH, _LONGEST)
