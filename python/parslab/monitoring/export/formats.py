"""The formats by name, and how a file of one is written.  [shell]

A file is private to its user, because arguments and errors of tasks may hold what others must not read.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError
from parslab.monitoring.export.drawings import as_dot, as_mermaid
from parslab.monitoring.export.tables import as_csv, as_json_lines
from parslab.monitoring.export.trace import as_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from parslab.monitoring.export.reading import ExportedRun

__all__ = ["FORMATS", "write_export"]

FORMATS: dict[str, Callable[[ExportedRun], Iterator[str]]] = {
    "jsonl": as_json_lines,
    "csv": as_csv,
    "dot": as_dot,
    "mermaid": as_mermaid,
    "trace": as_trace,
}
"""Name of a format and what yields its text, piece by piece."""


def write_export(run: ExportedRun, kind: str, file: Path) -> None:
    """Write a run to a file; an older file stays if that fails.

    Parameters
    ----------
    run
        The run.
    kind
        A name of ``FORMATS``.
    file
        The file.

    Raises
    ------
    ConfigurationError
        The file cannot be written.
    """
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="replace", newline="") as target:
            target.writelines(FORMATS[kind](run))
        os.replace(new, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise ConfigurationError(
            f"The run cannot be written to {file} ({error.strerror or error}): name another file."
        ) from error
