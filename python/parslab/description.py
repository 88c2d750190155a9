"""Defines the base of everything that a user configures: descriptions, whose options traitlets checks at once.

A description never runs anything: ``load()`` starts what it describes, so a notebook cell that makes a description may
run twice.  Options can be changed until the description is loaded.  Two descriptions with the same values are equal,
and ``repr`` shows the call that makes one.  A wrong option raises one sentence that names the option.

Options that Parsl has and parslab does not are accepted: those of the same meaning are translated, the others are
ignored with one warning that says why.

``encoded`` and ``decoded`` carry descriptions to the DataFlowKernel process as plain JSON.  The import of traitlets
costs some milliseconds, so this module is imported only when it is needed.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Set
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import traitlets

from parslab.defaults import defaults_of
from parslab.errors import ConfigurationError, IgnoredOption
from parslab.options import (
    Choice,
    Duration,
    Label,
    Nested,
    Number,
    PathText,
    PlainData,
    PlainRows,
    Text,
    Texts,
    Variables,
    Whole,
    YesNo,
)
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
    "PlainData",
    "PlainRows",
    "Text",
    "Texts",
    "Variables",
    "Whole",
    "YesNo",
    "decoded",
    "encoded",
    "warn_once",
]

D = TypeVar("D", bound="Description")


_warned: set[str] = set()
"""The warnings that this process has given; a notebook cell that runs again does not repeat them."""


class Description(traitlets.HasTraits):
    """Base of configurations, executors, providers and launchers: checked options, equal by value.

    Options may also be given by position, in the order of the class's ``positional``.
    """

    instead: ClassVar[Mapping[str, str]] = {}
    """Names that are no options, with the advice for each; base classes add theirs."""
    renamed: ClassVar[Mapping[str, str]] = {}
    """Options of Parsl, with the name of the option of the same meaning here; base classes add theirs."""
    ignored: ClassVar[Mapping[str, str]] = {}
    """Options of Parsl that change nothing here, each with the reason; base classes add theirs."""
    expected: ClassVar[Mapping[str, Any]] = {}
    """For some ignored options the value that parslab acts on anyway, so that it needs no warning."""
    none_means_default: ClassVar[frozenset[str]] = frozenset()
    """Options for which Parsl's default is None, so that None stands for the default here."""
    positional: ClassVar[tuple[str, ...]] = ()
    """The options that may be given by position, in Parsl's order."""
    unavailable: ClassVar[str] = ""
    """For a class of Parsl that parslab lacks: what to use in its place.  ``load()`` refuses such a description."""

    def __init__(self, *values: Any, **options: Any) -> None:
        super().__init__()
        options = self.translated({**self._by_name(values, options), **options})
        for name, value in options.items():
            self._take(name, value)
        site = self._site_defaults(options)
        for name, (value, place) in site.items():
            try:
                self._take(name, value)
            except ConfigurationError as error:
                raise ConfigurationError(f"{place}: {error}") from None
        self.complete(options.keys() | {name for name, (_, place) in site.items() if place})
        self.check()

    @classmethod
    def _by_name(cls, values: tuple[Any, ...], options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that are given by position."""
        if len(values) > len(cls.positional):
            raise ConfigurationError(
                f"{cls.__name__} takes {len(cls.positional)} options by position, not {len(values)}: name them."
            )
        named = dict(zip(cls.positional, values, strict=False))
        for name in named.keys() & options.keys():
            raise ConfigurationError(f"{cls.__name__}: {name} is given twice, by position and by name.")
        return named

    @classmethod
    def _advice(cls, table: str, name: str) -> Any:
        """Return what the class or its nearest base says of a name in one of its tables; None without an entry."""
        return next((vars(base)[table][name] for base in cls.__mro__ if name in vars(base).get(table, {})), None)

    def translated(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options with the names of parslab, and without those of Parsl that change nothing here.

        An ignored option becomes a plain attribute, because programs may read it.
        """
        found: dict[str, Any] = {}
        refused = vars(type(self)).get("ignored", {})  # a class may ignore an option that its base has
        for name, value in options.items():
            if name in self.traits() and name not in refused:
                if value is not None or name not in self.none_means_default:
                    found[name] = value
            elif (here := self._advice("renamed", name)) is not None:
                if value is not None:
                    found[here] = value
            elif (reason := self._advice("ignored", name)) is not None:
                self.__dict__[name] = value
                if value is not None and value != self._advice("expected", name):
                    warn_once(f"{type(self).__name__}: {name} has no effect in parslab: {reason}.")
            else:
                found[name] = value
        return found

    @classmethod
    def bare(cls: type[D], options: Mapping[str, Any] = MappingProxyType({})) -> D:
        """Make a description with these options and the defaults of the class, without those of the site."""
        self = cls.__new__(cls)
        traitlets.HasTraits.__init__(self)
        for name, value in options.items():
            self._take(name, value)
        self.check()
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
            hint = self._advice("instead", name) or f"its options are {', '.join(known)}"
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

    def complete(self, given: Set[str]) -> None:
        """Set options that follow from those that the user or the site has given."""

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

    def parts(self) -> Iterator[Description]:
        """Yield this description and all descriptions inside it."""
        yield self
        for name in self.option_names():
            value = getattr(self, name)
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, Description):
                    yield from item.parts()

    def check_parts(self) -> None:
        """Check this description and all inside it once more, because their options may have been changed.

        Raises
        ------
        ConfigurationError
            Two options contradict each other, or parslab lacks what a class stands for.
        """
        for part in self.parts():
            if part.unavailable:
                raise ConfigurationError(f"parslab has no {type(part).__name__} yet: {part.unavailable}.")
            part.check()

    def freeze(self) -> None:
        """Refuse changes from now on, also of the descriptions inside: a run that uses them is loaded."""
        for part in self.parts():
            part.__dict__["_loaded"] = True

    def __setattr__(self, name: str, value: Any) -> None:
        # traitlets itself sets private names, even while an option is read.
        if name.startswith("_") or isinstance(getattr(type(self), name, None), property):
            super().__setattr__(name, value)
            return
        if self.__dict__.get("_loaded") and (name not in self.traits() or getattr(self, name) != value):
            raise AttributeError(
                f"{type(self).__name__} belongs to a run that is loaded, so {name} cannot be changed: make another one "
                f"with .replaced({name}=...)."
            )
        for here, translated in self.translated({name: value}).items():
            if here in self.traits() or type(self).__module__.startswith("parslab."):
                self._take(here, translated)
            else:
                self.__dict__[here] = translated  # an attribute of the user's own class

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.options() == other.options()

    def __hash__(self) -> int:
        options = self.options()
        return hash((type(self), *options, *map(_hashable, options.values())))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={_shown(value)}" for name, value in self.options().items())
        return f"{type(self).__name__}({options})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Through bare(): the object has the defaults of the site already, and another host may have other ones.
        return _made_again, (type(self), self.options())

    def __copy__(self: D) -> D:
        return type(self).bare(self.options())

    def __deepcopy__(self: D, memo: dict[int, Any]) -> D:
        from copy import deepcopy

        return type(self).bare({name: deepcopy(value, memo) for name, value in self.options().items()})


def warn_once(text: str) -> None:
    """Warn the user of an option, once in this process, with the line that gives it."""
    if text in _warned:
        return
    _warned.add(text)
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("parslab.", "traitlets.")):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, IgnoredOption, stacklevel=level)


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


def _hashable(value: Any) -> Any:
    """Return a value for the hash of an option; dictionaries have none of their own."""
    if isinstance(value, dict):
        return tuple(sorted((key, _hashable(item)) for key, item in value.items()))
    return tuple(map(_hashable, value)) if isinstance(value, tuple) else value


def _made_again(cls: type[D], options: dict[str, Any]) -> D:
    return cls.bare(options)


def _shown(value: Any) -> str:
    if isinstance(value, FunctionType):
        return value.__qualname__.rpartition(".<locals>.")[2]
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
