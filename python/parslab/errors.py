"""Defines every error that parslab raises; its class says whose fault it is.

``ConfigurationError`` is a fault of the user, ``ProtocolError`` of a peer, ``InternalError`` of parslab.  The
``AppError`` family is for faults of a task, the ``LostError`` family for those of a machine.  All errors keep their
facts as fields, build their sentence in ``__str__`` and survive pickling, because a worker raises many of them.  Errors
that Parsl has keep the names of Parsl.
"""

from __future__ import annotations

__all__ = [
    "AppBadFormatting",
    "AppError",
    "AppException",
    "AppTimeout",
    "BadStateException",
    "BadStdStreamFile",
    "BashAppNoReturn",
    "BashExitFailure",
    "ConfigurationError",
    "DataFlowKernelLost",
    "DependencyError",
    "DeserializationError",
    "ExecutorError",
    "FileLostError",
    "IgnoredOption",
    "InternalConsistencyError",
    "InternalError",
    "InvalidResourceSpecification",
    "JoinError",
    "LostError",
    "ManagerLost",
    "MissingOutputs",
    "NoDataFlowKernelError",
    "OptionalModuleMissing",
    "ParslError",
    "ParslabError",
    "PropagatedError",
    "ProtocolError",
    "RemoteError",
    "RemoteTraceback",
    "RetryError",
    "SerializationError",
    "SoftwareError",
    "StagingError",
    "UnsupportedFileError",
    "UntrustedPathError",
    "WorkerLost",
]


class ParslabError(Exception):
    """Base of every error of this package.

    A subclass names its ``fields``.  They are its positional arguments, its attributes and the content of its pickle.
    """

    fields: tuple[str, ...] = ()

    def __init__(self, *values: object) -> None:
        # A pickled exception is made again by a call with ``args``, so all fields must be positional arguments.
        super().__init__(*values)
        for name, value in zip(self.fields, values, strict=False):
            setattr(self, name, value)


ParslError = ParslabError  # the name in Parsl


class ConfigurationError(ParslabError):
    """The user asked for something impossible: a wrong option, an impossible limit, a missing file."""


class IgnoredOption(UserWarning):
    """An option that Parsl has changes nothing in parslab; the text says why."""


class InvalidResourceSpecification(ConfigurationError):
    """A resource specification has a key that does not exist, or a wrong value (Parsl: same name)."""


