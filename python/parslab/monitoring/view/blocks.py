"""Keeps the blocks of a run: the job of each, its state, and the numbers of its managers and workers.

[core]  The view owns the rows.  Only ``BlockMoved`` changes a state.  The module ``managers`` updates the
``BlockWorkers`` of a block, and a panel's row gets a copy of them.  Panels (``take_changed``) and store
(``take_unwritten``) read changed rows at their own pace.  Invariants: at most ``MAX_ENDED_BLOCKS`` ended blocks are
kept, those that ended last; an ended block never leaves its final state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from parslab.monitoring.store.tables import BLOCK
from parslab.monitoring.view.text import clipped
from parslab.records.panel import BlockRow
from parslab.records.states import ENDED, BlockState

if TYPE_CHECKING:
    from parslab.monitoring.store.tables import Cells
    from parslab.records.events import BlockMoved

__all__ = ["MAX_ENDED_BLOCKS", "BlockKey", "BlockRows", "BlockWorkers"]

BlockKey: TypeAlias = "tuple[str, str]"
"""Executor and id of a block: each executor counts its own ids."""

MAX_ENDED_BLOCKS = 100
"""Most ended blocks that panels show: a run that scales for days may have thousands."""

REASON = 4000
"""Longest reason that is kept, in characters: it often quotes the output of a scheduler or a shell."""

_FINAL = frozenset(str(state) for state in ENDED)
_RUNNING = frozenset({str(BlockState.running), str(BlockState.draining)})


@dataclass(slots=True)
class BlockWorkers:
    """Numbers of managers and workers of a block, kept as sums because each task would need new ones."""

    managers: int = 0
    """Connected managers; ``ready`` of them take tasks, ``held`` of them are held."""
    ready: int = 0
    held: int = 0
    workers: int = 0
    busy: int = 0
    done: int = 0
    """Tasks that have finished, including those of managers that have left."""


class BlockRows:
    """Rows by executor and block id, in the order of their first events."""

    __slots__ = ("_changed", "_ended", "_unwritten", "_workers", "rows", "running")

    def __init__(self) -> None:
        self.rows: dict[BlockKey, BlockRow] = {}
        self._workers: dict[BlockKey, BlockWorkers] = {}
        self._changed: set[BlockKey] = set()
        self._unwritten: set[BlockKey] = set()
        self.running = 0
        """Blocks whose job runs."""
        self._ended: dict[BlockKey, None] = {}

    def moved(self, event: BlockMoved) -> BlockKey | None:
        """Apply an event of a block; return the key of an old ended block that the caller must drop, or None."""
        key = (event.executor, event.block)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = _new(event)
        # A late report of a scheduler must not revive a block that has ended.
        if event.state != row.state and row.state not in _FINAL:
            self.running += (event.state in _RUNNING) - (row.state in _RUNNING)
            row.state, row.since = event.state, event.time
            if (
                event.state == "running" and row.started is None
            ):  # and not for draining, because a queued block can be drained too
                row.started = event.time
            if event.state in _FINAL:
                row.ended = event.time
                self._ended[key] = None
            row.reason = ""  # drop the reason of the state before
        row.job = event.job or row.job
        row.nodes = event.nodes
        row.reason = clipped(event.reason, REASON) or row.reason
        row.stdout = event.stdout or row.stdout
        row.stderr = event.stderr or row.stderr
        row.price = row.price if event.price is None else event.price
        self._touch(key)
        if len(self._ended) <= MAX_ENDED_BLOCKS:
            return None
        oldest = next(iter(self._ended))
        del self._ended[oldest]
        return oldest

    def forget(self, key: BlockKey) -> list[Cells]:
        """Drop a block; return its row if the store does not have it yet."""
        cells = [BLOCK.cells(self.rows[key])] if key in self._unwritten else []
        del self.rows[key]
        self._workers.pop(key, None)
        self._changed.discard(key)
        self._unwritten.discard(key)
        return cells

    def workers_of(self, key: BlockKey) -> BlockWorkers:
        """Return the ``BlockWorkers`` of a block for the caller to change; the block may have had no event yet."""
        self._changed.add(key)
        workers = self._workers.get(key)
        if workers is None:
            workers = self._workers[key] = BlockWorkers()
        return workers

    @property
    def unwritten(self) -> bool:
        """Whether the store lacks the present values of a row."""
        return bool(self._unwritten)

    def all_rows(self) -> list[BlockRow]:
        """Copies of all rows."""
        return [self._row(key) for key in self.rows]

    def take_changed(self) -> list[BlockRow]:
        """Return rows that changed since the last call."""
        # Sorted, because the order of a set of texts differs from process to process.
        keys, self._changed = self._changed, set()
        return [self._row(key) for key in sorted(keys) if key in self.rows]

    def take_unwritten(self) -> list[Cells]:
        """Return rows for the store that changed since the last call."""
        keys, self._unwritten = self._unwritten, set()
        return [BLOCK.cells(self.rows[key]) for key in sorted(keys) if key in self.rows]

    def _row(self, key: BlockKey) -> BlockRow:
        row, workers = self.rows[key], self._workers.get(key) or _NO_WORKERS
        return msgspec.structs.replace(
            row,
            managers=workers.managers,
            workers=workers.workers,
            busy=workers.busy,
            done=workers.done,
            # A block with one manager that takes tasks is not held.
            held=workers.held > 0 and not workers.ready,
        )

    def _touch(self, key: BlockKey) -> None:
        self._changed.add(key)
        self._unwritten.add(key)


_NO_WORKERS = BlockWorkers()


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
