"""The command `parslab` beside a run that is really there: it is listed, its log read, and a command ends it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.process.house import is_gone, until

if TYPE_CHECKING:
    from tests.process.house import House

OWNER = """
    dfk = load(1)
    tell(run=dfk.run, pid=dfk.pid, folder=str(dfk.run_dir))
    ended = threading.Event()
    dfk.on_end.append(lambda how: ended.set())
    ended.wait()
    tell(told=True)
"""


def parslab(house: House, *words: str, status: int = 0) -> str:
    """Run the command; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "parslab.cli", *words], capture_output=True, text=True, cwd=house.root, check=False
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_a_live_run_is_listed_read_and_stopped(house: House) -> None:
    assert parslab(house, "runs") == "You have no live run on this host.\n"
    with house.script(OWNER) as script:
        facts = script.hear()
        assert f"{facts['run']}  pid {facts['pid']} on " in parslab(house, "runs")
        assert f"run {facts['run']} is up" in parslab(house, "logs")
        assert f"run {facts['run']} is up" in parslab(house, "logs", facts["run"], "-n", "0")
        assert f"Run {facts['run']} is over" in parslab(house, "stop", facts["run"][:4])
        until(is_gone(facts["pid"]))
        assert script.hear() == {"told": True}
    assert "it received SIGTERM" in parslab(house, "logs", facts["folder"])
    assert "There is no live run" in parslab(house, "stop", facts["run"], status=1)


def test_the_doctor_runs_a_task_on_a_configuration_that_is_well(house: House) -> None:
    file = house.root / "mine.py"
    file.write_text(
        "from parslab import Config, LowLatencyExecutor, ThreadPoolExecutor\n"
        "both = [LowLatencyExecutor(workers=1), ThreadPoolExecutor()]\n"
        f"config = Config(executors=both, run_dir={str(house.runs)!r})\n"
    )
    told = parslab(house, "doctor", "mine.py")
    assert told.count("[ ok ] a task: ran on ") == 2
    assert told.endswith("All is well.\n")
    file.write_text("from parslab import Config\nconfig = Config(executors=[])\n")
    told = parslab(house, "doctor", "mine.py", status=1)
    assert told.startswith(
        "[FAIL] The configuration cannot be used (mine.py, line 2): Config: executors must be a list"
    )
