"""What dead runs have left behind on this host, and its end: batch jobs, socket folders, connection files [shell].

A DataFlowKernel that ends in order leaves nothing. One that was killed is buried by its client; where that was killed,
too, by whoever starts or looks for runs next.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parslab.places import process_space
from parslab.scaling.journal import cancel_leftovers
from parslab.wire.invitations import withdraw

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["bury", "dead_runs", "serves", "sweep"]

log = logging.getLogger(__name__)


def dead_runs(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Connection files in ``folder`` of runs of this host whose process is gone, and what they say."""
    for path in folder.glob("parslab-*.json"):
        try:
            info: dict[str, Any] = json.loads(path.read_text())
            since = path.stat().st_mtime
            here = info["host"] == socket.gethostname() and info.get("space", "") in ("", process_space())
            if here and not serves(int(info["pid"]), since):
                yield path, info
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


def sweep(folder: Path) -> list[str]:
    """Bury every dead run of this host, and remove its files."""
    said = []
    for path, info in dead_runs(folder):
        with contextlib.suppress(OSError):
            path.unlink()  # first: two that sweep at the same time should not both cancel
            said += bury(Path(info["run_dir"]))
            shutil.rmtree(Path(info["socket"]).parent, ignore_errors=True)
    return said


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
