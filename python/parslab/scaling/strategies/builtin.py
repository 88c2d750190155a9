"""The strategies ``none``, ``simple`` and ``htex_auto_scale`` [core].

All three request missing blocks at once.  ``none`` releases no block.  The others keep a block that is idle or unneeded
for ``max_idletime``, so that the next cell finds it.  Then one decision releases all such blocks.  No strategy releases
a block that holds a task.
"""

from __future__ import annotations

from parslab.scaling.strategies.base import Decision, ScalingState, Strategy

__all__ = ["AutoScale", "Fixed", "Simple"]


class Fixed(Strategy):
    """``none``: keep ``init_blocks`` blocks; a block that ended is replaced when there is work."""

    def decide(self, state: ScalingState) -> Decision:
        wanted = state.limits.init_blocks if state.tasks else 0
        return Decision(add=max(wanted, state.minimum) - len(state.blocks))


class Simple(Strategy):
    """``simple``: request blocks when tasks need them, release all after ``max_idletime`` without a task."""

    def decide(self, state: ScalingState) -> Decision:
        spare = len(state.usable) - max(state.needed, state.minimum)
        if spare <= 0:
            return Decision(-spare)
        patience = state.limits.max_idletime
        idle = state.idle(patience) if state.quiet_for(patience) else ()
        return Decision(release=(*_unneeded(state), *idle)[:spare])


class AutoScale(Strategy):
    """``htex_auto_scale``: as ``simple``, and release each block that has been idle for ``max_idletime``."""

    def decide(self, state: ScalingState) -> Decision:
        spare = len(state.usable) - max(state.needed, state.minimum)
        if spare <= 0:
            return Decision(-spare)
        idle = state.idle(state.limits.max_idletime)
        return Decision(release=(*_unneeded(state), *idle)[:spare])


def _unneeded(state: ScalingState) -> tuple[str, ...]:
    """Return blocks that wait in a queue or start, and that nothing has needed for ``max_idletime``."""
    spare = len(state.usable) - max(state.recently_needed, state.minimum)
    return state.starting()[: max(0, spare)]
