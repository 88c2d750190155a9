"""The functions of a run: known by digest, numbered once, kept as long as somebody may call them.

Clients number their functions on their own; a function that two clients (or two cells) send is kept once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.wire.messages.base import DefineFunction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from parslab.wire.stream import Buffer

__all__ = ["FunctionRegistry"]


class FunctionRegistry:
    """All functions, by the number that workers know them by.

    Attributes
    ----------
    names
        What the panel shows.
    fingerprints
        What tells them apart in every process: a function that came without one is known by its pickle's digest.
    parts
        What the fingerprints were made of, by name; empty where that was not said.
    origins
        Where they were defined; empty where that does not tell one function from another.
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
        """The number of a function that a client sent."""
        # A function that is found by its name has the same pickle when its module was edited, and is another one.
        key = (code.digest, code.fingerprint)
        fn = self._digests.get(key)
        if fn is None:
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
        """Take the functions of a lost DataFlowKernel under their numbers; answers those that no client holds.

        Parameters
        ----------
        count
            How many there have been; numbers are not used again.
        codes
            Those that are known, and their pickles, by number.
        held
            Numbers, one for each client that holds one.
        """
        for fn in range(count):
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
        """What a worker needs to know before it can run this function."""
        return DefineFunction(fn, b"", self.names[fn], 1), self._payloads[fn]

    def known(self) -> Iterator[tuple[int, bytes, Buffer]]:
        """Number, digest and pickle of all that somebody may call."""
        for (digest, _), fn in self._digests.items():
            yield fn, digest, self._payloads[fn]

    def drop(self, fn: int) -> bool:
        """A client will not call it again; True when no client will."""
        self._holders[fn] -= 1
        return not self._holders[fn]

    def forget(self, fn: int) -> None:
        """Let go of a function that no client holds and no task needs."""
        if self._holders.get(fn) == 0:
            del self._holders[fn], self._payloads[fn]
            for key, number in list(self._digests.items()):
                if number == fn:
                    del self._digests[key]
