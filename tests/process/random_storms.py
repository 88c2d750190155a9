"""Storms: one to three kills of a notebook's run at random moments, then ``load()`` in a new process at once.

A storm kills the DataFlowKernel, the kernel of the notebook, a manager, a worker, or two of them half a second apart at
most.  After it, these promises are checked:

- the run never has two DataFlowKernels at the same time;
- no result is lost, and no future fails but those of tasks without retries whose worker or manager was killed;
- a task runs again only where a kill explains it;
- no wait is longer than half a minute (on a busy machine longer), and nothing of the run is left at its end.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.process.run_processes import DataFlowKernelWatch, found
from tests.process.sandbox import Sandbox, Script, is_gone, patience, until

if TYPE_CHECKING:
    import random
    from pathlib import Path

__all__ = ["LIMIT", "Storm"]

LIMIT = 30.0
"""Seconds that any wait may take, on an idle machine."""
_KINDS = ("DataFlowKernel", "kernel", "manager", "worker")
_PAIRS = (("kernel", "DataFlowKernel"), ("DataFlowKernel", "kernel"), ("DataFlowKernel", "worker"),
          ("manager", "DataFlowKernel"), ("worker", "kernel"), ("manager", "kernel"))  # fmt: skip
_GAP = 0.5
"""Seconds between the two kills of a pair, at most."""
_LIVES = 2
"""Kills of the DataFlowKernel that a storm may have: after the third within a minute, a client gives the run up."""
_UNDER_WAY = 0.25
"""Seconds that a result may take to be written down, and a killed process to end."""

_CELLS = """
    import parslab.errors
    from parslab import HighThroughputExecutor, LocalProvider
    from parslab.errors import ManagerLost, WorkerLost

    provider = LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1)
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
        return number * number

    def load():
        # The user runs the cell again when the DataFlowKernel was killed under it.
        for life in range(3):
            began = time.monotonic()
            try:
                return parslab.load(Config(executors=executors, run_dir=RUNS, retries=1000, strategy_period=0.2))
            except parslab.errors.ConfigurationError as error:
                print(error, file=sys.stderr)
            finally:
                emit(load=time.monotonic() - began)
        raise SystemExit("no run can be loaded")

    dfk = load()
    emit(run=dfk.run)
    apps = [python_app(executors=[label])(work) for label in ("here", "blocks")]
    kinds = [{"retries": 0}, {}, {}]  # one in three is never tried again
    futures = [
        apps[number % 2](LOG, number, SECONDS * (number % 7) / 3, parslab_resource_specification=kinds[number % 3])
        for number in range(TASKS)
    ]
    lost, wrong = [], []
    for number, future in enumerate(futures):
        error = future.exception()
        if isinstance(error, (ManagerLost, WorkerLost)):
            lost.append(number)
        elif error is not None or future.result() != number * number:
            wrong.append(f"{number}: {error!r}")
    emit(lost=lost, wrong=wrong)
    sys.stdin.readline()
    dfk.cleanup()
