"""What the user reads of faults is a sentence: those of `python/FAULTS.md` whose words no other test looks at."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import TYPE_CHECKING

import cloudpickle

from parslab import python_app
from parslab.errors import ManagerLost
from tests.process.blocks import attempts, blocks_run, managers
from tests.process.sandbox import error_of, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@python_app(executors=["htex"])
def begin(path: Path) -> None:
    """Write down that the task is begun, then take long."""
    import time

    path.write_text("0\n")
    time.sleep(60)


def test_manager_reports_the_signal_that_ends_it(sandbox: Sandbox, tmp_path: Path) -> None:
    """As `scancel` does, or a scheduler at the end of the walltime."""
    log = tmp_path / "log"
    with blocks_run(sandbox, workers=1) as dfk:
        task = begin(log)
        until(lambda: attempts(log))
        os.kill(managers(dfk.pid)[0], signal.SIGTERM)
        error = error_of(task, 10)
    assert isinstance(error, ManagerLost)
    said = r"Task 0 was lost with its manager \S+ \(host \S+, block 0\), which left: it received SIGTERM"
    assert re.fullmatch(said, str(error))
