"""Removes a run whose DataFlowKernel and notebook are killed together [shell].

The reaper is a shell, a child of the DataFlowKernel.  It waits for a pipe to close, which costs next to nothing.  A
DataFlowKernel that ends in order kills the shell.  When the DataFlowKernel is killed, the pipe closes and the shell
replaces itself by a Python process.  That process kills the processes that tasks have left running, and removes the run
as soon as no notebook may return to it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.cleanup.dead_runs import (
    end_processes,
    find_dead_runs,
    folder_is_gone,
    process_runs,
    removable_at,
    remove_dead_run,
)
from parslab.wire.descriptors import with_user_limit

if TYPE_CHECKING:
    from parslab.wire.run_files import RunSettings

__all__ = ["Reaper", "serve"]

_SHELL = 'read -r _; exec "$@"'
# The environment carries what the process needs: somebody may delete the folder of the run, which has the settings.
_START = (
    "import json, os, sys; s = json.loads(os.environ.pop('PARSLAB_REAPER')); sys.path[:] = s['path']; "
    "from parslab.cleanup.reaper import serve; serve(s['run'], s['connection'])"
)
_FIRST_CHECK, _CHECK_EVERY = 0.1, 2.0
"""Seconds between the first two checks of a run to which a notebook may still return, and most seconds between two.

A client restarts its DataFlowKernel within half a second.  The reaper of the lost DataFlowKernel must then end soon.
"""


class Reaper:
    """The reaper of this process, which is a DataFlowKernel that has just begun to serve.

    Parameters
    ----------
    settings
        The settings of the run.
    """

    def __init__(self, settings: RunSettings) -> None:
        # Python's descriptors are not inheritable, so only this process holds the writing end.  The system closes it
        # when this process dies, however it dies.
        reads, self._writes = os.pipe()
        command = with_user_limit(["/bin/sh", "-c", _SHELL, "parslab-reaper", sys.executable, "-c", _START])
        facts = {"path": settings.path, "run": settings.run, "connection": settings.connection}
        environment = {**os.environ, "PARSLAB_REAPER": json.dumps(facts)}
        try:
            # In a session of its own, the reaper survives signals to the group of the DataFlowKernel.
            self.popen = subprocess.Popen(
                with_user_limit(command), stdin=reads, env=environment, start_new_session=True
            )
        finally:
            os.close(reads)

    def dismiss(self) -> None:
        """End the reaper: the run has ended in order."""
        # The pipe closes last, because the shell would take its end for the death of the DataFlowKernel.
        self.popen.kill()
        self.popen.wait()
        os.close(self._writes)


def serve(run: str, connection: str) -> None:
    """Remove a run after its DataFlowKernel was killed; return when the run is removed or restarted.

    Parameters
    ----------
    run
        The name of the run.
    connection
        The path of its connection file.
    """
    end_processes(run, lost=True)
    path = Path(connection)
    pause = _FIRST_CHECK
    while info := dict(find_dead_runs(path.parent)).get(path):
        attended = any(process_runs(pid, info.written_at) for pid in info.owners)
        wait = removable_at(info, attended, folder_is_gone(info.run_dir)) - time.time()
        if wait <= 0:
            remove_dead_run(path, info)
        else:
            time.sleep(min(wait, pause))
            pause = min(2 * pause, _CHECK_EVERY)
