"""Finds the databases of runs: writes the report of one, or compares two.  For ``parslab report`` and ``compare``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.client.process.connection_file import find_runs
from parslab.client.run_database import database_and_folder
from parslab.clock import steady_time
from parslab.monitoring.report.comparison import comparison_text
from parslab.monitoring.report.summarise import run_apps
from parslab.monitoring.report.writing import write_report
from parslab.monitoring.store.reader import reading

if TYPE_CHECKING:
    from parslab.monitoring.report.comparison import RunApps
    from parslab.monitoring.report.writing import WrittenReport

__all__ = ["compare", "report_of"]


def report_of(run: str, output: str) -> WrittenReport:
    """Write the report of a run.

    Parameters
    ----------
    run
        The beginning of the name of a live run (empty: the newest), the folder of any run, or its database.
    output
        The folder for the files; empty for the folder of the run.

    Raises
    ------
    ConfigurationError
        There is no such run, its database cannot be read, or the folder cannot be written.
    """
    database, folder = database_and_folder(run)
    return write_report(database, Path(output).expanduser() if output else folder, _is_alive(folder))


def compare(first: str, second: str) -> str:
    """Compare two runs app by app.

    Parameters
    ----------
    first, second
        The beginning of the name of a live run, the folder of any run, or its database.

    Returns
    -------
    str
        The runs and their apps side by side, as lines of text.

    Raises
    ------
    ConfigurationError
        There is no such run, or its database cannot be read.
    """
    return comparison_text(_apps_of(first), _apps_of(second))


def _apps_of(run: str) -> RunApps:
    database, folder = database_and_folder(run)
    with reading(database) as connection:
        return run_apps(connection, steady_time(), _is_alive(folder))


def _is_alive(folder: Path) -> bool:
    return any(os.path.realpath(info.run_dir) == os.path.realpath(folder) for info in find_runs())
