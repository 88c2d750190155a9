"""Names and finds the files of checkpoints: a run writes one into its own folder, and later runs read it there.

``load()`` asks which checkpoints a run reads, and the DataFlowKernel asks where to write one.  Users choose checkpoints
with the same functions (Parsl: ``parsl.utils.get_all_checkpoints`` and ``get_last_checkpoint``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

__all__ = ["CHECKPOINT", "OWN_RESULTS", "PARSL", "RESULTS", "files_in", "get_all_checkpoints", "get_last_checkpoint"]

CHECKPOINT = "checkpoint"
"""The folder of the checkpoint, inside the folder of a run."""

RESULTS = "results.parslab"
"""The file in that folder."""

OWN_RESULTS = "results-{uid}.parslab"
"""The file of one of several users who share a folder, because no user can write to the file of another."""

PARSL = "tasks.pkl"
"""The name of the file that Parsl writes."""


def get_all_checkpoints(run_dir: str | os.PathLike[str] = "runinfo") -> list[str]:
    """Return the checkpoint folders of all runs below a run directory, oldest first (Parsl: same name).

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
    # By number and not by name, because run 1000 is newer than run 999.
    try:
        runs = sorted((entry for entry in root.iterdir() if entry.name.isdigit()), key=lambda entry: int(entry.name))
    except OSError:
        return []
    return [str(run / CHECKPOINT) for run in runs if (run / CHECKPOINT).is_dir()]


def get_last_checkpoint(run_dir: str | os.PathLike[str] = "runinfo") -> list[str]:
    """Return the checkpoint folder of the newest run that has one, as a list of at most one (Parsl: same name).

    Parameters
    ----------
    run_dir
        As in ``Config(run_dir=...)``.
    """
    return get_all_checkpoints(run_dir)[-1:]


def files_in(place: str | os.PathLike[str]) -> list[Path]:
    """Return the checkpoint files in a folder, also that of Parsl, or a list of ``place`` if it is no folder."""
    path = Path(place).expanduser()
    if path.is_dir():
        # The last file that has a result wins, so results of parslab replace those of Parsl.
        return [file for file in (path / PARSL, *sorted(path.glob("results*.parslab"))) if file.exists()]
    return [path]
