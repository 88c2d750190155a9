"""Start and end of the DataFlowKernel process: settings in, doors opened, nothing left behind.

``client.start`` execs it in a session of its own, so no signal of the notebook reaches it.  Its stderr is the log file.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from parslab.paths import pid_namespace

__all__ = ["main"]

log = logging.getLogger("parslab.dataflow")

_SWEEP = 3.0
"""Seconds after which a new run looks for dead ones."""
_SWEEP_AGAIN = 60.0


def main(path: str, fd: int) -> None:
    """Serve one run until it is over."""
    with open(path, encoding="utf-8") as file:
        settings: dict[str, Any] = json.load(file)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
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


def _serve(settings: dict[str, Any], fd: int) -> None:
    from parslab.cleanup.reaper import Reaper
    from parslab.dataflow.clients.connection_file import ConnectionFile
    from parslab.dataflow.graph.values import give_memory_back
    from parslab.dataflow.kernel import Kernel
    from parslab.errors import ConfigurationError

    sockets = Path(settings["sockets"])
    connection = ConnectionFile(Path(settings["connection"]), _known_to_all(settings))
    kernel = Kernel(settings, socket.socket(fileno=fd), connection)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        kernel.loop.catch(number, lambda n=number: kernel.end(f"it was told to by {n.name}"))  # type: ignore[misc]
    kernel.loop.catch(signal.SIGCHLD, kernel.reap)
    try:
        if settings.get("revived"):
            from parslab.cleanup.dead_runs import end_processes

            # What tasks of the lost one have started outside the groups of their workers, which have gone with it.
            end_processes(settings["run"], lost=True)
        kernel.start_workers()
        try:
            kernel.undertaker = Reaper(settings)
        except OSError as error:
            log.warning("nobody will bury this run if it is killed together with its notebook: %s", error)
        give_memory_back()
        gc.freeze()
        # Python's usual rounds walk through all tasks again and again while many are there: a third of their cost.
        # So only what is new is looked at; what is older, by the kernel when it has nothing else to do.
        gc.set_threshold(50_000, 1_000_000, 1_000_000)
        kernel.start(sockets)
        log.info("run %s is up (pid %d)", settings["run"], os.getpid())
        threading.Thread(
            target=_sweep, args=(Path(settings["connection"]).parent,), daemon=True, name="parslab-sweep"
        ).start()
        kernel.loop.run()
    except ConfigurationError as error:
        log.error("the run cannot begin: %s", error)
        kernel.reason = str(error)
    except BaseException:
        log.exception("the DataFlowKernel ends by an error of its own")
        kernel.reason = kernel.reason or "an error of the DataFlowKernel; see its log"
        raise
    finally:
        try:
            kernel.close()
        finally:
            connection.remove()
            shutil.rmtree(sockets, ignore_errors=True)
            log.info("run %s is over: %s", settings["run"], kernel.reason)


def _sweep(folder: Path) -> None:
    """Bury the runs that were killed together with their notebooks, when this one has begun its own work, and when
    nobody has come back for them."""
    from parslab.cleanup.dead_runs import remove_dead_runs

    time.sleep(_SWEEP)
    while True:
        remove_dead_runs(folder)
        time.sleep(_SWEEP_AGAIN)


def _known_to_all(settings: dict[str, Any]) -> dict[str, Any]:
    """What the connection file says from beginning to end."""
    return {
        "run": settings["run"],
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "space": pid_namespace(),
        "socket": str(Path(settings["sockets"]) / "dfk.sock"),
        "run_dir": settings["run_dir"],
        "package": settings["package"],
        "notebook": settings.get("notebook", ""),
        "owner": settings["owner_pid"],
        "resume": settings.get("resume", False),
        "digest": settings.get("digest", ""),
        "started": time.time(),
    }
