"""Declares what the components for clients need of the package ``resume``.

``resume`` imports this package, so an import in the other direction would be a cycle.  These classes implement
the protocols: :class:`parslab.dataflow.resume.failover.Failover` and
:class:`parslab.dataflow.resume.resume_from_log.ResumeFromLog`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.dataflow.clients.connection import ClientConnection, PriorCallMatcher
    from parslab.wire.messages.client import BatchesAcknowledged, ClientResumed

__all__ = ["PriorCallFinder", "ReturningClients"]


class PriorCallFinder(Protocol):
    """Finds in the event log what a kernel that returns to its notebook may take over."""

    def expected(self, notebook: str) -> bool:
        """Return whether there may be earlier calls of this notebook."""

    def find(self, client: ClientConnection, ready: Callable[[int], None]) -> None:
        """Find them, then call ``ready`` with the number of the client's first call (-1: any)."""

    def matching_began(self, matcher: PriorCallMatcher) -> None:
        """The first call of a kernel that returned was submitted."""


class ReturningClients(Protocol):
    """Handles the clients of a DataFlowKernel that was lost, when they return to the one that replaces it."""

    def rejoin(self, client: ClientConnection, number: int) -> bool:
        """Give a client its former number; False if it had none that is free."""

    def acknowledgement(self, client: ClientConnection) -> BatchesAcknowledged:
        """Return how many batches of a client the event log has."""

    def resumed(self, client: ClientConnection, message: ClientResumed) -> None:
        """A client has sent its missing batches again, and lists its unfinished futures."""

    def fetched(self, task: int) -> None:
        """A client wants the value of a task."""
