"""Shows what happens in a run, and keeps it.

The view is the present state of the run.  The feed sends that state to panels.  The store writes it to a database.
All three run in the DataFlowKernel process, whose loop owns one :class:`~parslab.monitoring.monitor.Monitor`.  View and
feed are pure and run on the thread of the loop.  The store has its own thread, so the loop never waits for a disk.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from parslab.compat.modules import look_up

    return look_up("monitoring", name)
