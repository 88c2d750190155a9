"""Runs the DataFlowKernel process: reads its settings, serves the run, and cleans up at the end.

``client.process.launch`` starts the process in a session of its own, so that signals to the notebook do not reach it.
The log file is its stderr.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.cleanup.run_lock import RunLock
from parslab.clock import set_anchor, steady_time
from parslab.paths import pid_namespace
from parslab.remote.pool.control_group import remove_empty_groups
from parslab.trust import remove_socket_folder
from parslab.wire.descriptors import raise_limit
from parslab.wire.run_files import ConnectionInfo, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.dataflow.clients.connection_file import ConnectionFile
    from parslab.dataflow.kernel import Kernel
    from parslab.dataflow.usage_sender import UsageSender
    from parslab.wire.run_files import RunSettings

__all__ = ["main"]

log = logging.getLogger("parslab.dataflow")

_FIRST_CLEANUP = 3.0
"""Seconds after which a new run looks for dead ones."""
_CLEANUP_PERIOD = 60.0


def main(path: str, fd: int, lock_fd: int) -> None:
    """Serve one run until it ends.

    Parameters
    ----------
    path
        Path of the run's settings.
    fd
        Descriptor of the socket that joins this process to the client that started it.
    lock_fd
        Descriptor of the run's lock, which the client has acquired; this process keeps it until it ends.

    Raises
    ------
    RunLockedError
        Another process holds the lock: two DataFlowKernels of one run would both write its files.
    """
    settings = read_settings(path)
    RunLock.inherit(lock_fd, settings.run_dir)  # first, because its holder alone may write the run's files
    raise_limit(keep_spare=True)  # for clients, workers and remote managers
    if settings.clock:
        # All processes of a run count from the wall time that the client read once, so that their times compare.
        set_anchor(settings.clock)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # An environment variable and no setting: only developers profile, and the client need not know.
    profile = os.environ.get("PARSLAB_PROFILE")
    if profile:
        import cProfile

        profiler = cProfile.Profile()
        try:
            profiler.runcall(_serve, settings, fd)
        finally:
            profiler.dump_stats(os.path.join(profile, f"dfk-{os.getpid()}.prof"))
    else:
        _serve(settings, fd)


def _serve(settings: RunSettings, fd: int) -> None:
    from parslab.dataflow.clients.connection_file import ConnectionFile
    from parslab.dataflow.kernel import Kernel
    from parslab.dataflow.usage_sender import UsageSender
    from parslab.errors import ConfigurationError

    connection_file = ConnectionFile(Path(settings.connection), _connection_info(settings))
    kernel = Kernel(settings, socket.socket(fileno=fd), connection_file)
    usage = UsageSender(settings.usage)
    with _closing(kernel, connection_file, usage) as failure:
        try:
            _start(kernel)
            usage.begin(first=not settings.restarts)
            kernel.loop.run()
        # A mistake of the user: the sentence says all, and a traceback would hide it.
        except ConfigurationError as error:
            log.error("the run cannot begin: %s", error)
            failure.append(str(error))
        except BaseException:
            log.exception("the DataFlowKernel ends by an error of its own")
            failure.append("an error of the DataFlowKernel; see its log")
            raise


@contextlib.contextmanager
def _closing(kernel: Kernel, connection_file: ConnectionFile, usage: UsageSender) -> Iterator[list[str]]:
    """Close the run in any case; the block may append a reason for its end."""
    failure: list[str] = []
    try:
        yield failure
    finally:
        reason = kernel.end_reason or "".join(failure)
        handed_over = kernel.handed_over
        try:
            if handed_over:
                kernel.close_for_successor(reason)
            else:
                kernel.close(reason)
                usage.end(kernel.task_counts(), steady_time() - kernel.settings.started)
        finally:
            # Also when the close fails: a file that stays would send other notebooks to a dead socket.
            if not handed_over:
                connection_file.remove()
            remove_socket_folder(kernel.settings.sockets)
            remove_empty_groups()  # of managers that were killed
            log.info("run %s is over: %s", kernel.settings.run, reason)


def _start(kernel: Kernel) -> None:
    """Start everything; what takes longest starts first."""
    from parslab.dataflow.graph.values import give_memory_back

    settings = kernel.settings
    _catch_signals(kernel)
    if settings.restarts:
        from parslab.cleanup.dead_runs import end_processes

        # The workers died with the lost DataFlowKernel. What tasks had started outside the workers' groups did not.
        end_processes(settings.run, lost=True)
    kernel.start_workers()
    _start_reaper(kernel)
    give_memory_back()
    # What is loaded by now lives as long as the process: no collection needs to walk through it.
    gc.freeze()
    # Full collections walk through all tasks again and again: a third of the cost of a task in a large burst.
    # These thresholds leave only new objects to Python; the kernel collects the rest in quiet moments.
    gc.set_threshold(50_000, 1_000_000, 1_000_000)
    kernel.start(Path(settings.sockets))
    log.info("run %s is up (pid %d)", settings.run, os.getpid())
    folder = Path(settings.connection).parent
    # A daemon: it sleeps nearly always, and must not delay the end of the process.
    threading.Thread(target=_remove_dead_runs, args=(folder,), daemon=True, name="parslab-cleanup").start()


def _catch_signals(kernel: Kernel) -> None:
    # The loop runs these calls between two callbacks, so a signal never interrupts a change of the task table.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        kernel.loop.catch(number, lambda n=number: kernel.end(f"it received {n.name}"))  # type: ignore[misc]
    kernel.loop.catch(signal.SIGCHLD, kernel.reap)


def _start_reaper(kernel: Kernel) -> None:
    from parslab.cleanup.reaper import Reaper

    try:
        kernel.reaper = Reaper(kernel.settings)
    except OSError as error:
        log.warning("no reaper: if this process and its notebook are killed, the run's files stay: %s", error)


def _remove_dead_runs(folder: Path) -> None:
    """Remove runs that were killed together with their notebooks, as soon as no client may return to them.

    A thread does this, because it looks at all processes of the host.  It sleeps first, so that a new run begins its
    own work before.
    """
    from parslab.cleanup.dead_runs import remove_dead_runs

    time.sleep(_FIRST_CLEANUP)
    while True:
        try:
            remove_dead_runs(folder)
        except OSError as error:
            # For example a lack of descriptors: the next round may have them.
            log.warning("dead runs cannot be looked for now: %s", error)
        time.sleep(_CLEANUP_PERIOD)


def _connection_info(settings: RunSettings) -> ConnectionInfo:
    """Return the first content of the connection file; ``presence`` adds the state of the lease."""
    return ConnectionInfo(
        run=settings.run,
        pid=os.getpid(),
        host=socket.gethostname(),
        socket=str(Path(settings.sockets) / "dfk.sock"),
        run_dir=settings.run_dir,
        pid_namespace=pid_namespace(),
        package=settings.package,
        notebook=settings.notebook,
        notebook_place=settings.notebook_place,
        resume=settings.resume,
        digest=settings.digest,
        started=time.time(),  # other processes compare it with their wall clock
        panels=True,
    )
