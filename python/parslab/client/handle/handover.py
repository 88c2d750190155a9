"""Waits until a DataFlowKernel has handed its run over: as its client, or on the host that goes on with the run.

Both sides read the run's connection file, which all hosts of the notebook share.  The host that wants the run asks for
it by a file in the run's folder.  No port and no right is needed beyond the shared file system.
"""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.atomic_files import write_atomically
from parslab.client.process.connection_file import connection_path
from parslab.client.waiting import BoundedWait
from parslab.errors import ConfigurationError, ParslabError
from parslab.trust import read_text
from parslab.wire.run_files import HANDOVER_REFUSED, HANDOVER_WANTED, read_connection_info

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.client.run_state import RunState
    from parslab.wire.run_files import ConnectionInfo

__all__ = ["await_handover", "request_handover"]

_ANSWER = 120.0
"""Seconds within which a host begins; it looks every two seconds, but a network file system may show files late."""
_FINISH = 660.0
"""Seconds that a handover may take after the tasks of its host: it may write gigabytes of results."""


def request_handover(info: ConnectionInfo, wait: float, keep: float) -> None:
    """Ask the host that has a run to hand it over, and wait until it has done so.

    A caller that is interrupted takes the request back, unless the handover has begun.

    Parameters
    ----------
    info
        The content of the run's connection file.
    wait
        Seconds that tasks on that host may take to finish.
    keep
        Seconds that the run's blocks go on without a DataFlowKernel.

    Raises
    ------
    ConfigurationError
        The host did not hand the run over.
    """
    here = socket.gethostname()
    request, refusal = Path(info.run_dir) / HANDOVER_WANTED, Path(info.run_dir) / HANDOVER_REFUSED
    try:
        refusal.unlink(missing_ok=True)  # of an earlier request
        write_atomically(request, json.dumps({"wait": wait, "keep": keep, "host": here}))
    except OSError as error:
        why = error.strerror or error
        raise ConfigurationError(
            f"Host {here} cannot ask for run {info.run}, because {request} cannot be written ({why}): run "
            f"`%parsl handover` on {info.host}."
        ) from None
    try:
        _await_other_host(info, wait)
    except BaseException:
        with contextlib.suppress(OSError):
            request.unlink()
        raise


def _await_other_host(info: ConnectionInfo, wait: float) -> None:
    run, host, here = info.run, info.host, socket.gethostname()
    begun = False
    limit = _ANSWER
    bounded = BoundedWait(f"{host} to hand run {run} over; its log is {info.run_dir}/dfk.log", limit)
    while True:
        now = _present(info)
        if now.handed_over or now.host == here:
            return
        if now.host != host:
            raise ConfigurationError(f"Host {now.host} goes on with run {run} of {host}: run `%parsl handover` again.")
        if why := _refusal(info.run_dir):
            raise ConfigurationError(why)
        if now.handing_over and not begun:
            begun = True
            limit = wait + _FINISH
            bounded = BoundedWait(f"tasks and results of run {run} on {host}", limit)
        if not bounded.step():
            doing = "has not finished to hand" if begun else "does not answer, and has not handed"
            raise ConfigurationError(
                f"Host {host} {doing} run {run} over within {limit:g} s: look into {info.run_dir}/dfk.log. If {host} "
                "has ended, parslab.load() starts a new run."
            )
        bounded.pause()


def _present(info: ConnectionInfo) -> ConnectionInfo:
    """Return the present content of the connection file of a run."""
    try:
        return read_connection_info(connection_path(info.run))
    except FileNotFoundError:
        raise ConfigurationError(
            f"Run {info.run} has ended on {info.host} before it was handed over: parslab.load() starts a new one."
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The connection file of run {info.run} cannot be read: {error}.") from None


def _refusal(run_dir: str | Path) -> str:
    """Return why the DataFlowKernel keeps a run; empty while it does not say so."""
    with contextlib.suppress(OSError, ValueError):
        return read_text(Path(run_dir) / HANDOVER_REFUSED)
    return ""


def await_handover(state: RunState, begin: Callable[[], str], wait: float) -> str:
    """Hand over the run to which this process is connected, and wait until it has ended here.

    Parameters
    ----------
    state
        The state of the run.
    begin
        Has the DataFlowKernel begin, and returns what it says.
    wait
        Seconds that tasks on this host may take to finish.

    Returns
    -------
    str
        What the DataFlowKernel said when it began.

    Raises
    ------
    ConfigurationError
        The run stays here, or has ended without another host going on with it.
    """
    pid = state.pid  # before the call: the process may be killed while it answers
    answer = begin()
    limit = wait + _FINISH
    bounded = BoundedWait(f"tasks and results of this host before run {state.run} is handed over", limit)
    while state.ended is None:
        if why := _refusal(state.run_dir):
            raise ConfigurationError(why)
        if state.pid != pid:  # it was killed, and started again
            pid = state.pid
            answer = _again(state, begin) or answer
        if not bounded.step():
            raise ConfigurationError(
                f"Run {state.run} was not handed over within {limit:g} s: look into {state.log_path}."
            )
        bounded.pause()
    if not _goes_on(state.run, pid):
        raise ConfigurationError(f"Run {state.run} was not handed over: {state.ended}")
    return answer


def _again(state: RunState, begin: Callable[[], str]) -> str:
    """Begin once more; return what the DataFlowKernel said, nothing if the run has ended meanwhile."""
    try:
        return begin()
    except ParslabError:
        if state.ended is None:
            raise
        return ""


def _goes_on(run: str, pid: int) -> bool:
    """Return whether a run was handed over by a process, or has another one already."""
    with contextlib.suppress(OSError, ValueError):
        info = read_connection_info(connection_path(run))
        return info.handed_over or (info.host, info.pid) != (socket.gethostname(), pid)
    return False
