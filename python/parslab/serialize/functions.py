"""Functions as they are now: pickled once, and again when something that their pickle holds has changed.

:class:`AppFunction` is what an app calls; it is asked before each call, and has the answer ready while its
``census.Watch`` holds. With the pickle goes the fingerprint, which is the same in every process. Called in the user's
thread only.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import pickle
import sys
import weakref
from typing import TYPE_CHECKING, Any

from parslab.serialize.cells import learn
from parslab.serialize.pickling import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from parslab.serialize.captured_state import CapturedState, StateWatch
    from parslab.serialize.fingerprint import Fingerprint

__all__ = ["AppFunction", "PickledFunction", "load_function"]

_UNKNOWN = os.urandom(16)
"""In place of the fingerprint of a function that has none: nothing of another process may be taken for it."""


class PickledFunction:
    """One pickle of a function, known everywhere by its digest.

    Attributes
    ----------
    name
        What the panel shows.
    payload
        The pickle.
    fingerprint, parts
        What the function means, the same in every process; empty when that cannot be told.
    unknown
        Why it cannot be told.
    digest
        Of pickle and fingerprint: a function that is found by its name has the same pickle when its module was edited.
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
    """The function of an app, and the pickle of what it is at the moment of a call.

    Parameters
    ----------
    function
        What the user decorated.
    runner
        An importable callable; the worker then calls ``runner(function, *args, **kwargs)``.
    name
        What the panel shows; the function's own name by default.
    """

    __slots__ = ("_fingerprint", "_pickled", "_unknown", "_watch", "function", "name", "runner")

    def __init__(self, function: Callable[..., Any], runner: Callable[..., Any] | None = None, name: str = "") -> None:
        self.function = function
        self.runner = runner
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self._pickled: PickledFunction | None = None
        self._watch: StateWatch | None = None
        self._fingerprint: Fingerprint | None = None
        self._unknown = ""

    def current(self) -> PickledFunction:
        """The pickle of the function as it is now.

        Raises
        ------
        SerializationError
            Naming the global or captured variable that cannot travel.
        """
        pickled = self._pickled
        if pickled is not None and self._watch is not None and self._watch.holds():
            return pickled
        return self._pickle()

    def fingerprint(self) -> bytes:
        """The fingerprint of the function as it is now, for calls that do not travel.

        Raises
        ------
        Unidentified
            It has none; the text says why.
        """
        if self._watch is None or not self._watch.holds():
            from parslab.serialize.captured_state import CapturedState

            census = CapturedState()
            census.visit(self.function)
            self._look(census)
        made = self._fingerprint
        if made is None:
            from parslab.serialize.identity import Unidentified

            raise Unidentified(self._unknown)
        return made.here() if made.sources else made.digest

    def _look(self, census: CapturedState) -> None:
        """Watch the function, and make its fingerprint."""
        from parslab.serialize.captured_state import StateWatch
        from parslab.serialize.fingerprint import Fingerprint
        from parslab.serialize.identity import Unidentified

        self._pickled = self._watch = None  # an interrupt may come at any line
        watch = StateWatch(census)
        self._fingerprint, self._unknown = None, ""
        try:
            self._fingerprint = Fingerprint(self.function, self.runner)
        except Unidentified as error:
            self._unknown = str(error)
        except Exception as error:  # what the user's objects do when they are asked what they are is not our trouble
            self._unknown = f"{type(error).__name__}: {error}"
        else:
            watch.also(self._fingerprint.sources)
        self._watch = watch

    def _modules(self) -> bytes:
        """The modules that are being edited, by name, as they lie on the disk now: those the worker must have."""
        made = self._fingerprint
        edited = {name: source.digest for name, source in made.sources.items()} if made is not None else {}
        return pickle.dumps(edited, 5)

    def _pickle(self) -> PickledFunction:
        from parslab.serialize.captured_state import CapturedState

        census = CapturedState()
        census.visit(self.function)
        # First watch, then pickle: a change in between makes the pickle look stale, never fresh.
        self._look(census)
        try:
            payload = self._modules() + dumps((self.runner, self.function, census.sources()))
        except Exception as error:
            raise census.blame(self.name, error) from error
        made = self._fingerprint
        if made is None:
            pickled = PickledFunction(self.name, payload, b"", {}, self._unknown)
        else:
            pickled = PickledFunction(self.name, payload, made.digest, made.parts)
        # A cell that is run again makes the same function: one pickle for both, so that the end of the older one
        # does not make the run forget the number that a call of the newer one is about to name.
        self._pickled = _alive.setdefault(pickled.digest, pickled)
        return self._pickled


_imported: dict[str, bytes] = {}


def _import_anew(edited: dict[str, bytes]) -> None:
    """Let go of modules that this worker imported before they were edited: they are imported when they are needed."""
    if any(_imported.get(name, digest) != digest for name, digest in edited.items()):
        importlib.invalidate_caches()
        for name in edited:  # those that were not edited may hold what the others were
            sys.modules.pop(name, None)
    _imported.update(edited)


def load_function(payload: bytes) -> Callable[..., Any]:
    """On the worker: the callable, with the source lines of its cells put where tracebacks look for them."""
    stream = io.BytesIO(payload)
    _import_anew(pickle.load(stream))
    runner, function, sources = pickle.load(stream)
    for filename, (text, title) in sources.items():
        learn(filename, text, title)
    if runner is None:
        return function  # type: ignore[no-any-return]

    def call(*args: Any, **kwargs: Any) -> Any:
        return runner(function, *args, **kwargs)

    return call
