"""Config: the description of a run, which ``load()`` takes.

This module imports ``executors``, because a run without an executor gets the default one.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, ClassVar

from parslab.description import Choice, Description, Duration, Number, PathText, Text, Whole, YesNo
from parslab.errors import ConfigurationError
from parslab.executors import Executor, LowLatencyExecutor
from parslab.executors.base import ParslExecutor
from parslab.options import Option
from parslab.serialize.dependency_resolvers import DependencyResolver

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Config"]


class _Executors(Option):
    """One executor or more, kept as a tuple."""

    wants = "a list of at least one executor, such as [LowLatencyExecutor()]"

    def accepted(self, value: Any) -> tuple[Executor | ParslExecutor, ...]:
        try:
            executors = tuple(value)
        except TypeError:
            self.refuse()
        if not executors or not all(isinstance(executor, (Executor, ParslExecutor)) for executor in executors):
            self.refuse()
        return executors

    def default(self, obj: Any = None) -> tuple[Executor | ParslExecutor, ...]:
        # A new one each time, because it may be changed.
        return (LowLatencyExecutor.bare(),)

    def fresh(self) -> tuple[Executor, ...]:
        # Made anew for each Config, because the defaults of the site for executors may have changed.
        return (LowLatencyExecutor(),)


class _Strategy(Text):
    """The name of a strategy; for Parsl None is the name of the one that does nothing."""

    def validate(self, obj: Any, value: Any) -> Any:
        return super().validate(obj, "none" if value is None else value)


class _Handler(Option):
    """A function of the user, which is never sent to another process."""

    wants = "a function, or None"

    def accepted(self, value: Any) -> Any:
        if not callable(value) or isinstance(value, type):  # to call a class would make an object and handle nothing
            self.refuse()
        return value


class _Places(Option):
    """Paths of folders and files, kept as a tuple of texts."""

    wants = "a list of checkpoint folders or files, such as get_all_checkpoints() gives"

    def accepted(self, value: Any) -> tuple[str, ...]:
        if isinstance(value, (str, os.PathLike)):
            value = (value,)  # a text is iterable, too, and each letter would become a path
        try:
            return tuple(os.fsdecode(place) for place in value)
        except TypeError:
            self.refuse()


class _Owners(Option):
    """Users, by name or number, kept as a tuple."""

    wants = "a list of user names or numbers, such as ['ada', 1003]"

    def accepted(self, value: Any) -> tuple[str | int, ...]:
        if isinstance(value, (str, int)):
            value = (value,)
        try:
            owners = tuple(value)
        except TypeError:
            self.refuse()
        if not all(isinstance(owner, (str, int)) and not isinstance(owner, bool) for owner in owners):
            self.refuse()
        return owners


class _Sandbox(Option):
    """True, False or the path of a folder."""

    wants = "True, False, or the path of a folder"

    def accepted(self, value: Any) -> bool | str:
        if isinstance(value, bool):
            return value
        try:
            path = os.fsdecode(value)
        except TypeError:
            self.refuse()
        return path or self.refuse()


class _Resolver(Option):
    """A rule for where futures are looked for, which is never sent to another process."""

    wants = "a DependencyResolver, such as SHALLOW_DEPENDENCY_RESOLVER"

    def accepted(self, value: Any) -> DependencyResolver:
        if not isinstance(value, DependencyResolver):
            self.refuse()
        return value


class _UsageLevel(Whole):
    """How much a usage report tells: 0 to 3, or True and False as in Parsl."""

    def __init__(self) -> None:
        super().__init__(0, low=0, high=3)
        self.wants = "a level from 0 (nothing is sent) to 3, or True for 1 and False for 0"

    def accepted(self, value: Any) -> int:
        return super().accepted(int(value) if isinstance(value, bool) else value)


class _Address(Text):
    """A host and a port, as one text."""

    def __init__(self) -> None:
        super().__init__(None)
        self.wants = 'a host and a port, such as "usage.example.org:50077"'

    def accepted(self, value: Any) -> str:
        host, _, port = str(super().accepted(value)).rpartition(":")
        if not re.fullmatch(r"[\w.:\[\]-]{1,253}", host) or not port.isascii() or not port.isdigit():
            self.refuse()
        if not 0 < int(port) < 65536:
            self.refuse()
        return str(value)


class Config(Description):
    """Describes a run: where its tasks execute, how resources follow the work, and where its files go.

    Parameters
    ----------
    executors
        Where tasks run.  The tasks of an app that names no executor may run on any of them.
    run_dir
        Folder in which each run makes its own numbered folder (logs, monitoring, output of bash apps).
    retries
        How often a task that failed is tried again; an app may set another number for its own tasks.
    garbage_collect
        With False ``dfk().tasks`` has the records of finished tasks, too, and all records have the function and the
        arguments of the call.  All of this stays in memory until the end of the run.
    retry_handler
        A function of an exception and a task.  It returns what the failed attempt costs of the task's retries; without
        a handler each attempt costs 1.  A cost of 0 is free, ``float("inf")`` ends the task, and an error that the
        handler raises replaces the task's error.  The handler runs in this process, in a thread of its own.  It is
        called for failed attempts and for failed dependencies, which no retry can run.  The task has ``func_name``,
        ``args``, ``try_id``, ``fail_count``, ``fail_history``, ``reason`` and more
        (:class:`~parslab.client.calls.retry_handler.FailedTask`), also as ``task["func_name"]``.
    strategy
        How blocks follow the work: ``"none"`` keeps ``init_blocks``; ``"simple"`` requests blocks when tasks wait, and
        releases all of them when there is no work; ``"htex_auto_scale"`` also releases single idle blocks.  Name a
        strategy of your own as ``"module:Class"``, or by an entry point of the group ``parslab.strategies``.
    strategy_period
        Seconds between two decisions of the strategy while nothing happens; when work arrives it decides at once.
    max_idletime
        Seconds for which a block may be idle before the strategy releases it.
    exit_mode
        What the end of ``with parslab.load(config):`` does: ``"cleanup"`` ends the run and cancels unfinished tasks;
        ``"wait"`` waits for them first, unless the block ends with an exception; ``"skip"`` leaves the run loaded.
    linger
        Seconds for which the run outlives its last notebook or script.  A kernel that restarts in that time finds the
        run as it was; afterwards the run ends with its jobs.  0 ends the run with the process that loaded it.  None
        means 10 minutes for a notebook and 0 for a script.
    resume
        Whether the run writes its calls and results to the event log in its folder.  Then they outlive the
        DataFlowKernel process, and the next kernel of a notebook continues the run, or uses the results of the run
        that it replaces.  With False the next kernel ends the old run and starts a new one.
    keep_large_results
        Whether the event log has results of more than 256 KiB, and large arguments of calls that nobody asks for any
        more, too.  By default such a result is in memory only.  If it
        is lost with the DataFlowKernel process, the tasks that made it run again, provided that anything still needs
        it.  Results of apps with ``cache=True`` are in the checkpoint whatever their size.
    value_memory
        GB of memory that large arguments and results of the run may occupy on this host; beyond it the oldest ones
        move to a disk.  None means half of the memory of this host or container.
    spill_dir
        Folder in which such values are, in files without names; None means the run's folder.
    app_cache
        False disables memoization for all apps, whatever their ``cache`` says.
    checkpoint_mode
        When results of apps with ``cache=True`` are written to the run's checkpoint, from which later runs read them:
        ``"task_exit"`` when each task ends, before its future is done; ``"periodic"`` every ``checkpoint_period``;
        ``"dfk_exit"`` at the end of the run; ``"manual"`` when ``dfk().checkpoint()`` is called.  None is like
        ``"manual"``, but the run does not read checkpoints of earlier runs.
    checkpoint_dir
        Folder of the checkpoint.  Several runs may share it, also at the same time: each reads what is there and adds
        to it.  None means a folder inside the run's folder.
    checkpoint_files
        Checkpoint folders and files that the run reads; if several have a result, the last one counts.  None means
        those of all earlier runs of ``run_dir`` if there is a ``checkpoint_mode``, else none.
    checkpoint_period
        Seconds, or a text ``"HH:MM:SS"``.
    trusted_owners
        Users, by name or number, whose checkpoints the run accepts besides your own and root's.  To load a checkpoint
        runs the code that is in it.  In a ``checkpoint_dir`` that several users share, each writes a file of its own.

    std_autopath
        A function of a call and ``"stdout"`` or ``"stderr"``.  It returns the path, ``(path, mode)`` or File for which
        ``AUTO_LOGNAME`` stands.  The call is a dictionary with ``func_name``, ``args``, ``kwargs``, ``label``, ``dfk``
        and ``id``, the number of the task.  None means a file in the run's folder ``task_logs``.
    dependency_resolver
        Where futures are looked for in the arguments of a call.  None means at any depth.
        ``SHALLOW_DEPENDENCY_RESOLVER`` (from ``parslab.dataflow.dependency_resolvers``) is Parsl's rule: only arguments
        that are futures themselves, and the items of ``inputs``.  Or a ``DependencyResolver`` of your own.
    sandbox
        Whether each call of a bash app runs in a new folder.  Inputs are reachable there, and the files of ``outputs``
        are moved out of it at the end, so that no half-written file is at their places.  The folder is removed after a
        success; after a failure it stays, and the error names it.  A path says where to make such folders.  With True
        that is the ``working_dir`` of the executor, or the worker's folder for temporary files (``TMPDIR``).
        ``@bash_app(sandbox=...)`` has priority.
    usage_tracking
        How much a run tells about itself to ``usage_address``: 0 is nothing, 1 the versions of parslab and Python and
        the kind of system, 2 also the classes of executors and providers, 3 also how long the run took, and how many
        tasks it had.  No level names paths, hosts, users, apps or values.  ``parslab usage`` prints what would be
        sent.
    project_name
        A name that usage reports carry.
    usage_address
        Where usage reports go, as ``"host:port"`` (UDP).  Nothing is sent without it, whatever ``usage_tracking``
        says.

    Examples
    --------
    >>> from parslab.executors import LowLatencyExecutor, ThreadPoolExecutor
    >>> Config(executors=[LowLatencyExecutor(workers=4), ThreadPoolExecutor()])
    Config(executors=[LowLatencyExecutor(workers=4), ThreadPoolExecutor()])
    """

    # bare(): the import of this module must not read the files of the site, which may themselves import it.
    executors = _Executors((LowLatencyExecutor.bare(),))
    run_dir = PathText("runinfo")
    retries = Whole(0, low=0)
    garbage_collect = YesNo(True)
    retry_handler = _Handler(None)
    strategy = _Strategy("simple")
    strategy_period = Duration(5.0, low=0.1)
    max_idletime = Duration(120.0)
    exit_mode = Choice("cleanup", ("cleanup", "wait", "skip"))
    linger = Duration(None)
    resume = YesNo(True)
    keep_large_results = YesNo(False)
    value_memory = Number(None, above=0)
    spill_dir = PathText(None)
    app_cache = YesNo(True)
    checkpoint_mode = Choice(None, ("task_exit", "periodic", "dfk_exit", "manual"))
    checkpoint_dir = PathText(None)
    checkpoint_files = _Places(None)
    checkpoint_period = Duration(1800.0, low=0.1)
    trusted_owners = _Owners(())
    std_autopath = _Handler(None)
    dependency_resolver = _Resolver(None)
    sandbox = _Sandbox(False)
    usage_tracking = _UsageLevel()
    project_name = Text(None)
    usage_address = _Address()

    positional: ClassVar[tuple[str, ...]] = (
        "executors",
        "memoizer",
        "dependency_resolver",
        "exit_mode",
        "garbage_collect",
        "internal_tasks_max_threads",
        "retries",
        "retry_handler",
        "run_dir",
        "std_autopath",
        "strategy",
        "strategy_period",
        "max_idletime",
        "monitoring",
        "usage_tracking",
        "project_name",
        "initialize_logging",
    )
    none_means_default: ClassVar[frozenset[str]] = frozenset({"executors", "checkpoint_period"})
    ignored: ClassVar[dict[str, str]] = {
        "data_management_max_threads": "files need no threads of their own",
        "initialize_logging": "logs are always in the run's folder",
        "internal_tasks_max_threads": "bodies of join apps get as many threads as they need",
        "lazy_errors": "errors always come when a result is asked for",
        "memoizer": "the DataFlowKernel memoizes; BasicMemoizer is translated into options of Config",
        "monitoring": "every run is monitored, and its database is in the run's folder",
    }
    expected: ClassVar[dict[str, Any]] = {
        "initialize_logging": True,
        "internal_tasks_max_threads": 10,
        "lazy_errors": True,
    }

    def translated(self, options: Mapping[str, Any]) -> dict[str, Any]:
        options = dict(options)
        memoizer = options.get("memoizer")
        meant = memoizer.config_options() if memoizer is not None and hasattr(memoizer, "config_options") else None
        if meant is not None:
            self.__dict__["memoizer"] = options.pop("memoizer")
            # An option that is also given to Config itself has priority.
            options = {**meant, **options}
        return super().translated(options)

    def check(self) -> None:
        labels = [executor.label for executor in self.executors]
        for label in labels:
            if labels.count(label) > 1:
                raise ConfigurationError(
                    f"Config: the label {label!r} names more than one executor; labels must differ."
                )
        wanted = [(executor.label, executor.port) for executor in self.executors if getattr(executor, "port", 0)]
        for label, port in wanted:
            if port != wanted[0][1]:
                raise ConfigurationError(
                    f"Config: {wanted[0][0]} wants port {wanted[0][1]} and {label} port {port}, but one port serves "
                    "all executors of a run."
                )
