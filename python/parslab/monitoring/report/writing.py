"""Writes the report of a run into a folder: ``report-RUN.html`` and ``report-RUN.json``.  [shell]

Both files are private to the user, because arguments and errors of tasks may hold what others must not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from parslab.atomic_files import write_atomically
from parslab.clock import steady_time
from parslab.errors import ConfigurationError
from parslab.monitoring.report.page import page
from parslab.monitoring.report.summarise import summarise
from parslab.monitoring.store.reader import reading

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["WrittenReport", "write_report"]


@dataclass(frozen=True)
class WrittenReport:
    """The files of a report."""

    run: str
    html: Path
    json: Path


def write_report(database: Path, folder: Path, alive: bool) -> WrittenReport:
    """Summarise a run and write its report.

    Parameters
    ----------
    database
        The database of the run.
    folder
        Where the files go; it is made if it is missing.
    alive
        Whether the run goes on.

    Raises
    ------
    ConfigurationError
        The database cannot be read, or the folder cannot be written.
    """
    with reading(database) as connection:
        summary = summarise(connection, steady_time(), alive)
    # The name is from the database, which may be foreign, and must not lead to another folder.
    name = re.sub(r"[^\w.-]", "_", summary.run.run)[:100]
    html, json = folder / f"report-{name}.html", folder / f"report-{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(json, msgspec.json.format(msgspec.json.encode(summary), indent=1).decode() + "\n")
        write_atomically(html, page(summary))
    except OSError as error:
        raise ConfigurationError(
            f"The report cannot be written to {folder} ({error.strerror or error}): name another folder."
        ) from error
    return WrittenReport(summary.run.run, html, json)
