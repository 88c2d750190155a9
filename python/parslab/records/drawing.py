"""Draws state machines: a transition table becomes the text of a Mermaid diagram [pure].

DESIGN.md shows the diagrams; a test compares them with the tables.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

__all__ = ["diagram"]

StateT = TypeVar("StateT", bound=Enum)
SignalT = TypeVar("SignalT", bound=Enum)


def diagram(table: Mapping[tuple[StateT, SignalT], StateT], final: Container[StateT]) -> str:
    """Return the Mermaid state diagram of a transition table.

    Parameters
    ----------
    table
        The state after each possible pair of state and signal.
    final
        States that an object usually does not leave; an arrow leads from each of them to the end.
    """
    signals: dict[tuple[str, str], list[str]] = {}
    for (before, signal), after in table.items():
        signals.setdefault((before.name, after.name), []).append(signal.name)
    lines = ["stateDiagram-v2", "    direction LR"]
    lines += [f"    {before} --> {after}: {', '.join(names)}" for (before, after), names in signals.items()]
    states = dict.fromkeys(state for pair in table.items() for state in (pair[0][0], pair[1]))
    lines += [f"    {state.name} --> [*]" for state in states if state in final]
    return "\n".join(lines)
