"""How the number of blocks follows the work (paper section 4.4): the strategies, and how one is found by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError
from parslab.scaling.strategies.base import BlockLimits, BlockView, Decision, ScalingState, Strategy, bounded
from parslab.scaling.strategies.builtin import AutoScale, Fixed, Simple

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "GROUP",
    "AutoScale",
    "BlockLimits",
    "BlockView",
    "Decision",
    "Fixed",
    "ScalingState",
    "Simple",
    "Strategy",
    "bounded",
    "strategy_named",
]

GROUP = "parslab.strategies"
"""Entry points of this group are strategies."""

_BUILTIN: dict[str, type[Strategy]] = {"none": Fixed, "simple": Simple, "htex_auto_scale": AutoScale}


def strategy_named(name: str) -> Strategy:
    """A new strategy: one of ours, an entry point of the group ``parslab.strategies``, or ``module:name``.

    Raises
    ------
    ConfigurationError
        There is none of this name, or it cannot be loaded.
    """
    if name in _BUILTIN:
        return _BUILTIN[name]()
    points = _points()
    point = points.get(name)
    if point is None and ":" in name:
        from importlib.metadata import EntryPoint

        point = EntryPoint(name, name, GROUP)
    if point is None:
        known = ", ".join((*_BUILTIN, *sorted(points)))
        raise ConfigurationError(
            f"There is no strategy {name!r}: choose one of {known}, or name the class of your own as 'module:name'."
        )
    try:
        made = point.load()()
    except Exception as error:  # whatever the user's module raises
        raise ConfigurationError(
            f"The strategy {name!r} cannot be made ({type(error).__name__}: {error}): it must be a class that "
            "the background process can import and that is made without arguments."
        ) from error
    if not callable(getattr(made, "decide", None)):
        raise ConfigurationError(f"The strategy {name!r} has no method decide(picture).")
    strategy: Strategy = made
    return strategy


def _points() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}
