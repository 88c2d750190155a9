"""The strategies ``none``, ``simple`` and ``htex_auto_scale``: how many blocks there should be, and which may go.

[core]  All get missing blocks at once.  A block that is idle, or queued for nothing, is kept for ``max_idletime``
before it is given back, so that the next cell finds it; then all such blocks go in the same decision.  A block that
holds a task is never chosen.
"""

from __future__ import annotations

from parslab.scaling.strategies.base import Decision, ScalingState, Strategy

__all__ = ["AutoScale", "Fixed", "Simple"]


class Fixed(Strategy):
    """``none``: as many blocks as ``init_blocks``; those that ended come again when there is work."""

    def decide(self, picture: ScalingState) -> Decision:
        wanted = picture.limits.init_blocks if picture.tasks else 0
        return Decision(add=max(wanted, picture.floor) - len(picture.blocks))


class Simple(Strategy):
    """``simple``: blocks come when tasks need them, and all go when there has been no task for ``max_idletime``."""

    def decide(self, picture: ScalingState) -> Decision:
        spare = len(picture.usable) - max(picture.needed, picture.floor)
        if spare <= 0:
            return Decision(-spare)
        patience = picture.limits.max_idletime
        quiet = picture.quiet_since is not None and picture.now >= picture.quiet_since + patience
        return Decision(release=(*_unneeded(picture), *(picture.idle(patience) if quiet else ()))[:spare])


class AutoScale(Strategy):
    """``htex_auto_scale``: as ``simple``, and each block that is idle for ``max_idletime`` goes by itself."""

    def decide(self, picture: ScalingState) -> Decision:
        spare = len(picture.usable) - max(picture.needed, picture.floor)
        if spare <= 0:
            return Decision(-spare)
        idle = picture.idle(picture.limits.max_idletime)
        return Decision(release=(*_unneeded(picture), *idle)[:spare])


def _unneeded(picture: ScalingState) -> tuple[str, ...]:
    """Blocks still queued or starting that nothing has needed for ``max_idletime``."""
    spare = len(picture.usable) - max(picture.needed_lately, picture.floor)
    return picture.starting()[: max(0, spare)]
