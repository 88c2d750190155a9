"""Decide which modules travel by name and which by value, and read the modules that users edit.

The name of a function identifies it if its module is installed. A module elsewhere is work in progress: its code, and
the code of the edited modules that it imports, are part of the identity. That is the code on the disk, because a worker
imports it from there. Comments, formatting and most docstrings do not count. The user's thread runs this.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import types
from functools import lru_cache
from typing import Any

from parslab.serialize.code.bytecode import code_term, imported_names
from parslab.serialize.code.hashing import digest_of

__all__ = [
    "Source",
    "by_reference",
    "editable",
    "installed_folder",
    "loaded_code",
    "registered",
    "sources_of",
    "version_of",
]

_OURS = __name__.partition(".")[0]


class Source:
    """The file of a module that users edit.

    Attributes
    ----------
    path
        Where the file is.
    stamp
        Time of its last change and size, which differ between versions.
    digest
        Hash of its code.
    imports
        Full names of what it imports.
    """

    __slots__ = ("digest", "imports", "path", "stamp")

    def __init__(self, path: str, stamp: tuple[int, int], digest: bytes, imports: tuple[str, ...]) -> None:
        self.path, self.stamp, self.digest, self.imports = path, stamp, digest, imports

    def unchanged(self) -> bool:
        """Return whether the file is still the version that was read."""
        return _stamp(self.path) == self.stamp


def registered(module: str) -> bool:
    """Return whether the functions and classes of a module travel by value although they can be imported."""
    import cloudpickle

    names = cloudpickle.list_registry_pickle_by_value()
    while module:
        if module in names:
            return True
        module = module.rpartition(".")[0]
    return False


def by_reference(value: Any) -> bool:
    """Return whether cloudpickle sends only the name: it is importable, and not registered to travel by value."""
    name, path = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not name or not isinstance(path, str) or name == "__main__" or registered(name):
        return False
    owner: Any = sys.modules.get(name)
    for part in path.split("."):
        owner = getattr(owner, part, None)
    return owner is value


def version_of(module: str) -> str:
    """Return ``__version__`` of a module's package; empty when it has none, and for our own package."""
    package = module.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", "") if package != _OURS else ""
    return version if isinstance(version, str) else ""


@lru_cache(1)
def _installed_below() -> tuple[str, ...]:
    import site
    import sysconfig

    places = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    places += [*site.getsitepackages(), site.getusersitepackages()] if hasattr(site, "getsitepackages") else []
    return tuple({os.path.realpath(place) + os.sep for place in places if place})


@lru_cache(4096)
def _installed(path: str) -> bool:
    real = os.path.realpath(path)
    # A path that does not exist is in a zip archive, or nowhere: users cannot edit it.
    return real.startswith(_installed_below()) or not os.path.exists(real)


@lru_cache(256)
def installed_folder(entry: str) -> bool:
    """Return whether an entry of ``sys.path`` belongs to Python or its environment; workers have their own."""
    if entry.startswith("__editable__") or os.path.basename(entry) == "python{}{}.zip".format(*sys.version_info):
        return True
    return (os.path.realpath(entry) + os.sep).startswith(_installed_below())


def editable(module: str) -> bool:
    """Return whether users edit a module's file: it is not installed, no part of Python, and not the notebook."""
    top = module.partition(".")[0]
    if not module or module == "__main__" or top == _OURS or top in sys.stdlib_module_names:
        return False
    path = _path_of(module)
    return path is not None and not _installed(path)


def _path_of(module: str) -> str | None:
    loaded = sys.modules.get(module)
    if loaded is not None:
        path = getattr(loaded, "__file__", None)
    else:
        try:
            # find_spec() of a submodule imports its package, and runs its code, so only top-level modules are searched.
            spec = importlib.util.find_spec(module) if "." not in module else None
        except (ImportError, ValueError, AttributeError):
            spec = None
        path = spec.origin if spec is not None else None
    return path if isinstance(path, str) and path not in ("built-in", "frozen") else None


def sources_of(modules: list[str]) -> dict[str, Source]:
    """Return the files of edited modules among these and among all that they import, by name."""
    found: dict[str, Source] = {}
    todo = list(modules)
    while todo:
        name = todo.pop()
        for part in _with_parents(name):
            if part in found or not editable(part):
                continue
            source = _source(part)
            if source is not None:
                found[part] = source
                todo += source.imports
    return found


def loaded_code(module: str) -> list[tuple[str, Any]]:
    """Return the code of a module's functions and methods as this process has imported them."""
    found = []
    for holder in [sys.modules.get(module), *_own_classes(module)]:
        for value in list(vars(holder).values()) if holder is not None else []:
            function = getattr(value, "__func__", value)
            if isinstance(function, types.FunctionType) and function.__module__ == module:
                found.append((function.__qualname__, code_term(function.__code__)))
    return sorted(found, key=lambda item: item[0])


def _own_classes(module: str) -> list[type]:
    values = list(vars(sys.modules[module]).values()) if module in sys.modules else []
    return [value for value in values if isinstance(value, type) and value.__module__ == module]


def _with_parents(name: str) -> list[str]:
    """Return a module and its packages, because an import of ``a.b`` also executes ``a/__init__.py``."""
    parts = name.split(".")
    return [".".join(parts[: n + 1]) for n in range(len(parts))]


_sources: dict[str, Source] = {}


def _source(module: str) -> Source | None:
    path = _path_of(module)
    assert path is not None
    stamp = _stamp(path)
    if stamp is None:
        return None
    known = _sources.get(path)
    if known is None or known.stamp != stamp:
        known = _sources[path] = _read_source(module, path, stamp)
    return known


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _read_source(module: str, path: str, stamp: tuple[int, int]) -> Source:
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError:
        text = b""
    try:
        # Without dont_inherit, the code would get the __future__ features of this module.
        code = compile(text, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):  # an extension module, or a file that is being written
        return Source(path, stamp, hashlib.blake2b(text, digest_size=16).digest(), ())
    loaded = sys.modules.get(module)
    package = module if os.path.basename(path) == "__init__.py" else module.rpartition(".")[0]
    if isinstance(loaded, types.ModuleType):
        package = loaded.__package__ or package
    return Source(path, stamp, digest_of(code_term(code)), tuple(imported_names(code, package)))
