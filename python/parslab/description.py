"""The base of everything a user configures: immutable descriptions, checked by traitlets when they are made.

A description never runs anything: ``load()`` makes the machinery from it, so a notebook cell that makes one may run
twice.  Two with the same values are equal, and ``repr`` is the call that makes it.  What is wrong with an option is
said in one sentence that names it.  Imported only when a description is made: traitlets costs some milliseconds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import traitlets

from parslab.errors import ConfigurationError

__all__ = ["Description", "Label", "PathText", "Text", "Variables", "Whole"]

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

D = TypeVar("D", bound="Description")


class _Option(traitlets.TraitType[Any, Any]):
    """A trait that says in ``wants`` what it takes; ``None`` is taken where the default is None."""

    wants = "something else"

    def validate(self, obj: Any, value: Any) -> Any:
        if value is None and self.default_value is None:
            return None
        return self.accepted(value)

    def accepted(self, value: Any) -> Any:
        """The value as it is kept, or TraitError."""
        raise NotImplementedError

    def refuse(self) -> NoReturn:
        raise traitlets.TraitError(self.wants)


class Whole(_Option):
    """A whole number between two limits; True and False are not numbers here."""

    def __init__(self, default: int | None, low: int, high: int | None = None, **metadata: Any) -> None:
        super().__init__(default, **metadata)
        self.low, self.high = low, high
        self.wants = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"

    def accepted(self, value: Any) -> int:
        if isinstance(value, bool) or not hasattr(type(value), "__index__"):
            self.refuse()
        number = int(value.__index__())
        if number < self.low or (self.high is not None and number > self.high):
            self.refuse()
        return number


class Text(_Option):
    """A text that is not empty."""

    wants = "a text that is not empty"

    def accepted(self, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            self.refuse()
        return value


class PathText(_Option):
    """A path, kept as text."""

    wants = "a path"

    def accepted(self, value: Any) -> str:
        if not isinstance(value, (str, os.PathLike)) or isinstance(path := os.fspath(value), bytes) or not path:
            self.refuse()
        return path


class Label(_Option):
    """The name of an executor: it is typed in decorators, shown in tables and used in names of files."""

    wants = "a name of letters, digits, '.', '_' and '-' other than 'all'"

    def accepted(self, value: Any) -> str:
        if not isinstance(value, str) or value == "all" or not _LABEL.fullmatch(value):
            self.refuse()
        return value


class Variables(_Option):
    """Environment variables: a dictionary of texts, kept read-only."""

    wants = "a dictionary of texts"

    def accepted(self, value: Any) -> Mapping[str, str]:
        if not isinstance(value, Mapping):
            self.refuse()
        for name, text in value.items():
            if not isinstance(name, str) or not isinstance(text, str) or not name or "=" in name or "\0" in name + text:
                self.refuse()
        return MappingProxyType(dict(value))


class Description(traitlets.HasTraits):
    """Base of Config and executors: options by keyword, checked, immutable, equal by value, picklable."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        known = self.option_names()
        for name, value in options.items():
            if name not in known:
                raise ConfigurationError(
                    f"{type(self).__name__} has no option {name!r}; its options are {', '.join(known)}."
                )
            try:
                self.set_trait(name, value)
            except traitlets.TraitError:
                wants = getattr(self.traits()[name], "wants", "something else")
                raise ConfigurationError(
                    f"{type(self).__name__}: {name} must be {wants}, not {_short(value)}."
                ) from None
        self.check()
        self._made = True

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """The options, in the order in which the class names them."""
        traits = cls.class_traits()
        return tuple(dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base) if name in traits))

    def check(self) -> None:
        """Raise ConfigurationError when options that are right alone do not go together."""

    def options(self) -> dict[str, Any]:
        """The options that differ from their defaults, as the constructor takes them."""
        plain: dict[str, Any] = {}
        for name in self.option_names():
            value = getattr(self, name)
            if value != self.traits()[name].default(self):
                plain[name] = dict(value) if isinstance(value, MappingProxyType) else value
        return plain

    def replaced(self: D, **options: Any) -> D:
        """The same description with other values for these options."""
        return type(self)(**{**self.options(), **options})

    def __setattr__(self, name: str, value: Any) -> None:
        # traitlets itself sets private names, even while an option is read.
        if not name.startswith("_") and self.__dict__.get("_made"):
            raise AttributeError(
                f"{type(self).__name__} cannot be changed: make another one with .replaced({name}=...)."
            )
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.options() == other.options()

    def __hash__(self) -> int:
        values = (tuple(sorted(v.items())) if isinstance(v, dict) else v for v in self.options().values())
        return hash((type(self), *self.options(), *values))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={_shown(value)}" for name, value in self.options().items())
        return f"{type(self).__name__}({options})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (type(self), self.options())

    def __copy__(self: D) -> D:
        return self

    def __deepcopy__(self: D, memo: dict[int, Any]) -> D:
        return self


def _made_again(cls: type[D], options: dict[str, Any]) -> D:
    return cls(**options)


def _shown(value: Any) -> str:
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