class NoDataFlowKernelError(ConfigurationError):
    """The user called an app, or asked for a run, while no run is loaded (Parsl: ``NoDataFlowKernelError``)."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else "No run is loaded: call parslab.load() (or %parsl load) first."


class OptionalModuleMissing(ConfigurationError):
    """A feature needs a package of an extra that is not installed (Parsl: ``OptionalModuleMissing``)."""

    fields = ("module", "extra")
    module: str
    extra: str

    def __str__(self) -> str:
        return f"{self.module} is not installed: pip install 'parslab[{self.extra}]'"


class UntrustedPathError(ConfigurationError, PermissionError):
    """A file, a folder or a socket belongs to another user, or other users can write to it.

    It is also a ``PermissionError``, because code that reads files already expects that error.
    """


class ProtocolError(ParslabError):
    """A peer sent something that this version does not understand."""


class InternalError(ParslabError):
    """A bug in parslab; the text holds the history of the object concerned."""


InternalConsistencyError = InternalError  # the name in Parsl


class RetryError(ParslabError):
    """A task cannot be tried again: it has a result, or its function or arguments do not exist any more."""


class SerializationError(ParslabError):
    """A value cannot be pickled (Parsl: ``SerializationError``)."""

    fields = ("what", "reason")
    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what} cannot be sent to a worker: {self.reason}"


class DeserializationError(ParslabError):
    """This process cannot unpickle the bytes that it received (Parsl: ``DeserializationError``)."""

    fields = ("what", "reason")
    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what} cannot be unpickled here: {self.reason}"


class UnsupportedFileError(ConfigurationError, ValueError):
    """No staging provider of an executor takes a file; it is also a ``ValueError``, as in Parsl."""


class StagingError(ParslabError):
    """A file could not be fetched or stored.

    ``url`` has neither passwords nor query, ``path`` is the local copy on ``host``, and ``action`` is ``fetched to`` or
    ``stored from``.
    """

    fields = ("url", "action", "path", "host", "reason")
    url: str
    action: str
    path: str
    host: str
    reason: str

    def __str__(self) -> str:
        return f"{self.url} could not be {self.action} {self.path} on host {self.host}: {self.reason}"


class FileLostError(StagingError):
    """The only copy of a temporary file was lost with its node; the task that wrote it runs again.

    Callers get this error only as the reason of a failed attempt.  A file that cannot be made again is a
    :class:`StagingError`.
    """


class AppError(ParslabError):
    """The task itself failed in a way that parslab noticed (Parsl: ``AppException``)."""


AppException = AppError  # the name in Parsl


def _how_ended(status: int) -> str:
    """Describe an exit status in words.

    Python gives a process that a signal killed a negative status.  Bash adds 128 to the signal that killed its last
    command.
    """
    import signal

    number = -status if status < 0 else status - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = ""
    if status < 0:
        return f"was killed by {name or 'signal'} ({number})"
    return f"ended with exit status {status}" + (f" (its command was killed by {name})" if name else "")


class BashExitFailure(AppError):
    """A bash app ended with an exit status other than 0 (Parsl: ``BashExitFailure``)."""

    fields = ("app_name", "exitcode", "stderr_tail", "sandbox")
    app_name: str
    exitcode: int
    stderr_tail: str
    sandbox: str = ""
    """The folder in which the command ran, which stays; empty if it had none of its own."""

    def __str__(self) -> str:
        where = f"; its sandbox {self.sandbox} stays" if self.sandbox else ""
        tail = f"; the last lines of its stderr:\n{self.stderr_tail}" if self.stderr_tail else ", its stderr is empty."
        return f"bash app {self.app_name} {_how_ended(self.exitcode)}{where}{tail}"


class BashAppNoReturn(AppError):
    """The body of a bash app did not return a command line (Parsl: ``BashAppNoReturn``)."""

    fields = ("app_name", "returned")
    app_name: str
    returned: str

    def __str__(self) -> str:
        return f"bash app {self.app_name} must return the command line as a string, it returned {self.returned}"


class AppBadFormatting(AppError):
    """The command line of a bash app could not be formatted (Parsl: ``AppBadFormatting``)."""


class AppTimeout(AppError):
    """A task ran longer than its limit and was stopped (Parsl: ``AppTimeout``)."""

    fields = ("task", "limit")
    task: int
    limit: float

    def __str__(self) -> str:
        if len(self.args) != len(self.fields):  # the body of a task raised it, with arguments of its own
            return " ".join(map(str, self.args))
        return (
            f"Task {self.task} ran longer than its limit of {self.limit:g} s and was stopped: "
            "give it more (walltime, max_run_time), or less to do."
        )


class BadStdStreamFile(AppError):
    """A stdout or stderr path of a bash app cannot be opened (Parsl: ``BadStdStreamFile``)."""

    fields = ("stream", "path", "reason")
    stream: str
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.stream} file {self.path!r} cannot be opened: {self.reason}"


class MissingOutputs(AppError):
    """A bash app ended with status 0 but did not make all files of ``outputs`` (Parsl: ``MissingOutputs``)."""

    fields = ("app_name", "outputs", "stderr_tail", "sandbox")
    app_name: str
    outputs: list[str]
    stderr_tail: str
    sandbox: str = ""
    """As in :class:`BashExitFailure`."""

    def __str__(self) -> str:
        where = f"; its sandbox {self.sandbox} stays" if self.sandbox else ""
        tail = f"; the last lines of its stderr:\n{self.stderr_tail}" if self.stderr_tail else ""
        return f"bash app {self.app_name} did not make its output files {', '.join(self.outputs)}{where}{tail}"


class AppExit(AppError):
    """Replaces an exception of a task that would end the program that reads the result, such as ``SystemExit``.

    Such an exception would silently end the notebook's cell, or the script.
    """

    fields = ("type_name", "detail")
    type_name: str
    detail: str

    def __str__(self) -> str:
        if self.type_name == "SystemExit":
            how = f"called sys.exit({self.detail})"
        else:
            how = f"raised {self.type_name}({self.detail})"
        return f"The task {how}, which ended nothing but the task: return a value, or raise an error, instead"


class RemoteError(AppError):
    """Replaces an exception of a task that cannot be pickled there or unpickled here."""

    fields = ("type_name", "message", "reason")
    type_name: str
    message: str
    reason: str

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message} (the exception itself could not travel: {self.reason})"


class RemoteTraceback(ParslabError):
    """The ``__cause__`` of a task's exception: the text of the traceback on the worker."""

    fields = ("text",)
    text: str

    def __str__(self) -> str:
        return f"\n\n{self.text}"


