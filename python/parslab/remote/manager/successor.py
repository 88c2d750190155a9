"""Look for the DataFlowKernel that takes the place of a lost one, while workers go on [shell].

An attempt to connect may take seconds.  So a thread makes the attempts, and the loop of the manager goes on.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError
from parslab.remote.manager.meeting import Unreachable
from parslab.wire.invitations import RunOver

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.remote.manager.meeting import Connected

__all__ = ["SuccessorSearch"]

log = logging.getLogger("parslab.manager")


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
