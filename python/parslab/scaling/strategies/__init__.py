"""The strategies that adapt the number of blocks to the work [HPDC19 §4.4], and a function that finds one by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError
from parslab.plugins import STRATEGIES, find_plugin, load, plugin_names
from parslab.scaling.strategies.base import BlockLimits, BlockView, Decision, ScalingState, Strategy, bounded
from parslab.scaling.strategies.builtin import AutoScale, Fixed, Simple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
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

_BUILTIN: dict[str, type[Strategy]] = {"none": Fixed, "simple": Simple, "htex_auto_scale": AutoScale}


def strategy_named(name: str) -> Strategy:
    """Return a new strategy: one of ours, an entry point of the group ``parslab.strategies``, or ``module:name``.

    Raises
    ------
    ConfigurationError
        There is no strategy of this name, or it cannot be made.
    """
    # Built-in names come first, so that no plug-in can change the meaning of ``simple``.
    if name in _BUILTIN:
        return _BUILTIN[name]()
    made = _class_named(name)
    try:
        strategy: Strategy = made()
    except Exception as error:  # whatever the user's class raises
        raise _cannot_be_made(name, error) from error
    if not callable(getattr(strategy, "decide", None)):
        raise ConfigurationError(f"The strategy {name!r} has no method decide(state).")
    return strategy


def _class_named(name: str) -> Callable[[], Strategy]:
    from importlib.metadata import EntryPoint

    found: Callable[[], Strategy] | None = find_plugin(STRATEGIES, name)
    if found is None and ":" in name:
        try:
            # ``load`` gives a class that cannot be imported the same error as a plug-in.
            found = load(EntryPoint(name, name, STRATEGIES))
        except ConfigurationError as error:
            raise _cannot_be_made(name, error.__cause__ or error) from error
    if found is None:
        known = ", ".join((*_BUILTIN, *plugin_names(STRATEGIES)))
        raise ConfigurationError(
            f"There is no strategy {name!r}: choose one of {known}, or name the class of your own as 'module:name'."
        )
    return found


def _cannot_be_made(name: str, error: BaseException) -> ConfigurationError:
    return ConfigurationError(
        f"The strategy {name!r} cannot be made ({type(error).__name__}: {error}): it must be a class that "
        "the background process can import and that is made without arguments."
    )
