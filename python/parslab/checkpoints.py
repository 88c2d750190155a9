"""Names and finds the files of checkpoints: a run writes one into its own folder, and later runs read it there.

``load()`` asks which checkpoints a run reads, and the DataFlowKernel asks where to write one.  Users choose checkpoints
with the same functions (Parsl: ``parsl.utils.get_all_checkpoints`` and ``get_last_checkpoint``).

Parsl's own checkpoints are pickles.  Nothing here or elsewhere opens them: to unpickle a file runs the code in it, and
its keys do not tell when a function has changed.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError

if TYPE_CHECKING:
    import os

__all__ = [
    "CHECKPOINT",
    "OWN_RESULTS",
    "PARSL",
    "RESULTS",
    "checkpoint_folders",
    "files_in",
    "get_all_checkpoints",
    "get_last_checkpoint",
    "is_parsl_checkpoint",
    "refuse_parsl_checkpoint",
]

CHECKPOINT = "checkpoint"
"""The folder of the checkpoint, inside the folder of a run."""

RESULTS = "results.parslab"
"""The file in that folder."""

OWN_RESULTS = "results-{uid}.parslab"
"""The file of one of several users who share a folder, because no user can write to the file of another."""

PARSL = ("dfk.pkl", "tasks.pkl")
"""The names of the files that Parsl writes."""

_WHY = (
    "parslab does not read Parsl's checkpoints, because they are pickles whose keys do not tell when a function has "
    "changed; it computes the results again, and keeps them in checkpoints of its own"
)


def get_all_checkpoints(run_dir: str | os.PathLike[str] = "runinfo") -> list[str]:
    """Return the checkpoint folders of all runs below a run directory, oldest first (Parsl: same name).

    Folders that hold only a checkpoint of Parsl are left out with a warning.

    Parameters
    ----------
    run_dir
        As in ``Config(run_dir=...)``.

    Examples
    --------
    >>> get_all_checkpoints("no such folder")
    []
    """
    folders = checkpoint_folders(run_dir)
    foreign = [folder for folder in folders if _only_parsl(Path(folder))]
    if foreign:
        more = f" and {len(foreign) - 1} more are" if len(foreign) > 1 else " is"
        warnings.warn(f"{foreign[0]}{more} left out: {_WHY}.", stacklevel=2)
    return [folder for folder in folders if folder not in foreign]


def checkpoint_folders(run_dir: str | os.PathLike[str]) -> list[str]:
    """Return the checkpoint folders of all runs below a run directory, oldest first, whoever wrote them."""
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
        foreign = (path / name for name in PARSL)
        return [file for file in (*foreign, *sorted(path.glob("results*.parslab"))) if file.exists()]
    return [path]


def is_parsl_checkpoint(path: Path) -> bool:
    """Return whether a file has the name of a checkpoint of Parsl, or of another pickle."""
    return path.suffix in (".pkl", ".pickle")


def refuse_parsl_checkpoint(place: str | os.PathLike[str]) -> None:
    """Raise an error for a checkpoint of Parsl: its file, or a folder that holds nothing else.

    Raises
    ------
    ConfigurationError
        ``place`` is one.
    """
    path = Path(place)
    if _only_parsl(path) or (is_parsl_checkpoint(path) and not path.is_dir()):
        raise ConfigurationError(f"{path} is a checkpoint of Parsl: {_WHY}. Leave it out.")


def _only_parsl(folder: Path) -> bool:
    """Return whether a folder holds a checkpoint of Parsl and none of parslab."""
    files = files_in(folder) if folder.is_dir() else []
    return bool(files) and all(map(is_parsl_checkpoint, files))
