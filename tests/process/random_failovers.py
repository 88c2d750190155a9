"""Kills at random of everything that a notebook's run has: workers, managers, blocks, its DataFlowKernel, its kernel.

A killed DataFlowKernel is started again by the notebook, a killed kernel by us; the cells of the next one call the same
tasks.  The tasks write down when they begin and end, and the test when it kills, so that it can explain each execution.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.process.random_storms import Execution
from tests.process.run_processes import found
from tests.process.sandbox import Sandbox, Script, is_gone, patience, until

if TYPE_CHECKING:
    import random
    from pathlib import Path

__all__ = ["RandomFailovers"]

_BOTH = "kernel and DataFlowKernel"
_WEIGHTS = {"worker": 60, "manager": 12, "block": 4, "DataFlowKernel": 12, "kernel": 8, _BOTH: 4}
_LIVES, _SPAN = 2, 60.0
"""Times that a kernel starts its DataFlowKernel again within so many seconds: the next loss ends the run."""
_UNDER_WAY = 0.25
"""Seconds that a result may take to be written down (one that was under way is made again), and a worker to die."""
_EACH = 5
"""Executions that a kill may cost on the average: of three workers, and of results that were under way."""

_CELLS = """
    import parslab.errors
    from parslab import HighThroughputExecutor, LocalProvider

    provider = LocalProvider(init_blocks=2, min_blocks=2, max_blocks=2)
    executors = [
        LowLatencyExecutor(label="here", workers=1),
        HighThroughputExecutor(label="blocks", provider=provider, max_workers_per_node=1, heartbeat_period=0.3,
                               heartbeat_threshold=15),
    ]

    def work(log, number, seconds):
        import os, time
        def note(what):
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, f"{number} {what} {time.time()}\\n".encode())
            os.close(descriptor)
        note("begins")
        time.sleep(seconds)
        note("ends")
        return number

    def load():
        # The user runs the cell again when the DataFlowKernel was killed under it.
        for life in range(3):
            try:
                return parslab.load(Config(executors=executors, run_dir=RUNS, retries=1000, strategy_period=0.2))
            except parslab.errors.ConfigurationError as error:
                print(error, file=sys.stderr)
        raise SystemExit("no run can be loaded")

    dfk = load()
    apps = [python_app(executors=[label])(work) for label in ("here", "blocks")]
    futures = [apps[number % 2](LOG, number, SECONDS * (number % 7) / 3) for number in range(TASKS)]
    emit(right=[future.result() for future in futures] == list(range(TASKS)))
    sys.stdin.readline()
    dfk.cleanup()
"""


@dataclass
class RandomFailovers:
    """A notebook of so many tasks under so many kills.

    Parameters
    ----------
    sandbox
        Where it lives.
    tasks, kills
        How many.
    dice
        What they are drawn with.
    seconds
        That a task takes, about.
    """

    sandbox: Sandbox
    tasks: int
    kills: int
    dice: random.Random
    seconds: float = 0.01
    kinds: Counter[str] = field(default_factory=Counter)
    at: list[tuple[float, str]] = field(default_factory=list)
    """When what was killed."""
    again: int = 0
    """Executions beyond the first of their task."""
    took: float = 0.0
    _losses: deque[float] = field(default_factory=deque)

    @property
    def log(self) -> Path:
        """Where tasks write."""
        return self.sandbox.root / "log"

    def run(self) -> None:
        """Every task must end well, nothing run without need, and nothing be left."""
        began = time.monotonic()
        kernel = self._kernel()
        try:
            for number in range(self.kills):
                due = 1 + (self.tasks - 1) * number // self.kills
                until(lambda due=due: self._done() >= due, 120, f"{due} tasks are done")  # type: ignore[misc]
                kind = self._kind()
                self._kill(kind, kernel)
                self.kinds[kind] += 1
                if kind in ("kernel", _BOTH):
                    kernel.__exit__()
                    kernel = self._kernel()
            while "right" not in (line := kernel.line(120)):
                pass
            assert line == '{"right": true}'
            assert kernel.popen.stdin is not None
            kernel.popen.stdin.close()
            assert kernel.wait(20) == 0
        finally:
            kernel.__exit__()
        self.took = time.monotonic() - began
        self.sandbox.assert_empty()
        self._explain()

    def _kernel(self) -> Script:
        """The next kernel of the notebook, which runs its cells."""
        self._losses.clear()
        words = f"    LOG, TASKS, SECONDS = {str(self.log)!r}, {self.tasks}, {self.seconds}\n"
        environment = {**os.environ, **self.sandbox.environment(), "PARSLAB_NOTEBOOK": "/books/storm.ipynb"}
        return self.sandbox.script(words + _CELLS, stdin=-1, env=environment)

    def _kind(self) -> str:
        """What to kill: no DataFlowKernel so often that its kernel would rightly give it up."""
        now = time.monotonic()
        while self._losses and self._losses[0] < now - 2 * _SPAN:
            self._losses.popleft()
        while True:
            kind = self.dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
            if kind != "DataFlowKernel" or len(self._losses) < _LIVES:
                return kind

    def _kill(self, kind: str, kernel: Script) -> None:
        """Kill one of a kind, as soon as there is one."""
        if kind == "kernel":
            self._end(kernel.popen.pid, kind)
            return
        find = "DataFlowKernel" if kind == _BOTH else kind
        while True:
            pid = self.dice.choice(until(lambda: found(self.sandbox, find), 60, f"a {find} is there"))
            if kind == _BOTH:
                os.kill(kernel.popen.pid, signal.SIGSTOP)
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                self._end(pid, find)
                break
        if find == "DataFlowKernel":
            self._losses.append(time.monotonic())
        if kind == _BOTH:
            self._end(kernel.popen.pid, kind)

    def _end(self, pid: int, kind: str) -> None:
        at = time.time()  # not afterwards: on a busy machine what was killed runs elsewhere before we go on
        if kind == "block":
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
        self.at.append((at, kind))
        until(is_gone(pid))

    def _executions(self) -> dict[int, list[Execution]]:
        executions: dict[int, list[Execution]] = defaultdict(list)
        for line in self.log.read_text().splitlines() if self.log.exists() else ():
            number, what, at = line.split()
            if what == "begins":
                executions[int(number)].append(Execution(float(at)))
            else:
                executions[int(number)][-1].ended = float(at)
        return executions

    def _done(self) -> int:
        """Tasks that have ended."""
        return sum(executions[-1].ended > 0 for executions in self._executions().values())

    def _explain(self) -> None:
        """Each task was executed, and again only if what it ran on was killed before its result was written down.

        A kernel is nothing that tasks run on.
        """
        lost = [at for at, kind in self.at if kind != "kernel"]
        executions = self._executions()
        assert set(executions) == set(range(self.tasks))
        slack = _UNDER_WAY * patience()
        for number, runs in executions.items():
            self.again += len(runs) - 1
            for first, second in itertools.pairwise(runs):
                # A worker may live, and begin, for a moment after what it belongs to.
                reasons = [at for at in lost if first.began - slack <= at <= second.began]
                reasons = [at for at in reasons if not first.ended or first.ended > at - slack]
                assert reasons, f"task {number} ran again for no reason: {runs}"
        assert self.again <= _EACH * len(lost)
