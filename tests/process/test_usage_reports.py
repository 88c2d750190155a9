"""Usage reports of real runs: nothing by default; with level and address the bytes that the log shows."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process.sandbox import is_gone, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.sandbox import Sandbox

OWNER = """
    dfk = parslab.load(Config(executors=[LowLatencyExecutor(workers=1)], run_dir=RUNS, **OPTIONS))

    @python_app
    def fail(x):
        raise ValueError(x)

    fail(1).exception()
    emit(folder=str(dfk.run_dir), pid=dfk.pid)
    sys.stdin.readline()
    dfk.cleanup()
    emit(over=True)
"""


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    """The socket of somebody who receives usage reports."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(60)
        yield opened


class Owner:
    """A program with one task that fails, and the log of its DataFlowKernel."""

    def __init__(self, sandbox: Sandbox, **options: object) -> None:
        self.script = sandbox.script(f"\n    OPTIONS = {options!r}{OWNER}", stdin=subprocess.PIPE)
        facts = self.script.read_json()
        self.pid, self.log = facts["pid"], Path(facts["folder"]) / "dfk.log"

    def finish(self) -> str:
        """End the run; return its log."""
        with self.script as script:
            assert script.popen.stdin is not None
            script.popen.stdin.write(b"\n")
            script.popen.stdin.flush()
            assert script.read_json() == {"over": True}
            until(is_gone(self.pid))
        return self.log.read_text()


def test_both_reports_arrive_as_the_log_shows_them(sandbox: Sandbox, receiver: socket.socket) -> None:
    address = f"127.0.0.1:{receiver.getsockname()[1]}"
    owner = Owner(sandbox, usage_tracking=3, usage_address=address, project_name="survey")
    first = receiver.recv(65536).decode()  # before the end, which does not wait for it
    log = owner.finish()
    last = receiver.recv(65536).decode()
    begin, end = json.loads(first), json.loads(last)
    assert (begin["event"], begin["project"], begin["components"]) == ("start", "survey", ["LowLatencyExecutor"])
    assert (end["event"], end["id"], end["tasks"], end["failed"]) == ("end", begin["id"], 1, 1)
    lines = [line for line in log.splitlines() if " usage report to " in line]
    assert [line.partition(" usage report to ")[2] for line in lines] == [f"{address}: {first}", f"{address}: {last}"]


def test_without_an_address_or_with_a_dead_one_a_run_is_as_always(sandbox: Sandbox) -> None:
    assert "usage report" not in Owner(sandbox, usage_tracking=3).finish()
    log = Owner(sandbox, usage_tracking=3, usage_address="no-such-host.invalid:9").finish()
    assert "Traceback" not in log
    assert " usage report to " not in log
