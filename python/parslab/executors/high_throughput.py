"""The description of the high-throughput executor: workers on nodes that a provider gets in blocks [HPDC19 §4.3.1].

The constructor refuses wrong options that it can find without the scheduler.  ``settings`` checks options that depend
on this host (its addresses), when the run is loaded and before anything is submitted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Set
from typing import Any, ClassVar

from parslab.addresses import is_loopback, own_address
from parslab.data_provider.files import require_staging
from parslab.description import (
    Choice,
    Duration,
    Label,
    Nested,
    Number,
    PathText,
    Text,
    Texts,
    Variables,
    Whole,
    YesNo,
    encoded,
    warn_once,
)
from parslab.errors import ConfigurationError
from parslab.executors.base import Executor, StorageAccess
from parslab.executors.containers import ContainerOption
from parslab.launchers.single_node import SimpleLauncher, SingleNodeLauncher
from parslab.options import Option
from parslab.providers.base import Provider
from parslab.providers.execution_provider import ExecutionProvider
from parslab.providers.local import LocalProvider
from parslab.providers.user_provider import portable
from parslab.records.executor_settings import HighThroughputSettings, ManagerSettings, ProviderSettings
from parslab.records.mpi import LAUNCHERS

__all__ = ["HighThroughputExecutor", "Workers", "provider_settings"]

# Parsl has modules below this one; a module with a path is a package, below which Python looks for them.
__path__: list[str] = []


def __getattr__(name: str) -> Any:
    from parslab.compat.modules import look_up

    return look_up("executors.high_throughput", name)


_SETS = re.compile(r"list:\d+(-\d+)?(,\d+(-\d+)?)*(:\d+(-\d+)?(,\d+(-\d+)?)*)*")


_REMOTE_THRESHOLD = 120.0
"""The default of heartbeat_threshold for nodes that are reached over other networks."""


class _Accelerators(Option):
    """The number of accelerators of a node, or their names; kept as a tuple of names."""

    wants = "how many accelerators each node has, or a list of their names"

    def accepted(self, value: Any) -> tuple[str, ...]:
        # A bool is an int, and a text is an iterable of letters; the user means neither.
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
    """How the workers of a node share its cores."""

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


class _AnyProvider(Nested):
    """A provider of parslab, or one that a user has written for Parsl."""

    def validate(self, obj: Any, value: Any) -> Any:
        users_own = isinstance(value, ExecutionProvider) and not isinstance(value, Provider)
        return value if users_own else super().validate(obj, value)


class Workers(Whole):
    """A number of workers; Parsl writes infinity where there is no limit."""

    def validate(self, obj: Any, value: Any) -> Any:
        return super().validate(obj, None if value == float("inf") else value)


class _Selector(Choice):
    """The name of a rule that chooses managers, or Parsl's object for it."""

    def accepted(self, value: Any) -> str:
        name = getattr(value, "parslab_name", None)
        if name == "":
            warn_once(
                f"HighThroughputExecutor: manager_selector cannot be {type(value).__name__} in parslab, which chooses "
                "managers in the DataFlowKernel process: it takes any manager."
            )
        return super().accepted(value if name is None else name or "random")


class _SharedFilesystem(YesNo):
    """Whether nodes see the files of this host; calls of apps look for files to move only where some do not."""

    def accepted(self, value: Any) -> Any:
        shared = super().accepted(value)
        if not shared:
            require_staging()
        return shared


