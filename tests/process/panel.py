"""What a panel would show of a run, for tests that look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.records.panel import Snapshot, SnapshotRequest

if TYPE_CHECKING:
    from parslab import DataFlowKernel

__all__ = ["notices", "picture"]


def picture(dfk: DataFlowKernel) -> Snapshot:
    """The whole picture now."""
    answer = dfk.ask(SnapshotRequest(subscribe=False))
    assert isinstance(answer, Snapshot)
    return answer


def notices(dfk: DataFlowKernel) -> list[str]:
    """The sentences that a panel shows."""
    return [notice.text for notice in picture(dfk).notices]
