"""The file by which a manager finds the DataFlowKernel of its run, keys included [shell].

The hub writes the file.  Managers read it, some of them after days in the queue of a batch system.  A restarted
DataFlowKernel writes it again, and a manager that lost its connection reads it before each attempt.  The process that
ends a run, or removes a dead run, withdraws the file, so that no manager waits in vain.  Each write is atomic.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from parslab.atomic_files import write_atomically
from parslab.trust import read_text

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RunOver", "file_name", "read", "withdraw", "write"]

_OVER = "over"


class RunOver(Exception):
    """The run has ended; the text of the exception says how."""


def file_name(label: str) -> str:
    """Return the name of an executor's file in the folder of the run."""
    return f"manager-{label}.json"


def write(path: Path, content: dict[str, Any]) -> None:
    """Write the file atomically, readable by its owner only."""
    write_atomically(path, json.dumps(content))


def read(path: str | Path) -> dict[str, Any]:
    """Return the content of the file.

    Raises
    ------
    RunOver
        The file was withdrawn.
    OSError
        The file cannot be read on this host, or its folder is gone.
    """
    content: dict[str, Any] = json.loads(read_text(path))
    if _OVER in content:
        raise RunOver(content[_OVER])
    return content


def withdraw(run_dir: Path, why: str) -> None:
    """Replace the files of all executors by the statement that the run is over; ignore files that cannot be written."""
    # A manager takes a missing file for a run folder that is not shared with its node, and reports that as an error.
    for path in run_dir.glob(file_name("*")):
        try:
            write(path, {_OVER: why})
        except OSError:
            continue
