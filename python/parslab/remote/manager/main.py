"""Start and end of a manager process: it reads its settings, connects, starts workers, and ends all it started.

It writes to the stdout and stderr of the block, which the provider keeps.  A user reads them when a block does not
start.  The process loads neither the client nor traitlets nor Jupyter.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from parslab.clock import set_anchor
from parslab.cores import usable_cores
from parslab.errors import ConfigurationError
from parslab.remote.manager.engine_host import end_at_once, import_path, leave_children_alone, made_engine
from parslab.remote.manager.leave_reason import leave_reason
from parslab.remote.manager.link import LocalManagerLink
from parslab.remote.manager.manager import Manager
from parslab.remote.manager.meeting import Unreachable, meet
from parslab.remote.manager.mpi_nodes import for_mpi, found_mpiexec, found_nodes
from parslab.remote.manager.pinning import notice, plan
from parslab.remote.manager.sampling import Sampler, usable_memory
from parslab.remote.manager.successor import Succession
from parslab.remote.pool.processes import adopt_orphans, collect_orphans, end_orphans
from parslab.remote.pool.worker_start import ProcessPlan, WorkerRun
from parslab.version import version
from parslab.wire.descriptors import raise_limit, restore_limit
from parslab.wire.invitations import RunOver
from parslab.wire.messages.base import PROTOCOL
from parslab.wire.messages.manager import ManagerHello

if TYPE_CHECKING:
    from parslab.records.mpi import MpiNode
    from parslab.remote.engines.engine import Engine
    from parslab.remote.files.service import NodeFileService
    from parslab.remote.manager.link import DataFlowKernelLink
    from parslab.wire.invitations import ManagerInvitation

__all__ = [
    "PATIENCE",
    "main",
    "manager_hello",
    "reading_failed",
    "run_of",
    "serve",
    "succession_of",
]

log = logging.getLogger("parslab.manager")

PATIENCE = 20.0
"""Seconds that the DataFlowKernel may take to answer when a block starts."""
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_AGAIN = "PARSLAB_AGAIN"
"""Environment variable: until when (``time.monotonic``) a replaced manager may look for a DataFlowKernel."""
_FILES = "PARSLAB_AGAIN_FILES"
"""Environment variable: the cache of files that a replaced manager has kept for its successor."""


def main(path: str, block: str) -> int:
    """Run the manager of this node until the run or the block is over.

    Returns
    -------
    int
        Exit status: 0 if it left in good order.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    raise_limit()  # a node of many cores has more workers than the usual limit allows
    # Removed from the environment, so that workers and tasks do not inherit it.
    until = float(os.environ.pop(_AGAIN, 0.0))
    kept = os.environ.pop(_FILES, "")
    if not kept:
        return _run(path, block, until)
    # A signal that comes before the loop runs must not leave the files of the run on this node.
    try:
        _raise_at_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)
        return _run(path, block, until)
    finally:
        _remove_files(kept)


def _run(path: str, block: str, until: float) -> int:
    files: NodeFileService | None = None
    engine: Engine | None = None
    try:
        # Before the connection, on which the DataFlowKernel soon expects a hello with the number of workers.
        engine = made_engine(path)
        invitation, link, name = meet(path, block, until - time.monotonic() if until else PATIENCE)
        if isinstance(link, LocalManagerLink):  # the same host shares one monotonic clock, which an anchor requires
            set_anchor(invitation.clock)
        files = _file_service(invitation, name)
        if engine is None:
            manager = _prepare(invitation, block, name, files, path)
        else:
            manager = _with_engine(invitation, block, name, engine, path)
    except RunOver as over:
        log.info("the run is over: %s", over)
        return 0
    except (Unreachable, ConfigurationError, OSError) as error:
        if files is not None:
            files.close()
        print(f"parslab: {reading_failed(error, path)}", file=sys.stderr)
        # A manager that lost its run has not failed; one that never found it has, and its block counts as not started.
        return 0 if until else 2
    status = serve(manager, link, Sampler(), files)
    status = _after(manager, status, path, block, until=_restart_until(manager, invitation, until), files=files)
    if engine is not None:
        end_at_once(status)
    return status


