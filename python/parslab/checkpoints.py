"""Where checkpoints lie: each run that writes one has it in its own folder, and later runs find it there.

Called by ``load()`` (which checkpoints a run begins with), by the DataFlowKernel that writes one, and by users who
choose among them (Parsl: ``parsl.utils.get_all_checkpoints`` and ``get_last_checkpoint``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

__all__ = ["CHECKPOINT", "OWN_RESULTS", "PARSL", "RESULTS", "files_in", "get_all_checkpoints", "get_last_checkpoint"]

CHECKPOINT = "checkpoint"
"""The folder, in that of a run."""

RESULTS = "results.parslab"
"""The file in it."""

OWN_RESULTS = "results-{uid}.parslab"
"""The file of one of several users who share a folder: nobody can write to the file of another one."""

PARSL = "tasks.pkl"
"""What Parsl calls the file that it writes."""


def get_all_checkpoints(run_dir: str | os.PathLike[str] = "runinfo") -> list[str]:
    """The checkpoint folders of all runs below a run directory, oldest first (Parsl: same name).

    Parameters
    ----------
    run_dir
        As in ``Config(run_dir=...)``.

    Examples
    --------
    >>> get_all_checkpoints("no such folder")
    []
    """
    root = Path(run_dir).expanduser()
    try:
        runs = sorted((entry for entry in root.iterdir() if entry.name.isdigit()), key=lambda entry: int(entry.name))
    except OSError:
        return []
    return [str(run / CHECKPOINT) for run in runs if (run / CHECKPOINT).is_dir()]


def get_last_checkpoint(run_dir: str | os.PathLike[str] = "runinfo") -> list[str]:
    """The checkpoint folder of the newest run that has one, in a list; without one an empty list (Parsl: same name).

    Parameters
    ----------
    run_dir
        As in ``Config(run_dir=...)``.
    """
    return get_all_checkpoints(run_dir)[-1:]


def files_in(place: str | os.PathLike[str]) -> list[Path]:
    """The checkpoint files that a folder, or the path of a file, stands for; Parsl's own among them."""
    path = Path(place).expanduser()
    if path.is_dir():
        return [file for file in (path / PARSL, *sorted(path.glob("results*.parslab"))) if file.exists()]
    return [path]
