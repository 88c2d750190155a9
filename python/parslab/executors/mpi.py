"""The description of an executor for MPI programs, which share the nodes of a block [HPDC19 §4.3]."""

from __future__ import annotations

from typing import ClassVar

from parslab.description import Label, YesNo
from parslab.errors import ConfigurationError
from parslab.executors.high_throughput import HighThroughputExecutor, Workers

__all__ = ["MPIExecutor"]


class MPIExecutor(HighThroughputExecutor):
    """MPI programs on the nodes of blocks: each task gets whole nodes, or cores of a node, for itself alone.

    One manager, on the first node of a block, owns all of its nodes; it finds them in the variables of the scheduler.
    A call says what it needs in its resource specification:

    - ``num_nodes``, ``num_ranks``, ``ranks_per_node``: two of them give the third.  A call that names ``num_nodes``
      gets whole nodes.
    - ``cores``: the task gets so many cores of one node, which it may share with other tasks.  ``num_ranks`` without
      ``num_nodes`` is the same with a core for each rank.
    - ``launcher_options``: more options for the launcher.  ``priority``, ``max_run_time`` and ``retries`` as elsewhere.

    The app starts its ranks with ``$PARSL_MPI_PREFIX``, which holds the launcher with the task's nodes.
    ``PARSL_MPIEXEC_PREFIX``, ``PARSL_SRUN_PREFIX`` and ``PARSL_APRUN_PREFIX`` are there for any launcher, and
    ``PARSL_NUM_NODES``, ``PARSL_NUM_RANKS``, ``PARSL_RANKS_PER_NODE`` and ``PARSL_MPI_NODELIST`` say what it got.

    ``mpiexec`` gets the options of the MPI that the manager finds on its ``PATH``.  Where tasks run in a container or
    in an environment of their own, the MPI in there must take the same options.

    There are never more ranks than cores.  A task that has to wait keeps the nodes that will be free first for itself,
    so later and smaller tasks do not starve it.

    Parameters
    ----------
    max_workers_per_block
        The largest number of tasks that a block runs at a time; None means as many as fit.
    mpi_launcher
        What starts the ranks: ``"mpiexec"``, ``"srun"`` or ``"aprun"``.

    Other options are those of :class:`HighThroughputExecutor`.

    Examples
    --------
    >>> MPIExecutor(max_workers_per_block=4, mpi_launcher="srun")
    MPIExecutor(mpi_launcher='srun', max_workers_per_block=4)
    """

    label = Label("MPIExecutor")
    enable_mpi_mode = YesNo(True)
    max_workers_per_block = Workers(None, low=1)

    positional: ClassVar[tuple[str, ...]] = (
        "label",
        "provider",
        "launch_cmd",
        "interchange_launch_cmd",
        "address",
        "loopback_address",
        "worker_port",
        "worker_port_range",
        "interchange_port_range",
        "storage_access",
        "working_dir",
        "worker_debug",
        "max_workers_per_block",
        "prefetch_capacity",
        "heartbeat_threshold",
        "heartbeat_period",
        "drain_period",
        "poll_period",
        "address_probe_timeout",
        "worker_logdir_root",
        "mpi_launcher",
        "block_error_handler",
        "encrypted",
        "remote_monitoring_radio",
    )

    def check(self) -> None:
        super().check()
        if not self.enable_mpi_mode:
            raise ConfigurationError("MPIExecutor: enable_mpi_mode is always True; use HighThroughputExecutor.")
        if self.max_workers_per_node is not None:
            raise ConfigurationError("MPIExecutor: use max_workers_per_block instead of max_workers_per_node.")

    def _tasks_at_a_time(self) -> int | None:
        most: int | None = self.max_workers_per_block
        return most
