"""Holds the states of a manager and its transitions in one table: (state, signal) -> state [core].

The manager, its connection or the user cause the signals.  An impossible pair is a mistake of ours: the error names the
manager.  A manager that was refused never has another state.
"""

from __future__ import annotations

from enum import IntEnum

from parslab.records.states import ManagerState

__all__ = ["MANAGER", "ManagerSignal"]


class ManagerSignal(IntEnum):
    """The signals that change the state of an accepted manager."""

    held = 1
    """The user, its block or the quarantine wants it to get no new tasks for now."""
    released = 2
    """It may get tasks again."""
    drains = 3
    """It leaves when it has ended the tasks that it holds; we or the manager itself decided so."""
    left = 4
    """It announced that it leaves, or the run is over."""
    lost = 5
    """Its connection broke, or it was silent for too long."""


S, T = ManagerState, ManagerSignal

MANAGER: dict[tuple[ManagerState, ManagerSignal], ManagerState] = {
    (S.ready, T.held): S.held,
    (S.ready, T.released): S.ready,  # a user may release twice
    (S.ready, T.drains): S.draining,
    (S.ready, T.left): S.gone,
    (S.ready, T.lost): S.lost,
    (S.held, T.held): S.held,  # the user and the quarantine may both hold it
    (S.held, T.released): S.ready,
    (S.held, T.drains): S.draining,
    (S.held, T.left): S.gone,
    (S.held, T.lost): S.lost,
    # No way back from draining: the manager may have left by the time that it reads the release.
    (S.draining, T.drains): S.draining,  # its answer to our own request
    (S.draining, T.left): S.gone,
    (S.draining, T.lost): S.lost,
}
