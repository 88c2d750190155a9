"""The base of everything a user configures: immutable descriptions, checked by traitlets when they are made.

A description never runs anything: ``load()`` makes the machinery from it, so a notebook cell that makes one may run
twice.  Two with the same values are equal, and ``repr`` is the call that makes it.  What is wrong with an option is
said in one sentence that names it.  ``encoded`` and ``decoded`` carry descriptions to the DataFlowKernel process as
plain JSON.  Imported only when a description is made: traitlets costs some milliseconds.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import traitlets

from parslab.errors import ConfigurationError

__all__ = [
    "Choice",
    "Description",
    "Duration",
    "Label",
    "Nested",
    "Number",
    "PathText",
    "Text",
    "Texts",
    "Variables",
    "Whole",
    "YesNo",
    "decoded",
    "encoded",
]

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):([0-5]?\d):([0-5]?\d)")

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


class Number(_Option):
    """A finite number between two limits; ``above`` is a lower limit that is not itself taken."""

    def __init__(
        self,
        default: float | None,
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
        **metadata: Any,
    ) -> None:
        super().__init__(default, **metadata)
        self.low, self.high, self.above = low, high, above
        limits = [
            f"{word} {limit:g}"
            for word, limit in (("above", above), ("of at least", low), ("of at most", high))
            if limit is not None
        ]
        self.wants = " ".join(["a number", " and ".join(limits)]).strip()

    def accepted(self, value: Any) -> float:
        if isinstance(value, (bool, str)):
            self.refuse()
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            self.refuse()
        if not math.isfinite(number) or (self.above is not None and number <= self.above):
            self.refuse()
        if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
            self.refuse()
        return number


class Duration(Number):
    """Seconds: a number, a ``timedelta``, or a text ``HH:MM:SS`` or ``D-HH:MM:SS``; kept as a number of seconds."""

    def __init__(self, default: float | None, low: float = 0.0, high: float | None = None, **metadata: Any) -> None:
        super().__init__(default, low, high, **metadata)
        least = f" of at least {low:g} s" if low else ""
        most = f" of at most {high:g} s" if high is not None else ""
        self.wants = f"a time{least}{most}: seconds, or a text 'HH:MM:SS' or 'D-HH:MM:SS'"

    def accepted(self, value: Any) -> float:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        elif isinstance(value, str):
            clock = _CLOCK.fullmatch(value.strip())
            if clock is None:
                self.refuse()
            days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
            value = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        return super().accepted(value)


class YesNo(_Option):
    """True or False."""

    wants = "True or False"

    def accepted(self, value: Any) -> bool:
        if not isinstance(value, bool):
            self.refuse()
        return value


class Choice(_Option):
    """One of a few texts."""

    def __init__(self, default: str | None, choices: tuple[str, ...], **metadata: Any) -> None:
        super().__init__(default, **metadata)
        self.choices = choices
        self.wants = f"one of {', '.join(map(repr, choices))}"

    def accepted(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.choices:
            self.refuse()
        return value


class Text(_Option):
    """A text; an empty one only where ``empty`` says so."""

    def __init__(self, default: str | None, empty: bool = False, **metadata: Any) -> None:
        super().__init__(default, **metadata)
        self.empty = empty
        self.wants = "a text" if empty else "a text that is not empty"

    def accepted(self, value: Any) -> str:
        if not isinstance(value, str) or not (self.empty or value.strip()):
            self.refuse()
        return value


class Texts(_Option):
    """A list of texts that are not empty, kept as a tuple; one text alone is a list of one."""

    wants = "a list of texts"

    def accepted(self, value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            value = (value,)
        if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) and text.strip() for text in value):
            self.refuse()
        return tuple(value)


class Nested(_Option):
    """Another description, of the class ``kind`` or one below it.

    ``default`` is None or a class: the default is one of it with its own defaults, made when it is first needed.
    """

    def __init__(self, kind: type[Description], default: type[Description] | None = None, **metadata: Any) -> None:
        super().__init__(None, **metadata)
        self.kind, self.made = kind, default
        example = f", such as {default.__name__}()" if default is not None else ""
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        self.wants = f"{article} {kind.__name__}{example}"

    def default(self, obj: Any = None) -> Description | None:
        return None if self.made is None else self.made()

    def validate(self, obj: Any, value: Any) -> Any:
        if value is None and self.made is None:
            return None
        if not isinstance(value, self.kind):
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


def encoded(description: Description) -> dict[str, Any]:
    """Plain JSON data that :func:`decoded` makes an equal description from, in another process too.

    Raises
    ------
    ConfigurationError
        Its class, or that of a description inside, cannot be found by another process.
    """
    cls = type(description)
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
        where = "a function" if "<locals>" in cls.__qualname__ else "the notebook or script itself"
        raise ConfigurationError(
            f"{cls.__name__} is defined in {where}, where the background process cannot find it: put the class into a "
            "module and import it from there."
        )
    options = {name: _plain(value, cls, name) for name, value in description.options().items()}
    return {"class": f"{cls.__module__}:{cls.__qualname__}", "options": options}


def decoded(data: Mapping[str, Any]) -> Description:
    """The description that :func:`encoded` made this data from.

    Raises
    ------
    ConfigurationError
        Its class cannot be imported here or is no description, or its options are not right.
    """
    from importlib import import_module

    if not _is_encoded(data):
        raise ConfigurationError(f"{_short(data)} is not an encoded description.")
    named: str = data["class"]
    module, _, path = named.partition(":")
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever the module's own code raises
        raise ConfigurationError(
            f"{named} cannot be imported in process {os.getpid()} ({type(error).__name__}: {error}): the module "
            "must be installed, or lie on sys.path, for the background process too."
        ) from error
    if not isinstance(found, type) or not issubclass(found, Description):
        raise ConfigurationError(f"{named} is not the class of a Description, so it cannot be part of a configuration.")
    return _made_again(found, {name: _revived(value) for name, value in data["options"].items()})


def _plain(value: Any, cls: type, name: str) -> Any:
    if isinstance(value, Description):
        return encoded(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, cls, name) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, cls, name) for key, item in value.items()}
    raise ConfigurationError(
        f"{cls.__name__}: {name} cannot be told to the background process, because {_short(value)} is not plain data."
    )


def _is_encoded(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and value.keys() == {"class", "options"}
        and isinstance(value["class"], str)
        and isinstance(value["options"], Mapping)
    )


def _revived(value: Any) -> Any:
    if _is_encoded(value):
        return decoded(value)
    if isinstance(value, list):
        return tuple(map(_revived, value))
    if isinstance(value, Mapping):
        return {key: _revived(item) for key, item in value.items()}
    return value


def _made_again(cls: type[D], options: dict[str, Any]) -> D:
    return cls(**options)


def _shown(value: Any) -> str:
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
