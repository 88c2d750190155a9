"""Runs whose workers come with blocks of this host: their processes, and every end that a task has come to."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import psutil

import parslab
from parslab.dataflow.persistence.log_format import MoveItem, entries, log_folder
from tests.process.panel import picture
from tests.process.sandbox import workers_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab import AppFuture, DataFlowKernel
    from tests.process.sandbox import Sandbox

__all__ = [
    "Ends",
    "attempts",
    "block_leaders",
    "blocks_run",
    "executor",
    "managers",
    "managers_here",
    "workers",
    "written",
]

HEARTBEAT = {"heartbeat_period": 0.3, "heartbeat_threshold": 1.5}


def executor(blocks: int = 1, workers: int = 2, **options: Any) -> parslab.HighThroughputExecutor:
    """So many blocks, always; a lost one is replaced."""
    launcher = {"launcher": options.pop("launcher")} if "launcher" in options else {}
    provider = parslab.LocalProvider(init_blocks=blocks, min_blocks=blocks, max_blocks=blocks, **launcher)
    return parslab.HighThroughputExecutor(
        label="htex", provider=provider, max_workers_per_node=workers, **{**HEARTBEAT, **options}
    )


@contextlib.contextmanager
def blocks_run(
    sandbox: Sandbox, retries: int = 0, blocks: int = 1, resume: bool = True, **options: Any
) -> Iterator[DataFlowKernel]:
    """A run with these blocks, cleaned up whatever became of it."""
    config = parslab.Config(
        executors=[executor(blocks, **options)],
        run_dir=sandbox.runs,
        retries=retries,
        strategy_period=0.2,
        resume=resume,
    )
    dfk = parslab.load(config)
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()


def block_leaders(dfk: int) -> list[int]:
    """The shells that lead the blocks of a DataFlowKernel process."""
    return [child.pid for child in _alive(psutil.Process(dfk).children()) if "blocks" in " ".join(_words(child))]


def managers(dfk: int) -> list[int]:
    """The managers below a DataFlowKernel process."""
    below = psutil.Process(dfk).children(recursive=True)
    return [child.pid for child in _alive(below) if "parslab.remote.manager" in _words(child)]


def workers(dfk: int) -> list[int]:
    """The workers of all managers below a DataFlowKernel process."""
    found = []
    for manager in managers(dfk):
        with contextlib.suppress(psutil.Error):
            found += workers_of(manager)
    return found


def managers_here(dfk: DataFlowKernel) -> list[int]:
    """The managers that are connected."""
    return [row.pid for row in picture(dfk).managers if row.state == "ready"]


def written(dfk: DataFlowKernel, *futures: AppFuture) -> bool:
    """Whether the event log says that workers have these tasks: the next DataFlowKernel knows only what it says."""
    items = [item for _, item in entries(log_folder(str(dfk.run_dir))) if isinstance(item, MoveItem)]
    return {future.task_id for future in futures} <= {task for item in items for task in item.tasks}


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    alive = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def attempts(path: Path) -> Counter[int]:
    """How often each task was begun, as the tasks themselves wrote it down."""
    return Counter(map(int, path.read_text().split())) if path.exists() else Counter()


class Ends:
    """Watches futures end: each must, once, and as the run has written it down."""

    def __init__(self) -> None:
        self.futures: list[AppFuture] = []
        self.ended: Counter[int] = Counter()

    def watch(self, future: AppFuture) -> AppFuture:
        """Count how often this one ends."""
        self.futures.append(future)
        future.add_done_callback(lambda done: self.ended.update([done.task_id]))
        return future

    def must_be_one_each(self, dfk: DataFlowKernel) -> None:
        """Every future has ended once, and no task of the run is left."""
        assert all(future.done() for future in self.futures)
        assert self.ended == Counter(future.task_id for future in self.futures)
        counts = picture(dfk).overview.counts
        assert set(counts) <= {"exec_done", "failed", "dep_fail"}
        assert sum(counts.values()) == picture(dfk).overview.tasks_total >= len(self.futures)
