"""The file by which a manager finds the DataFlowKernel of its run, keys included [shell].

Written by the hub, read by managers, also those whose job waits in a queue for days: a DataFlowKernel that was started
again writes it anew, and managers that lost theirs read it again before each attempt.  When a run is over, whoever ends
or buries it withdraws the file, so that nobody waits for what will not come back.  A reader never meets half a file.
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
    """The run has ended; the text says how."""


def file_name(label: str) -> str:
    """The file of an executor, in the folder of the run."""
    return f"manager-{label}.json"


def write(path: Path, content: dict[str, Any]) -> None:
    """Put a file there that only we can read, in one step."""
    write_atomically(path, json.dumps(content))


def read(path: str | Path) -> dict[str, Any]:
    """What the file says.

    Raises
    ------
    RunOver
        It was withdrawn.
    OSError
        It cannot be read here, or its folder is gone.
    """
    content: dict[str, Any] = json.loads(read_text(path))
    if _OVER in content:
        raise RunOver(content[_OVER])
    return content


def withdraw(run_dir: Path, why: str) -> None:
    """Tell all that still come that the run is over; a folder that cannot be written is left as it is."""
    for path in run_dir.glob(file_name("*")):
        try:
            write(path, {_OVER: why})
        except OSError:
            continue
