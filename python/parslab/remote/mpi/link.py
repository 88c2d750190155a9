"""The connection of a rank to rank 0 [shell], with the interface of a manager's link to the DataFlowKernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.clock import steady_time
from parslab.remote.manager.manager import Manager
from parslab.remote.mpi.polling import PollPause
from parslab.wire.messages.base import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.remote.loop import Loop
    from parslab.remote.mpi.world import World
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.stream import Batch, Buffer

__all__ = ["RankLink", "RankManager"]

_LAST_WORDS = 1.0
"""Seconds that the last messages may take."""


class RankLink:
    """The connection of this rank to rank 0; its loop has to look for messages, because MPI has no descriptor."""

    over = ""
    """Never set: only silence shows that rank 0 is gone."""

    def __init__(self, world: World) -> None:
        self.sent = False
        """Whether something was sent since the last call of :meth:`receive`."""
        self.pause = PollPause(steady_time())
        self._world = world

    def attach(self, loop: Loop, readable: Callable[[], None], watched: Callable[[], None]) -> None:
        """Do nothing: see :attr:`pause` for when to look for messages."""

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        """Send a batch; never waits."""
        self.sent = True
        self._world.send(0, messages, frames)

    def receive(self) -> list[Batch]:
        """Return every batch that has arrived."""
        batches = [batch for _, batch in self._world.receive()]
        under_way = self._world.progress()
        self.pause.looked(self.sent or under_way or bool(batches), steady_time())
        self.sent = False
        return batches

    def watch(self) -> None:
        """Do nothing: see :attr:`over`."""

    def drop(self) -> None:
        """Do nothing: this rank ends."""

    def let_go(self) -> None:
        """Do nothing: no child of this process calls MPI."""

    def close(self) -> None:
        """Send the remaining messages, for a second at most."""
        self._world.flush(_LAST_WORDS)


class RankManager(Manager):
    """The manager of the one worker of a rank.

    Attributes
    ----------
    dismissed
        Whether rank 0 has ended the pool in good order.
    """

    dismissed = False

    def act(self) -> float | None:
        """Look for messages of rank 0 when it is time, then do what every manager does in a round."""
        link: RankLink = self._link  # type: ignore[assignment]
        if self._clock() >= link.pause.due:
            self._readable()
        due = super().act()
        return link.pause.due if due is None else min(due, link.pause.due)

    def _carry_out(self, message: WireMessage) -> None:
        if type(message) is Refused:
            self.dismissed = True
        super()._carry_out(message)
