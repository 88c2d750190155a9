"""Find the run that a new kernel of a notebook continues, and attach to live runs.

``decide`` is the rule [core].  The other functions read connection files, attach to runs and end them [shell].
``session`` calls this module in the thread of ``load()`` and ``attach()``.
"""

from __future__ import annotations

import contextlib
import enum
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.cleanup.dead_runs import find_dead_runs, process_runs, remove_dead_run
from parslab.cleanup.run_lock import RunLockedError
from parslab.client.handle.run_connection import RunConnection
from parslab.client.process.connection_file import connect, connection_path, find_runs, read_connection
from parslab.client.process.launch import FoundRun
from parslab.client.process.restart import KernelRestart, has_event_log, restart_kernel
from parslab.client.process.run_settings import digest
from parslab.client.waiting import BoundedWait
from parslab.errors import ConfigurationError
from parslab.paths import runtime_dir
from parslab.records.durations import format_duration
from parslab.records.executor_settings import ThreadPoolSettings
from parslab.wire.messages.base import PROTOCOL
from parslab.wire.messages.client import ClientHello
from parslab.wire.notebooks import NotebookPlace, moved_to, same_notebook
from parslab.wire.run_files import read_settings, settings_path

if TYPE_CHECKING:
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.client.process.launch import StartedRun
    from parslab.config import Config
    from parslab.wire.messages.client import PriorTasks
    from parslab.wire.run_files import ConnectionInfo

__all__ = [
    "ReattachChoice",
    "attached",
    "bring_here",
    "come_back",
    "decide",
    "earlier_run",
    "live_run",
    "still_here",
]

_SILENT = 300.0
"""Seconds without a change of its connection file after which a run on another host counts as ended."""
_KILLED = "was killed and is started again"
_STARTS = 3
"""The most starts of a killed run: a signal may kill the new process, too, for example where memory is short."""
_RESTART = 30.0
"""Seconds to wait for another process that starts the same run, or removes it."""


class ReattachChoice(enum.Enum):
    """What to do with a live run of this notebook."""

    attach = 1
    replace = 2
    """End it, and start another one."""
    beside = 3
    """Leave it to the processes that use it, and start another one."""


def decide(same: bool, resume: bool, shared: bool) -> ReattachChoice:
    """Return what to do with an earlier run of this notebook.

    Parameters
    ----------
    same
        Whether the run has the configuration that the user wants.
    resume
        Whether the user wants to continue earlier runs.
    shared
        Whether another live kernel of the notebook uses the run.
    """
    if same and resume:
        return ReattachChoice.attach
    return ReattachChoice.beside if shared else ReattachChoice.replace


class Reattach:
    """The result of the search: a run to continue, or what a new run inherits, and sentences for the user."""

    def __init__(self, notebook: str) -> None:
        self.kernel: DataFlowKernel | None = None
        self.notebook = notebook
        """The notebook's name for a new run; a run that inherits results takes over the name of the older run."""
        self.inherits: list[str] = []
        self.notices: list[str] = []
        self.dead: list[tuple[Path, ConnectionInfo]] = []
        """Dead runs that nobody continues: the path and the content of their connection files."""

    def remove_dead_runs(self) -> None:
        """Remove the dead runs.

        The caller waits until the new run has started.  If the user kills this process before that, the next kernel
        still finds the dead runs.
        """
        for path, info in self.dead:
            remove_dead_run(path, info)


def come_back(mine: NotebookPlace, config: Config | None, resume: bool = True) -> Reattach:
    """Continue the newest run of this notebook that fits, or end what a new run replaces.

    Parameters
    ----------
    mine
        The notebook of this process.
    config
        The configuration that the user wants; None: that of any run.
    resume
        Whether the user wants to continue a run, or to inherit the results of one that is replaced.
    """
    # Live runs are tried before dead ones: they still have their workers, and tasks that run now.
    back = Reattach(mine.path)
    wanted = None if config is None else digest(config)
    for info in reversed(find_runs()):
        if _is_ours(info, mine):
            _try_live_run(info, mine, config, back, resume=resume, same=wanted in (None, info.digest))
            if back.kernel is not None:
                return back
    for path, info in _dead_runs_of(mine):
        _try_dead_run(info, mine, config, back, resume=resume, same=wanted in (None, info.digest))
        if back.kernel is not None:
            return back
        back.dead.append((path, info))
    return back


