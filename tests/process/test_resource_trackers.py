"""What a killed program with multiprocessing leaves in the system is removed by its resource tracker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parslab.bodies.resource_trackers import is_resource_tracker
from tests.process.sandbox import until

PROGRAM = """
import multiprocessing, time
lock = multiprocessing.get_context("spawn").Lock()
print(lock._semlock.name, flush=True)
time.sleep(600)
"""
PARENT = """
import subprocess, sys
from parslab.remote.pool.processes import adopt_orphans, end_orphans
adopt_orphans()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), end="", flush=True)
end_orphans()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process the orphans of its children")
def test_orphans_leave_no_semaphore() -> None:
    done = subprocess.run([sys.executable, "-c", PARENT, PROGRAM], capture_output=True, text=True, check=True)
    name = done.stdout.strip().removeprefix("/")
    assert name.startswith("mp-"), done.stderr
    until(lambda: not Path(f"/dev/shm/sem.{name}").exists(), what="the semaphore was removed")


def test_trackers_of_python_and_loky_are_known() -> None:
    python = [sys.executable, "-c", "from multiprocessing.resource_tracker import main;main(5)"]
    loky = [sys.executable, "-c", "from loky.backend.resource_tracker import main; main(5, 0)"]
    assert is_resource_tracker(python)
    assert is_resource_tracker(loky)
    assert not is_resource_tracker([sys.executable, "-c", PROGRAM])
    assert not is_resource_tracker([])