def _run_folder(path: str) -> str:
    """Return the folder of the run; empty on a node that does not have it, where the invitation is an open file."""
    folder = os.path.dirname(os.path.abspath(path))
    return "" if folder == "/dev/fd" else folder


def reading_failed(error: Exception, path: str) -> str:
    """Return why a manager finds no run: what is wrong with its invitation, or why nobody answers."""
    if not isinstance(error, OSError):
        return str(error)
    return (
        f"{socket.gethostname()} cannot read {path} ({error.strerror}): the run folder must lie on a file "
        "system that is shared with the nodes; choose it with Config(run_dir=...)."
    )


def _restart_until(manager: Manager, invitation: ManagerInvitation, until: float) -> float:
    """Return until when another manager may look for the DataFlowKernel in place of this one; 0 if none shall."""
    if manager.reconnect:
        return (manager.succession.lost_at or time.monotonic()) + invitation.reconnect_for
    if not manager.never_accepted:
        return 0.0
    # The DataFlowKernel was killed before it accepted this manager; if again, the time does not begin anew.
    return until or time.monotonic() + invitation.reconnect_for


def _after(manager: Manager, status: int, path: str, block: str, *, until: float, files: NodeFileService | None) -> int:
    """Start over if the DataFlowKernel may come back; else return the exit status."""
    if files is None:
        # From here on a signal ends this process itself: none can arrive unnoticed between the check and the restart.
        for number in _ENDS:
            signal.signal(number, signal.SIG_DFL)
        if until and not manager.signalled:
            _start_over(path, block, until)
        return status
    try:
        _raise_at_signals()
        if until and not manager.signalled:
            os.environ[_FILES] = str(files.folder)
            # A signal that comes while Python starts again waits until the new manager can remove the files.
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
            _start_over(path, block, until)
        return status
    finally:
        _remove_files(str(files.folder))


def _raise_at_signals() -> None:
    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    for number in _ENDS:
        signal.signal(number, end)


def _remove_files(folder: str) -> None:
    """Remove the files of the run that this node has kept, if nobody uses them."""
    # A scheduler may send its signal several times; the second one must not interrupt what the first one asked for.
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)
    # Here, because most runs do not need what it loads.
    from parslab.files.cache import remove_run

    remove_run(Path(folder))


def _file_service(invitation: ManagerInvitation, name: str) -> NodeFileService | None:
    """Return the file service of this node; None where it sees the files of the DataFlowKernel's host."""
    if invitation.manager.shared_filesystem:
        return None
    # Here, because most runs do not need what it loads.
    from parslab.files.cache import default_folder
    from parslab.remote.files.service import NodeFileService

    return NodeFileService(invitation, name, default_folder(), invitation.manager.file_cache)


def _prepare(
    invitation: ManagerInvitation, block: str, name: str, files: NodeFileService | None, invitation_path: str
) -> Manager:
    settings = invitation.manager
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(usable_cores()))
    memory = usable_memory()
    pinnable = hasattr(os, "sched_setaffinity")
    nodes: tuple[MpiNode, ...] = ()
    if settings.mpi_launcher:
        nodes = found_nodes(cores)
        settings = for_mpi(settings, nodes)
    workers = plan(settings, cores, memory, name, block, usable=usable_cores(), pinnable=pinnable, inherited=os.environ)
    ignored = notice(settings, pinnable)
    if ignored:
        log.warning("%s", ignored)
    own = min(len(cores), usable_cores())
    hello = manager_hello(invitation, block, name, workers=len(workers), cores=own, memory=memory)
    if settings.mpi_launcher:
        hello.nodes, hello.mpiexec = nodes, found_mpiexec()
    # Where the tasks of this node ask for files.
    extra = {} if files is None else files.environment
    plans = [
        ProcessPlan({**w.environment, **extra}, tuple(sorted(w.cores)) if w.cores is not None else None)
        for w in workers
    ]
    run, succession = run_of(invitation, invitation_path), succession_of(invitation, block, invitation_path)
    return Manager(hello, run, settings, plans, succession=succession)