def earlier_run(mine: NotebookPlace) -> ConnectionInfo | None:
    """Return the newest live run of this notebook on this host, or None.

    Parameters
    ----------
    mine
        The notebook of this process; a script, which has no path, gets None.
    """
    if not mine.path:
        return None
    host = socket.gethostname()
    return next((info for info in reversed(find_runs()) if info.host == host and _is_ours(info, mine)), None)


def bring_here(mine: NotebookPlace, wait: float, keep: float) -> None:
    """Let :func:`come_back` find the run of this notebook: ask the host that has it to hand it over.

    Nothing happens if a run of the notebook is on this host already, or was handed over.

    Parameters
    ----------
    mine
        The notebook of this process.
    wait
        Seconds that tasks on that host may take to finish.
    keep
        Seconds that the run's blocks go on without a DataFlowKernel.

    Raises
    ------
    ConfigurationError
        No other host has a run of this notebook, or it did not hand the run over.
    """
    from parslab.client.handle.handover import request_handover

    here = socket.gethostname()
    ours = [info for info in find_runs() if _is_ours(info, mine)]
    ours += [info for _, info in _dead_runs_of(mine) if info.handed_over]
    if any(info.handed_over or info.host == here for info in ours):
        return
    # A silent host has ended, so nobody there would answer.
    ours = [info for info in ours if time.time() - info.written_at < _SILENT]
    if not ours:
        raise ConfigurationError(
            f"No other host has a run of this notebook that {here} can see: {runtime_dir()} and the run's folder must "
            "lie on a file system that both share."
        )
    request_handover(ours[-1], wait, keep)


def _try_live_run(
    info: ConnectionInfo, mine: NotebookPlace, config: Config | None, back: Reattach, *, resume: bool, same: bool
) -> None:
    if info.handed_over:
        _try_dead_run(info, mine, config, back, resume=resume, same=same)
        return
    if info.host != socket.gethostname():
        if time.time() - info.written_at < _SILENT:
            back.notices.append(
                f"Run {info.run} of this notebook is on host {info.host} and cannot be reached from here, "
                f"{socket.gethostname()}: a new run was started; the other ends by itself, or by `parslab stop` there. "
                "`%parsl handover` before `%parsl load` would have brought it here."
            )
        return
    try:
        kernel = attached(info, mine, config)
    except ConfigurationError as error:
        if process_runs(info.pid, info.written_at):  # a run that has just ended needs no notice
            back.notices.append(f"{error} A new run was started; `parslab stop {info.run}` ends the other.")
        return
    _take_turn(decide(same, resume, bool(_sharers(kernel))), kernel, back, resume)


def _try_dead_run(
    info: ConnectionInfo, mine: NotebookPlace, config: Config | None, back: Reattach, *, resume: bool, same: bool
) -> None:
    if decide(same, resume, shared=False) is ReattachChoice.attach:
        try:
            back.kernel = _restarted(info, mine, config)
        except ConfigurationError as error:
            if has_event_log(Path(info.run_dir)):
                back.inherits.append(info.run_dir)
                back.notebook = info.notebook
                back.notices.append(f"{error} A new run goes on with its results.")
            else:
                back.notices.append(f"{error} A new run was started.")
        else:
            how = f"was handed over by {info.host} and goes on here" if info.handed_over else _KILLED
            back.notices.append(still_here(back.kernel, how))
    elif resume:
        back.inherits.append(info.run_dir)
        back.notebook = info.notebook
        back.notices.append(
            f"Run {info.run} of this notebook was killed, and had another configuration: a new run goes on with its "
            "results."
        )


def _is_ours(info: ConnectionInfo, mine: NotebookPlace) -> bool:
    """Return whether a run belongs to the notebook of this process."""
    if not info.notebook:
        return False
    theirs = info.notebook_place if info.notebook_place.path else NotebookPlace(info.notebook)
    lives = info.host == socket.gethostname() and any(process_runs(pid, info.written_at) for pid in info.owners)
    replaced = theirs.path == mine.path and not moved_to(theirs.path, theirs.file)
    return same_notebook(mine, theirs, kernel_lives=lives, replaced=replaced)


