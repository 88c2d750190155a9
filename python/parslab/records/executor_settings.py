"""The settings with which the DataFlowKernel process runs the executors of a run, one struct for each kind.

An executor describes itself by one of these structs (``Executor.settings``), and ``executors.base.checked_settings``
checks every value before a process starts.  The structs travel as JSON in the settings of the run.  A field has the
name of the option that it holds.

A provider or launcher of any package, also one that an entry point adds, travels as an :class:`EncodedDescription`: the
name of its class and its options.  An executor of another package has no struct of its own: it returns the struct of
the executor that it is built on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import msgspec

from parslab.records.software import ContainerSpec

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
else:
    Json = Any  # msgspec reads annotations at run time, and supports no recursive alias

__all__ = [
    "EncodedDescription",
    "EngineSettings",
    "ExecutorSettings",
    "HighThroughputSettings",
    "Json",
    "LowLatencySettings",
    "ManagerSettings",
    "ProviderSettings",
    "ThreadPoolSettings",
    "runs_mpi",
]

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Several = Annotated[int, msgspec.Meta(ge=1)]
_Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
_Period = Annotated[float, msgspec.Meta(gt=0)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class EncodedDescription(msgspec.Struct, frozen=True):
    """A description as plain data, from which ``description.decoded`` makes an equal one in any process."""

    class_name: str = msgspec.field(name="class")
    """``module:Class``; the process that decodes it imports that module."""
    options: dict[str, Json] = {}
    """The options that differ from the defaults of the class; the launcher of a provider is encoded in them, too."""


class ThreadPoolSettings(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="threads"):
    """The settings of a thread pool in the client's own process."""

    label: str
    max_threads: _Several


class LowLatencySettings(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="low_latency"):
    """The settings of an executor whose workers are connected directly to the DataFlowKernel."""

    label: str
    workers: _Several
    environment: dict[str, str]
    threads_per_worker: _Several
    address: str | None = None
    """Where workers of other hosts may connect; None allows only workers of this host."""
    port: _Port = 0
    requirements: list[str] = []
    """What the environment of the workers holds; empty: they use that of the notebook."""
    container: ContainerSpec | None = None
    """The container that the workers run in."""


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A provider, and those of its options that a scaling controller needs before it imports the provider."""

    description: EncodedDescription
    local: bool = False
    """Whether its blocks run on this host."""
    remote: bool = False
    """Whether its nodes share no file system with this host, so that it takes the invitation of managers to them."""
    tunnelled: bool = False
    """Whether managers reach this host only at its loopback address, through a tunnel of the provider."""
    nodes_per_block: _Several = 1
    init_blocks: _Count = 1
    min_blocks: _Count = 0
    max_blocks: _Count = 1
    parallelism: _Share = 1.0
    worker_init: str = ""
    cores_per_node: _Several | None = None
    mem_per_node: _Period | None = None
    """GB of memory of each node; None where the provider does not say."""


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An executor that others keep, on which a manager runs its tasks instead of on workers of its own."""

    factory: str
    """The pickle of the function that makes the executor, in base64."""
    workers: _Several | None = None
    """How many tasks it runs at a time; None: as many as it says."""


class ManagerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The options of an executor that its managers need; they are part of each invitation."""

    max_workers_per_node: _Several | None = None
    cores_per_worker: _Period = 1.0
    mem_per_worker: _Period | None = None
    """GB of memory that each worker needs."""
    available_accelerators: list[str] = []
    cpu_affinity: str = "none"
    prefetch_capacity: _Count = 0
    heartbeat_period: _Period = 5.0
    heartbeat_threshold: _Period = 20.0
    drain_period: _Period | None = None
    environment: dict[str, str] = {}
    threads_per_worker: _Several | None = None
    sample_period: _Period = 5.0
    shared_filesystem: bool = True
    """Whether the nodes see the files of the DataFlowKernel's host at the same paths."""
    file_cache: _Count = 10_000_000_000
    """The most bytes of files that a node keeps, where it does not see those of that host."""
    requirements: list[str] = []
    """What the environment of the workers holds; empty: they use that of the manager."""
    container: ContainerSpec | None = None
    """The container that the workers run in."""
    mpi_launcher: Literal["", "mpiexec", "srun", "aprun"] = ""
    """What starts the ranks of MPI tasks, to which the managers give the nodes of their block; empty: no MPI tasks."""
    engine: EngineSettings | None = None
    """What runs the tasks; None: workers of the manager."""


class HighThroughputSettings(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="high_throughput"):
    """The settings of an executor whose workers belong to managers on the nodes of blocks."""

    label: str
    provider: ProviderSettings
    manager: ManagerSettings = ManagerSettings()
    address: str | None = None
    """Where managers reach the DataFlowKernel; None means every address of this host."""
    port: _Port = 0
    manager_selector: Literal["random", "block_id", "round_robin"] = "random"
    hold_after: _Count = 0
    python: str = ""
    """The interpreter that runs the managers; empty means the one of the DataFlowKernel."""
    mpi_pools: bool = False
    """Whether a manager is rank 0 of an MPI job, whose other ranks are its workers."""
    reconnect_for: _Period = 30.0
    """Seconds for which a manager that lost the DataFlowKernel looks for its successor, which the client starts."""


ExecutorSettings: TypeAlias = ThreadPoolSettings | LowLatencySettings | HighThroughputSettings


def keeps_tasks(settings: ExecutorSettings) -> bool:
    """Return whether the managers of an executor keep their tasks while a lost DataFlowKernel is started again.

    Only the lost DataFlowKernel knows the nodes of its MPI tasks.  A node that shares no disk gets the files of its
    tasks through a connection of its own, which ends with the DataFlowKernel.
    """
    if not isinstance(settings, HighThroughputSettings):
        return False
    return settings.manager.shared_filesystem and not settings.manager.mpi_launcher


def runs_mpi(settings: ExecutorSettings) -> bool:
    """Return whether an executor runs MPI tasks, and no others."""
    return isinstance(settings, HighThroughputSettings) and bool(settings.manager.mpi_launcher)
