"""The blocks of a run: the job of each, what became of it and how much of it works, from events.

[core]  Owned by the view.  States come from ``BlockMoved`` only; what works in a block is its ``BlockWorkers``, which
``managers`` keeps and which joins the row when it is told.  Two readers are told at their own pace, the panels
(``changed``) and the store (``unwritten``).  Invariants: at most ``ENDED_BLOCKS`` ended blocks are kept, those that
ended first go first; a block that has ended stays so; the crew of a block is the sum of its connected managers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from parslab.records.panel import BlockRow
from parslab.records.states import ENDED

if TYPE_CHECKING:
    from parslab.monitoring.store.rows import Cells
    from parslab.records.events import BlockMoved

__all__ = ["ENDED_BLOCKS", "BlockKey", "BlockRows", "BlockWorkers"]

BlockKey: TypeAlias = "tuple[str, str]"
"""Executor and id of a block: ids are counted in each executor."""

ENDED_BLOCKS = 100
"""Ended blocks that are still shown."""

REASON = 4000
"""Longest reason that is kept, in characters: the words of a scheduler or a shell, which tell most."""

_FINAL = frozenset(str(state) for state in ENDED)
_WORKING = frozenset({"running", "draining"})


@dataclass(slots=True)
class BlockWorkers:
    """What works in a block."""

    managers: int = 0
    """Connected ones; ``ready`` of them take tasks, ``held`` are held."""
    ready: int = 0
    held: int = 0
    workers: int = 0
    busy: int = 0
    done: int = 0
    """Tasks, also those of managers that have left."""


class BlockRows:
    """Rows by executor and block id, in the order in which the blocks were first heard of."""

    __slots__ = ("_ended", "changed", "crews", "rows", "running", "unwritten")

    def __init__(self) -> None:
        self.rows: dict[BlockKey, BlockRow] = {}
        self.crews: dict[BlockKey, BlockWorkers] = {}
        self.changed: set[BlockKey] = set()
        self.unwritten: set[BlockKey] = set()
        self.running = 0
        """Blocks whose job runs."""
        self._ended: dict[BlockKey, None] = {}

    def moved(self, event: BlockMoved) -> BlockKey | None:
        """A block entered a state, or more is known of it; answers which ended block is forgotten for it."""
        key = (event.executor, event.block)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = _new(event)
        if event.state != row.state and row.state not in _FINAL:
            self.running += (event.state in _WORKING) - (row.state in _WORKING)
            row.state, row.since = event.state, event.time
            if event.state == "running" and row.started is None:  # what is drained may never have run
                row.started = event.time
            if event.state in _FINAL:
                row.ended = event.time
                self._ended[key] = None
            row.reason = ""  # that of the state before; a new one follows if there is any
        row.job = event.job or row.job
        row.nodes = event.nodes
        row.reason = _bounded(event.reason) or row.reason
        row.stdout = event.stdout or row.stdout
        row.stderr = event.stderr or row.stderr
        self._touch(key)
        if len(self._ended) <= ENDED_BLOCKS:
            return None
        oldest = next(iter(self._ended))
        del self._ended[oldest]
        return oldest

    def forget(self, key: BlockKey) -> list[Cells]:
        """Drop a block; answers the rows that the store has not been told."""
        cells = [_cells(self.rows[key])] if key in self.unwritten else []
        del self.rows[key]
        self.crews.pop(key, None)
        self.changed.discard(key)
        self.unwritten.discard(key)
        return cells

    def crew(self, key: BlockKey) -> BlockWorkers:
        """Who works in a block, to be changed; it need not have been heard of yet."""
        self.changed.add(key)
        crew = self.crews.get(key)
        if crew is None:
            crew = self.crews[key] = BlockWorkers()
        return crew

    def everything(self) -> list[BlockRow]:
        """All rows as they are now."""
        return [self._row(key) for key in self.rows]

    def take_changed(self) -> list[BlockRow]:
        """Rows that changed since the last call."""
        keys, self.changed = self.changed, set()
        return [self._row(key) for key in sorted(keys) if key in self.rows]

    def take_unwritten(self) -> list[Cells]:
        """Rows for the store that changed since the last call."""
        keys, self.unwritten = self.unwritten, set()
        return [_cells(self.rows[key]) for key in sorted(keys) if key in self.rows]

    def _row(self, key: BlockKey) -> BlockRow:
        row, crew = self.rows[key], self.crews.get(key) or _NOBODY
        return msgspec.structs.replace(
            row,
            managers=crew.managers,
            workers=crew.workers,
            busy=crew.busy,
            done=crew.done,
            held=crew.held > 0 and not crew.ready,
        )

    def _touch(self, key: BlockKey) -> None:
        self.changed.add(key)
        self.unwritten.add(key)


_NOBODY = BlockWorkers()


def _new(event: BlockMoved) -> BlockRow:
    return BlockRow(
        executor=event.executor,
        block=event.block,
        state="",
        job="",
        nodes=event.nodes,
        managers=0,
        workers=0,
        busy=0,
        done=0,
        held=False,
        since=event.time,
        requested=event.time,
        started=None,
        ended=None,
        reason="",
        stdout="",
        stderr="",
    )


def _cells(row: BlockRow) -> Cells:
    times = (row.requested, row.started, row.ended)
    return (row.executor, row.block, row.state, row.job, row.nodes, *times, row.reason, row.stdout, row.stderr)


def _bounded(reason: str) -> str:
    if len(reason) > REASON:
        reason = reason[: REASON - 1] + "…"
    return reason if reason.isascii() else reason.encode("utf-8", "replace").decode()
