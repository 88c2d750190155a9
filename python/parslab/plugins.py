"""Finds the providers, launchers, executors, strategies and staging providers that other packages add by entry points.

A package adds a class by naming it in an entry point; users then find it beside ours.  In ``pyproject.toml``::

    [project.entry-points."parslab.providers"]
    NiceProvider = "my_cluster:NiceProvider"

``from parslab.providers import NiceProvider`` works then, and the same for ``parslab.launchers`` and
``parslab.executors``.  A strategy is found by its name: ``Config(strategy="by_day")``.  A staging provider of the
group ``parslab.staging`` is named by the scheme of the URLs that it takes.  The base module of each family
shows a class of ten lines, and :mod:`parslab.testing.conformance` has a suite that tests it.

A look-up reads entry points only for names that parslab does not have, because that reads the metadata of all packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.errors import ConfigurationError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["EXECUTORS", "LAUNCHERS", "PROVIDERS", "STAGING", "STRATEGIES", "find_plugin", "load", "plugin_names"]

EXECUTORS = "parslab.executors"
LAUNCHERS = "parslab.launchers"
PROVIDERS = "parslab.providers"
STAGING = "parslab.staging"
STRATEGIES = "parslab.strategies"


def plugin_names(group: str) -> tuple[str, ...]:
    """Return the names that installed packages add to a family.

    Examples
    --------
    >>> plugin_names("parslab.no_such_family")
    ()
    """
    return tuple(sorted(_entry_points(group)))


def find_plugin(group: str, name: str, base: type | None = None) -> Any:
    """Return the class that an installed package adds to a family under this name, or None.

    Parameters
    ----------
    group
        The family, such as ``PROVIDERS``.
    name
        The name of the entry point.
    base
        The base of the family, of which the class must be a subclass; None when any callable will do.

    Raises
    ------
    ConfigurationError
        The class cannot be imported, or it is not a subclass of ``base``.
    """
    # Python and its tools ask modules for many private names, and no entry point has such a name.
    point = None if name.startswith("_") else _entry_points(group).get(name)
    if point is None:
        return None
    found = load(point)
    if base is not None and not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigurationError(
            f"The entry point {name!r} of the group {group} names {point.value}, which is not a subclass of "
            f"{base.__module__}.{base.__qualname__}."
        )
    return found


def load(point: EntryPoint) -> Any:
    """Return the object that an entry point names.

    Raises
    ------
    ConfigurationError
        It cannot be imported.
    """
    try:
        return point.load()
    except Exception as error:  # whatever the module of the package raises
        raise ConfigurationError(
            f"The entry point {point.name!r} of the group {point.group} names {point.value}, which cannot be imported "
            f"({type(error).__name__}: {error})."
        ) from error


def _entry_points(group: str) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # here, because a process that looks up no plug-in needs no import

    return {point.name: point for point in entry_points(group=group)}
