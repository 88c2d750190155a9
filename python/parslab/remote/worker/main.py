"""Start of a worker process: it reads its settings, opens its links and starts its two threads.

A pool starts the workers of its own host, which inherit their links.  ``python -m parslab.remote.worker FILE`` joins
from another host with the settings file that the run wrote.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import mmap
import os
import signal
import socket
import sys
from typing import Any

from parslab.clock import set_anchor
from parslab.remote.worker.control import end_group, start_control
from parslab.remote.worker.lifeline import die_with_parent
from parslab.remote.worker.links import tcp_links, unix_links
from parslab.remote.worker.output import Output
from parslab.remote.worker.process_state import ProcessState, StateNotRestored
from parslab.remote.worker.worker import Worker
from parslab.wire.messages.base import PROTOCOL
from parslab.wire.messages.worker import CLOSED_DESCRIPTORS, STATE_NOT_RESTORED, WorkerHello

__all__ = ["main"]


def main(settings: dict[str, Any]) -> None:
    """Run one worker until its run is over.

    Parameters
    ----------
    settings
        ``worker`` (its name), ``executor`` (number), ``package`` (version), and either ``data``, ``control``,
        ``files``, ``page`` (inherited descriptors) or ``addresses`` and keys.

    Notes
    -----
    A crash in C must leave its traceback in the file from which the parent reads the last words of a worker.  So
    ``faulthandler`` starts after ``Output``.
    """
    name = settings["worker"]
    if settings.get("descriptors") is not None:
        _limit_descriptors(settings["descriptors"])
    if "data" in settings:
        # The monotonic clock is shared on one host only: a worker elsewhere keeps an anchor of its own.
        set_anchor(settings["clock"])
        link, control = unix_links(settings["data"], settings["control"])
        output = Output((settings["files"][0], settings["files"][1]))
        page = memoryview(mmap.mmap(settings["page"], 16)).cast("q")
    else:
        link, control = tcp_links(settings, name)
        output, page = Output(), None
    faulthandler.enable(2)
    if "cores" in settings and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, settings["cores"])
    hello = WorkerHello(
        worker=name,
        protocol=PROTOCOL,
        package=settings["package"],
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        pid=os.getpid(),
        host=socket.gethostname(),
        executor=settings["executor"],
    )
    link.send([hello])
    hello.control = True
    control.send([hello])
    state = ProcessState()
    worker = Worker(link, output, page, state)
    start_control(worker, control)
    if "lifeline" in settings:
        die_with_parent(settings["lifeline"], settings["parent"])
    import cloudpickle  # noqa: F401  # before the first function needs it, and after the hello, so nobody waits

    state.watch()
    _run_to_the_end(worker)


def _run_to_the_end(worker: Worker) -> None:
    """Run tasks, then end this process with a status that tells its owner why."""
    try:
        _run(worker)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    except StateNotRestored as error:
        os.write(2, f"{error}\n".encode(errors="replace"))
        os._exit(STATE_NOT_RESTORED)
    except OSError as error:
        if error.errno == errno.EBADF:  # the task closed our descriptors, so only the exit status can say so
            os._exit(CLOSED_DESCRIPTORS)
        raise
    end_group()


def _limit_descriptors(number: int) -> None:
    """Give tasks, and what they start, the limit of the user: the parent has raised its own."""
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def _run(worker: Worker) -> None:
    profile = os.environ.get("PARSLAB_PROFILE")
    if profile:
        _profiled(worker, os.path.join(profile, f"worker-{os.getpid()}.prof"))
    else:
        worker.run()


def _profiled(worker: Worker, path: str) -> None:
    import cProfile

    profile = cProfile.Profile()
    # The pool ends workers by TERM; without a handler the process would end before the profile is written.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        profile.runcall(worker.run)
    finally:
        profile.dump_stats(path)