class PropagatedError(ParslabError):
    """A failure caused by the failure of other tasks (Parsl: ``PropagatedException``).

    ``roots`` lists these tasks as (task id, description, error).  ``path`` lists the tasks between this task and the
    first root, nearest first.
    """

    fields = ("task", "roots", "path")
    task: int
    roots: list[tuple[int, str, str]]
    path: list[int]
    _kind = "Dependency"

    @property
    def task_id(self) -> int:
        """The number of the task (Parsl's name)."""
        return self.task

    @property
    def dependent_exceptions_tids(self) -> list[tuple[BaseException, str]]:
        """The errors of the roots, each with a description of its task (Parsl's name).

        Only the first error is the object that its task raised; a :class:`RemoteError` with the text stands for others.
        """
        found = []
        for number, (task, _, error) in enumerate(self.roots):
            name, _, message = error.partition(": ")
            cause = self.__cause__ if number == 0 else None
            found.append((cause or RemoteError(name, message, "only its text is known here"), f"task {task}"))
        return found

    def __str__(self) -> str:
        if not self.roots:
            return f"{self._kind} failure for task {self.task}"
        _, described, error = self.roots[0]
        via = " <- ".join(f"task {t}" for t in self.path)
        others = f" (+ {len(self.roots) - 1} others)" if len(self.roots) > 1 else ""
        return f"{self._kind} failure for task {self.task}: {described} failed with {error}, via {via}{others}"


class DependencyError(PropagatedError):
    """A task was not run because a task that it needs failed (Parsl: ``DependencyError``)."""


class JoinError(PropagatedError):
    """A future that a join app returned failed (Parsl: ``JoinError``)."""

    _kind = "Join"


class LostError(ParslabError):
    """A process that a task needed died or disconnected."""


class WorkerLost(LostError):
    """The worker process of the task died, or, with ``pid`` 0, no worker can run the task (Parsl: ``WorkerLost``).

    The ``pid`` is -1 where an executor of another library has lost the worker and does not say which it was.
    """

    fields: tuple[str, ...] = ("task", "how", "host", "pid", "stderr_tail", "reason")
    task: int
    how: str
    host: str
    pid: int
    stderr_tail: str
    reason: str = "worker_lost"
    """Name of a ``Reason``: ``out_of_memory`` if the out-of-memory killer of the system is known to have killed it."""

    def __str__(self) -> str:
        if not self.pid:
            return f"Task {self.task} was not run: {self.how}"
        if self.pid < 0:
            return f"The worker of task {self.task} {self.how}"
        tail = f"; its last words:\n{self.stderr_tail}" if self.stderr_tail else ""
        return f"The worker of task {self.task} (host {self.host}, pid {self.pid}) {self.how}{tail}"


class ExecutorError(ParslabError):
    """An executor of the user cannot do its work (Parsl: ``ExecutorError``)."""

    fields: tuple[str, ...] = ("executor", "reason")

    def __str__(self) -> str:
        executor, reason = self.args
        return f"Executor {getattr(executor, 'label', executor)} failed: {reason}"


class BadStateException(WorkerLost, ExecutorError):
    """The executor of the task has failed for good, so nobody runs its tasks (Parsl: ``BadStateException``).

    Executors that users have written for Parsl make it of themselves and an exception.
    """

    pid = 0

    def __str__(self) -> str:
        # An executor of a user gives two values, the DataFlowKernel all that belong to a lost worker.
        return str(ExecutorError(*self.args)) if len(self.args) == 2 else super().__str__()


class ManagerLost(LostError):
    """The manager of a node died or disconnected while its node had the task (Parsl: ``ManagerLost``)."""

    fields = ("task", "manager", "host", "block", "reason")
    task: int
    manager: str
    host: str
    block: str
    reason: str

    def __str__(self) -> str:
        return (
            f"Task {self.task} was lost with its manager {self.manager} (host {self.host}, block {self.block}), which "
            f"{self.reason}"
        )


class SoftwareError(ParslabError):
    """The software that a task asks for cannot be had: its environment cannot be made, or its workers cannot start."""

    fields = ("task", "software", "why")
    task: int
    software: str
    why: str

    def __str__(self) -> str:
        return f"Task {self.task} was not run, because its {self.software} cannot be used: {self.why}"


class DataFlowKernelLost(LostError):
    """The DataFlowKernel process died; every unfinished future of the run fails with this."""

    fields = ("run", "how", "log")
    run: str
    how: str
    log: str

    def __str__(self) -> str:
        return (
            f"The DataFlowKernel of run {self.run} {self.how}; its log is {self.log}. Start anew with parslab.load()."
        )
