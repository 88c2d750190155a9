"""Pickle the function of an app once, and again when a part of the pickle has changed.

:class:`AppFunction` returns the current pickle before each call. While its ``StateWatch`` sees no change, that is the
cached one. The fingerprint, which is the same in every process, travels with the pickle. The user's thread runs this.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import pickle
import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Any

from parslab.errors import SerializationError
from parslab.serialize.arguments import why_unpicklable
from parslab.serialize.cells import learn
from parslab.serialize.import_path import client_path, follow
from parslab.serialize.pickling import dumps_with_places
from parslab.serialize.summaries import brief
from parslab.serialize.user_frame import frames_to_user

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from parslab.serialize.code.captured_state import CapturedState, StateWatch
    from parslab.serialize.identity.fingerprint import Fingerprint

__all__ = ["AppFunction", "PickledFunction", "load_function"]

_UNKNOWN = os.urandom(16)
"""Replaces a missing fingerprint in digests; it is random, so that no digest of another process is equal."""


class PickledFunction:
    """One pickle of a function; all processes identify it by its digest.

    Attributes
    ----------
    name
        The name that the panel shows.
    payload
        The pickle.
    fingerprint, parts
        Equal in every process for functions that do the same; empty when the function has no fingerprint.
    unknown
        Why the function has no fingerprint.
    digest
        Hash of pickle and fingerprint. The pickle alone does not suffice: for an importable function it is a name.
    """

    __slots__ = ("__weakref__", "digest", "fingerprint", "name", "parts", "payload", "unknown")

    def __init__(
        self, name: str, payload: bytes, fingerprint: bytes, parts: Mapping[str, bytes], unknown: str = ""
    ) -> None:
        self.name = name
        self.payload = payload
        self.fingerprint = fingerprint
        self.parts = dict(parts)
        self.unknown = unknown
        digest = hashlib.blake2b(payload, digest_size=16)
        digest.update(fingerprint or _UNKNOWN)
        self.digest = digest.digest()


_alive: weakref.WeakValueDictionary[bytes, PickledFunction] = weakref.WeakValueDictionary()


class AppFunction:
    """The function of an app, with the pickle of its current state.

    Parameters
    ----------
    function
        The function that the user decorated.
    runner
        An importable callable. With one, the worker calls ``runner(function, *args, **kwargs)``.
    name
        The name that the panel shows; by default, the function's own.
    software
        The software that it runs with; the same function with other software has another fingerprint.
    """

    __slots__ = (
        "_fingerprint",
        "_path",
        "_pickled",
        "_unknown",
        "_warned",
        "_watch",
        "function",
        "name",
        "runner",
        "software",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        runner: Callable[..., Any] | None = None,
        name: str = "",
        software: str = "",
    ) -> None:
        self.function = function
        self.software = software
        self.runner = runner
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self._pickled: PickledFunction | None = None
        self._watch: StateWatch | None = None
        self._fingerprint: Fingerprint | None = None
        self._unknown = ""
        self._path: list[str] = []
        """``sys.path`` when the function was pickled."""
        self._warned: set[str] = set()

    def current(self) -> PickledFunction:
        """Return the pickle of the function as it is now.

        Raises
        ------
        SerializationError
            A global or captured variable cannot travel; the text names it.
        """
        pickled = self._pickled
        if pickled is not None and self._watch is not None and self._path == sys.path and self._watch.is_current():
            return pickled
        return self._pickle()

    def fingerprint(self) -> bytes:
        """Return the fingerprint of the function as it is now, for calls that run in this process.

        Raises
        ------
        Unidentified
            The function has none; the text says why.
        """
        if self._watch is None or not self._watch.is_current():
            from parslab.serialize.code.captured_state import CapturedState

            captured = CapturedState()
            captured.visit(self.function)
            self._examine(captured)
        made = self._fingerprint
        if made is None:
            from parslab.serialize.identity.registry import Unidentified

            raise Unidentified(self._unknown)
        return made.imported_digest() if made.sources else made.digest

    def _examine(self, captured: CapturedState) -> None:
        """Start to watch the function, and make its fingerprint."""
        from parslab.serialize.code.captured_state import StateWatch
        from parslab.serialize.identity.fingerprint import Fingerprint
        from parslab.serialize.identity.registry import Unidentified

        # First drop the old state: after an interrupt at any line below, the next call must examine the function again.
        self._pickled = self._watch = None
        watch = StateWatch(captured)
        self._fingerprint, self._unknown = None, ""
        try:
            self._fingerprint = Fingerprint(self.function, self.runner)
        except Unidentified as error:
            self._unknown = str(error)
        except Exception as error:  # the user's objects may raise anything when their state is read
            self._unknown = f"{type(error).__name__}: {error}"
        else:
            watch.add_sources(self._fingerprint.sources)
        self._watch = watch

    def _imports(self) -> bytes:
        """Return a pickle of what the worker needs in order to import what the function imports.

        These are the digests of edited modules by name, so that it imports the current versions, and our path.
        """
        made = self._fingerprint
        edited = {name: source.digest for name, source in made.sources.items()} if made is not None else {}
        self._path = sys.path.copy()
        return pickle.dumps((edited, client_path()), 5)

    def _warn_of_large(self, watch: StateWatch) -> None:
        """Warn once of each large variable: it is part of the function, and each call compares it."""
        for description, size in watch.large:
            if description not in self._warned:
                self._warned.add(description)
                warnings.warn(
                    f"App {self.name} uses {description} of {size / 1e6:.0f} MB. It travels as a part of the function, "
                    "and every call looks whether it has changed. Pass it to the app as an argument.",
                    UserWarning,
                    stacklevel=frames_to_user(),
                )

    def _pickle(self) -> PickledFunction:
        from parslab.serialize.code.captured_state import CapturedState

        captured = CapturedState()
        captured.visit(self.function)
        # Watch first, then pickle. If another thread changes a value in between, the next call pickles once too often.
        # In the other order, it would send the old value.
        self._examine(captured)
        try:
            imports = self._imports()
            body, places = dumps_with_places((self.runner, self.function, captured.sources()))
        except Exception as error:
            raise _blame(captured, self.name, error) from error
        payload = imports + body
        made = self._fingerprint
        if made is None:
            pickled = PickledFunction(self.name, payload, b"", {}, self._unknown)
        else:
            pickled = PickledFunction(self.name, payload, *_with_software(made, self.software))
        # A cell that runs again makes an equal function. Both functions share one pickle: the client drops the number
        # of a pickle that is garbage, while a call of the newer function may be about to use that number.
        pickled = _alive.setdefault(pickled.digest, pickled)
        if self._watch is not None:
            self._warn_of_large(self._watch)
            self._watch.compare_with(pickled.payload, [(len(imports) + at, size) for at, size in places])
        self._pickled = pickled
        return pickled


def _with_software(made: Fingerprint, software: str) -> tuple[bytes, Mapping[str, bytes]]:
    """Return the fingerprint and the parts of a function that runs with this software."""
    if not software:
        return made.digest, made.parts
    mark = hashlib.blake2b(software.encode(), digest_size=16).digest()
    return hashlib.blake2b(made.digest + mark, digest_size=16).digest(), {**made.parts, "environment": mark}


_imported: dict[str, bytes] = {}


def _import_anew(edited: dict[str, bytes]) -> None:
    """Drop modules that this worker imported before the user edited them, so that the next use imports them again."""
    if any(_imported.get(name, digest) != digest for name, digest in edited.items()):
        importlib.invalidate_caches()
        for name in edited:  # unedited modules may hold objects of the edited ones
            sys.modules.pop(name, None)
    _imported.update(edited)


def load_function(payload: bytes) -> Callable[..., Any]:
    """Rebuild the callable on the worker, and put the source lines of its cells where tracebacks look for them."""
    stream = io.BytesIO(payload)
    # A pickle of its own, which imports nothing: loading the function imports modules, and needs these paths before.
    edited, path = pickle.load(stream)
    follow(path)
    _import_anew(edited)
    runner, function, sources = pickle.load(stream)
    for filename, (text, title) in sources.items():
        learn(filename, text, title)
    if runner is None:
        return function  # type: ignore[no-any-return]

    def call(*args: Any, **kwargs: Any) -> Any:
        return runner(function, *args, **kwargs)

    return call


def _blame(captured: CapturedState, function: str, error: Exception) -> SerializationError:
    """Return the error for a function that cannot be pickled; it names the variable at fault if one is found."""
    for description, value in reversed(captured.named):  # the deepest is last; outer ones fail because they refer to it
        reason = why_unpicklable(value)
        if reason:
            return SerializationError(f"{description} ({brief(value)}), which app {function} uses,", reason)
    return SerializationError(f"app {function}", f"{type(error).__name__}: {error}")