class HighThroughputExecutor(Executor):
    """Workers on this host, or on the nodes of blocks that a batch scheduler gives.

    A manager on each node starts the workers, and has one encrypted connection to the DataFlowKernel.

    Parameters
    ----------
    label
        The name with which apps choose it.
    provider
        Where blocks come from, how many there may be, and how a manager starts on each of their nodes.
    address
        Where managers reach the DataFlowKernel: an IP address of this host, its name, or a network interface.  None
        means that they try every address of this host.
    port
        The port that managers connect to; 0 means any free port.  All executors of a run share one port.
    max_workers_per_node
        The largest number of workers on a node; None means as many as its cores, memory and accelerators allow.
    cores_per_worker
        Cores that each worker needs; with 0.5 two workers share a core.
    mem_per_worker
        GB of memory that each worker needs; None means that memory does not limit the number of workers.
    available_accelerators
        The number of accelerators (GPUs) of each node, or their names in CUDA, ROCm or oneAPI.  Each worker gets an
        accelerator of its own; two workers share a name that is listed twice.
    cpu_affinity
        The cores of each worker.  ``"none"`` binds no worker; ``"block"`` gives each worker neighbouring cores;
        ``"alternating"`` every nth core; ``"block-reverse"`` is block from the last core on; ``"list:0,1:2,3"`` lists
        the cores of each worker in turn.
    prefetch_capacity
        Tasks that a manager may hold in addition to those that its workers run; it always holds some quick tasks.
    heartbeat_period
        Seconds between two heartbeats of a manager, and of the DataFlowKernel.
    heartbeat_threshold
        Seconds without a heartbeat after which the other side counts as lost; 120 s by default where a provider reaches
        its nodes over other networks (:class:`~parslab.providers.SSHProvider`).
    drain_period
        Seconds after which a manager takes no more tasks, and leaves when it has finished those that it holds.  A
        value a little below the walltime of the blocks lets running tasks finish.
    manager_selector
        Which manager gets the next task: ``"random"``, ``"round_robin"``, or ``"block_id"``, which fills the oldest
        block first, so that other blocks become idle and can be released.
    hold_after
        The number of failed tasks in a row after which a node gets no new tasks, if other nodes run the same functions
        well.  The user releases the node with ``%parsl release``.  0 means never.
    environment
        Environment variables that the workers get.
    threads_per_worker
        Threads that numerical libraries (BLAS, OpenMP) may use in each worker; None divides the cores of the node.
    python
        The interpreter that runs the managers; None means the path of this interpreter, and ``python3`` on hosts that
        are reached by ssh.  It needs the same version of
        Python (3.x) and of parslab.
    sample_period
        Seconds between two samples of the load of nodes and tasks.
    shared_filesystem
        Whether the nodes see the files of this host at the same paths; by default all do, except those of
        :class:`~parslab.providers.SSHProvider`.  If not, the Files that apps read and write move
        over the encrypted connections of the run, and nodes pass them on to each other.
    file_cache_size
        GB of such files that a node keeps at most; the disks of nodes differ too much for one default to be right.
    requirements
        What the workers' Python environment has to hold, as pip takes it, such as ``["numpy<2"]``; an app may ask for
        another one with ``environment``.  ``()`` means that workers use the environment of ``python``.
    storage_access
        The staging providers that bring files to tasks and back; None means the default ones.
    working_dir
        The folder for local copies of remote files; None means a folder of the run.  If each node has a folder of its
        own there, files must be staged inside the tasks: ``storage_access=[NoOpFileStaging(), HTTPInTaskStaging()]``.
    container
        The :class:`~parslab.Container` in which the workers run, or the name of its image.
    enable_mpi_mode
        Whether tasks are MPI programs that get nodes of a block, or cores of a node, by their resource specification
        (see :class:`MPIExecutor`).  The provider needs ``launcher=SimpleLauncher()``; ``max_workers_per_node`` is then
        the largest number of tasks of a block that run at a time, and ``cores_per_worker`` has no effect.
    mpi_launcher
        What starts the ranks of these tasks: ``"mpiexec"``, ``"srun"`` or ``"aprun"``.

    Examples
    --------
    >>> HighThroughputExecutor(max_workers_per_node=8, cores_per_worker=2)
    HighThroughputExecutor(max_workers_per_node=8, cores_per_worker=2.0)
    """

    label = Label("htex")
    provider = _AnyProvider(Provider, LocalProvider)
    address = Text(None)
    port = Whole(0, low=0, high=65535)
    max_workers_per_node = Workers(None, low=1)
    cores_per_worker = Number(1.0, above=0)
    mem_per_worker = Number(None, above=0)
    available_accelerators = _Accelerators(())
    cpu_affinity = _Affinity("none")
    prefetch_capacity = Whole(0, low=0)
    heartbeat_period = Duration(5.0, low=0.1)
    heartbeat_threshold = Duration(20.0, low=0.2)
    drain_period = Duration(None, low=0.1)
    manager_selector = _Selector("random", ("random", "block_id", "round_robin"))
    hold_after = Whole(10, low=0)
    environment = Variables({})
    threads_per_worker = Whole(None, low=1)
    python = Text(None)
    sample_period = Duration(5.0, low=0.1)
    shared_filesystem = _SharedFilesystem(True)
    file_cache_size = Number(10.0, above=0)
    requirements = Texts(())
    storage_access = StorageAccess(None)
    working_dir = PathText(None)
    container = ContainerOption(None)
    enable_mpi_mode = YesNo(False)
    mpi_launcher = Choice("mpiexec", LAUNCHERS)

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
        "cores_per_worker",
        "mem_per_worker",
        "max_workers_per_node",
        "cpu_affinity",
        "available_accelerators",
        "prefetch_capacity",
        "heartbeat_threshold",
        "heartbeat_period",
        "drain_period",
        "poll_period",
        "address_probe_timeout",
        "worker_logdir_root",
        "manager_selector",
        "block_error_handler",
        "encrypted",
        "remote_monitoring_radio",
    )
    none_means_default: ClassVar[frozenset[str]] = frozenset({"manager_selector"})
    renamed: ClassVar[dict[str, str]] = {"max_workers": "max_workers_per_node", "worker_port": "port"}
    ignored: ClassVar[dict[str, str]] = {
        "address_probe_timeout": "managers try every address for as long as heartbeat_threshold says",
        "block_error_handler": "an executor whose blocks all fail stops with the reason",
        "encrypted": "connections are always encrypted",
        "interchange_launch_cmd": "there is no interchange process",
        "interchange_port_range": "one port serves all connections: use port",
        "launch_cmd": "use python for the interpreter, and the provider's worker_init for what comes before it",
        "loopback_address": "the DataFlowKernel process serves this host over unix sockets",
        "managed": "the run always ends its blocks",
        "poll_period": "nothing is polled",
        "remote_monitoring_radio": "monitoring needs no settings",
        "start_method": "workers always start as new processes",
        "suppress_failure": "every failure is reported",
        "worker_debug": "managers and blocks always log into the run's folder",
        "worker_logdir_root": "managers and blocks log into the run's folder: use Config(run_dir=...)",
        "worker_port_range": "one port serves all connections: use port",
        "worker_ports": "one port serves all connections: use port",
    }
    expected: ClassVar[dict[str, Any]] = {
        "block_error_handler": True,
        "encrypted": True,
        "loopback_address": "127.0.0.1",
        "worker_debug": False,
    }
    instead: ClassVar[dict[str, str]] = {
        "workers": "use max_workers_per_node",
        "workers_per_node": "use max_workers_per_node",
        "init_blocks": "give it to the provider: LocalProvider(init_blocks=...)",
        "min_blocks": "give it to the provider: LocalProvider(min_blocks=...)",
        "max_blocks": "give it to the provider: LocalProvider(max_blocks=...)",
        "parallelism": "give it to the provider: LocalProvider(parallelism=...)",
        "nodes_per_block": "give it to the provider: SlurmProvider(nodes_per_block=...)",
        "walltime": "give it to the provider: SlurmProvider(walltime=...)",
        "worker_init": "give it to the provider: SlurmProvider(worker_init=...)",
        "launcher": "give it to the provider: SlurmProvider(launcher=...)",
    }

    @property
    def _on_remote_hosts(self) -> bool:
        return isinstance(self.provider, Provider) and self.provider.remote

    def complete(self, given: Set[str]) -> None:
        if not self._on_remote_hosts:
            return
        if "shared_filesystem" not in given:
            self.shared_filesystem = False
        if "heartbeat_threshold" not in given:
            # A link over other networks may fail for a while, and TCP takes as long again to notice that it is back.
            self.heartbeat_threshold = max(_REMOTE_THRESHOLD, 2 * self.heartbeat_period)

    def check(self) -> None:
        if self.heartbeat_threshold <= self.heartbeat_period:
            raise ConfigurationError(
                f"HighThroughputExecutor: heartbeat_threshold ({self.heartbeat_threshold:g} s) must be longer than "
                f"heartbeat_period ({self.heartbeat_period:g} s), because a peer whose next heartbeat is not due "
                "yet is not lost."
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

        if self.enable_mpi_mode:
            self._check_mpi()

    def _check_mpi(self) -> None:
        name = type(self).__name__
        launcher = getattr(self.provider, "launcher", None)
        # On a block of one node this launcher starts one manager, too, and it is the default.
        alone = isinstance(launcher, SingleNodeLauncher) and self.provider.nodes_per_block == 1
        if not alone and not isinstance(launcher, SimpleLauncher):
            raise ConfigurationError(
                f"{name}: in MPI mode one manager owns all nodes of a block, so the provider needs "
                f"launcher=SimpleLauncher(), not {type(launcher).__name__}."
            )
        if isinstance(self.provider, LocalProvider) and self.provider.max_blocks > 1:
            raise ConfigurationError(
                f"{name}: the blocks of a LocalProvider share the same nodes, so in MPI mode max_blocks must be 1, not "
                f"{self.provider.max_blocks}."
            )
        for option, default in (("available_accelerators", ()), ("cpu_affinity", "none"), ("mem_per_worker", None)):
            if getattr(self, option) != default:
                raise ConfigurationError(f"{name}: {option} divides a node among workers, which MPI mode does not do.")

    def settings(self) -> HighThroughputSettings:
        local = isinstance(self.provider, LocalProvider)
        address = None if self.address is None else own_address(self.address, "HighThroughputExecutor")
        if address is not None and is_loopback(address) and not local and not self._on_remote_hosts:
            raise ConfigurationError(
                f"HighThroughputExecutor: address {self.address} can be reached from this host only, but the blocks of "
                f"{type(self.provider).__name__} run on others: leave it out, or give one that they can reach."
            )
        return HighThroughputSettings(
            label=self.label,
            provider=provider_settings(portable(self.provider)),
            manager=self._manager_settings(),
            address=address,
            port=self.port,
            manager_selector=self.manager_selector,
            hold_after=self.hold_after,
            # The path of this interpreter means nothing on another system; there worker_init activates one.
            python=self.python or ("python3" if self._on_remote_hosts else sys.executable),
        )

    def _tasks_at_a_time(self) -> int | None:
        """Return the most tasks that a manager runs at a time; None where the node decides."""
        most: int | None = self.max_workers_per_node
        return most

    def _manager_settings(self) -> ManagerSettings:
        return ManagerSettings(
            max_workers_per_node=self._tasks_at_a_time(),
            cores_per_worker=self.cores_per_worker,
            mem_per_worker=self.mem_per_worker,
            available_accelerators=list(self.available_accelerators),
            cpu_affinity=self.cpu_affinity,
            prefetch_capacity=self.prefetch_capacity,
            heartbeat_period=self.heartbeat_period,
            heartbeat_threshold=self.heartbeat_threshold,
            drain_period=self.drain_period,
            environment=dict(self.environment),
            threads_per_worker=self.threads_per_worker,
            sample_period=self.sample_period,
            shared_filesystem=self.shared_filesystem,
            file_cache=int(self.file_cache_size * 1e9),
            requirements=list(self.requirements),
            container=None if self.container is None else self.container.spec(),
            mpi_launcher=self.mpi_launcher if self.enable_mpi_mode else "",
        )


def provider_settings(provider: Provider) -> ProviderSettings:
    """Return what the DataFlowKernel process needs to know of a provider."""
    provider.require()
    return ProviderSettings(
        description=encoded(provider),
        local=isinstance(provider, LocalProvider),
        remote=provider.remote,
        tunnelled=provider.tunnelled,
        nodes_per_block=provider.nodes_per_block,
        init_blocks=provider.init_blocks,
        min_blocks=provider.min_blocks,
        max_blocks=provider.max_blocks,
        parallelism=provider.parallelism,
        worker_init=provider.worker_init,
        # Not every provider has these two options.
        cores_per_node=getattr(provider, "cores_per_node", None),
        mem_per_node=getattr(provider, "mem_per_node", None),
    )
