"""Coming back: which run a new kernel of a notebook goes on with, and attaching to runs that are there.

``decide`` is the rule [core]; the rest reads connection files, attaches and ends runs [shell].  Called by ``session``
in the thread of ``load()`` and ``attach()``.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parslab.cleanup.dead_runs import find_dead_runs, process_runs, remove_dead_run
from parslab.client.process.launch import FoundRun, connect, connection_path, digest, find_runs, read_connection
from parslab.errors import ConfigurationError
from parslab.paths import runtime_dir
from parslab.records.durations import format_duration
from parslab.trust import read_text
from parslab.wire.messages.base import PROTOCOL
from parslab.wire.messages.client import ClientHello

if TYPE_CHECKING:
    from collections.abc import Mapping

    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.config import Config
    from parslab.wire.messages.client import PriorTasks

__all__ = ["ReattachChoice", "attached", "come_back", "decide", "live_run", "still_here"]

_SILENT = 300.0
"""Seconds after which a run on another host that shows no sign of life in its connection file is taken for gone."""
_STARTS = 3
"""Times that a killed run is started again, when what was started is killed, too."""


class ReattachChoice(enum.Enum):
    """What to do with a live run of our notebook."""

    attach = 1
    replace = 2
    """End it, and start another one."""
    beside = 3
    """Leave it to those who use it, and start another one."""


def decide(same: bool, resume: bool, shared: bool) -> ReattachChoice:
    """The rule.

    Parameters
    ----------
    same
        Its configuration is the one that is wanted, or none was given.
    resume
        Whether the user wants to go on with it.
    shared
        Another live kernel of the notebook uses it.
    """
    if same and resume:
        return ReattachChoice.attach
    return ReattachChoice.beside if shared else ReattachChoice.replace


class Reattach:
    """How the coming back went: a run to go on with, or what a new one inherits, and what to tell."""

    def __init__(self) -> None:
        self.kernel: DataFlowKernel | None = None
        self.inherits: list[str] = []
        self.notices: list[str] = []
        self.dead: list[tuple[Path, dict[str, Any]]] = []
        """Connection files of killed runs that are not gone on with, and what they say."""

    def remove_dead_runs(self) -> None:
        """End what is left of dead runs: once their successor is there, which may be killed before it is."""
        for path, info in self.dead:
            remove_dead_run(path, info)


def come_back(notebook: str, config: Config | None, resume: bool = True) -> Reattach:
    """Look for live runs of this notebook, newest first, and go on with one, or make room for a new one.

    Parameters
    ----------
    notebook
        Its path.
    config
        What the user wants; None: whatever is there.
    resume
        Whether the user wants to go on with a run, or with the results of one that is replaced.
    """
    back = Reattach()
    wanted = None if config is None else digest(config)
    for info in reversed(find_runs()):
        if info.get("notebook") != notebook:
            continue
        if info["host"] != socket.gethostname():
            if time.time() - info["since"] < _SILENT:
                back.notices.append(
                    f"Run {info['run']} of this notebook is on host {info['host']} and cannot be reached from here, "
                    f"{socket.gethostname()}: a new run was started; the other ends by itself, or by `parslab stop` "
                    "there."
                )
            continue
        try:
            kernel = attached(info, notebook, config)
        except ConfigurationError:
            continue  # it is ending just now
        turn = decide(wanted in (None, info.get("digest")), resume, bool(_sharers(kernel)))
        _take_turn(turn, kernel, back, resume)
        if back.kernel is not None:
            return back
    for path, info in _dead(notebook):
        same = wanted in (None, info.get("digest"))
        if decide(same, resume, shared=False) is ReattachChoice.attach:
            try:
                back.kernel = _revived(info, notebook, config)
            except ConfigurationError as error:
                if _has_record(info):
                    back.inherits.append(info["run_dir"])
                    back.notices.append(f"{error} A new run goes on with its results.")
                else:
                    back.notices.append(f"{error} A new run was started.")
            else:
                back.notices.append(still_here(back.kernel, "was killed and is started again"))
                return back
        elif resume:
            back.inherits.append(info["run_dir"])
            back.notices.append(
                f"Run {info['run']} of this notebook was killed, and had another configuration: a new run goes on "
                "with its results."
            )
        back.dead.append((path, info))
    return back


def _has_record(info: Mapping[str, Any]) -> bool:
    """Whether there is something to go on from."""
    from parslab.client.process.restart import KernelRestart

    return KernelRestart(info["run"], Path(info["run_dir"]), "").possible()


def _dead(notebook: str) -> list[tuple[Path, dict[str, Any]]]:
    """Runs of this notebook whose DataFlowKernel was killed and whom nobody looks after, newest first."""
    found = []
    for path, info in find_dead_runs(runtime_dir()):
        owners = info.get("owners", ())
        if info.get("notebook") == notebook and not any(process_runs(pid, info["since"]) for pid in owners):
            with contextlib.suppress(ConfigurationError):
                found.append((path, read_connection(path)))
    return sorted(found, key=lambda one: float(one[1]["started"]), reverse=True)


def _revived(info: dict[str, Any], notebook: str, config: Config | None) -> DataFlowKernel:
    """Start the DataFlowKernel of a dead run of ours again; of several that want to, one does and the others attach.

    Raises
    ------
    ConfigurationError
        It has no record to go on from, or cannot be started.
    """
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.client.handle.run_connection import RunConnection
    from parslab.client.process.restart import KernelRestart, alone, revive

    run_dir = Path(info["run_dir"])
    with alone(run_dir):  # until it has said where it is
        there = read_connection(connection_path(info["run"]))
        if process_runs(there["pid"], there["since"]):
            return attached(there, notebook, config)
        config, threads = _settings_of(info, config)
        starts = 0
        while True:
            started, starts = revive(run_dir, how="was killed"), starts + 1
            connection = RunConnection(
                run=started.run,
                run_dir=started.run_dir,
                pid=started.pid,
                sock=started.sock,
                process=started,
                threads=threads,
                restart=KernelRestart(started.run, started.run_dir, notebook),
            )
            try:
                return DataFlowKernel.opened(config, connection)
            except ConfigurationError:
                if starts == _STARTS or (started.popen.returncode or 0) >= 0:
                    raise


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
    """One line on what an earlier kernel of the notebook has left in a run that we have attached to."""
    still, blocks = kernel.prior_tasks, 0
    with contextlib.suppress(TimeoutError):  # it is busy; the rest of the sentence is true
        blocks = sum(row.state == "running" for row in kernel.blocks())
    text = f"Run {kernel.run} of this notebook {how}: {what_is_left(still, blocks)}"
    users = _sharers(kernel)
    if users:
        text += f"; process {', '.join(map(str, users))} of the same notebook shares it"
    if still is not None and still.away >= 1:
        text += f" (you were away for {format_duration(still.away)})"
    return f"{text}."


def what_is_left(still: PriorTasks | None, blocks: int) -> str:
    """``3 blocks, 40 results waiting, 8 running``."""
    parts = [f"{blocks} block{'s' if blocks != 1 else ''}"] if blocks else []
    if still is not None:
        if still.results:
            parts.append(f"{still.results} result{'s' if still.results != 1 else ''} waiting")
        parts += [f"{n} {word}" for n, word in (
            (still.failed, "failed"), (still.running, "running"), (still.waiting, "to run")
        ) if n]  # fmt: skip
    return ", ".join(parts) or "no tasks"


def _sharers(kernel: DataFlowKernel) -> list[int]:
    """Other live processes of the same notebook (one that has just died may not have been noticed yet)."""
    sharers = kernel.prior_tasks.sharers if kernel.prior_tasks is not None else ()
    return [pid for pid in sharers if process_runs(pid, time.time())]


def live_run(run: str | None) -> dict[str, Any]:
    """The connection file of a run, by its name, the beginning of it, or the path of the file; None: the newest.

    Raises
    ------
    ConfigurationError
        There is none, or several begin so.
    """
    if run is not None and os.path.isfile(run):
        return read_connection(Path(run))
    runs = find_runs()
    found = [info for info in runs if info["run"] == run]
    found = found or [info for info in runs if info["run"].startswith(run or "")]
    if not found:
        there = ", ".join(info["run"] for info in runs) or "none"
        named = f"{run} of yours" if run else "of yours"
        raise ConfigurationError(f"There is no live run {named} on this host; there are: {there}.")
    if len(found) > 1 and run:
        raise ConfigurationError(f"{run} is the beginning of several runs: {', '.join(i['run'] for i in found)}.")
    return found[-1]


def attached(info: dict[str, Any], notebook: str, config: Config | None = None) -> DataFlowKernel:
    """Attach to a live run: as an owner where it is one of our notebook, else as a guest.

    Raises
    ------
    ConfigurationError
        It cannot be reached, or turns us away.
    """
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.client.handle.run_connection import RunConnection
    from parslab.client.process.restart import KernelRestart
    from parslab.version import version

    mine = bool(notebook) and info.get("notebook") == notebook
    threads: dict[str, int] = {}
    if mine:
        config, threads = _settings_of(info, config)
    run, run_dir = info["run"], Path(info["run_dir"])
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    connection = RunConnection(
        run=run,
        run_dir=run_dir,
        pid=info["pid"],
        sock=connect(info),
        process=FoundRun(info) if mine else None,
        threads=threads,
        restart=KernelRestart(run, run_dir, notebook) if info.get("resume") else None,
        hello=ClientHello(PROTOCOL, version(), python, os.getpid(), socket.gethostname(), notebook),
    )
    return DataFlowKernel.opened(config if mine else None, connection)


def _settings_of(info: Mapping[str, Any], config: Config | None) -> tuple[Config | None, dict[str, int]]:
    """Configuration and thread pools of a run of ours, as far as its folder tells."""
    from parslab.config import Config
    from parslab.description import decoded

    try:
        settings = json.loads(read_text(Path(info["run_dir"]) / "settings.json"))
        threads = {e["label"]: e["max_threads"] for e in settings["executors"] if e["kind"] == "threads"}
        if config is None or digest(config) != info.get("digest"):
            found = decoded(settings["config"])
            config = found if isinstance(found, Config) else None
    except (OSError, ValueError, KeyError, TypeError, ConfigurationError):
        return None, {}
    return config, threads
