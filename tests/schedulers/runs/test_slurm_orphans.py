"""However a run on Slurm ends, its jobs go: the one that runs, with all processes on its node, and the one that waits.

Four runs at a time, each on a node of its own that it wants for two blocks, of which one has to wait.  The bound is
60 s; each is watched until nothing is left, and not longer.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.process.sandbox import Sandbox, Script, until
from tests.schedulers.runs.cluster import slurm_jobs

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("nodes")

BOUND = 60.0
CLIENT = """
    from parslab import HighThroughputExecutor, SlurmProvider

    provider = SlurmProvider(init_blocks=2, min_blocks=2, max_blocks=2, walltime=300, poll_interval=1, exclusive=True,
                             scheduler_options=f"--nodelist={NODE}")
    htex = HighThroughputExecutor(label="htex", provider=provider, max_workers_per_node=2)
    dfk = parslab.load(Config(executors=[htex], run_dir=RUNS, linger=LINGER, resume=RESUME, strategy_period=0.5))

    @python_app
    def work(path):
        subprocess.Popen(["sleep", "600"])
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        open(path, "x").close()
        time.sleep(600)

    futures = [work(f"{RUNS}/begun-{n}") for n in range(4)]
    while not any(name.startswith("begun") for name in os.listdir(RUNS)): time.sleep(0.05)
    emit(run=dfk.run, dfk=dfk.pid)
    for line in sys.stdin: exec(json.loads(line))
"""


class Life:
    """A client on a node."""

    def __init__(self, sandbox: Sandbox, node: str, linger: float = 0.0, resume: bool = True) -> None:
        self.sandbox = sandbox
        words = f"    NODE, LINGER, RESUME = {node!r}, {linger}, {resume}\n"
        environment = {**os.environ, **sandbox.environment()}
        if linger:
            environment["PARSLAB_NOTEBOOK"] = "/books/fit.ipynb"
        self.script = Script(sandbox, words + CLIENT, stdin=-1, env=environment, start_new_session=True)
        self.pid = self.script.popen.pid
        self.run, self.dfk = "", 0

    def begun(self) -> None:
        """One of its jobs runs and is busy, the other waits."""
        facts = self.script.read_json(40)
        self.run, self.dfk = facts["run"], facts["dfk"]
        until(lambda: sorted(self.jobs().values()) == ["PENDING", "RUNNING"], 20, "one job runs and one waits")

    def jobs(self) -> dict[str, str]:
        return slurm_jobs(self.run)

    def does(self, source: str) -> None:
        """Let the client run this."""
        assert self.script.popen.stdin is not None
        self.script.popen.stdin.write(json.dumps(source).encode() + b"\n")
        self.script.popen.stdin.flush()

    def cancel(self, state: str) -> None:
        """Cancel its job that is in this state, behind its back."""
        (job,) = (job for job, found in self.jobs().items() if found == state)
        subprocess.run(["scancel", job], check=True)
        until(lambda: job not in self.jobs(), 20, "it is cancelled")

    def end(self) -> None:
        """The client falls off its end, where it has not ended yet."""
        assert self.script.popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.script.popen.stdin.close()
        self.script.wait(20)

    def left(self) -> list[str]:
        return [*self.sandbox.left(), *(f"job {job}: {state}" for job, state in self.jobs().items())]


def killed(life: Life) -> None:
    os.kill(life.pid, signal.SIGKILL)


def both_killed(life: Life) -> None:
    """Nobody sees the other one die; no other run is begun on this host."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        os.kill(life.pid, number)
        os.kill(life.dfk, number)


def kernel_killed(life: Life) -> None:
    """There is no record: its client buries it, and goes on."""
    os.kill(life.dfk, signal.SIGKILL)
    until(lambda: not life.jobs(), BOUND, "its jobs are cancelled")


def cancelled(state: str) -> Callable[[Life], None]:
    """First one of its jobs, behind its back, then it is killed, while another block is perhaps being asked for."""

    def act(life: Life) -> None:
        life.cancel(state)
        killed(life)

    return act


WAYS: dict[str, Callable[[Life], None]] = {
    "killed": killed,
    "logout": lambda life: os.killpg(life.pid, signal.SIGHUP),
    "killed with its DataFlowKernel": both_killed,
    "lease": killed,
    "lease, DataFlowKernel killed": both_killed,
    "exception": lambda life: life.does("raise ValueError('no')"),
    "cleanup": lambda life: life.does("dfk.cleanup()"),
    "DataFlowKernel, without a record": kernel_killed,
    "job cancelled, then killed": cancelled("RUNNING"),
    "waiting job cancelled, then killed": cancelled("PENDING"),
}
TOGETHER = [list(WAYS)[:4], list(WAYS)[4:8], list(WAYS)[8:]]


@pytest.mark.parametrize("names", TOGETHER, ids=", ".join)
def test_no_job_and_no_process_is_left(names: list[str]) -> None:
    with contextlib.ExitStack() as stack:
        lives = []
        for number, name in enumerate(names, 1):
            sandbox = stack.enter_context(Sandbox().checked_at_end())
            linger = 0.5 if name.startswith("lease") else 0.0
            lives.append(Life(sandbox, f"n{number}", linger, "without a record" not in name))
            stack.enter_context(lives[-1].script)
        for life in lives:
            life.begun()
        for name, life in zip(names, lives, strict=True):
            WAYS[name](life)
        began = time.monotonic()
        for name, life in zip(names, lives, strict=True):
            if name == "lease, DataFlowKernel killed":
                # It stays as long as the DataFlowKernel may have died after its last sign of life: shorten that.
                forget_beat(life)
            life.end()
        for name, life in zip(names, lives, strict=True):
            until(lambda life=life: not life.left(), BOUND, f"nothing is left ({name})")  # type: ignore[misc]
        assert time.monotonic() - began < BOUND


def forget_beat(life: Life) -> None:
    (path,) = life.sandbox.jupyter.glob("parslab-*.json")
    path.with_suffix(".new").write_text(json.dumps({**json.loads(path.read_text()), "heartbeat_period": 0}))
    path.with_suffix(".new").rename(path)
