"""Turns events that only the details of a task or node show into rows for the store, and keeps nothing.

[core]  The view owns the one object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.monitoring.output import PrintedOutput
from parslab.monitoring.store.tables import StoredNodeSample, StoredPlacement, StoredUsage

if TYPE_CHECKING:
    from parslab.monitoring.store.batch import Batch
    from parslab.records.events import NodeSampled, OutputWritten, TaskPlaced, TaskSampled

__all__ = ["MAX_NODE_SAMPLES", "Details"]

MAX_NODE_SAMPLES = 100_000
"""Samples of nodes that the database keeps, the newest of all managers: about 7 MB."""


class Details:
    """Makes rows for the store.

    Parameters
    ----------
    batch
        The batch that receives the rows.
    """

    __slots__ = ("_batch", "_node_samples")

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._node_samples = 0

    def output_written(self, event: OutputWritten) -> None:
        """Add printed text to the batch."""
        key = (event.task, event.stream)
        printed = self._batch.printed.get(key)
        if printed is None:
            printed = self._batch.printed[key] = PrintedOutput()
        text = event.text.replace("\0", "\u2400")  # functions of SQLite end a text at a NUL
        # Lone surrogates cannot be stored, and the error would lose the whole batch.  Most text is ASCII and needs no
        # copy.
        printed.add(text if text.isascii() else text.encode("utf-8", "replace").decode())

    def task_sampled(self, event: TaskSampled) -> None:
        """Add the resources that a task has used to the batch."""
        self._batch.usage[event.task] = StoredUsage(
            task=event.task,
            attempt=event.attempt,
            time=event.time,
            cpu=event.cpu,
            memory=event.memory,
            read=event.read,
            written=event.written,
        )

    def task_placed(self, event: TaskPlaced) -> None:
        """Add the nodes of an MPI task to the batch; those of its last attempt replace earlier ones."""
        self._batch.placements[event.task] = StoredPlacement(
            task=event.task, attempt=event.attempt, nodes=event.nodes, cores=event.cores, launch=event.launch
        )

    def node_sampled(self, event: NodeSampled) -> None:
        """Add the load of a node to the batch."""
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
