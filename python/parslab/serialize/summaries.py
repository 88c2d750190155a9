"""Describe values in a few characters, for the panel and for error messages.

No function here may raise an error: the values are the user's, and reading an attribute may run any code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.serialize.future_types import is_future, registered_future_types

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["brief", "show_arguments"]

_SHOWN = 40
"""Characters of a text that are shown."""
_BITS = 128
"""Bits of the longest whole number that is shown; ``repr`` of one with thousands of digits raises ValueError."""
_ARGUMENTS = 6
"""Positional and keyword arguments of a call that are shown."""


def brief(value: Any) -> str:
    """Describe a value: numbers and short strings as they are, anything else by type and size."""
    kind = type(value)
    if kind is int and value.bit_length() > _BITS:
        return f"int of {value.bit_length()} bits"
    if kind is int or kind is float or kind is bool or value is None:
        return repr(value)
    if kind is str or kind is bytes:
        return repr(value) if len(value) <= _SHOWN else f"{value[: _SHOWN - 3]!r}..."
    if kind in (list, tuple, dict, set, frozenset):
        return f"{kind.__name__} of {len(value)}"
    try:
        return _of_object(value, kind)
    except Exception:  # of a property or a __getattr__ of the user
        # Not kind.__name__, because a metaclass of the user may define that, too.
        name: str = type.__getattribute__(kind, "__name__")
        return name


def _of_object(value: Any, kind: type) -> str:
    if (hasattr(kind, "add_done_callback") or registered_future_types) and is_future(value):
        task = getattr(value, "task_id", None)
        return "a future" if task is None else f"task {task}"
    shape = getattr(value, "shape", None)
    if type(shape) is tuple:
        return f"{kind.__name__}{shape}"
    qualified = getattr(value, "__qualname__", None)
    return qualified if type(qualified) is str else kind.__name__


def show_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Describe all arguments of a call on one line."""
    parts = [brief(value) for value in args[:_ARGUMENTS]]
    if len(args) > _ARGUMENTS:
        parts.append("...")
    parts += [f"{name}={brief(value)}" for name, value in list(kwargs.items())[:_ARGUMENTS]]
    return ", ".join(parts)
