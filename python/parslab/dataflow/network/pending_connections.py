"""Decides which connections to the port are closed when too many have not shown the run's key [core].

A connection is *new* until its peer has sent the first message of the handshake, and *advanced* after that.  Only peers
that know the run send a valid first message, so both kinds have a limit of their own: strangers that send nothing of
use cannot push out peers that are about to show the key.  Beyond a limit the oldest connection of the address with the
most connections is closed.  So strangers push out each other, but no peer of another address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PendingConnections", "pending_limit"]

_SHARE = 1 / 2
"""The part of the descriptors of the process that new connections may use."""
_FEWEST, _MOST = 16, 4096
"""The managers of a large batch job connect in the same second, and must not push out each other."""


def pending_limit(descriptors: int) -> int:
    """Return how many new connections a process may have that may open this number of descriptors.

    Examples
    --------
    >>> [pending_limit(number) for number in (24, 256, 1024, 1 << 20)]
    [16, 128, 512, 4096]
    """
    return min(max(int(descriptors * _SHARE), _FEWEST), _MOST)


class PendingConnections:
    """The connections to one port that have not shown the run's key.

    Parameters
    ----------
    limit
        How many may be new, and how many may be advanced.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._new = _Connections()
        self._advanced = _Connections()

    def __len__(self) -> int:
        return len(self._new) + len(self._advanced)

    @property
    def crowded(self) -> bool:
        """Return whether there are more connections of a kind than the limit allows."""
        return len(self._new) > self._limit or len(self._advanced) > self._limit

    def add(self, descriptor: int, address: str) -> None:
        """Add a connection that was accepted."""
        # Descriptors are used again, so the newest connection replaces an older one.
        self.remove(descriptor)
        self._new.add(descriptor, address)

    def remove(self, descriptor: int) -> bool:
        """Remove a connection that has shown the key or has ended; return whether it was there."""
        return self._new.remove(descriptor) or self._advanced.remove(descriptor)

    def close_surplus(self, close: Callable[[int, bool], bool]) -> Iterator[tuple[int, str]]:
        """Close connections until no limit is exceeded; yield the descriptor and the address of each.

        Parameters
        ----------
        close
            Closes the connection of a descriptor.  With True as second argument it does so only if the peer has not
            sent the first message of the handshake.  It returns whether it has closed the connection.
        """
        # The question is asked only now: it costs a system call, and most connections show the key in time.
        while len(self._new) > self._limit:
            descriptor, address = self._new.pop()
            if close(descriptor, True):
                yield descriptor, address
            else:
                self._advanced.add(descriptor, address)
        while len(self._advanced) > self._limit:
            descriptor, address = self._advanced.pop()
            close(descriptor, False)
            yield descriptor, address


class _Connections:
    """Connections by their addresses, in the order of their acceptance."""

    def __init__(self) -> None:
        self._addresses: dict[int, str] = {}
        self._of: dict[str, dict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._addresses)

    def add(self, descriptor: int, address: str) -> None:
        self._addresses[descriptor] = address
        self._of.setdefault(address, {})[descriptor] = None

    def remove(self, descriptor: int) -> bool:
        """Remove a connection; return whether it was there."""
        address = self._addresses.pop(descriptor, None)
        if address is None:
            return False
        of_address = self._of[address]
        del of_address[descriptor]
        if not of_address:
            del self._of[address]
        return True

    def pop(self) -> tuple[int, str]:
        """Remove and return the oldest connection of the address that has most of them."""
        most = max(self._of, key=lambda address: len(self._of[address]))
        descriptor = next(iter(self._of[most]))
        address = self._addresses[descriptor]
        self.remove(descriptor)
        return descriptor, address
