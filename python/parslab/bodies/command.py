"""Run a command line with bash, with its streams where the call wants them, and keep the end of its stderr.

Without redirection the command writes to the worker's stdout and stderr, which belong to the task. The end of stderr is
read from the file in which the worker keeps it. Where stderr is no such file, as in a thread of the notebook, it passes
through a pipe.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from parslab.bodies.processes import CommandProcess, end_tree, until_exit, wait
from parslab.errors import AppBadFormatting, BadStdStreamFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["TAIL_BYTES", "TAIL_LINES", "CommandLine", "run_command", "stream_target"]

SHELL = "/bin/bash"
DEFAULT_MODE = "a+"  # as in Parsl: a second attempt does not erase the output of the first
TAIL_LINES = 20
TAIL_BYTES = 4096
"""The most bytes of stderr in an error, which travels to the notebook."""
LONGEST_ARGUMENT = 100_000
"""Bytes of a command line that bash gets as an argument; Linux refuses an argument of 128 KiB (``MAX_ARG_STRLEN``)."""
_STREAMS = {"stdout", "stderr"}


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
        code = wait(process)
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
        code = wait(process)
    except BaseException:
        end_tree(process)
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
            for chunk in until_exit(process, reader):
                _write_all(2, chunk)  # not sys.stderr, which is a text stream: a command may write any bytes
                kept = (kept + chunk)[-TAIL_BYTES:]
            code = wait(process)
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
        end_tree(process)
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
        return CommandProcess(arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=command.folder)
    # Bash reads a command that is too long for an argument as a script, from a file without a name. Bash inherits the
    # descriptor, and the file disappears with it, even if the worker is killed.
    with tempfile.TemporaryFile(prefix="parslab-") as file:
        file.write(data)
        file.flush()
        file.seek(0)
        arguments, inherited = [SHELL, f"/dev/fd/{file.fileno()}"], (file.fileno(),)
        options: dict[str, Any] = {"stdout": out, "stderr": err, "pass_fds": inherited, "cwd": command.folder}
        return CommandProcess(arguments, stdin=subprocess.DEVNULL, **options)


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
