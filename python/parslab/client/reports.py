"""Finds the database of a run and writes its report, for ``parslab report`` and ``%parsl report``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.client.process.connection_file import find_runs
from parslab.client.run_database import database_and_folder
from parslab.monitoring.report.writing import write_report

if TYPE_CHECKING:
    from parslab.monitoring.report.writing import WrittenReport

__all__ = ["report_of"]


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


def _is_alive(folder: Path) -> bool:
    return any(os.path.realpath(info.run_dir) == os.path.realpath(folder) for info in find_runs())
