"""Makes modules of Parsl's paths: ``parslab.X`` where parslab has no such module, and ``parsl.X`` after an install.

``import parslab`` puts a finder at the end of ``sys.meta_path``, which calls :func:`find_spec` only when nobody else
has found a module.  The modules that it makes are empty at first.  They look up each name when somebody asks for it, so
they cost nothing until then.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from parslab.compat.names import MODULES, TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ParslModule", "find_spec", "install", "is_installed", "look_up"]


def look_up(module: str, name: str) -> Any:
    """Return the object that has a name of Parsl.

    Parameters
    ----------
    module
        The module of Parsl without ``parsl.``, such as ``dataflow.errors``.
    name
        A name in that module, or of a module below it.

    Raises
    ------
    AttributeError
        Neither the table nor, for the top module, parslab has the name.
    """
    found = TARGETS.get(module, {}).get(name)
    if found is not None:
        return getattr(import_module(found[0]), found[1])
    here = ".".join(filter(None, ("parslab", module)))
    if name and f"{module}.{name}".strip(".") in MODULES:
        return import_module(f"{here}.{name}")
    raise AttributeError(f"module {here!r} has no attribute {name!r}")


class ParslModule(ModuleType):
    """A module of Parsl's API, whose names are those of parslab.

    Parameters
    ----------
    name
        The name under which it is imported: ``parslab.dataflow.errors`` or ``parsl.dataflow.errors``.
    """

    def __init__(self, name: str) -> None:
        package, _, self._parsl_path = name.partition(".")
        super().__init__(
            name, f"The names of Parsl's module {name.replace('parslab', 'parsl', 1)}, as parslab has them."
        )
        self._parsl_package = package
        self.__path__: list[str] = []  # a package, so that Python looks for modules below it
        self.__all__ = sorted(TARGETS[self._parsl_path])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        try:
            value = look_up(self._parsl_path, name)
        except AttributeError:
            if self._parsl_path:
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None
            value = getattr(sys.modules["parslab"], name)  # its package, so it is there
        if isinstance(value, ModuleType) and self._parsl_package == "parsl":
            value = import_module(f"{self.__name__}.{name}")  # the module of the same package, not that of parslab
        setattr(self, name, value)  # Python then finds it without this method
        return value

    def __dir__(self) -> list[str]:
        return sorted({*self.__all__, *super().__dir__()})


class _Loader:
    """Makes the modules of :func:`find_spec`."""

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        return ParslModule(spec.name)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Do nothing: a module finds its names when they are needed."""


def find_spec(name: str) -> ModuleSpec | None:
    """Return how to make the module ``parslab.X`` or ``parsl.X``; None if Parsl's API has no such module."""
    package, _, path = name.partition(".")
    if path not in MODULES or package not in ("parslab", "parsl"):
        return None
    return ModuleSpec(name, _Loader(), is_package=True)  # type: ignore[arg-type]  # has what the protocol needs


class _ParslFinder:
    """Finds ``parsl`` and everything below it here, even if Parsl is installed."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return find_spec(name) if name.partition(".")[0] == "parsl" else None


def is_installed() -> bool:
    """Return whether ``import parsl`` gives parslab in this process."""
    return any(isinstance(finder, _ParslFinder) for finder in sys.meta_path)


def install() -> None:
    """Let ``import parsl`` give parslab in this process from now on.

    Raises
    ------
    ImportError
        This process has imported Parsl itself already.
    """
    if is_installed():
        return
    if "parsl" in sys.modules:
        raise ImportError(
            "Parsl itself has been imported in this process already: call parslab.install_as_parsl() before the first "
            "`import parsl`."
        )
    sys.meta_path.insert(0, _ParslFinder())
