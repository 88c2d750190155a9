"""Who sees to it that nothing of a run stays when its DataFlowKernel and its notebook are killed together [shell].

A shell, a child of the DataFlowKernel, that waits for a pipe to close and costs next to nothing.  When the
DataFlowKernel ends in order it takes the shell along.  When it is killed the pipe closes, and the shell becomes a
Python that ends what tasks have left running, and buries the run as soon as it may be: not while somebody may start it
again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from parslab.cleanup.cleanup import burial, dead_runs, end_processes, entomb, serves

__all__ = ["Reaper", "serve"]

_SHELL = 'read -r _; exec "$@"'
_START = (
    "import json, sys; s = json.load(open(sys.argv[1])); sys.path[:] = s['path']; "
    "from parslab.cleanup.reaper import serve; serve(s)"
)
_LOOK = 2.0
"""Most seconds between two looks at a run that may not be buried yet."""


class Reaper:
    """The one of this process, which has just begun to serve a run.

    Parameters
    ----------
    settings
        Of the run, as they stand in its folder.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        reads, self._writes = os.pipe()
        path = Path(settings["run_dir"]) / "settings.json"
        command = ["/bin/sh", "-c", _SHELL, "parslab-undertaker", sys.executable, "-c", _START, str(path)]
        try:
            self.popen = subprocess.Popen(command, stdin=reads, start_new_session=True)
        finally:
            os.close(reads)

    def dismiss(self) -> None:
        """The run has ended in order."""
        self.popen.kill()
        self.popen.wait()
        os.close(self._writes)


def serve(settings: dict[str, Any]) -> None:
    """What it does once the DataFlowKernel is gone.

    Parameters
    ----------
    settings
        Of the run.
    """
    end_processes(settings["run"], lost=True)
    connection = Path(settings["connection"])
    while info := dict(dead_runs(connection.parent)).get(connection):
        attended = any(serves(pid, info["since"]) for pid in info.get("owners", ()))
        wait = burial(info, attended) - time.time()
        if wait <= 0:
            entomb(connection, info)
        else:
            time.sleep(min(wait, _LOOK))