"""


@dataclass
class Execution:
    """One execution of a task, as the task has written it down."""

    began: float
    ended: float = 0.0


@dataclass
class Storm:
    """One storm over a run of its own.

    Parameters
    ----------
    sandbox
        Where the run is.
    dice
        Decides what is killed, and when.
    tasks
        The number of tasks.
    seconds
        The seconds that a task takes, about.
    """

    sandbox: Sandbox
    dice: random.Random
    tasks: int = 120
    seconds: float = 0.02
    kills: list[tuple[float, str]] = field(default_factory=list)
    """The time and the victim of each kill."""
    lost: list[int] = field(default_factory=list)
    """The tasks without retries that failed with their worker or manager."""
    again: int = 0
    """Executions beyond the first of their task."""
    longest_load: float = 0.0
    took: float = 0.0

    @property
    def log(self) -> Path:
        """The file in which tasks note that they begin and end."""
        return self.sandbox.root / "log"

    def run(self) -> None:
        """Kill, and check every promise."""
        began = time.monotonic()
        self._kernel, self._runs = self._next_kernel(), set[str]()
        try:
            with DataFlowKernelWatch(self.sandbox, 0.03) as watch:
                for victims in self._plan():
                    self._strike(victims)
                facts = self._facts()
                assert self._kernel.popen.stdin is not None
                self._kernel.popen.stdin.close()
                assert self._kernel.wait(LIMIT) == 0, self._kernel.errors.read_text()
            assert len(watch.most) == 1, f"DataFlowKernels {watch.most} at the same time: {self.kills}"
        finally:
            self._kernel.__exit__()
        self.sandbox.assert_empty()
        self.lost = facts["lost"]
        assert facts["wrong"] == []
        assert self._runs == {facts["run"]}, "a kernel has loaded another run"
        self._explain()
        self.took = time.monotonic() - began

    def _plan(self) -> list[tuple[str, ...]]:
        """The victims of each strike."""
        plan: list[tuple[str, ...]] = []
        while not plan:
            strikes = self.dice.randint(1, 3)
            plan = [
                self.dice.choice(_PAIRS) if self.dice.random() < 0.5 else (self.dice.choice(_KINDS),)
                for _ in range(strikes)
            ]
            if sum(victims.count("DataFlowKernel") for victims in plan) > _LIVES:
                plan = []
        return plan

    def _next_kernel(self) -> Script:
        words = f"    LOG, TASKS, SECONDS = {str(self.log)!r}, {self.tasks}, {self.seconds}\n"
        environment = {**os.environ, **self.sandbox.environment(), "PARSLAB_NOTEBOOK": "/books/storm.ipynb"}
        return self.sandbox.script(words + _CELLS, stdin=-1, env=environment)

    def _strike(self, victims: tuple[str, ...]) -> None:
        """Kill these, at a random moment; a killed kernel is replaced at once."""
        due = self.dice.randrange(self.tasks)
        # The run may be beyond that moment already: then any moment will do.
        until(lambda: self._done() >= due, LIMIT, f"{due} tasks are done: {self._kernel.errors.read_text()}")
        for number, kind in enumerate(victims):
            if number:
                time.sleep(self.dice.uniform(0.0, _GAP))
            self._kill(kind)

    def _kill(self, kind: str) -> None:
        if kind == "kernel":
            self._end(self._kernel.popen.pid, kind)
            self._kernel.__exit__()
            self._kernel = self._next_kernel()
            return
        while True:
            pid = self.dice.choice(until(lambda: found(self.sandbox, kind), LIMIT, f"a {kind} is there"))
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                self._end(pid, kind)
                return

    def _end(self, pid: int, kind: str) -> None:
        self.kills.append((time.time(), kind))
        os.kill(pid, signal.SIGKILL)
        if kind != "kernel":  # a new kernel must not wait for the end of what was killed before
            return
        until(is_gone(pid), LIMIT)

    def _facts(self) -> dict[str, Any]:
        """What the last kernel says at its end."""
        facts: dict[str, Any] = {}
        while "wrong" not in facts:
            line = self._kernel.line(LIMIT)
            if line.startswith("{"):
                facts |= json.loads(line)
                self.longest_load = max(self.longest_load, facts.get("load", 0.0))
        self._runs.add(facts["run"])
        return facts

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
        return sum(executions[-1].ended > 0 for executions in self._executions().values())

    def _explain(self) -> None:
        """Each task was executed, and again only if a kill explains it."""
        executions = self._executions()
        assert set(executions) | set(self.lost) == set(range(self.tasks))
        machines = [at for at, kind in self.kills if kind in ("manager", "worker")]
        assert machines or not self.lost
        assert not [number for number in self.lost if number % 3], "a task with retries has failed"
        slack = _UNDER_WAY * patience()
        for number, all_of_it in executions.items():
            self.again += len(all_of_it) - 1
            for first, second in itertools.pairwise(all_of_it):
                assert self._reasons(number, first, second, slack), f"task {number} ran again: {all_of_it} {self.kills}"

    def _reasons(self, number: int, first: Execution, second: Execution, slack: float) -> list[float]:
        """The kills that explain the second execution."""
        between = [(at, kind) for at, kind in self.kills if first.began - slack <= at <= second.began]
        unfinished = [(at, kind) for at, kind in between if not first.ended or first.ended > at - slack]
        reasons = [at for at, kind in unfinished if kind == "DataFlowKernel"]
        # A task without retries fails with its machine, and only the next kernel calls it again.
        if number % 3 or any(kind == "kernel" for _, kind in between):
            reasons += [at for at, kind in unfinished if kind in ("manager", "worker")]
        return reasons
