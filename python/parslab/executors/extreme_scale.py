"""The description of the extreme-scale executor: pools of workers that are MPI jobs [HPDC19 §4.3.2]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from parslab.description import Label, Whole, YesNo, encoded
from parslab.errors import ConfigurationError
from parslab.executors.high_throughput import HighThroughputExecutor
from parslab.launchers.mpi import MpiExecLauncher
from parslab.launchers.mpi_pools import MPI_LAUNCHERS, MpiPoolsLauncher
from parslab.launchers.single_node import SimpleLauncher, SingleNodeLauncher
from parslab.providers.base import Provider

if TYPE_CHECKING:
    from parslab.records.executor_settings import HighThroughputSettings

__all__ = ["ExtremeScaleExecutor"]


class ExtremeScaleExecutor(HighThroughputExecutor):
    """Thousands of workers on the nodes of a supercomputer, which MPI starts and connects.

    Each block runs an MPI job.  Its rank 0 is the manager, which alone has a connection to the DataFlowKernel.  Every
    other rank runs a worker, and messages between the ranks travel by MPI.  Use it where a connection from each node is
    too much; else :class:`HighThroughputExecutor` is faster, and survives the loss of a node.

    MPI cannot go on without one of its ranks.  A lost rank ends its pool, and the tasks of the pool are tried again
    elsewhere as those of any lost manager.  With ``pools_per_block`` less is lost at a time.  A task that crashes, or
    has to be stopped, takes only its own worker with it.

    The nodes need mpi4py (``pip install 'parslab[mpi]'``) for the MPI whose ``mpiexec`` or ``srun`` starts the ranks,
    and they have to see the files of this host.

    Parameters
    ----------
    label, provider
        As in :class:`HighThroughputExecutor`.  The launcher of the provider starts the ranks: ``MpiExecLauncher`` by
        default, or ``SrunLauncher``, ``MpiRunLauncher``, ``AprunLauncher``, ``JsrunLauncher``.
    ranks_per_node
        Ranks on each node, at least 2.  One rank of each pool is the manager, and has no worker.
    pools_per_block
        MPI jobs in each block.  They divide the nodes of the block among them, or the ranks if it has one node.

    The other options are those of :class:`HighThroughputExecutor`.  ``max_workers_per_node``, ``cores_per_worker`` and
    ``mem_per_worker`` have no place here, because the number of ranks is that of the workers.

    Examples
    --------
    >>> ExtremeScaleExecutor(ranks_per_node=9)
    ExtremeScaleExecutor(ranks_per_node=9)
    """

    label = Label("ExtremeScaleExecutor")
    ranks_per_node = Whole(2, low=2)
    pools_per_block = Whole(1, low=1)
    enable_mpi_mode = YesNo(False)

    positional: ClassVar[tuple[str, ...]] = (
        "label",
        "provider",
        "launch_cmd",
        "address",
        "worker_ports",
        "worker_port_range",
        "interchange_port_range",
        "storage_access",
        "working_dir",
        "worker_debug",
        "ranks_per_node",
        "heartbeat_threshold",
        "heartbeat_period",
        "managed",
    )

    def check(self) -> None:
        super().check()
        for option, default in (
            ("max_workers_per_node", None),
            ("mem_per_worker", None),
            ("cores_per_worker", 1.0),
            ("enable_mpi_mode", False),
        ):
            if getattr(self, option) != default:
                raise ConfigurationError(
                    f"ExtremeScaleExecutor: {option} has no place here: ranks_per_node says how many workers a node "
                    "has, one less for each pool on its first node."
                )
        if not self.shared_filesystem:
            raise ConfigurationError(
                "ExtremeScaleExecutor: its nodes must see the files of this host; use HighThroughputExecutor for "
                "nodes that do not."
            )
        self._check_launcher()

    def _check_launcher(self) -> None:
        if not isinstance(self.provider, Provider):
            raise ConfigurationError("ExtremeScaleExecutor: it needs a provider of parslab, because of its launcher.")
        launchers = self._launcher()
        if not isinstance(launchers.launcher, MPI_LAUNCHERS):
            names = ", ".join(cls.__name__ for cls in MPI_LAUNCHERS)
            raise ConfigurationError(
                f"ExtremeScaleExecutor: {type(launchers.launcher).__name__} starts no MPI job: give the provider one "
                f"of {names}."
            )
        pools, nodes = self.pools_per_block, self.provider.nodes_per_block
        if pools == 1:
            return
        if nodes == 1 and (self.ranks_per_node % pools or self.ranks_per_node // pools < 2):
            raise ConfigurationError(
                f"ExtremeScaleExecutor: {self.ranks_per_node} ranks of one node cannot be divided among {pools} pools "
                "of at least 2 ranks each."
            )
        if nodes > 1 and (nodes % pools or not launchers.divides_nodes()):
            raise ConfigurationError(
                f"ExtremeScaleExecutor: {nodes} nodes cannot be divided among {pools} pools by "
                f"{type(launchers.launcher).__name__}."
            )

    def _launcher(self) -> MpiPoolsLauncher:
        """Return what starts the MPI jobs of a block."""
        users: Any = self.provider.launcher
        # Programs for Parsl have one of these two, because Parsl's executor itself calls mpiexec.
        if isinstance(users, (SimpleLauncher, SingleNodeLauncher)):
            users = MpiExecLauncher(debug=users.debug)
        return MpiPoolsLauncher(
            launcher=users, ranks_per_node=self.ranks_per_node, pools_per_block=self.pools_per_block
        )

    def settings(self) -> HighThroughputSettings:
        settings = super().settings()
        launching = encoded(self.provider.replaced(launcher=self._launcher()))
        provider = msgspec.structs.replace(settings.provider, description=launching)
        return msgspec.structs.replace(settings, provider=provider, mpi_pools=True)
