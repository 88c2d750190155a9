"""Defines the kinds of options of descriptions: the values that each takes, and the form in which it keeps them.

Each kind is a trait of traitlets.  Its ``wants`` ends the sentence that ``description.Description`` raises for a wrong
value.  Values are kept in one form (a time in seconds, a list as a tuple), so that equal descriptions compare equal.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NoReturn

import traitlets

__all__ = [
    "Choice",
    "Duration",
    "Label",
    "Nested",
    "Number",
    "Option",
    "PathText",
    "PlainData",
    "PlainRows",
    "Text",
    "Texts",
    "Variables",
    "Whole",
    "YesNo",
]

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):([0-5]?\d):([0-5]?\d)")


class Option(traitlets.TraitType[Any, Any]):
    """A trait that takes what ``wants`` says; it also takes None if its default is None."""

    wants = "something else"

    def validate(self, obj: Any, value: Any) -> Any:
        if value is None and self.default_value is None:
            return None
        return self.accepted(value)

    def accepted(self, value: Any) -> Any:
        """Return the value in the form in which it is kept; raise TraitError if the option does not take it."""
        raise NotImplementedError

    def refuse(self) -> NoReturn:
        """Raise TraitError: the option does not take the value."""
        raise traitlets.TraitError(self.wants)

    def fresh(self) -> Any:
        """Return a new default value with the defaults of the site, or Undefined for the default of the class."""
        return traitlets.Undefined


class Whole(Option):
    """A whole number between two limits; it does not take True and False."""

    def __init__(self, default: int | None, low: int, high: int | None = None, **metadata: Any) -> None:
        super().__init__(default, **metadata)
        self.low, self.high = low, high
        self.wants = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"

    def accepted(self, value: Any) -> int:
        # True is an int for Python, but a mistake here.  __index__ lets the integers of NumPy in, and no float.
        if isinstance(value, bool) or not hasattr(type(value), "__index__"):
            self.refuse()
        number = int(value.__index__())
        if number < self.low or (self.high is not None and number > self.high):
            self.refuse()
        return number


class Number(Option):
    """A finite number between two limits; it must be greater than ``above``, if that is given."""

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
        if isinstance(value, (bool, str)):  # float() would take both
            self.refuse()
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            self.refuse()
        # NaN would pass every comparison with a limit.
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


class YesNo(Option):
    """True or False."""

    wants = "True or False"

    def accepted(self, value: Any) -> bool:
        if not isinstance(value, bool):
            self.refuse()
        return value


class Choice(Option):
    """One of a few texts."""

    def __init__(self, default: str | None, choices: tuple[str, ...], **metadata: Any) -> None:
        super().__init__(default, **metadata)
        self.choices = choices
        self.wants = f"one of {', '.join(map(repr, choices))}"

    def accepted(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.choices:
            self.refuse()
        return value


class Text(Option):
    """A text; it may be empty only if ``empty`` is set."""

    def __init__(self, default: str | None, empty: bool = False, **metadata: Any) -> None:
        super().__init__(default, **metadata)
        self.empty = empty
        self.wants = "a text" if empty else "a text that is not empty"

    def accepted(self, value: Any) -> str:
        if not isinstance(value, str) or not (self.empty or value.strip()):
            self.refuse()
        return value


class Texts(Option):
    """A list of texts that are not empty, kept as a tuple; a single text is a list of one."""

    wants = "a list of texts"

    def accepted(self, value: Any) -> tuple[str, ...]:
        # A text is a sequence of its letters, too, and nobody wants these.
        if isinstance(value, str):
            value = (value,)
        if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) and text.strip() for text in value):
            self.refuse()
        return tuple(value)


class Nested(Option):
    """Another description, an instance of the class ``kind``.

    ``default`` is None or a class.  An instance of that class, made when it is first needed, is the default.
    """

    def __init__(self, kind: type, default: type | None = None, **metadata: Any) -> None:
        super().__init__(None, **metadata)
        self.kind, self.made = kind, default
        example = f", such as {default.__name__}()" if default is not None else ""
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        self.wants = f"{article} {kind.__name__}{example}"

    def default(self, obj: Any = None) -> Any:
        return None if self.made is None else self.made.bare()  # type: ignore[attr-defined]

    def fresh(self) -> Any:
        return traitlets.Undefined if self.made is None else self.made()

    def validate(self, obj: Any, value: Any) -> Any:
        if value is None and self.made is None:
            return None
        if not isinstance(value, self.kind):
            self.refuse()
        return value


class PathText(Option):
    """A path, kept as text."""

    wants = "a path"

    def accepted(self, value: Any) -> str:
        if not isinstance(value, (str, os.PathLike)) or isinstance(path := os.fspath(value), bytes) or not path:
            self.refuse()
        return path


class Label(Option):
    """The name of an executor; users type it, tables show it, and file names contain it."""

    wants = "a name of letters, digits, '.', '_' and '-' other than 'all'"

    def accepted(self, value: Any) -> str:
        # "all" is what an app writes for any executor.
        if not isinstance(value, str) or value == "all" or not _LABEL.fullmatch(value):
            self.refuse()
        return value


class PlainData(Option):
    """A dictionary of plain data, as in a JSON or YAML file: texts, numbers, lists and dictionaries."""

    wants = "a dictionary of plain data, as in a JSON file"

    def accepted(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            self.refuse()
        found: dict[str, Any] = self._plain(value)
        return found

    def _plain(self, value: Any) -> Any:
        """Return a copy whose lists are tuples, so that equal options compare equal."""
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, (list, tuple)):
            return tuple(map(self._plain, value))
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {key: self._plain(item) for key, item in value.items()}
        self.refuse()


class PlainRows(PlainData):
    """A list of dictionaries of plain data."""

    wants = "a list of dictionaries of plain data, as in a JSON file"

    def accepted(self, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            self.refuse()
        return tuple(super(PlainRows, self).accepted(row) for row in value)


class Variables(Option):
    """Environment variables: a read-only dictionary of texts."""

    wants = "a dictionary of texts"

    def accepted(self, value: Any) -> Mapping[str, str]:
        if not isinstance(value, Mapping):
            self.refuse()
        for name, text in value.items():
            # The system refuses such names and values only when a process starts, far from the mistake.
            if not isinstance(name, str) or not isinstance(text, str) or not name or "=" in name or "\0" in name + text:
                self.refuse()
        return MappingProxyType(dict(value))