def _with_engine(invitation: ManagerInvitation, block: str, name: str, engine: Engine, invitation_path: str) -> Manager:
    hello = manager_hello(invitation, block, name, workers=engine.workers, cores=engine.workers, memory=engine.memory)
    # The engine holds some tasks beyond what its workers run, so that these never wait for a round trip.
    hello.prefetch = engine.workers
    hello.accelerators, hello.dashboard = engine.gpus, engine.dashboard
    run, succession = run_of(invitation, invitation_path), succession_of(invitation, block, invitation_path)
    return Manager(hello, run, invitation.manager, [], succession=succession, engine=engine)


def run_of(invitation: ManagerInvitation, path: str) -> WorkerRun:
    """Return what the workers have to know of the run whose invitation has this path."""
    return WorkerRun(
        invitation.run,
        package=invitation.package,
        path=import_path(invitation),
        cwd=invitation.cwd,
        folder=_run_folder(path),
    )


def succession_of(invitation: ManagerInvitation, block: str, path: str) -> Succession:
    """Return the way to the next DataFlowKernel of the run."""
    return Succession(partial(meet, path, block), min(invitation.keep_tasks_for, invitation.reconnect_for))


def manager_hello(
    invitation: ManagerInvitation, block: str, name: str, *, workers: int, cores: int, memory: int
) -> ManagerHello:
    """Return the first message of a manager of this process."""
    settings = invitation.manager
    return ManagerHello(
        manager=name,
        protocol=PROTOCOL,
        package=version(),
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        pid=os.getpid(),
        host=socket.gethostname(),
        executor=invitation.executor,
        block=block,
        workers=workers,
        prefetch=settings.prefetch_capacity,
        cores=cores,
        memory=memory,
        accelerators=len(settings.available_accelerators),
        nonce=name.rpartition("-")[2],
    )


def serve(manager: Manager, link: DataFlowKernelLink, sampler: Sampler | None, files: NodeFileService | None) -> int:
    """Run a manager until it leaves, and end all that it started; return the exit status of this process."""
    # Before the workers start: a signal that arrives meanwhile must end them, too.
    for number in _ENDS:
        signal.signal(number, lambda n, _: _signalled(manager, signal.Signals(n)))
    engine = manager.pool.own_processes
    if engine:
        leave_children_alone(link)
    else:
        manager.loop.catch(signal.SIGCHLD, lambda: _reap(manager))
    if files is not None:
        files.start()
    manager.pool.start()
    adopt_orphans()
    try:
        manager.serve(link, sampler)
    finally:
        manager.close()
        end_orphans(own_tracker=engine)
        if files is not None:
            # The process that replaces this one finds the contents of the run where they are.
            files.close(run_goes_on=manager.reconnect and not manager.signalled)
    log.info("%s", manager.left)
    return 1 if manager.pool.broken else 0


def _signalled(manager: Manager, number: signal.Signals) -> None:
    """Handle a signal that ends this manager."""
    # Set in the handler itself, so that the signal counts even if the loop has just ended.
    manager.signalled = True
    if manager.loop.running:
        reason = leave_reason(number.name, os.environ, time.time())
        manager.loop.post(lambda: manager.leave(reason))


def _reap(manager: Manager) -> None:
    manager.pool.reap()
    collect_orphans({peer.pid for peer in manager.pool.peers})


def _start_over(path: str, block: str, until: float) -> None:
    """Replace this process by a new manager, because the DataFlowKernel may have lost this one."""
    # ``exec`` keeps the pid that the batch script waits for, and no state of the old connection survives it.
    log.info("starts over, and looks for the DataFlowKernel for %.0f s at most", until - time.monotonic())
    os.environ[_AGAIN] = str(until)
    time.sleep(0.2)  # a DataFlowKernel that is ending closes its port meanwhile
    restore_limit()
    os.execv(sys.executable, [sys.executable, "-m", "parslab.remote.manager", path, block])
