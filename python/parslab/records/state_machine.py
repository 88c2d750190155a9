"""The step of every state machine that is one table, (state, signal) -> state [core].

The tables are ``records.machine`` for tasks, ``scaling.lifecycle`` for blocks, ``dataflow.high_throughput.lifecycle``
for managers, and ``remote.pool.lifecycle`` for workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from parslab.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import Enum

    StateT = TypeVar("StateT", bound=Enum)
    SignalT = TypeVar("SignalT", bound=Enum)

__all__ = ["step"]


def step(machine: Mapping[tuple[StateT, SignalT], StateT], state: StateT, signal: SignalT, story: str) -> StateT:
    """Return the state after ``signal``.

    Parameters
    ----------
    machine
        The table.
    state, signal
        The present state, and what happens.
    story
        The object and its past, for the error.

    Raises
    ------
    InternalError
        The table does not have the pair, which is a mistake of parslab.
    """
    try:
        return machine[state, signal]
    except KeyError:
        raise InternalError(f"signal {signal.name} in state {state.name}: {story}") from None
