"""Parsl's executors that use programs which parslab does not have.

Tasks of ``WorkQueueExecutor``, ``TaskVineExecutor`` and ``FluxExecutor`` run on the workers of
:class:`~parslab.executors.HighThroughputExecutor`, which the same provider starts.  The other executors can be
described, so that a module with many configurations can be imported; ``load()`` refuses them with one sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from parslab.description import Label
from parslab.executors.base import Executor
from parslab.executors.high_throughput import HighThroughputExecutor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from parslab.records.executor_settings import ExecutorSettings

__all__ = [
    "FluxExecutor",
    "GlobusComputeExecutor",
    "RadicalPilotExecutor",
    "ResourceConfig",
    "TaskVineExecutor",
    "TaskVineFactoryConfig",
    "TaskVineManagerConfig",
    "WorkQueueExecutor",
]

_PROGRAM = "it configures a program of Parsl, and tasks run on the workers of HighThroughputExecutor"
_WORK_QUEUE = (
    "project_name project_password_file port shared_fs use_cache source pack extra_pkgs autolabel autolabel_window "
    "autocategory init_command worker_options full_debug worker_executable function_dir coprocess "
    "scaling_cores_per_worker"
)
_TASK_VINE = "worker_launch_method function_exec_mode manager_config factory_config use_factory"


class _OnOurWorkers(HighThroughputExecutor):
    """Base of the executors whose tasks run on the workers of HighThroughputExecutor."""

    none_means_default: ClassVar[frozenset[str]] = frozenset({"manager_selector", "provider"})


class WorkQueueExecutor(_OnOurWorkers):
    """Parsl: workers of Work Queue.  Here a worker takes tasks as its node has cores, memory and GPUs for them."""

    label = Label("WorkQueueExecutor")

    positional: ClassVar[tuple[str, ...]] = (
        "label",
        "provider",
        "working_dir",
        "project_name",
        "project_password_file",
        "address",
        "port",
        "env",
        "shared_fs",
        "storage_access",
        "use_cache",
        "source",
        "pack",
        "extra_pkgs",
        "autolabel",
        "autolabel_window",
        "autocategory",
        "max_retries",
        "init_command",
        "worker_options",
        "full_debug",
        "worker_executable",
        "function_dir",
        "coprocess",
        "scaling_cores_per_worker",
        "remote_monitoring_radio",
    )
    renamed: ClassVar[dict[str, str]] = {"env": "environment"}
    ignored: ClassVar[dict[str, str]] = {
        **dict.fromkeys(_WORK_QUEUE.split(), _PROGRAM),
        "max_retries": "use Config(retries=...)",
    }
    expected: ClassVar[dict[str, Any]] = {"max_retries": 1}


class TaskVineExecutor(_OnOurWorkers):
    """Parsl: workers of TaskVine.  Here a worker takes tasks as its node has cores, memory and GPUs for them."""

    label = Label("TaskVineExecutor")

    ignored: ClassVar[dict[str, str]] = dict.fromkeys(_TASK_VINE.split(), _PROGRAM)
    positional: ClassVar[tuple[str, ...]] = (
        "label",
        "worker_launch_method",
        "function_exec_mode",
        "manager_config",
        "factory_config",
        "provider",
        "storage_access",
        "remote_monitoring_radio",
    )


class FluxExecutor(_OnOurWorkers):
    """Parsl: jobs of Flux within a block."""

    label = Label("FluxExecutor")

    ignored: ClassVar[dict[str, str]] = dict.fromkeys(("flux_executor_kwargs", "flux_path", "launch_cmd"), _PROGRAM)
    positional: ClassVar[tuple[str, ...]] = (
        "provider",
        "working_dir",
        "label",
        "flux_executor_kwargs",
        "flux_path",
        "launch_cmd",
    )


class _Options:
    """Keeps the options of a program that parslab does not have."""

    def __init__(self, *values: Any, **options: Any) -> None:
        self.values = values
        self.options = options


class TaskVineManagerConfig(_Options):
    """Parsl: options of TaskVineExecutor."""


class TaskVineFactoryConfig(_Options):
    """Parsl: options of TaskVineExecutor."""


class ResourceConfig(_Options):
    """Parsl: options of RadicalPilotExecutor."""


class _Unavailable(Executor):
    """Base of the executors that can be described, but not loaded."""

    def translated(self, options: Mapping[str, Any]) -> dict[str, Any]:
        self.__dict__.update({name: value for name, value in options.items() if name != "label"})
        return {"label": options["label"]} if "label" in options else {}

    def settings(self) -> ExecutorSettings:
        self.check_parts()
        raise AssertionError("check_parts refuses this executor")


class GlobusComputeExecutor(_Unavailable):
    """Parsl: endpoints of Globus Compute."""

    label = Label("GlobusComputeExecutor")

    unavailable: ClassVar[str] = "use HighThroughputExecutor on a host that can submit jobs"
    positional: ClassVar[tuple[str, ...]] = ("executor", "label", "storage_access", "working_dir")


class RadicalPilotExecutor(_Unavailable):
    """Parsl: pilots of RADICAL."""

    label = Label("RadicalPilotExecutor")

    unavailable: ClassVar[str] = "use HighThroughputExecutor"
    positional: ClassVar[tuple[str, ...]] = ("resource", "label", "bulk_mode", "working_dir", "rpex_cfg")
