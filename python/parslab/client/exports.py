"""Finds the database of a run, and exports or queries it, for ``parslab export`` and :func:`query`."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from parslab.client.run_database import database_and_folder
from parslab.clock import steady_time
from parslab.errors import ConfigurationError, OptionalModuleMissing
from parslab.monitoring.export.formats import FORMATS, write_export
from parslab.monitoring.export.reading import run_of
from parslab.monitoring.store.reader import reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["export", "query", "task_graph"]


def export(run: str = "", kind: str = "jsonl", file: str | Path | TextIO = "") -> None:
    """Write the tasks of a run in the format of another program.

    Parameters
    ----------
    run
        The beginning of the name of a live run (empty: the newest), the folder of any run, or its database.
    kind
        ``"jsonl"`` or ``"csv"``: a line for each task. ``"dot"`` (Graphviz) or ``"mermaid"``: the graph. ``"trace"``:
        what ran when and where, for ``ui.perfetto.dev`` and ``chrome://tracing``.
    file
        Where to write: a path, or an open text stream.

    Raises
    ------
    ConfigurationError
        There is no such run or format, the database cannot be read, or the file cannot be written.
    """
    if kind not in FORMATS:
        raise ConfigurationError(f"There is no format {kind!r}: the formats are {', '.join(FORMATS)}.")
    with _opened(run) as connection:
        exported = run_of(connection, steady_time())
        if isinstance(file, (str, Path)):
            if not str(file):
                raise ConfigurationError("export() needs the name of a file, or an open stream.")
            write_export(exported, kind, Path(file).expanduser())
        else:
            file.writelines(FORMATS[kind](exported))


def query(sql: str, run: str = "", parameters: Sequence[object] = ()) -> Any:
    """Ask the database of a run, also while the run goes on.

    Parameters
    ----------
    sql
        A ``SELECT`` of SQLite. The tables are ``task``, ``edge``, ``attempt``, ``failure``, ``worker``, ``block`` and
        others; ``SELECT * FROM sqlite_master`` lists them with their columns. Nothing can be changed.
    run
        The beginning of the name of a live run (empty: the newest), the folder of any run, or its database.
    parameters
        The values of the placeholders ``?``.

    Returns
    -------
    pandas.DataFrame
        A row for each row of the answer.

    Raises
    ------
    ConfigurationError
        There is no such run, its database cannot be read, or the query is wrong.
    OptionalModuleMissing
        pandas is not installed.

    Examples
    --------
    >>> query("SELECT app, avg(ended - started) FROM task GROUP BY app", "runinfo/000")  # doctest: +SKIP
    """
    try:
        import pandas
    except ImportError:
        raise OptionalModuleMissing("pandas", "analysis") from None
    with _opened(run) as connection:
        try:
            found = connection.execute(sql, parameters)
            rows = found.fetchall()
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise ConfigurationError(f"The query cannot be answered: {error}.") from None
        columns = [column[0] for column in found.description or ()]
        return pandas.DataFrame(rows, columns=columns)


def task_graph(run: str = "") -> Any:
    """Return the graph of a run for networkx.

    Parameters
    ----------
    run
        The beginning of the name of a live run (empty: the newest), the folder of any run, or its database.

    Returns
    -------
    networkx.DiGraph
        A node for each task, with the columns of the table ``task`` as attributes; an edge leads from a task to one
        that needs its result.

    Raises
    ------
    ConfigurationError
        There is no such run, or its database cannot be read.
    OptionalModuleMissing
        networkx is not installed.
    """
    try:
        import networkx
    except ImportError:
        raise OptionalModuleMissing("networkx", "analysis") from None
    import msgspec

    graph = networkx.DiGraph()
    with _opened(run) as connection:
        exported = run_of(connection, steady_time())
        graph.add_nodes_from((task.id, msgspec.to_builtins(task)) for task in exported.tasks())
        graph.add_edges_from((dep, task) for task, dep in exported.edges())
    return graph


@contextlib.contextmanager
def _opened(run: str) -> Iterator[Any]:
    database, _ = database_and_folder(run)
    with reading(database) as connection:
        yield connection
