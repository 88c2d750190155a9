"""Description of the high-throughput executor: workers on nodes that a provider gets in blocks (paper section 4.3.1).

What can be known to be wrong without asking a scheduler is said when the description is made; what depends on this host
(its addresses) when the run is loaded, before anything is submitted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any, ClassVar

from parslab.addresses import is_loopback, own_address
from parslab.description import Choice, Duration, Label, Nested, Number, Text, Variables, Whole, encoded
from parslab.errors import ConfigurationError
from parslab.executors.base import Executor
from parslab.options import Option
from parslab.providers.base import Provider
from parslab.providers.local import LocalProvider

__all__ = ["HighThroughputExecutor"]

_SETS = re.compile(r"list:\d+(-\d+)?(,\d+(-\d+)?)*(:\d+(-\d+)?(,\d+(-\d+)?)*)*")
_BLOCKS = ("init_blocks", "min_blocks", "max_blocks", "parallelism", "nodes_per_block")


class _Accelerators(Option):
    """How many accelerators a node has, or their names; kept as a tuple of names."""

    wants = "how many accelerators each node has, or a list of their names"

    def accepted(self, value: Any) -> tuple[str, ...]:
        if isinstance(value, (bool, str)) or not isinstance(value, (int, Iterable)):
            self.refuse()
        if isinstance(value, int):
            if value < 0:
                self.refuse()
            return tuple(map(str, range(value)))
        names = tuple(value)
        for name in names:
            if isinstance(name, bool) or not isinstance(name, (int, str)) or not str(name).strip():
                self.refuse()
        return tuple(str(name).strip() for name in names)


class _Affinity(Option):
    """How the cores of a node are shared among its workers."""

    wants = (
        "'none', 'block', 'alternating', 'block-reverse', or the cores of each worker in turn, "
        "such as 'list:0,1:2,3' or 'list:0-3:4-7'"
    )

    def accepted(self, value: Any) -> str:
        if not isinstance(value, str):
            self.refuse()
        if value not in ("none", "block", "alternating", "block-reverse") and not _SETS.fullmatch(value):
            self.refuse()
        return value


class HighThroughputExecutor(Executor):
    """Workers on this host, or on the nodes of blocks that a batch scheduler gives.

    A manager on each node starts its workers and is joined to the DataFlowKernel over one encrypted connection.

    Parameters
    ----------
    label
        The name that apps choose it by.
    provider
        Where blocks come from, how many there may be and how a manager is started on each of their nodes.
    address
        Where managers find the DataFlowKernel: an IP address of this host, its name, or a network interface; None: they
        try every address of this host.
    port
        The port that they come to; 0: any free one.  All executors of a run share one.
    max_workers_per_node
        At most so many workers on a node; None: as many as its cores, memory and accelerators allow.
    cores_per_worker
        Cores that each worker is counted with; 0.5: two workers share one.
    mem_per_worker
        GB of memory that each worker is counted with; None: memory limits nothing.
    available_accelerators
        How many accelerators (GPUs) each node has, or their names as CUDA, ROCm or oneAPI know them.  Each worker gets
        one of its own; a name that is listed twice is shared by two workers.
    cpu_affinity
        ``"none"``; ``"block"``: each worker gets neighbouring cores; ``"alternating"``: every nth core;
        ``"block-reverse"``: as block, from the last core on; ``"list:0,1:2,3"``: these cores for each worker in turn.
    prefetch_capacity
        Tasks that a manager may hold beyond those that its workers run; quick ones are sent ahead in any case.
    heartbeat_period
        Seconds between two signs of life of a manager, and of the DataFlowKernel.
    heartbeat_threshold
        Seconds of silence after which the other side is taken for lost.
    drain_period
        Seconds after which a manager takes no more tasks and leaves when it has finished those it holds: a little less
        than the wall time of the blocks, so that no task is cut off.
    manager_selector
        Which manager gets the next task: ``"random"``; ``"block_id"``, the oldest block first, so that the others drain
        and can be given back; ``"round_robin"``.
    hold_after
        After so many tasks in a row that fail on one node, while others do well with the same functions, the node gets
        no new ones until it is released (``%parsl release``); 0: never.
    environment
        Variables that are set for the workers.
    threads_per_worker
        Threads that numerical libraries (BLAS, OpenMP) may use in each worker; None: the cores of the node shared out.
    python
        The interpreter that runs the managers; None: the same path as this one.  It needs the same version of Python
        (3.x) and of parslab.
    sample_period
        Seconds between two looks at how busy nodes and tasks are.

    Examples
    --------
    >>> HighThroughputExecutor(max_workers_per_node=8, cores_per_worker=2)
    HighThroughputExecutor(max_workers_per_node=8, cores_per_worker=2.0)
    """

    label = Label("htex")
    provider = Nested(Provider, LocalProvider)
    address = Text(None)
    port = Whole(0, low=0, high=65535)
    max_workers_per_node = Whole(None, low=1)
    cores_per_worker = Number(1.0, above=0)
    mem_per_worker = Number(None, above=0)
    available_accelerators = _Accelerators(())
    cpu_affinity = _Affinity("none")
    prefetch_capacity = Whole(0, low=0)
    heartbeat_period = Duration(5.0, low=0.1)
    heartbeat_threshold = Duration(20.0, low=0.2)
    drain_period = Duration(None, low=0.1)
    manager_selector = Choice("random", ("random", "block_id", "round_robin"))
    hold_after = Whole(10, low=0)
    environment = Variables({})
    threads_per_worker = Whole(None, low=1)
    python = Text(None)
    sample_period = Duration(5.0, low=0.1)

    instead: ClassVar[dict[str, str]] = {
        "max_workers": "use max_workers_per_node",
        "workers": "use max_workers_per_node",
        "workers_per_node": "use max_workers_per_node",
        "worker_port": "use port",
        "worker_ports": "use port: one port serves all",
        "worker_port_range": "use port: one port serves all",
        "interchange_port_range": "use port: one port serves all",
        "loopback_address": "use address",
        "address_probe_timeout": "managers try every address for as long as heartbeat_threshold says",
        "encrypted": "connections are always encrypted, so leave it out",
        "worker_debug": "managers and blocks always log into the run's folder, so leave it out",
        "worker_logdir_root": "managers and blocks log into the run's folder: use Config(run_dir=...)",
        "interchange_launch_cmd": "there is no interchange process, so leave it out",
        "launch_cmd": "use python for the interpreter, and the provider's worker_init for what comes before it",
        "poll_period": "nothing is polled, so leave it out",
        "remote_monitoring_radio": "monitoring needs no settings, so leave it out",
        "block_error_handler": "an executor whose blocks all fail stops with the reason, so leave it out",
        "working_dir": "tasks run in the notebook's folder, so leave it out",
        "init_blocks": "give it to the provider: LocalProvider(init_blocks=...)",
        "min_blocks": "give it to the provider: LocalProvider(min_blocks=...)",
        "max_blocks": "give it to the provider: LocalProvider(max_blocks=...)",
        "parallelism": "give it to the provider: LocalProvider(parallelism=...)",
        "nodes_per_block": "give it to the provider: SlurmProvider(nodes_per_block=...)",
        "walltime": "give it to the provider: SlurmProvider(walltime=...)",
        "worker_init": "give it to the provider: SlurmProvider(worker_init=...)",
        "launcher": "give it to the provider: SlurmProvider(launcher=...)",
    }

    def check(self) -> None:
        if self.heartbeat_threshold <= self.heartbeat_period:
            raise ConfigurationError(
                f"HighThroughputExecutor: heartbeat_threshold ({self.heartbeat_threshold:g} s) must be longer than "
                f"heartbeat_period ({self.heartbeat_period:g} s), because a peer whose sign of life is not due yet is "
                "not lost."
            )
        if self.cpu_affinity.startswith("list:"):
            sets = self.cpu_affinity.count(":")
            if self.max_workers_per_node is not None and self.max_workers_per_node > sets:
                raise ConfigurationError(
                    f"HighThroughputExecutor: cpu_affinity lists cores for {sets} worker{'s' if sets > 1 else ''}, but "
                    f"max_workers_per_node is {self.max_workers_per_node}."
                )
        walltime = getattr(self.provider, "walltime", None)
        if self.drain_period is not None and isinstance(walltime, float) and self.drain_period >= walltime:
            raise ConfigurationError(
                f"HighThroughputExecutor: drain_period ({self.drain_period:g} s) must be shorter than the walltime of "
                f"the provider's blocks ({walltime:g} s), because they are killed then."
            )

    def settings(self) -> dict[str, Any]:
        local = isinstance(self.provider, LocalProvider)
        address = None if self.address is None else own_address(self.address, "HighThroughputExecutor")
        if address is not None and is_loopback(address) and not local:
            raise ConfigurationError(
                f"HighThroughputExecutor: address {self.address} can be reached from this host only, but the blocks of "
                f"{type(self.provider).__name__} run on others: leave it out, or give one that they can reach."
            )
        blocks = {name: getattr(self.provider, name) for name in _BLOCKS}
        return {
            "kind": "high_throughput",
            "label": self.label,
            "address": address,
            "port": self.port,
            "provider": encoded(self.provider),
            "local": local,
            **blocks,
            "selector": self.manager_selector,
            "hold_after": self.hold_after,
            "python": self.python or sys.executable,
            "manager": {
                "max_workers": self.max_workers_per_node,
                "cores_per_worker": self.cores_per_worker,
                "mem_per_worker": self.mem_per_worker,
                "accelerators": list(self.available_accelerators),
                "cpu_affinity": self.cpu_affinity,
                "prefetch": self.prefetch_capacity,
                "heartbeat_period": self.heartbeat_period,
                "heartbeat_threshold": self.heartbeat_threshold,
                "drain_period": self.drain_period,
                "environment": dict(self.environment),
                "threads_per_worker": self.threads_per_worker,
                "sample_period": self.sample_period,
            },
        }
