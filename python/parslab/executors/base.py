"""The base of executors: a label, and the settings with which the DataFlowKernel process runs an executor.

The DataFlowKernel knows three kinds of executors: threads, low_latency and high_throughput.  An executor of your own is
a subclass of one of ours that sets options, or that returns other ``settings`` of that kind.  Name it by an entry point
of the group ``parslab.executors`` (see :mod:`parslab.plugins`)::

    class GpuExecutor(LowLatencyExecutor):
        \"\"\"Workers that number the GPUs of this host as nvidia-smi does.\"\"\"

        label = Label("gpus")
        environment = Variables({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})

Test it with :class:`parslab.testing.conformance.ExecutorSuite`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from parslab.data_provider.file_noop import NoOpFileStaging
from parslab.data_provider.staging import Staging, TransferStaging
from parslab.description import Description, Label
from parslab.errors import ConfigurationError
from parslab.options import Option
from parslab.records.executor_settings import ExecutorSettings, ThreadPoolSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from typing import TypeGuard

__all__ = ["Executor", "ParslExecutor", "StorageAccess", "checked_settings", "stages_paths"]


class StorageAccess(Option):
    """The staging providers of an executor, kept as a tuple.

    The first one that takes a file stages it.  None: the default ones, which leave paths alone and take http, ftp, s3,
    sftp and other URLs.  An empty list: none.
    """

    wants = "a list of staging providers, such as [HTTPInTaskStaging()]"

    def accepted(self, value: Any) -> tuple[Staging, ...]:
        providers = tuple(value) if isinstance(value, (list, tuple)) else None
        if providers is None or not all(isinstance(provider, Staging) for provider in providers):
            self.refuse()
        return providers


def stages_paths(providers: Sequence[Staging] | None) -> bool:
    """Return whether an executor with these providers may stage files that are named by path.

    None stands for the default providers, which do not.
    """
    if providers is None:
        return False
    paths_stay = any(isinstance(provider, NoOpFileStaging) for provider in providers)
    return not paths_stay or any(map(_may_stage_paths, providers))


def _may_stage_paths(provider: Staging) -> bool:
    """Return whether a provider may stage files that are named by path, and not only those of remote URLs."""
    if isinstance(provider, TransferStaging):
        return "file" in provider.schemes_in or "file" in provider.schemes_out
    return not isinstance(provider, NoOpFileStaging)


class Executor(Description):
    """Base of the descriptions of where tasks run."""

    label = Label("executor")

    def settings(self) -> ExecutorSettings:
        """Return the settings for the DataFlowKernel process, with the defaults that depend on this host.

        A subclass of another package that changes them begins with the struct of its base class:
        ``msgspec.structs.replace(super().settings(), workers=4)``.
        """
        raise NotImplementedError


class ParslExecutor(ABC):
    """Base of executors that users have written for Parsl; ``Config(executors=[...])`` takes them.

    Such an executor runs tasks itself: the client calls its methods, in this process.  It calls ``start`` when the run
    is loaded, ``submit`` for each task when its inputs are there, and ``shutdown`` at the end of the run.

    Attributes
    ----------
    label
        The name with which apps choose it.
    run_dir, run_id
        Folder and name of the run; the client sets both before ``start``.
    """

    label: str = "undefined"
    run_dir: str = "."
    run_id: str | None = None
    storage_access: Any = None
    working_dir: str | None = None
    monitoring_messages: Any = None
    remote_monitoring_radio: Any = None
    log_config: Any = None

    def __init__(self, *, monitoring_messages: Any = None, run_dir: str = ".", run_id: str | None = None) -> None:
        self.monitoring_messages = monitoring_messages
        self.run_dir = os.path.abspath(run_dir)
        self.run_id = run_id

    def start(self) -> Any:
        """Start what runs the tasks; by default nothing."""
        return None

    @abstractmethod
    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Run a task; the client passes the values of its inputs."""

    @abstractmethod
    def shutdown(self) -> Any:
        """Stop what runs the tasks."""

    def begin_scaling(self) -> None:  # noqa: B027  # executors without blocks need none
        """Request blocks; the client calls this after ``start``."""

    def end_scaling(self) -> None:  # noqa: B027
        """End all blocks; the client calls this before ``shutdown``."""

    def monitor_resources(self) -> bool:
        """Return whether Parsl may measure the tasks; parslab never asks."""
        return False

    def settings(self) -> ThreadPoolSettings:
        """Return the settings for the DataFlowKernel process: tasks of this label run in the client."""
        return ThreadPoolSettings(label=self.label, max_threads=1)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()


# Programs for Parsl ask whether something is an executor; a description of ours has none of the methods all the same.
ParslExecutor.register(Executor)


def checked_settings(executor: Executor | ParslExecutor) -> ExecutorSettings:
    """Return the settings of an executor after a check of every value.

    The options of a description are checked already.  This check finds what the ``settings`` of another package's
    executor got wrong, before the settings reach the DataFlowKernel process.

    Raises
    ------
    ConfigurationError
        The settings are no struct of ours, or a value is wrong; the sentence names executor, option and value.
    """
    settings: object = executor.settings()
    if not _is_settings(settings):
        names = ", ".join(kind.__name__ for kind in get_args(ExecutorSettings))
        raise ConfigurationError(
            f"Executor {executor.label}: {type(executor).__name__}.settings() must return one of {names}, "
            f"not {settings!r}."
        )
    _check(settings, settings.label)
    return settings


def _is_settings(settings: object) -> TypeGuard[ExecutorSettings]:
    return isinstance(settings, get_args(ExecutorSettings))


def _check(settings: msgspec.Struct, label: str) -> None:
    for field in msgspec.structs.fields(settings):
        value = getattr(settings, field.name)
        try:
            msgspec.convert(msgspec.to_builtins(value), field.type)
        except (msgspec.ValidationError, TypeError) as error:
            if isinstance(value, msgspec.Struct):
                _check(value, label)  # finds the option inside
            raise ConfigurationError(
                f"Executor {label}: {field.name} must be {_wanted(msgspec.inspect.type_info(field.type))}, "
                f"not {value!r}."
            ) from error


def _wanted(kind: msgspec.inspect.Type) -> str:
    """Describe the values that a field takes."""
    match kind:
        case msgspec.inspect.UnionType(types):
            return " or ".join(_wanted(each) for each in types)
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            noun = "a whole number" if isinstance(kind, msgspec.inspect.IntType) else "a number"
            limits = {"above": kind.gt, "of at least": kind.ge, "of at most": kind.le}
            words = [f"{word} {limit:g}" for word, limit in limits.items() if limit is not None]
            return " ".join([noun, " and ".join(words)]).strip()
        case msgspec.inspect.StrType():
            return "a text"
        case msgspec.inspect.BoolType():
            return "True or False"
        case msgspec.inspect.NoneType():
            return "None"
        case msgspec.inspect.LiteralType(values):
            return f"one of {', '.join(map(repr, values))}"
        case msgspec.inspect.ListType():
            return "a list of texts"
        case msgspec.inspect.DictType(_, values):
            return f"a dictionary of {'texts' if isinstance(values, msgspec.inspect.StrType) else 'plain data'}"
        case msgspec.inspect.StructType(cls):
            return f"of class {cls.__name__}"
        case _:
            return "plain data"
