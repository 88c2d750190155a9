"""Start of a worker process: settings in, links made, the two threads set going.

Workers of the DataFlowKernel's own host are started by it and inherit their links; ``python -m parslab.remote.worker
FILE`` joins from another host with the settings file that the run wrote.
"""

from __future__ import annotations

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
from parslab.remote.worker.links import tcp_links, unix_links
from parslab.remote.worker.output import Output
from parslab.remote.worker.worker import Worker
from parslab.wire.messages.base import PROTOCOL
from parslab.wire.messages.worker import CLOSED_DESCRIPTORS, WorkerHello

__all__ = ["main"]


def main(settings: dict[str, Any]) -> None:
    """Run one worker until its run is over.

    Parameters
    ----------
    settings
        ``worker`` (its name), ``executor`` (number), ``package`` (version), and either ``data``, ``control``,
        ``files``, ``page`` (inherited descriptors) or ``address`` and keys.
    """
    name = settings["worker"]
    if "data" in settings:
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
    worker = Worker(link, output, page)
    start_control(worker, control)
    _die_with_parent(settings)
    import cloudpickle  # noqa: F401  # while there is nothing to do yet: the first function needs it

    try:
        _run(worker)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    except OSError as error:
        if error.errno == errno.EBADF:  # nothing can be printed or sent any more, so the status must say it
            os._exit(CLOSED_DESCRIPTORS)
        raise
    end_group()


def _run(worker: Worker) -> None:
    profile = os.environ.get("PARSLAB_PROFILE")
    if profile:
        _profiled(worker, os.path.join(profile, f"worker-{os.getpid()}.prof"))
    else:
        worker.run()


def _profiled(worker: Worker, path: str) -> None:
    import cProfile

    profile = cProfile.Profile()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        profile.runcall(worker.run)
    finally:
        profile.dump_stats(path)


def _die_with_parent(settings: dict[str, Any]) -> None:
    """On Linux the system ends a worker whose DataFlowKernel died, and its group, even when a C call holds the GIL.

    The lifeline is a pipe on which nothing is ever sent: when its other end closes, everybody in our group is killed.
    (``PR_SET_PDEATHSIG`` would kill us alone, and before we could take the others along.)
    """
    if sys.platform == "linux" and "data" in settings:
        import fcntl

        lifeline = settings["lifeline"]
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)
        if os.getppid() != settings["parent"]:
            end_group()