def _better_place(theirs: NotebookPlace, mine: NotebookPlace) -> NotebookPlace | None:
    """Return the place of a run's notebook if this kernel knows it better than the run, else None.

    A restarted kernel keeps its environment, and with it the path from before the user renamed the notebook.
    """
    if theirs.file and theirs.file != mine.file and moved_to(theirs.path, theirs.file):
        return None
    if theirs.file and theirs.file != mine.file and theirs.path != mine.path:
        return None
    return mine if mine != theirs else None


def _dead_runs_of(mine: NotebookPlace) -> list[tuple[Path, ConnectionInfo]]:
    """Return the runs of this notebook whose DataFlowKernel and owners have ended, newest first."""
    found = [
        (path, info)
        for path, info in find_dead_runs(runtime_dir())
        if _is_ours(info, mine) and not any(process_runs(pid, info.written_at) for pid in info.owners)
    ]
    return sorted(found, key=lambda one: one[1].started, reverse=True)


def _restarted(info: ConnectionInfo, mine: NotebookPlace, config: Config | None) -> DataFlowKernel:
    """Start the DataFlowKernel of a dead run again, or attach to it when another process has started it meanwhile.

    Raises
    ------
    ConfigurationError
        The run has no event log, or it cannot be started.
    """
    what = f"another process to start, or to remove, the DataFlowKernel of run {info.run}; its log is in {info.run_dir}"
    wait = BoundedWait(what, _RESTART)
    starts = 0
    while True:
        if not starts:  # the clean-up after our own first start has removed the connection file
            there = read_connection(connection_path(info.run))
            if there.host == socket.gethostname() and process_runs(there.pid, there.written_at):
                return attached(there, mine, config)
        try:
            started = restart_kernel(
                Path(info.run_dir), how=f"was handed over by {info.host}" if info.handed_over else "was killed"
            )
        except RunLockedError as error:
            if not wait.step():
                raise ConfigurationError(f"{error} It did not become ready within {_RESTART:g} s.") from error
            wait.pause()
            continue
        starts += 1
        try:
            return _opened(started, info, config)
        except ConfigurationError:
            # Only a process that a signal has killed is started again: one that exits would fail in the same way.
            if starts == _STARTS or (started.popen.returncode or 0) >= 0:
                raise


def _opened(started: StartedRun, info: ConnectionInfo, config: Config | None) -> DataFlowKernel:
    from parslab.client.handle.dfk import DataFlowKernel

    config, threads = _settings_of(info, config)
    connection = RunConnection(
        run=started.run,
        run_dir=started.run_dir,
        pid=started.pid,
        sock=started.sock,
        process=started,
        threads=threads,
        restart=KernelRestart(started.run, started.run_dir, info.notebook, started.pid),
    )
    return DataFlowKernel.opened(config, connection)


def _take_turn(turn: ReattachChoice, kernel: DataFlowKernel, back: Reattach, resume: bool) -> None:
    name = f"Run {kernel.run} of this notebook"
    if turn is ReattachChoice.attach:
        back.kernel = kernel
        back.notices.append(still_here(kernel))
    elif turn is ReattachChoice.beside:
        users = ", ".join(map(str, _sharers(kernel)))
        kernel.leave()
        back.notices.append(f"{name} is used by process {users}: it stays as it is, and a new run was started.")
    else:
        kernel.cleanup()
        if resume:
            back.inherits.append(str(kernel.run_dir))
            back.notices.append(
                f"{name} had another configuration: it was ended, and a new run goes on with its results."
            )
        else:
            back.notices.append(f"{name} was ended, and a new run started (resume=False).")


def still_here(kernel: DataFlowKernel, how: str = "is still here") -> str:
    """Return one line about the tasks and blocks that earlier kernels of the notebook have left in a run."""
    prior, blocks = kernel.prior_tasks, 0
    with contextlib.suppress(TimeoutError):  # the run is busy; load() must not fail for want of a number
        blocks = sum(row.state == "running" for row in kernel.blocks())
    text = f"Run {kernel.run} of this notebook {how}: {what_is_left(prior, blocks)}"
    users = _sharers(kernel)
    if users:
        text += f"; process {', '.join(map(str, users))} of the same notebook shares it"
    if prior is not None and prior.away >= 1:
        text += f" (you were away for {format_duration(prior.away)})"
    return f"{text}."


