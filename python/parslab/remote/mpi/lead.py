"""The manager of a pool [shell]: rank 0, which the DataFlowKernel knows as the manager of many workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.clock import steady_time
from parslab.remote.manager.manager import Manager
from parslab.remote.mpi.pool import RankPool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.records.executor_settings import ManagerSettings
    from parslab.remote.manager.node_tasks import TaskOnNode
    from parslab.remote.manager.successor import Succession
    from parslab.remote.mpi.world import World
    from parslab.remote.pool.pool import WorkerPool
    from parslab.remote.pool.processes import ProcessPlan, WorkerRun
    from parslab.wire.messages.manager import ManagerHello
    from parslab.wire.messages.ranks import RankSetup

__all__ = ["LeadManager"]


class LeadManager(Manager):
    """The manager of all ranks.

    Parameters
    ----------
    hello, run, settings, succession, clock
        As in :class:`~parslab.remote.manager.manager.Manager`.
    world
        The ranks.
    setup
        What the other ranks have to know.
    """

    def __init__(
        self,
        hello: ManagerHello,
        run: WorkerRun,
        settings: ManagerSettings,
        world: World,
        setup: RankSetup,
        *,
        succession: Succession,
        clock: Callable[[], float] = steady_time,
    ) -> None:
        self._world = world
        self._setup = setup
        super().__init__(hello, run, settings, (), clock, succession=succession)

    def _make_pool(self, run: WorkerRun, plans: Sequence[ProcessPlan]) -> WorkerPool[TaskOnNode]:
        return RankPool(
            self._hello,
            self._world,
            self._setup,
            run=run,
            host=self,
            tasks=self.tasks,
            on_broken=self._pool_broken,
            pass_on=lambda message: self._outbox.messages.append(message),
            clock=self._clock,
        )

    def leave(self, reason: str, reconnect: bool = False) -> None:
        """Leave after this round."""
        if self.signalled and reason.startswith("it received"):
            reason += ", as every rank does when one of them has died (the stderr of its block says which)"
        super().leave(reason, reconnect)
