"""What dead runs have left behind on this host, and its end: batch jobs, socket folders, connection files,
processes that left their worker's group [shell].

A DataFlowKernel that ends in order leaves nothing. One that was killed is started again, or buried, by its client;
where that was killed, too, by whoever starts or looks for runs next. But a notebook may come back: until the run's
``linger`` is over the notebook's next kernel can start it again, and nobody else touches it. Meanwhile its blocks idle
no longer than their managers look for a DataFlowKernel; a job whose turn comes later finds nobody, and ends.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parslab.places import process_space
from parslab.scaling.journal import cancel_leftovers
from parslab.wire.invitations import withdraw

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["burial", "bury", "dead_runs", "end_processes", "entomb", "serves", "sweep"]

log = logging.getLogger(__name__)


def dead_runs(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Connection files in ``folder`` of runs of this host whose process is gone, and what they say."""
    for path in folder.glob("parslab-*.json"):
        try:
            info: dict[str, Any] = json.loads(path.read_text())
            since = path.stat().st_mtime
            here = info["host"] == socket.gethostname() and info.get("space", "") in ("", process_space())
            if here and not serves(int(info["pid"]), since):
                yield path, {**info, "since": since}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being written or removed just now, or none of ours


def bury(run_dir: Path) -> list[str]:
    """Cancel the jobs of a dead run; tells what was done, or is left to do, and logs it."""
    withdraw(run_dir, "it was killed")
    try:
        said = cancel_leftovers(run_dir)
    except OSError as error:
        said = [f"The jobs of the killed run {run_dir} cannot be known ({error}): look into the scheduler's queue."]
    for sentence in said:
        log.warning("%s", sentence)
    return said


def burial(info: Mapping[str, Any], attended: bool) -> float:
    """When a dead run may be buried [core]; infinite: not by us.

    Parameters
    ----------
    info
        Its connection file, and as ``since`` when that was last touched.
    attended
        An owner of it lives, who starts it again, or buries it.
    """
    if attended:
        return float("inf")
    linger = info.get("linger") or 0.0
    if not info.get("notebook") or linger <= 0:
        return 0.0
    ends = info.get("ends")
    # It has died after the last sign of life, and before the next one.
    return float(info["since"] + info.get("beat", 0.0) + linger if ends is None else ends)


def sweep(folder: Path, now: float | None = None) -> list[str]:
    """Bury every dead run of this host that nobody may come back for, and remove its files."""
    said = []
    for path, info in dead_runs(folder):
        attended = any(serves(pid, info["since"]) for pid in info.get("owners", ()))
        if burial(info, attended) <= (time.time() if now is None else now):
            said += entomb(path, info)
    return said


def entomb(path: Path, info: Mapping[str, Any]) -> list[str]:
    """Bury a dead run, and remove its files: its connection file ``path``, and its sockets."""
    with contextlib.suppress(OSError):
        path.unlink()  # first: two that do this at the same time should not both cancel
        said = bury(Path(info["run_dir"]))
        end_processes(info["run"])
        shutil.rmtree(Path(info["socket"]).parent, ignore_errors=True)
        return said
    return []


def end_processes(run: str, lost: bool = False) -> None:
    """Kill what carries the name of a run on this host: its workers, and all that tasks have started.

    Parameters
    ----------
    lost
        Only those whose DataFlowKernel or manager is gone.
    """
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError, ValueError):
            environment = process.environ()
            if environment.get("PARSLAB_RUN") == run and process.pid != os.getpid():
                parent = int(environment.get("PARSLAB_WORKER_OF", "0").partition("/")[0])
                if not (lost and serves(parent, process.create_time())):
                    process.kill()


def serves(pid: int, since: float) -> bool:
    """Whether this process lives (a zombie does not) and began before ``since``: numbers are used again."""
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= since + 1
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
