"""Finds the database of a run by what a user calls the run."""

from __future__ import annotations

from pathlib import Path

from parslab.client.reattach import live_run
from parslab.monitoring.store.reader import database_of

__all__ = ["database_and_folder"]


def database_and_folder(run: str) -> tuple[Path, Path]:
    """Return the database of a run and its folder.

    Parameters
    ----------
    run
        The beginning of the name of a live run (empty: the newest), the folder of any run, or its database.

    Raises
    ------
    ConfigurationError
        There is no such run, or it has no database.
    """
    place = Path(run).expanduser() if run else None
    if place is not None and place.is_file():
        return place, place.parent
    folder = place if place is not None and place.is_dir() else Path(live_run(run).run_dir)
    return database_of(folder), folder
