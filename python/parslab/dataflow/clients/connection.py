"""Holds the connection of one client and the state of its session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from parslab.wire.messages.client import ClientMessage
from parslab.wire.stream import Stream, decoder

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from parslab.wire.messages.client import SubmitTask
    from parslab.wire.stream import Buffer

__all__ = ["ClientConnection", "PriorCallMatcher"]

_decode = decoder(ClientMessage)


class PriorCallMatcher(Protocol):
    """Matches the calls of a kernel with those that lost kernels of the same notebook made.

    :class:`parslab.dataflow.resume.call_matching.CallMatching` implements this.
    """

    adopted: int
    """How many calls were matched."""
    anew: int
    """How many calls were not matched."""

    @property
    def done(self) -> bool:
        """Return whether every earlier call is matched."""

    def submit(self, client: int, message: SubmitTask, frames: list[Buffer], app: str) -> bool:
        """Serve a call with the result of an earlier one; False if the task has to run."""

    def forget(self, tasks: Sequence[int]) -> None:
        """Forget calls whose futures are gone."""

    def waiting(self) -> tuple[int, int]:
        """Return how many earlier calls have a result, and how many are still running."""


class ClientConnection:
    """One attached client.

    Parameters
    ----------
    number
        The upper part of the client's task ids.
    sock
        The connected socket; it does not block.
    owner
        Whether the client may end the run.
    """

    def __init__(self, number: int, sock: socket.socket, owner: bool) -> None:
        self.number = number
        self.owner = owner
        self.stream = Stream(sock, _decode)
        self.greeted = owner
        """Whether the client has introduced itself. The owner has started the DataFlowKernel, so it need not."""
        self.pid = 0
        self.host = ""
        self.notebook = ""
        self.panel = False
        """Whether this is only a panel of the run: it has no tasks, no lease and no entry in the event log."""
        self.panel_asked_at = float("-inf")
        """When a panel last sent something through this connection."""
        self.pid_is_local = False
        """Whether ``pid`` is a number of this host, so that the death of the process can be noticed."""
        self.matcher: PriorCallMatcher | None = None
        """Matches calls with those that lost kernels of the same notebook made; None if there are none to match."""
        self.returned = False
        """Whether the client belonged to the DataFlowKernel that was lost."""
        self.acknowledged = 0
        """How many of its batches the client knows to be in the event log."""
        self.functions: dict[int, int] = {}
        """The run's number of each function that the client has defined, by the client's number."""
