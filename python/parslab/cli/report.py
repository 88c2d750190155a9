"""``parslab report``, ``compare`` and ``import-monitoring``: reports of runs, also of those that Parsl has run."""

from __future__ import annotations

import sys

from parslab.records.text import printable

__all__ = ["compare", "import_runs", "show_schema", "write"]


def write(run: str, output: str) -> None:
    """Write the report of a run, and print where it is.

    Parameters
    ----------
    run
        The beginning of the name of a live run, the folder of any run, or its database.
    output
        Where the files go; empty for the folder of the run.

    Raises
    ------
    ConfigurationError
        There is no such run, or its database cannot be read.
    """
    from parslab.client.reports import report_of

    report = report_of(run, output)
    print(printable(f"The report of run {report.run} is {report.html}; the summary for programs is {report.json}"))


def compare(first: str, second: str) -> None:
    """Print two runs side by side.

    Raises
    ------
    ConfigurationError
        There is no such run, or its database cannot be read.
    """
    from parslab.client import reports

    for line in reports.compare(first, second).splitlines():
        print(printable(line))


def show_schema() -> None:
    """Print the JSON Schema of the summary."""
    import msgspec

    from parslab.monitoring.report.summary import Summary

    schema = msgspec.json.encode(msgspec.json.schema(Summary))
    sys.stdout.write(msgspec.json.format(schema, indent=1).decode() + "\n")


def import_runs(database: str, run_dir: str) -> int:
    """Import the runs of a monitoring database of Parsl; returns the exit status.

    Raises
    ------
    ConfigurationError
        The database cannot be read, or the folder cannot be written.
    """
    from parslab.monitoring.parsl_database.importing import import_database

    for imported in import_database(database, run_dir):
        print(printable(imported.sentence), flush=True)
    return 0
