"""Ranks made of paper: the test plays every rank but the one that it tests."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, cast

from parslab.clock import steady_time
from parslab.records.executor_settings import ManagerSettings
from parslab.remote.manager.successor import Succession
from parslab.remote.mpi.lead import LeadManager
from parslab.remote.pool.processes import WorkerRun
from parslab.wire.messages.base import DefineFunction
from parslab.wire.messages.manager import ManagerHello
from parslab.wire.messages.ranks import RankSetup
from parslab.wire.messages.worker import Outcome, RunTask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.remote.mpi.world import World

__all__ = ["CODE", "PaperLink", "PaperWorld", "hello", "lead", "outcome", "task"]

OPTIONS: dict[str, Any] = {
    "heartbeat_period": 5.0,
    "heartbeat_threshold": 20.0,
    "drain_period": None,
    "sample_period": 5.0,
}
CODE = DefineFunction(0, b"d", "f", 1)


class PaperWorld:
    """All ranks: what was sent to each, and what they are about to say."""

    rank = 0

    def __init__(self, size: int) -> None:
        self.size = size
        self.sent: dict[int, list[Any]] = {rank: [] for rank in range(size)}
        self.coming: deque[tuple[int, tuple[list[Any], list[Any]]]] = deque()
        self.newly: list[int] = []
        """The ranks to which something was sent since the test looked last."""

    def send(self, rank: int, messages: Sequence[Any], frames: Sequence[Any] = ()) -> None:
        self.sent[rank] += messages
        self.newly.append(rank)

    def say(self, rank: int, *messages: Any, frames: Sequence[Any] = ()) -> None:
        """Have a rank send a batch to the rank that is tested."""
        self.coming.append((rank, (list(messages), list(frames))))

    def receive(self) -> list[tuple[int, tuple[list[Any], list[Any]]]]:
        coming, self.coming = list(self.coming), deque()
        return coming

    def progress(self) -> bool:
        return False

    def flush(self, seconds: float) -> None:
        """Nothing is on its way."""


class PaperLink:
    """The connection of rank 0 to a DataFlowKernel that is the test."""

    def __init__(self) -> None:
        self.over = ""
        self.sent = False
        self.said: list[Any] = []
        self.frames: list[Any] = []
        self.coming: list[tuple[list[Any], list[Any]]] = []

    def attach(self, loop: Any, readable: Any, watched: Any) -> None:
        """Nobody wakes us but the test."""

    def send(self, messages: Sequence[Any], frames: Sequence[Any] = ()) -> None:
        self.said += messages
        self.frames += frames

    def receive(self) -> list[tuple[list[Any], list[Any]]]:
        coming, self.coming = self.coming, []
        return coming

    def watch(self) -> None:
        """See ``over``."""

    def drop(self) -> None:
        """Nobody is at the other end."""

    def let_go(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""

    def __iter__(self) -> Any:
        said, self.said = self.said, []
        return iter(said)


def hello(rank: int, name: str = "exex-0-n1", **changes: Any) -> ManagerHello:
    """What the manager of a rank says first; rank 0: the manager of the pool."""
    fields: dict[str, Any] = {
        "manager": f"{name}-{rank}" if rank else name,
        "protocol": 1,
        "package": "0",
        "python": "3.11",
        "pid": 100 + rank,
        "host": "n1",
        "executor": 0,
        "block": "0",
        "workers": 1,
        "prefetch": 0,
        "cores": 1,
        "memory": 1 << 30,
    }
    return ManagerHello(**{**fields, **changes})


def lead(ranks: int, clock: Callable[[], float] = steady_time) -> tuple[LeadManager, PaperWorld, PaperLink]:
    """The manager of a pool whose other ranks have just said hello."""
    world, link = PaperWorld(ranks + 1), PaperLink()
    setup = RankSetup("exex-0-n1", "0", "{}", False)
    manager = LeadManager(
        hello(0, workers=ranks),
        WorkerRun("run", package="0", path=[], cwd="/"),
        ManagerSettings(**OPTIONS),
        cast("World", world),
        setup,
        succession=Succession(),
        clock=clock,
    )
    manager._link = link
    manager.pool.start()
    for rank in range(1, ranks + 1):
        world.say(rank, hello(rank))
    manager.act()
    for messages in world.sent.values():
        messages.clear()
    world.newly.clear()
    list(link)
    return manager, world, link


def task(number: int, **changes: Any) -> RunTask:
    return RunTask(**{"task": number, "attempt": 0, "fn": 0, "args": b"", "frames": 0, **changes})


def outcome(number: int, took: float = 1.0, **changes: Any) -> Outcome:
    fields: dict[str, Any] = {"task": number, "attempt": 0, "inline": b"v", "frames": 0, "started": 0.0, "ended": took}
    return Outcome(**{**fields, **changes})
