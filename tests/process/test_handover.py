"""A run moves to another host: nothing of it is computed again."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import parslab
from parslab.errors import ConfigurationError
from tests.process.sandbox import until
from tests.process.test_lease import Kernel, known

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process.sandbox import Sandbox

pytestmark = pytest.mark.timeout(300)

APPS = """
    @python_app(executors=["llex"])
    def note(number, log):
        with open(log, "a") as file: file.write(f"{number}\\n")
        return number

    @python_app(executors=["llex"])
    def large(log):
        with open(log, "a") as file: file.write("-1\\n")
        return bytes(3_000_000)

    @python_app(executors=["llex"])
    def held(number, log, gate):
        import os, time
        with open(log, "a") as file: file.write(f"{number}\\n")
        while not os.path.exists(gate): time.sleep(0.01)
        return number

    def loaded(**options):
        return parslab.load(Config(executors=[LowLatencyExecutor(workers=2)], run_dir=RUNS, **options))

    def calls(log, gate):
        return [note(n, log) for n in range(3)], large(log), held(7, log, gate), note(8, log)
"""
BUSY = (
    APPS
    + """
    dfk = loaded(linger=LINGER)
    done, big, running, last = calls(LOG, GATE)
    assert [f.result() for f in done] == [0, 1, 2] and len(big.result()) == 3_000_000 and last.result() == 8
    while not running.running(): time.sleep(0.01)
    emit(run=dfk.run, run_dir=str(dfk.run_dir), dfk=dfk.pid)
"""
)
THERE = """
    done, big, running, last = calls(LOG, GATE)
    results = [f.result() for f in done], len(big.result()), running.result(), last.result()
    emit(run=dfk.run, host=dfk.ask(SNAPSHOT).run.host, notices=dfk.notices, results=results)
    dfk.cleanup()
"""
IMPORTS = "    from parslab.records.panel import SnapshotRequest\n    SNAPSHOT = SnapshotRequest(subscribe=False)\n"
OTHER_HOST = """
    import ctypes, socket
    assert ctypes.CDLL(None, use_errno=True).unshare(0x04000000) == 0  # a host name of its own
    socket.sethostname("other")
"""
ASKS = "    dfk = parslab.handover()\n"
only_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a process a host name of its own")
RESULTS = [[0, 1, 2], 3_000_000, 7, 8]


class Files:
    """What the tasks write, and wait for."""

    def __init__(self, folder: Path, linger: float = 60.0) -> None:
        self.log, self.gate = folder / "log", folder / "gate"
        self.names = f"    LOG, GATE, LINGER = {str(self.log)!r}, {str(self.gate)!r}, {linger}\n"

    def executions(self) -> Counter[int]:
        return Counter(map(int, self.log.read_text().split()))


def is_being_handed_over(sandbox: Sandbox, run: str) -> Callable[[], bool]:
    return lambda: bool(known(sandbox, run)["handing_over"])


def next_kernel(sandbox: Sandbox, files: Files, run: str) -> None:
    """The next kernel of the notebook goes on with the run, and all results are there."""
    with Kernel(sandbox, files.names + IMPORTS + APPS + "    dfk = parslab.load()\n" + THERE) as script:
        text = script.line(60)
        second = script.read_json(60)
        script.wait(30)
    assert text.startswith(f"Run {run} of this notebook was handed over by {socket.gethostname()} and goes on here: ")
    assert (second["run"], second["results"]) == (run, RESULTS)
    sandbox.assert_empty()


HANDS_OVER = """
    sys.stdin.readline()
    emit(said=dfk.handover(wait=WAIT), ended=str(dfk.state.ended))
