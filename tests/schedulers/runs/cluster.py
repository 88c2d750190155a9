"""Whole runs on the virtual Slurm: how tests load them, what they see of queue and nodes, and what breaks there."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from tests.conftest import TOKEN as SESSION
from tests.process.panel import picture
from tests.process.sandbox import TOKEN, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parslab import DataFlowKernel
    from parslab.records.panel import BlockRow
    from tests.process.sandbox import Sandbox
    from tests.schedulers.conftest import Scheduler

__all__ = ["Nodes", "blocks", "htex", "loaded", "no_jobs", "slurm_jobs", "slurm_provider", "wait_blocks"]

QUICK = {"heartbeat_period": 0.5, "heartbeat_threshold": 10.0}
"""A lost manager is noticed soon, but not because these nodes share two cores with a crowd."""


def slurm_provider(**options: Any) -> parslab.SlurmProvider:
    """Blocks of whole nodes of the virtual Slurm, which is asked more often than a real one may be."""
    return parslab.SlurmProvider(**{"poll_interval": 1, "walltime": 300, **options})


def htex(provider: Any, label: str = "htex", **options: Any) -> parslab.HighThroughputExecutor:
    """One worker on each node by default."""
    return parslab.HighThroughputExecutor(
        label=label, provider=provider, **{"max_workers_per_node": 1, **QUICK, **options}
    )


@contextlib.contextmanager
def loaded(sandbox: Sandbox, *executors: parslab.HighThroughputExecutor, **options: Any) -> Iterator[DataFlowKernel]:
    """A run, cleaned up whatever became of it."""
    config = parslab.Config(executors=executors, run_dir=sandbox.runs, **{"strategy_period": 0.5, **options})
    dfk = parslab.load(config)
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()


def blocks(dfk: DataFlowKernel, state: str = "") -> list[BlockRow]:
    """The blocks of a run, in this state or all."""
    return [block for block in picture(dfk).blocks if state in ("", block.state)]


def wait_blocks(dfk: DataFlowKernel, number: int, state: str = "running", seconds: float = 20.0) -> list[BlockRow]:
    """Wait until exactly so many blocks are in a state with all their managers, where it is that of running ones."""

    def there() -> list[BlockRow] | None:
        found = blocks(dfk, state)
        complete = state != "running" or all(block.managers == block.nodes for block in found)
        return found if len(found) == number and complete else None

    try:
        until(lambda: there() is not None, seconds, f"{number} blocks are {state}")
    except pytest.fail.Exception as error:
        pytest.fail(f"{error}; there are {blocks(dfk)}")
    return blocks(dfk, state)


# --- the queue -------------------------------------------------------------------------------------------------------


def slurm_jobs(run: str = "") -> dict[str, str]:
    """State of each job of this run, or of any run of ours, that waits or runs."""
    said = subprocess.run(["squeue", "-h", "-o", "%i|%T|%j"], capture_output=True, text=True, check=True).stdout
    rows = (line.split("|") for line in said.splitlines())
    return {number: state for number, state, name in rows if name.startswith(f"parslab.{run}")}


def no_jobs(jobs: Callable[[], Any] = slurm_jobs, seconds: float = 10.0) -> None:
    """Fail if a job is in the queue after so many seconds."""
    until(lambda: not jobs(), seconds, "the queue is empty")


# --- nodes and their network -----------------------------------------------------------------------------------------


class Nodes:
    """The nodes of the virtual Slurm: power cuts, and cuts of the network of one."""

    def __init__(self, scheduler: Scheduler, testbed: Path) -> None:
        self._scheduler, self._testbed = scheduler, testbed
        conf = Path(scheduler.variables["SLURM_CONF"]).read_text()
        self.networked = re.search(r"^NodeName=n2 .*NodeAddr=127\.", conf, re.MULTILINE) is None
        self._hurt: set[str] = set()

    def _act(self, script: str, action: str, node: str) -> None:
        # Without our tokens: what is started here outlives the test, as the node did that it replaces.
        environment = {name: text for name, text in os.environ.items() if name not in (TOKEN, SESSION)}
        with open(os.devnull, "wb") as nothing:
            subprocess.run(
                ["bash", self._testbed / script, action, node],
                check=True,
                timeout=30,
                env=environment,
                stdin=nothing,
                stdout=nothing,
                stderr=nothing,
            )

    def needs_networks(self) -> None:
        """Skip where all nodes share the network of this host."""
        if not self.networked:
            pytest.skip("the Slurm that was up already has no network for each node: end it, and it is started with")

    def cut(self, node: str) -> None:
        """Packets to and from it vanish."""
        self.needs_networks()
        self._hurt.add(node)
        self._act("netns-fault.sh", "cut", node)

    def heal(self, node: str) -> None:
        """They arrive again."""
        self._act("netns-fault.sh", "heal", node)
        self._hurt.discard(node)

    def crash(self, node: str) -> None:
        """Its power is cut."""
        self._hurt.add(node)
        self._act("slurm-node.sh", "crash", node)

    def mend_power(self, node: str) -> None:
        """It is booted, and has its network again."""
        if self.networked:
            self._act("netns-fault.sh", "heal", node)
        self._act("slurm-node.sh", "start", node)

    def mend(self) -> None:
        """Bring back what was broken, and wait until Slurm gives jobs to all nodes again."""
        if not self._hurt:
            return
        for node in sorted(self._hurt):
            self.mend_power(node)
        self._hurt.clear()
        until(self._ready, 45, "all nodes are idle")

    def _ready(self) -> bool:
        said = subprocess.run(["sinfo", "-h", "-N", "-p", "debug", "-o", "%N %T"], capture_output=True, text=True)
        states = dict(line.split() for line in said.stdout.splitlines())
        for node, state in states.items():
            if state.startswith(("down", "drain")):
                subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], capture_output=True)
        return bool(states) and all(state == "idle" for state in states.values())