def what_is_left(prior: PriorTasks | None, blocks: int) -> str:
    """Return a list such as ``3 blocks, 40 results waiting, 8 running``."""
    parts = [f"{blocks} block{'s' if blocks != 1 else ''}"] if blocks else []
    if prior is not None:
        if prior.results:
            parts.append(f"{prior.results} result{'s' if prior.results != 1 else ''} waiting")
        parts += [f"{n} {word}" for n, word in (
            (prior.failed, "failed"), (prior.running, "running"), (prior.waiting, "to run")
        ) if n]  # fmt: skip
    return ", ".join(parts) or "no tasks"


def _sharers(kernel: DataFlowKernel) -> list[int]:
    """Return the other live processes of the same notebook."""
    # The DataFlowKernel may not have noticed yet that one of them has died, so the processes are checked here.
    sharers = kernel.prior_tasks.sharers if kernel.prior_tasks is not None else ()
    return [pid for pid in sharers if process_runs(pid, time.time())]


def live_run(run: str | None) -> ConnectionInfo:
    """Return the content of the connection file of a live run.

    Parameters
    ----------
    run
        The name of the run, the beginning of its name, or the path of the file.  None: the newest run.

    Raises
    ------
    ConfigurationError
        No run has such a name, or the names of several runs begin with it.
    """
    if run is not None and os.path.isfile(run):
        return read_connection(Path(run))
    runs = [info for info in find_runs() if not info.handed_over]
    found = [info for info in runs if info.run == run]
    found = found or [info for info in runs if info.run.startswith(run or "")]
    if not found:
        there = ", ".join(info.run for info in runs) or "none"
        named = f"{run} of yours" if run else "of yours"
        raise ConfigurationError(f"There is no live run {named} on this host; there are: {there}.")
    if len(found) > 1 and run:
        raise ConfigurationError(f"{run} is the beginning of several runs: {', '.join(i.run for i in found)}.")
    return found[-1]


def attached(info: ConnectionInfo, mine: NotebookPlace, config: Config | None = None) -> DataFlowKernel:
    """Attach to a live run, as an owner when the run belongs to this notebook, else as a guest.

    Raises
    ------
    ConfigurationError
        The DataFlowKernel cannot be reached, or refuses this client.
    """
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.version import version

    owner = _is_ours(info, mine)
    # Another notebook may be at the path that the run's notebook had. With that path, this guest would pass for a
    # kernel of the run's notebook.
    notebook = info.notebook if owner else "" if mine.path == info.notebook else mine.path
    threads: dict[str, int] = {}
    if owner:
        config, threads = _settings_of(info, config)
    run_dir = Path(info.run_dir)
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    connection = RunConnection(
        run=info.run,
        run_dir=run_dir,
        pid=info.pid,
        sock=connect(info),
        process=FoundRun(info) if owner else None,
        threads=threads,
        restart=KernelRestart(info.run, run_dir, notebook, info.pid) if info.resume else None,
        hello=ClientHello(
            protocol=PROTOCOL,
            package=version(),
            python=python,
            pid=os.getpid(),
            host=socket.gethostname(),
            notebook=notebook,
            notebook_place=_better_place(info.notebook_place, mine) if owner else None,
        ),
    )
    return DataFlowKernel.opened(config if owner else None, connection)


def _settings_of(info: ConnectionInfo, config: Config | None) -> tuple[Config | None, dict[str, int]]:
    """Return the configuration and the thread pools of a run of this notebook, as far as the run's folder has them."""
    from parslab.config import Config
    from parslab.description import decoded

    try:
        settings = read_settings(settings_path(info.run_dir))
        threads = {e.label: e.max_threads for e in settings.executors if isinstance(e, ThreadPoolSettings)}
        if config is None or digest(config) != info.digest:
            found = None if settings.config is None else decoded(settings.config)
            config = found if isinstance(found, Config) else None
    except (OSError, ValueError, KeyError, TypeError, ConfigurationError):
        # The handle works without its configuration, so a damaged file is no reason to refuse the run.
        return None, {}
    return config, threads
