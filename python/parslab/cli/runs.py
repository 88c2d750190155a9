"""``parslab runs``, ``logs`` and ``stop``, which read the connection files and the folders of runs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.cleanup.dead_runs import process_runs
from parslab.client.process.connection_file import find_runs
from parslab.client.reattach import live_run
from parslab.errors import ConfigurationError
from parslab.records.durations import format_duration
from parslab.records.text import printable

if TYPE_CHECKING:
    from parslab.wire.run_files import ConnectionInfo

__all__ = ["file_in", "folder_of", "list_files", "show_file", "show_runs", "stop"]

_PATIENCE = 20.0
"""Seconds that ``parslab stop`` waits for a run to cancel its jobs and end."""
_TEXT = {".err", ".ec", ".log", ".out", ".sh", ".stderr", ".stdout", ".submit", ".txt", ""}


def show_runs() -> None:
    """Print a line for each live run of this user, the newest last."""
    runs = find_runs()
    if not runs:
        print("You have no live run on this host.")
        return
    width = max(len(info.run) for info in runs)
    for info in runs:
        up = _time(time.time() - info.started)
        where = f"pid {info.pid} on {info.host}, up {up}{_lease(info, time.time())}"
        print(printable(f"{info.run:<{width}}  {where}, files in {info.run_dir}"))
        if info.notebook:
            print(printable(f"{'':<{width}}  of {info.notebook_place.path or info.notebook}"))


def _lease(info: ConnectionInfo, now: float) -> str:
    """Return the state of the lease of a run; empty while a notebook or script is attached."""
    away, ends = info.away, info.ends
    if away is None or ends is None:
        return ""
    return f", away for {format_duration(now - away)}, ends in {format_duration(max(0.0, ends - now))}"


def folder_of(run: str) -> Path:
    """Return the folder of a run, from the beginning of a live run's name or from the folder itself.

    Raises
    ------
    ConfigurationError
        There is no such run, or the names of several runs begin like this.
    """
    if run and Path(run).is_dir():
        return Path(run)
    return Path(live_run(run).run_dir)


def list_files(folder: Path) -> None:
    """Print the text files of a run, with their sizes."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _TEXT:
            print(printable(f"{path.stat().st_size:>12,}  {path.relative_to(folder)}"))


def file_in(folder: Path, name: str) -> Path:
    """Return a file of a run; without a name the log of its DataFlowKernel.

    Raises
    ------
    ConfigurationError
        There is no such file.
    """
    path = folder / (name or "dfk.log")
    if not path.is_file():
        raise ConfigurationError(f"There is no file {path}; `parslab logs {folder} --list` lists those of the run.")
    return path


def show_file(path: Path, lines: int, follow: bool) -> None:
    """Print the end of a file; with ``follow``, print new lines until the user interrupts or the file is deleted."""
    with open(path, errors="replace") as file:
        text = file.readlines()
        sys.stdout.writelines(text[-lines:] if lines > 0 else text)
        while follow:
            sys.stdout.flush()
            if not path.exists():
                return
            line = file.readline()
            if line:
                sys.stdout.write(line)
            else:
                time.sleep(0.2)


def stop(run: str) -> int:
    """End a run, or all of them when ``run`` is empty; returns the exit status."""
    runs = [live_run(run)] if run else find_runs()
    if not runs:
        print("You have no live run on this host.")
    status = 0
    for info in runs:
        if info.host != socket.gethostname():
            print(printable(f"Run {info.run} is on host {info.host}: stop it there."), file=sys.stderr)
            status = 1
            continue
        # When the run was killed, the system may have given its process number to another process.
        with contextlib.suppress(ProcessLookupError):
            if process_runs(info.pid, info.written_at):
                os.kill(info.pid, signal.SIGTERM)
    # All runs have the signal now, so they end at the same time.
    deadline = time.monotonic() + _PATIENCE
    for info in runs:
        if info.host == socket.gethostname():
            ended = _ended(info, deadline)
            how = "is over" if ended else "still ends its jobs"
            print(printable(f"Run {info.run} {how}; files in {info.run_dir}"))
            status = status if ended else 1
    return status


def _ended(info: ConnectionInfo, deadline: float) -> bool:
    while process_runs(info.pid, info.written_at):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _time(seconds: float) -> str:
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours >= 48:
        return f"{hours // 24} days"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min" if minutes else f"{int(seconds)} s"
