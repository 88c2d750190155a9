"""Defines the base of everything that a user configures: immutable descriptions, which traitlets checks at once.

A description never runs anything: ``load()`` starts what it describes, so a notebook cell that makes a description may
run twice.  Two descriptions with the same values are equal, and ``repr`` shows the call that makes one.  A wrong option
raises one sentence that names the option.  ``encoded`` and ``decoded`` carry descriptions to the DataFlowKernel process
as plain JSON.  The import of traitlets costs some milliseconds, so this module is imported only when it is needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import traitlets

from parslab.defaults import defaults_of
from parslab.errors import ConfigurationError
from parslab.options import Choice, Duration, Label, Nested, Number, PathText, Text, Texts, Variables, Whole, YesNo
from parslab.records.executor_settings import EncodedDescription

if TYPE_CHECKING:
    from parslab.records.executor_settings import Json

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

D = TypeVar("D", bound="Description")


class Description(traitlets.HasTraits):
    """Base of configurations, executors, providers and launchers: checked options, immutable, equal by value."""

    instead: ClassVar[Mapping[str, str]] = {}
    """Option names of other packages, above all Parsl, with the advice for each; base classes add theirs."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        for name, value in options.items():
            self._take(name, value)
        for name, (value, place) in self._site_defaults(options).items():
            try:
                self._take(name, value)
            except ConfigurationError as error:
                raise ConfigurationError(f"{place}: {error}") from None
        self.check()
        self._made = True

    @classmethod
    def bare(cls: type[D], options: Mapping[str, Any] = MappingProxyType({})) -> D:
        """Make a description with these options and the defaults of the class, without those of the site."""
        self = cls.__new__(cls)
        traitlets.HasTraits.__init__(self)
        for name, value in options.items():
            self._take(name, value)
        self.check()
        self._made = True
        return self

    @classmethod
    def try_option(cls, name: str, value: Any) -> None:
        """Raise ConfigurationError if the class has no such option, or if the option does not take this value."""
        made = cls.__new__(cls)
        traitlets.HasTraits.__init__(made)
        cls._take(made, name, value)

    def _take(self, name: str, value: Any) -> None:
        cls, known = type(self), self.option_names()
        if name not in known:
            hints = (vars(base).get("instead", {}).get(name) for base in cls.__mro__)
            hint = next(filter(None, hints), f"its options are {', '.join(known)}")
            raise ConfigurationError(f"{cls.__name__} has no option {name!r}; {hint}.")
        try:
            self.set_trait(name, value)
        except traitlets.TraitError:
            wants = getattr(self.traits()[name], "wants", "something else")
            raise ConfigurationError(f"{cls.__name__}: {name} must be {wants}, not {_short(value)}.") from None

    def _site_defaults(self, given: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
        """Return the site's values for options that are not given, each with the place that sets it."""
        bases = [base.__name__ for base in reversed(type(self).__mro__) if issubclass(base, Description)]
        found = {name: set_at for name, set_at in defaults_of(bases).items() if name not in given}
        for name, trait in self.traits().items():
            fresh = getattr(trait, "fresh", None)
            if fresh is not None and name not in given and name not in found:
                value = fresh()
                if value is not traitlets.Undefined:
                    found[name] = (value, "")
        return found

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the options, in the order of their definition."""
        # class_traits() sorts by name; users expect the order of the documentation.
        traits = cls.class_traits()
        return tuple(dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base) if name in traits))

    def check(self) -> None:
        """Raise ConfigurationError if the options contradict each other."""

    def options(self) -> dict[str, Any]:
        """Return the options whose values differ from their defaults, as the constructor takes them."""
        plain: dict[str, Any] = {}
        for name in self.option_names():
            value = getattr(self, name)
            if value != self.traits()[name].default(self):
                plain[name] = dict(value) if isinstance(value, MappingProxyType) else value
        return plain

    def replaced(self: D, **options: Any) -> D:
        """Return a description with the same options except these."""
        return type(self).bare({**self.options(), **options})

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
        # Dictionaries have no hash of their own.
        values = (tuple(sorted(v.items())) if isinstance(v, dict) else v for v in self.options().values())
        return hash((type(self), *self.options(), *values))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={_shown(value)}" for name, value in self.options().items())
        return f"{type(self).__name__}({options})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Through bare(): the object has the defaults of the site already, and another host may have other ones.
        return _made_again, (type(self), self.options())

    # Nobody can change a description, so a copy would be the same.
    def __copy__(self: D) -> D:
        return self

    def __deepcopy__(self: D, memo: dict[int, Any]) -> D:
        return self


def encoded(description: Description) -> EncodedDescription:
    """Return plain data from which :func:`decoded` makes an equal description, in any process.

    Raises
    ------
    ConfigurationError
        Another process cannot import its class, or the class of a description inside it.
    """
    cls = type(description)
    where = _hidden(cls)
    if where:
        raise ConfigurationError(
            f"{cls.__name__} is defined in {where}, where the background process cannot find it: put the class into a "
            "module and import it from there."
        )
    options = {name: _plain(value, cls, name) for name, value in description.options().items()}
    return EncodedDescription(f"{cls.__module__}:{cls.__qualname__}", options)


def decoded(data: EncodedDescription) -> Description:
    """Make the description from which :func:`encoded` made this data.

    Raises
    ------
    ConfigurationError
        The class cannot be imported here or is not a description, or an option is wrong.
    """
    from importlib import import_module

    named = data.class_name
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
    return _made_again(found, {name: _revived(value) for name, value in data.options.items()})


def _hidden(cls: type) -> str:
    """Return where a class is defined that other processes cannot import; empty if they can import it."""
    if "<locals>" in cls.__qualname__:
        return "a function"
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    # Only the name counts: after a reload of its module, the class of an older object is a different object.
    if cls.__module__ == "__main__" or found is None:
        return "the notebook, script or configuration file itself"
    return ""


def _plain(value: object, cls: type, name: str) -> Json:
    if isinstance(value, Description):
        inner = encoded(value)
        return {"class": inner.class_name, "options": inner.options}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, cls, name) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, cls, name) for key, item in value.items()}
    raise ConfigurationError(
        f"{cls.__name__}: {name} cannot be sent to the background process, because {_short(value)} is not plain data."
    )


def _revived(value: Json) -> object:
    match value:
        # The value of an option may be a dictionary with these two keys; then both are texts.
        case {"class": str(name), "options": dict(options), **rest} if not rest:
            return decoded(EncodedDescription(name, options))
        case list():
            return tuple(map(_revived, value))  # options keep lists as tuples, and JSON has only lists
        case dict():
            return {key: _revived(item) for key, item in value.items()}
        case _:
            return value


def _made_again(cls: type[D], options: dict[str, Any]) -> D:
    return cls.bare(options)


def _shown(value: Any) -> str:
    if isinstance(value, FunctionType):
        return value.__qualname__.rpartition(".<locals>.")[2]
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
