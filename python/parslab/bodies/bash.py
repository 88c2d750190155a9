"""Run a bash app on the worker: call its function for the command line, run it with bash, check the output files.

:func:`run` is the runner of every bash app. Without redirection the command writes to the worker's stdout and stderr,
which belong to the task. An error shows the last lines of stderr, read from the file in which the worker keeps them.
Where stderr is no such file, as in a thread of the notebook, it passes through a pipe.

The command stays in the worker's process group, so it ends when the manager kills that group. An interrupt of the task,
such as a cancel, ends the command and all processes that it has started.
"""

from __future__ import annotations

import contextlib
import fcntl
import inspect
import os
import select
import stat
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from types import FunctionType
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from parslab.errors import (
    AppBadFormatting,
    AppError,
    AppTimeout,
    BadStdStreamFile,
    BashAppNoReturn,
    BashExitFailure,
    MissingOutputs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import psutil

__all__ = ["SANDBOX", "TAIL_BYTES", "TAIL_LINES", "CommandLine", "run", "run_command", "stream_target"]

SHELL = "/bin/bash"
DEFAULT_MODE = "a+"  # as in Parsl: a second attempt does not erase the output of the first
TAIL_LINES = 20
TAIL_BYTES = 4096
"""The most bytes of stderr in an error, which travels to the notebook."""
LONGEST_ARGUMENT = 100_000
"""Bytes of a command line that bash gets as an argument; Linux refuses an argument of 128 KiB (``MAX_ARG_STRLEN``)."""

SANDBOX = "_parslab_sandbox"
"""The keyword by which an app asks for a sandbox: the folder in which to make it, or True: a temporary one."""
_OURS = ("inputs", "outputs", "stdout", "stderr", "label", "walltime")
# These are the beginnings of Python's messages about a format string that does not fit its arguments.  Any other error
# of the function is the user's own, and keeps its type.
_STREAMS = {"stdout", "stderr"}
_FORMATTING = (
    "Replacement index",
    "not enough arguments for format string",
    "not all arguments converted during string formatting",
    "unsupported format character",
)
_LEFT_CHUNKS = 32
"""The most reads that empty the pipe after bash has ended. A background process may write on without end."""
_signatures: weakref.WeakKeyDictionary[FunctionType, inspect.Signature | None] = weakref.WeakKeyDictionary()
_WORKER_OF = "PARSLAB_WORKER_OF"
"""The variable by which the pool marks all processes of a worker."""
_PATIENCE = 0.2
"""Seconds after which a thread that waits for a command comes back to Python code."""
_GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL for the processes of an interrupted command."""


def run(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> int:
    """Run the command line that ``function`` returns; return 0, or raise one of the errors of a bash app.

    Parameters
    ----------
    function
        The function of the app. It gets only those special keywords that are among its parameters.
    args, kwargs
        The arguments of the call.

    Raises
    ------
    BashExitFailure
        The exit status of the command is not 0.
    MissingOutputs
        The command has not written a file of ``outputs``.
    """
    name = getattr(function, "__name__", type(function).__name__)
    sandbox = kwargs.pop(SANDBOX, None)
    kwargs, special = _divided(function, args, kwargs)
    if sandbox is not None:
        return _run_in_sandbox(name, function, args, kwargs, special, parent="" if sandbox is True else sandbox)
    code, tail = run_command(CommandLine(_command(name, function, args, kwargs)), special)
    if code:
        raise BashExitFailure(name, code, tail)
    missing = [path for path in map(os.fspath, special.get("outputs") or ()) if not os.path.exists(path)]
    if missing:
        raise MissingOutputs(name, missing, tail)
    return 0


class CommandLine(NamedTuple):
    """What bash runs.

    Attributes
    ----------
    text
        The command line, or a script.
    folder
        The folder in which it runs; None: that of this process.
    title
        The name by which bash calls the script in its messages; empty: that of bash.
    """

    text: str
    folder: str | None = None
    title: str = ""


def run_command(command: CommandLine, special: Mapping[str, Any]) -> tuple[int, str]:
    """Run a command, with the streams that ``special`` redirects; return exit status and end of stderr."""
    return _run_redirected(command, special) if special.keys() & _STREAMS else _run_here(command, None)


def _run_in_sandbox(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    special: Mapping[str, Any],
    *,
    parent: str,
) -> int:
    """Run the command line in a folder of its own, which stays after a failure."""
    from parslab.bodies.sandbox import Sandbox  # here, because most workers never need it

    signature = _signature(function)
    if signature is not None:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()  # a default may name an input or output, too
        args, kwargs = bound.args, bound.kwargs
    sandbox = Sandbox(name, parent)
    try:
        args, kwargs = sandbox.arguments(args, kwargs, special.get("outputs"), special.get("inputs"))
        text = _command(name, function, args, kwargs)
    except BaseException:
        sandbox.remove()  # nothing has run in it
        raise
    try:
        code, tail = run_command(CommandLine(text, sandbox.folder), special)
        if code:
            raise BashExitFailure(name, code, tail, sandbox.folder)
        missing = sandbox.missing()
        if missing:
            raise MissingOutputs(name, missing, tail, sandbox.folder)
        sandbox.deliver()
    except AppError:
        raise
    except BaseException:
        print(f"parslab: the sandbox {sandbox.folder} stays", file=sys.stderr)
        raise
    sandbox.remove()
    return 0


def stream_target(stream: str, value: Any) -> tuple[str, str] | None:
    """Return path and mode of a redirected stream; None for a stream that is not redirected.

    Parameters
    ----------
    stream
        ``stdout`` or ``stderr``, for errors.
    value
        The argument of the call.

    Raises
    ------
    BadStdStreamFile
        ``value`` is not a path, a path object or ``(path, mode)``, or the mode does not write.
    """
    if value is None:
        return None
    path, mode = value if isinstance(value, tuple) and len(value) == 2 else (value, DEFAULT_MODE)
    if not isinstance(path, (str, bytes, os.PathLike)) or not isinstance(mode, str):
        raise BadStdStreamFile(stream, str(value), "it must be a path, or a pair of path and mode")
    path = os.fsdecode(path)
    if not set(mode) & set("wax+") or set(mode) - set("rwax+bt"):
        raise BadStdStreamFile(stream, path, f"mode {mode!r} does not write")
    return path, mode


def _divided(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return the keywords that ``function`` takes, and all special keywords with its defaults."""
    special = {key: kwargs[key] for key in _OURS if key in kwargs}
    signature = _signature(function)
    if signature is None:
        return kwargs, special
    takes = signature.parameters
    if special and not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        kwargs = {key: value for key, value in kwargs.items() if key in takes or key not in special}
    if not takes.keys().isdisjoint(_OURS):  # otherwise there is nothing to find
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        special.update({key: bound.arguments[key] for key in _OURS if key in bound.arguments})
    return kwargs, special


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of a function; None if it has none."""
    # Kept for functions only: their attributes and defaults do not change on a worker, those of other callables may.
    if type(function) is not FunctionType:
        return _new_signature(function)
    if function not in _signatures:
        _signatures[function] = _new_signature(function)
    return _signatures[function]


def _new_signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _command(name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    try:
        command = function(*args, **kwargs)
    except (IndexError, TypeError, ValueError) as error:
        if not str(error).startswith(_FORMATTING):
            raise
        raise AppBadFormatting(f"The command line of bash app {name} cannot be formatted: {error}") from error
    if not isinstance(command, str):
        shown = "None" if command is None else f"a value of type {type(command).__name__}"
        raise BashAppNoReturn(name, shown)
    return command


def _run_redirected(command: CommandLine, special: Mapping[str, Any]) -> tuple[int, str]:
    """Run a command of which a stream may go to a file; return exit code and end of stderr."""
    targets = {stream: stream_target(stream, special.get(stream)) for stream in ("stdout", "stderr")}
    with _opened(targets) as files:
        if files["stderr"] is not None:
            return _run_into(command, files["stdout"], files["stderr"])
        return _run_here(command, files["stdout"])


def _run_here(command: CommandLine, out: IO[Any] | None) -> tuple[int, str]:
    """Run a command whose stderr belongs to the task; return exit code and end of stderr."""
    return _run_directly(command, out) if _stderr_is_readable() else _run_piped(command, out)


@contextlib.contextmanager
def _opened(targets: Mapping[str, tuple[str, str] | None]) -> Iterator[dict[str, IO[Any] | None]]:
    """Open the file of each redirected stream; both streams share a file if they have the same path."""
    with contextlib.ExitStack() as stack:
        files: dict[str, IO[Any] | None] = {}
        by_path: dict[str, IO[Any]] = {}
        for stream, target in targets.items():
            if target is None:
                files[stream] = None
                continue
            path, mode = target
            key = os.path.realpath(path)
            try:
                if key not in by_path:
                    os.makedirs(os.path.dirname(key), exist_ok=True)
                    by_path[key] = stack.enter_context(open(path, mode))
            except (OSError, ValueError) as error:
                raise BadStdStreamFile(stream, path, getattr(error, "strerror", None) or str(error)) from error
            files[stream] = by_path[key]
        yield files


def _run_into(command: CommandLine, out: IO[Any] | None, err: IO[Any]) -> tuple[int, str]:
    """Run a command with stderr in a file; return exit code and end of stderr.

    As in Parsl, the file begins with the command.
    """
    # Both parts go through the descriptor, because bash writes there too: text in Python's buffer would come later.
    head = f"--> executable follows <--\n{command.text}\n--> end executable <--\n"
    fd = err.fileno()
    os.lseek(fd, 0, os.SEEK_END)
    _write_all(fd, head.encode(errors="surrogateescape"))
    start = os.lseek(fd, 0, os.SEEK_CUR)
    with _started(command, out, err) as process:
        code = _wait(process)
    return code, _last_of_file(err.name, start) if code else ""


def _stderr_is_readable() -> bool:
    """Return whether our stderr is a file from which we can read what the command has written, as that of a worker."""
    try:
        return stat.S_ISREG(os.fstat(2).st_mode) and fcntl.fcntl(2, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
    except OSError:
        return False


def _run_directly(command: CommandLine, out: IO[Any] | None) -> tuple[int, str]:
    """Run a command that writes to the worker's stderr itself; return exit code and end of stderr."""
    _flush()
    start = os.fstat(2).st_size
    process = _start(command, out, None)
    try:
        code = _wait(process)
    except BaseException:
        _end_tree(process)
        raise
    size = os.fstat(2).st_size
    if size <= start:
        return code, ""
    start = max(start, size - TAIL_BYTES)
    return code, _tail(os.pread(2, size - start, start))


def _run_piped(command: CommandLine, out: IO[Any] | None) -> tuple[int, str]:
    """Run a command, and copy its stderr to the worker's while it runs; return exit code and end of stderr."""
    reader, writer = os.pipe()
    kept = b""
    try:
        with _started(command, out, writer) as process:
            os.close(writer)  # while a copy is open here, the pipe has no end
            writer = -1
            for chunk in _until_exit(process, reader):
                _write_all(2, chunk)  # not sys.stderr, which is a text stream: a command may write any bytes
                kept = (kept + chunk)[-TAIL_BYTES:]
            code = _wait(process)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    return code, _tail(kept)


@contextlib.contextmanager
def _started(command: CommandLine, out: IO[Any] | None, err: IO[Any] | int) -> Iterator[subprocess.Popen[bytes]]:
    _flush()
    process = _start(command, out, err)
    try:
        yield process
    except BaseException:
        _end_tree(process)
        raise


def _flush() -> None:
    """Write what the function has printed, which must precede the output of the command."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _start(command: CommandLine, out: IO[Any] | None, err: IO[Any] | int | None) -> subprocess.Popen[bytes]:
    data = os.fsencode(command.text)
    if b"\0" in data:
        raise AppBadFormatting("The command line of a bash app has a null character in it, which no shell accepts.")
    if len(data) <= LONGEST_ARGUMENT:
        arguments = [SHELL, "-c", command.text, command.title] if command.title else [SHELL, "-c", command.text]
        return _Process(arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=command.folder)
    # Bash reads a command that is too long for an argument as a script, from a file without a name. Bash inherits the
    # descriptor, and the file disappears with it, even if the worker is killed.
    with tempfile.TemporaryFile(prefix="parslab-") as file:
        file.write(data)
        file.flush()
        file.seek(0)
        arguments, inherited = [SHELL, f"/dev/fd/{file.fileno()}"], (file.fileno(),)
        options: dict[str, Any] = {"stdout": out, "stderr": err, "pass_fds": inherited, "cwd": command.folder}
        return _Process(arguments, stdin=subprocess.DEVNULL, **options)


class _Process(subprocess.Popen[bytes]):
    """A command that ends when an interrupt or a limit arrives while it is being started.

    Its caller never gets this object then.
    """

    def __init__(self, arguments: list[str], **options: Any) -> None:
        try:
            super().__init__(arguments, **options)
            # Only a process that has threads with limits has loaded the module; a worker does not need it.
            limits = sys.modules.get("parslab.bodies.time_limit")
            if limits is not None:
                limits.ends_with_limit(self._end_if_running)
        except (KeyboardInterrupt, AppTimeout):
            if getattr(self, "pid", None):
                _end_tree(self)
            raise

    def _end_if_running(self) -> None:
        if self.poll() is None:
            _end_tree(self)


def _until_exit(process: subprocess.Popen[bytes], reader: int) -> Iterator[bytes]:
    """Yield the output in the pipe until it is closed, or until bash has ended and the pipe is empty.

    A background process may keep the pipe open for ever, so the end of the pipe alone does not suffice.
    """
    os.set_blocking(reader, False)
    with _exit_descriptor(process) as exit_fd:
        # Without such a descriptor, the loop looks ten times a second.
        watched, patience = [reader], 0.1
        if exit_fd is not None:
            watched, patience = [reader, exit_fd], 3600.0 if _in_main_thread() else _PATIENCE
        poll = select.poll()
        for fd in watched:
            poll.register(fd, select.POLLIN)
        after = 0
        while after < _LEFT_CHUNKS:
            # Before the read: a read after the end sees all output of bash. In the other order, output between the two
            # would be lost.
            ended = process.poll() is not None
            after += ended
            try:
                chunk = os.read(reader, 65536)
            except BlockingIOError:
                if ended:
                    return
                poll.poll(patience * 1000)
                continue
            if not chunk:
                return
            yield chunk


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a process, and return its exit status."""
    if _in_main_thread():
        return process.wait()
    # No signal interrupts another thread. An error that a time limit raises in it arrives between two calls.
    with _exit_descriptor(process) as exit_fd:
        if exit_fd is None:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(_PATIENCE)
        poll = select.poll()
        poll.register(exit_fd, select.POLLIN)
        while process.poll() is None:
            poll.poll(_PATIENCE * 1000)
    return process.wait()


@contextlib.contextmanager
def _exit_descriptor(process: subprocess.Popen[bytes]) -> Iterator[int | None]:
    """Give a descriptor that is readable when the process has ended; None where the system has none (not Linux)."""
    try:
        exit_fd = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        yield None
        return
    try:
        yield exit_fd
    finally:
        os.close(exit_fd)


def _end_tree(process: subprocess.Popen[bytes]) -> None:
    """End bash and its descendants with SIGTERM, and those that still run after that with SIGKILL."""
    import psutil

    # Collect the family before any of it ends: orphans get another parent, and nobody would find them.
    try:
        root = psutil.Process(process.pid)
        family = [root, *root.children(recursive=True), *_adopted(root.create_time())]
    except psutil.NoSuchProcess:
        family = []
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    deadline = time.monotonic() + _GRACE
    while any(map(_alive, family)) and time.monotonic() < deadline:
        process.poll()  # reaps bash, which would otherwise stay as a zombie
        time.sleep(0.01)
    for member in filter(_alive, family):
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def _adopted(since: float) -> list[psutil.Process]:
    """Return processes that were started after ``since`` and that the pool has adopted, because their parent has ended.

    Such processes have the name of this worker in their environment. Without a pool, as in a thread of the notebook,
    nobody finds them.
    """
    import psutil

    worker = os.environ.get(_WORKER_OF)
    found: list[psutil.Process] = []
    for child in psutil.Process(os.getppid()).children() if worker else ():
        with contextlib.suppress(psutil.Error):
            if child.pid != os.getpid() and child.create_time() >= since and child.environ().get(_WORKER_OF) == worker:
                found += [child, *child.children(recursive=True)]
    return found


def _alive(member: psutil.Process) -> bool:
    """Return whether a process runs; a zombie, which no parent has reaped, does not."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return member.is_running() and member.status() != psutil.STATUS_ZOMBIE
    return False


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _last_of_file(path: str, start: int) -> str:
    """Return the last lines that were written to a file after the offset ``start``."""
    try:
        with open(path, "rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return _tail(file.read(TAIL_BYTES))
    except OSError:
        return ""


def _tail(data: bytes) -> str:
    return "\n".join(data.decode(errors="replace").splitlines()[-TAIL_LINES:])
