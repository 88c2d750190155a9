"""Every error that parslab raises, and whose fault each one is.

``ConfigurationError`` is the user's, ``ProtocolError`` a peer's, ``InternalError`` ours, the ``AppError`` family
the task's, the ``LostError`` family the machine's.  All keep their facts as fields, build their sentence in
``__str__`` and survive pickling, because many of them are born on a worker.  Parsl's familiar names are kept.
"""

from __future__ import annotations

__all__ = [
    "AppBadFormatting",
    "AppError",
    "AppException",
    "AppTimeout",
    "BadStdStreamFile",
    "BashAppNoReturn",
    "BashExitFailure",
    "ConfigurationError",
    "DataFlowKernelLost",
    "DependencyError",
    "DeserializationError",
    "InternalError",
    "JoinError",
    "LostError",
    "ManagerLost",
    "MissingOutputs",
    "NoDataFlowKernelError",
    "OptionalModuleMissing",
    "ParslabError",
    "PropagatedError",
    "ProtocolError",
    "RemoteError",
    "RemoteTraceback",
    "RetryError",
    "SerializationError",
    "UntrustedPathError",
    "WorkerLost",
]


class ParslabError(Exception):
    """Base of every error of this package.

    A subclass names its ``fields``; they are its positional arguments, its attributes and what a pickle carries.
    """

    fields: tuple[str, ...] = ()

    def __init__(self, *values: object) -> None:
        super().__init__(*values)
        for name, value in zip(self.fields, values, strict=False):
            setattr(self, name, value)


class ConfigurationError(ParslabError):
    """What the user asked for cannot be: a wrong option, an impossible limit, a missing file."""


class NoDataFlowKernelError(ConfigurationError):
    """An app was called, or a run asked for, while nothing is loaded (Parsl: ``NoDataFlowKernelError``)."""

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

    It is also a ``PermissionError``, because everything that reads files already expects one.
    """


class ProtocolError(ParslabError):
    """A peer sent something that this version does not understand."""


class InternalError(ParslabError):
    """A mistake of ours; the text carries the story of the object concerned."""


class RetryError(ParslabError):
    """A task cannot be tried again: it has a result, or what it takes to run it is gone."""


class SerializationError(ParslabError):
    """A value cannot be pickled (Parsl: ``SerializationError``)."""

    fields = ("what", "reason")
    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what} cannot be sent to a worker: {self.reason}"


class DeserializationError(ParslabError):
    """Bytes that came back cannot be unpickled here (Parsl: ``DeserializationError``)."""

    fields = ("what", "reason")
    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what} cannot be unpickled here: {self.reason}"


class AppError(ParslabError):
    """The task itself failed in a way that parslab noticed (Parsl: ``AppException``)."""


AppException = AppError


def _how_ended(status: int) -> str:
    """Words for an exit status; negative: killed by that signal, above 128: bash says so of its last command."""
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

    fields = ("app_name", "exitcode", "stderr_tail")
    app_name: str
    exitcode: int
    stderr_tail: str

    def __str__(self) -> str:
        tail = f"; the last lines of its stderr:\n{self.stderr_tail}" if self.stderr_tail else ", its stderr is empty."
        return f"bash app {self.app_name} {_how_ended(self.exitcode)}{tail}"


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
    """A task ran longer than it may and was stopped (Parsl: ``AppTimeout``)."""

    fields = ("task", "limit")
    task: int
    limit: float

    def __str__(self) -> str:
        if len(self.args) != len(self.fields):  # raised by somebody else's body, in their own words
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
    """A bash app ended well but files of ``outputs`` are not there (Parsl: ``MissingOutputs``)."""

    fields = ("app_name", "outputs", "stderr_tail")
    app_name: str
    outputs: list[str]
    stderr_tail: str

    def __str__(self) -> str:
        tail = f"; the last lines of its stderr:\n{self.stderr_tail}" if self.stderr_tail else ""
        return f"bash app {self.app_name} did not make its output files {', '.join(self.outputs)}{tail}"


class AppExit(AppError):
    """Stands for an exception of a task that is meant to end a program: ``SystemExit`` and its like.

    Raised as itself it would end the notebook's cell without a word, or the script.
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
    """Stands for an exception of a task whose own type cannot be pickled, or not be rebuilt here."""

    fields = ("type_name", "message", "reason")
    type_name: str
    message: str
    reason: str

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message} (the exception itself could not travel: {self.reason})"


class RemoteTraceback(ParslabError):
    """The ``__cause__`` of a task's exception: the traceback as it was written on the worker."""

    fields = ("text",)
    text: str

    def __str__(self) -> str:
        return f"\n\n{self.text}"


class PropagatedError(ParslabError):
    """A failure caused by the failure of other tasks (Parsl: ``PropagatedException``).

    ``roots`` lists them as (task id, description, error) and ``path`` names the way from this task to the first
    root, nearest first.
    """

    fields = ("task", "roots", "path")
    task: int
    roots: list[tuple[int, str, str]]
    path: list[int]
    _kind = "Dependency"

    def __str__(self) -> str:
        if not self.roots:
            return f"{self._kind} failure for task {self.task}"
        _, described, error = self.roots[0]
        via = " <- ".join(f"task {t}" for t in self.path)
        others = f" (+ {len(self.roots) - 1} others)" if len(self.roots) > 1 else ""
        return f"{self._kind} failure for task {self.task}: {described} failed with {error}, via {via}{others}"


class DependencyError(PropagatedError):
    """A task was not run because a task it needs failed (Parsl: ``DependencyError``)."""


class JoinError(PropagatedError):
    """A future that a join app returned failed (Parsl: ``JoinError``)."""

    _kind = "Join"


class LostError(ParslabError):
    """The machinery under a task went away while the task needed it."""


class WorkerLost(LostError):
    """The worker process died under the task, or no worker will ever come: ``pid`` 0 (Parsl: ``WorkerLost``)."""

    fields = ("task", "how", "host", "pid", "stderr_tail", "reason")
    task: int
    how: str
    host: str
    pid: int
    stderr_tail: str
    reason: str = "worker_lost"
    """Name of a ``Reason``: ``out_of_memory`` where the system's out-of-memory killer is known to have done it."""

    def __str__(self) -> str:
        if not self.pid:
            return f"Task {self.task} was not run: {self.how}"
        tail = f"; its last words:\n{self.stderr_tail}" if self.stderr_tail else ""
        return f"The worker of task {self.task} (host {self.host}, pid {self.pid}) {self.how}{tail}"


class ManagerLost(LostError):
    """The manager of a node went away with the task (Parsl: ``ManagerLost``)."""

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
