"""Look for the DataFlowKernel that takes the place of a lost one, while workers go on [shell].

An attempt to connect may take seconds.  So a thread makes the attempts, and the loop of the manager goes on.
A :class:`Succession` says whether and for how long a manager keeps its tasks meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError
from parslab.remote.manager.meeting import Unreachable
from parslab.wire.invitations import RunOver

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.remote.manager.meeting import Connected

__all__ = ["Succession", "SuccessorSearch"]

log = logging.getLogger("parslab.manager")


class Succession:
    """How a manager gets from a lost DataFlowKernel to the next one, and for how long its tasks go on meanwhile.

    Parameters
    ----------
    meet
        Connects to the DataFlowKernel of the run within so many seconds, as ``meeting.meet`` does; None: there is no
        way, and the tasks end with the connection.
    keep_for
        Seconds for which tasks go on without a DataFlowKernel.

    Attributes
    ----------
    lost_at
        When the last DataFlowKernel was lost (``time.monotonic``); 0 while there is one.
    search
        The search for the next one; None while there is a connection.
    """

    def __init__(self, meet: Callable[[float], Connected] | None = None, keep_for: float = 0.0) -> None:
        self.lost_at = 0.0
        self.search: SuccessorSearch | None = None
        self._meet = meet
        self._usually = self._keep_for = keep_for

    def lost(self, accepted: bool) -> float:
        """Note that a connection broke; return the seconds for which tasks go on, 0 if they do not.

        Parameters
        ----------
        accepted
            Whether the DataFlowKernel at the other end had accepted the manager.
        """
        now = time.monotonic()
        if accepted:
            self.lost_at = now
        if not self.lost_at or self._meet is None:
            return 0.0
        return max(0.0, self._keep_for - (now - self.lost_at))

    def extend(self, seconds: float) -> None:
        """Keep tasks for so many seconds after the end of the connection, because another DataFlowKernel will come."""
        self._keep_for = seconds

    def accepted(self) -> None:
        """Note that the next DataFlowKernel goes on; it is replaced as fast as usual when it is lost in turn."""
        self.lost_at = 0.0
        self._keep_for = self._usually

    def end(self) -> None:
        """Keep no tasks from now on: another node may have them."""
        self._keep_for = 0.0

    def begin(self, patience: float, found: Callable[[Connected], None], failed: Callable[[str, bool], None]) -> None:
        """Search for so many seconds; see :class:`SuccessorSearch` for the calls."""
        assert self._meet is not None
        self.search = SuccessorSearch(self._meet, found, failed)
        self.search.begin(patience)


class SuccessorSearch:
    """One search; it ends with a connection, or with the reason why there is none.

    Parameters
    ----------
    meet
        Connects to the DataFlowKernel of the run within so many seconds, as ``meeting.meet`` does.
    found, failed
        Called in the search's thread when it ends.  ``failed`` gets the reason, and whether the run is over.
    """

    def __init__(
        self,
        meet: Callable[[float], Connected],
        found: Callable[[Connected], None],
        failed: Callable[[str, bool], None],
    ) -> None:
        self._meet = meet
        self._found = found
        self._failed = failed
        self._lock = threading.Lock()
        self._given_up = False

    def begin(self, patience: float) -> None:
        """Search for so many seconds, in a thread."""
        # A daemon: a manager that a signal ends must not wait for an attempt.
        threading.Thread(target=self._search, args=(patience,), name="parslab-successor", daemon=True).start()

    def give_up(self) -> None:
        """End the search: nothing is called any more, and a connection that is found later is closed."""
        with self._lock:
            self._given_up = True

    def _search(self, patience: float) -> None:
        try:
            connected = self._meet(patience)
        except (RunOver, Unreachable, ConfigurationError, OSError) as error:
            log.info("no other DataFlowKernel: %s", error)
            with self._lock:
                if not self._given_up:
                    self._failed(str(error), isinstance(error, RunOver))
            return
        with self._lock:
            if not self._given_up:
                self._found(connected)
                return
        connected.link.close()
