"""Keeps each function of a run once, under one number, as long as a client may call it.

Clients number their functions themselves.  By its digest the registry recognizes a function that two clients, or two
cells, have sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.wire.messages.base import DefineFunction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from parslab.wire.stream import Buffer

__all__ = ["FunctionRegistry"]


class FunctionRegistry:
    """All functions of a run.  The lists are indexed by the number that workers know a function by.

    Attributes
    ----------
    names
        The names that the panel shows.
    fingerprints
        Hashes that identify the functions across runs.  The digest of its pickle replaces a missing one.
    parts
        The parts that the fingerprints were made of, by name; empty where the client did not send them.
    origins
        The places where they were defined; empty where the place does not identify a function.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fingerprints: list[bytes] = []
        self.parts: list[dict[str, bytes]] = []
        self.origins: list[str] = []
        self._payloads: dict[int, Buffer] = {}
        self._digests: dict[tuple[bytes, bytes], int] = {}
        self._holders: dict[int, int] = {}

    def add(self, code: DefineFunction, payload: Buffer) -> int:
        """Add a function that a client sent, and return its number."""
        # The digest alone is not enough: a function that is imported by name has the same pickle after an edit of its
        # module, but another fingerprint.
        key = (code.digest, code.fingerprint)
        fn = self._digests.get(key)
        if fn is None:
            # Numbers rise for ever: workers may still know a forgotten function by its number.
            fn = len(self.names)
            self.names.append(code.name)
            self.fingerprints.append(code.fingerprint or code.digest)
            self.parts.append(code.parts)
            self.origins.append(code.origin)
            self._digests[key] = fn
            self._payloads[fn] = payload
            self._holders[fn] = 0
        self._holders[fn] += 1
        return fn

    def restore(self, count: int, codes: Mapping[int, tuple[DefineFunction, Buffer]], held: Iterable[int]) -> list[int]:
        """Take over the functions of a lost DataFlowKernel under their numbers.

        Parameters
        ----------
        count
            How many functions there were; a number is never used twice.
        codes
            The functions that the event log still has, and their pickles, by number.
        held
            The numbers of the functions that clients may call: one for each client and function.

        Returns
        -------
        list of int
            The functions that no client may call.
        """
        for fn in range(count):
            # A placeholder, because the lists are indexed by number and later functions must keep theirs.
            code, payload = codes.get(fn, (DefineFunction(fn, b"", "?", 1), b""))
            self.names.append(code.name)
            self.fingerprints.append(code.fingerprint or code.digest)
            self.parts.append(code.parts)
            self.origins.append(code.origin)
            if fn in codes:
                self._digests[code.digest, code.fingerprint] = fn
                self._payloads[fn] = payload
                self._holders[fn] = 0
        for fn in held:
            self._holders[fn] += 1
        return [fn for fn, holders in self._holders.items() if not holders]

    def message(self, fn: int) -> tuple[DefineFunction, Buffer]:
        """Make the message that a worker gets before it runs this function, and its frame."""
        # Workers need neither digest nor fingerprint: both only identify a function among those of clients.
        return DefineFunction(fn, b"", self.names[fn], 1), self._payloads[fn]

    def known(self) -> Iterator[tuple[int, bytes, Buffer]]:
        """Iterate over number, digest and pickle of all functions that a client may call."""
        for (digest, _), fn in self._digests.items():
            yield fn, digest, self._payloads[fn]

    def drop(self, fn: int) -> bool:
        """Note that a client does not call a function any more; return whether no client does."""
        self._holders[fn] -= 1
        return not self._holders[fn]

    def forget(self, fn: int) -> None:
        """Drop a function that no client may call and no task needs."""
        # The lists keep their entries: numbers are never used twice, and names are shown later.
        if self._holders.get(fn) == 0:
            del self._holders[fn], self._payloads[fn]
            for key, number in list(self._digests.items()):
                if number == fn:
                    del self._digests[key]
