"""The command `parslab` beside a run that is really there: it is listed, its log read, and a command ends it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.process.sandbox import is_gone, until

if TYPE_CHECKING:
    from tests.process.sandbox import Sandbox

OWNER = """
    dfk = load(1)
    emit(run=dfk.run, pid=dfk.pid, folder=str(dfk.run_dir))
    ended = threading.Event()
    dfk.on_end.append(lambda how: ended.set())
    ended.wait()
    emit(report=True)
"""


def parslab(sandbox: Sandbox, *words: str, status: int = 0) -> str:
    """Run the command; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "parslab.cli", *words], capture_output=True, text=True, cwd=sandbox.root, check=False
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_a_live_run_is_listed_read_and_stopped(sandbox: Sandbox) -> None:
    assert parslab(sandbox, "runs") == "You have no live run on this host.\n"
    with sandbox.script(OWNER) as script:
        facts = script.read_json()
        assert f"{facts['run']}  pid {facts['pid']} on " in parslab(sandbox, "runs")
        assert f"run {facts['run']} is up" in parslab(sandbox, "logs")
        assert f"run {facts['run']} is up" in parslab(sandbox, "logs", facts["run"], "-n", "0")
        assert f"Run {facts['run']} is over" in parslab(sandbox, "stop", facts["run"][:4])
        until(is_gone(facts["pid"]))
        assert script.read_json() == {"report": True}
    assert "it received SIGTERM" in parslab(sandbox, "logs", facts["folder"])
    assert "There is no live run" in parslab(sandbox, "stop", facts["run"], status=1)


def test_the_doctor_runs_a_task_on_a_configuration_that_is_well(sandbox: Sandbox) -> None:
    file = sandbox.root / "mine.py"
    file.write_text(
        "from parslab import Config, LowLatencyExecutor, ThreadPoolExecutor\n"
        "both = [LowLatencyExecutor(workers=1), ThreadPoolExecutor()]\n"
        f"config = Config(executors=both, run_dir={str(sandbox.runs)!r})\n"
    )
    report = parslab(sandbox, "doctor", "mine.py")
    assert report.count("[ ok ] a task: ran on ") == 2
    assert report.endswith("All is well.\n")
    file.write_text("from parslab import Config\nconfig = Config(executors=[])\n")
    report = parslab(sandbox, "doctor", "mine.py", status=1)
    assert report.startswith(
        "[FAIL] The configuration cannot be used (mine.py, line 2): Config: executors must be a list"
    )