"""


def test_the_next_kernel_goes_on_with_a_run_that_was_handed_over(sandbox: Sandbox, tmp_path: Path) -> None:
    """The running task finishes before; a large result, which was in memory only, is not made again."""
    files = Files(tmp_path)
    with Kernel(sandbox, files.names + BUSY + HANDS_OVER.replace("WAIT", "600")) as script:
        first = script.read_json(30)
        script.go_on()
        until(is_being_handed_over(sandbox, first["run"]), 30)
        files.gate.touch()
        told = script.read_json(60)
        script.wait(30)
    assert told["said"].startswith(f"Run {first['run']} is handed over: parslab.load() in the notebook's next job")
    assert told["said"].endswith(" 1 running task of this host may finish before.")
    assert "was handed over" in told["ended"]
    assert known(sandbox, first["run"])["handed_over"] is True
    next_kernel(sandbox, files, first["run"])
    assert files.executions() == Counter([0, 1, 2, -1, 7, 8])


def test_a_job_that_ends_does_not_wait_for_tasks(sandbox: Sandbox, tmp_path: Path) -> None:
    """The scheduler sends SIGTERM before it kills; the task that ran then runs again."""
    files = Files(tmp_path)
    with Kernel(sandbox, files.names + BUSY + HANDS_OVER.replace("WAIT", "600")) as script:
        first = script.read_json(30)
        script.go_on()
        until(is_being_handed_over(sandbox, first["run"]), 30)
        os.kill(first["dfk"], signal.SIGTERM)
        told = script.read_json(60)
        script.wait(30)
    assert "was handed over" in told["ended"]
    files.gate.touch()
    next_kernel(sandbox, files, first["run"])
    assert files.executions() == Counter([0, 1, 2, -1, 7, 7, 8])


def test_a_process_that_is_killed_while_it_hands_over_is_replaced_by_one_that_does(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The large result was in memory only, so its task runs again, too."""
    files = Files(tmp_path)
    with Kernel(sandbox, files.names + BUSY + HANDS_OVER.replace("WAIT", "600")) as script:
        first = script.read_json(30)
        script.go_on()
        until(is_being_handed_over(sandbox, first["run"]), 30)
        os.kill(first["dfk"], signal.SIGKILL)
        until(lambda: known(sandbox, first["run"])["pid"] != first["dfk"], 30)
        until(is_being_handed_over(sandbox, first["run"]), 30)
        files.gate.touch()
        told = script.read_json(60)
        script.wait(30)
    assert "was handed over" in told["ended"]
    next_kernel(sandbox, files, first["run"])
    once = Counter([0, 1, 2, 8])
    assert {number: times for number, times in files.executions().items() if number in once} == once
    assert files.executions().keys() == {0, 1, 2, -1, 7, 8}


@only_root
def test_another_host_asks_for_the_run(sandbox: Sandbox, tmp_path: Path) -> None:
    files = Files(tmp_path)
    lost = """
    sys.stdin.readline()
    emit(ended=str(dfk.state.ended), errors=[type(running.exception()).__name__])
"""
    with Kernel(sandbox, files.names + BUSY + lost) as here:
        first = here.read_json(30)
        with Kernel(sandbox, OTHER_HOST + files.names + IMPORTS + APPS + ASKS + THERE) as there:
            until(is_being_handed_over(sandbox, first["run"]), 60)
            files.gate.touch()
            text = there.line(60)
            second = there.read_json(60)
            there.wait(30)
        here.go_on()
        told = here.read_json(30)
        here.wait(30)
    assert text.startswith(f"Run {first['run']} of this notebook was handed over by {socket.gethostname()}")
    assert (second["run"], second["host"]) == (first["run"], "other")
    assert second["results"] == RESULTS
    assert "was handed over" in told["ended"]
    assert files.executions() == Counter([0, 1, 2, -1, 7, 8])
    sandbox.assert_empty()


@only_root
def test_a_notebook_that_leaves_does_not_end_a_run_that_is_handed_over(sandbox: Sandbox, tmp_path: Path) -> None:
    """Without a handover, a run with a linger of 0 ends with its notebook."""
    files = Files(tmp_path, linger=0.0)
    leaves = "    while not dfk.linger: time.sleep(0.01)\n"
    with Kernel(sandbox, files.names + BUSY + leaves) as here:
        first = here.read_json(30)
        with Kernel(sandbox, OTHER_HOST + files.names + IMPORTS + APPS + ASKS + THERE) as there:
            here.wait(60)
            until(lambda: known(sandbox, first["run"])["away"] is not None, 30)
            files.gate.touch()
            there.line(60)
            second = there.read_json(60)
            there.wait(30)
    assert (second["run"], second["host"], second["results"]) == (first["run"], "other", RESULTS)
    assert files.executions() == Counter([0, 1, 2, -1, 7, 8])
    sandbox.assert_empty()


def test_without_an_event_log_there_is_nothing_to_hand_over(sandbox: Sandbox) -> None:
    with sandbox.load(resume=False) as dfk:
        with pytest.raises(ConfigurationError, match=r"has no event log.*Config\(resume=True\)"):
            dfk.handover()
        assert dfk.state.ended is None


def test_no_other_host_has_a_run(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSLAB_NOTEBOOK", "/books/fit.ipynb")
    with pytest.raises(ConfigurationError, match="No other host has a run of this notebook"):
        parslab.handover()
