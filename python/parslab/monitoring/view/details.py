"""Events that only the details of a task or node show: the view hands them to the store and keeps nothing.

[core]  Owned by the view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.monitoring.output import PrintedOutput
from parslab.monitoring.store.tables import StoredNodeSample, StoredUsage

if TYPE_CHECKING:
    from parslab.monitoring.store.batch import Batch
    from parslab.records.events import NodeSampled, OutputWritten, TaskSampled

__all__ = ["MAX_NODE_SAMPLES", "Details"]

MAX_NODE_SAMPLES = 100_000
"""Samples of nodes that the database keeps, the newest of all managers: about 7 MB."""


class Details:
    """Rows for the store.

    Parameters
    ----------
    batch
        Receives them.
    """

    __slots__ = ("_batch", "_node_samples")

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._node_samples = 0

    def output_written(self, event: OutputWritten) -> None:
        """Keep what a task printed."""
        key = (event.task, event.stream)
        printed = self._batch.printed.get(key)
        if printed is None:
            printed = self._batch.printed[key] = PrintedOutput()
        text = event.text.replace("\0", "\u2400")  # SQLite ends a text at a NUL
        printed.add(text if text.isascii() else text.encode("utf-8", "replace").decode())

    def task_sampled(self, event: TaskSampled) -> None:
        """Keep the resources that a task has used."""
        self._batch.usage[event.task] = StoredUsage(
            task=event.task,
            attempt=event.attempt,
            time=event.time,
            cpu=event.cpu,
            memory=event.memory,
            read=event.read,
            written=event.written,
        )

    def node_sampled(self, event: NodeSampled) -> None:
        """Keep the load of a node."""
        sample = StoredNodeSample(
            slot=self._node_samples % MAX_NODE_SAMPLES,
            manager=event.manager,
            time=event.time,
            cpu=event.cpu,
            memory=event.memory,
            load=event.load,
        )
        self._node_samples += 1
        self._batch.node_samples.append(sample)
