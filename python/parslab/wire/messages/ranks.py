"""Messages between the ranks of a pool that is one MPI job.

Rank 0 is the manager that the DataFlowKernel knows.  Every other rank is the manager of a single worker, and sees in
rank 0 what a manager sees in the DataFlowKernel.  So both sides use the messages of managers, with one more at first.
"""

from __future__ import annotations

from typing import TypeAlias

from parslab.wire.messages.base import WireMessage
from parslab.wire.messages.manager import ToManagerMessage

__all__ = ["RankSetup", "ToRankMessage"]


class RankSetup(WireMessage, tag=103):
    """(rank 0) First message to every other rank: the run that they serve."""

    manager: str
    """The name of the manager."""
    block: str
    invitation: str
    """The invitation as JSON, without keys and addresses: only rank 0 connects to the DataFlowKernel."""
    local: bool
    """Whether rank 0 runs on the host of the DataFlowKernel."""


ToRankMessage: TypeAlias = ToManagerMessage | RankSetup
"""The messages that the other ranks receive."""
