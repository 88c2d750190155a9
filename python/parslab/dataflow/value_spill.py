"""Moves values from shared memory to a disk when they occupy too much memory [shell] (D58).

The loop chooses the oldest blocks, and a thread copies them to files without names: nothing is left of them, whoever
dies.  A block stays in memory until its file is complete.  If the disk is full, the values stay in memory, and the user
is warned once.  Nobody else notices: the descriptor of a file is sent and mapped as that of a memfd.
"""

from __future__ import annotations

import logging
import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from parslab.clock import steady_time
from parslab.wire.shared_memory import SharedFrame, held_frames, unnamed_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.dataflow.host import Host

__all__ = ["ValueSpill"]

log = logging.getLogger(__name__)

_AIM = 0.8
"""The part of the limit that is left in memory, so that the next value does not cause a spill at once."""
_LOOK = 0.1
"""Seconds between two sums of what is in memory."""
_PAUSE = 10.0
"""Seconds after which a disk that could not be written is tried again."""


class ValueSpill:
    """Keeps the values of a run below a limit of memory.

    Parameters
    ----------
    host
        The process that it runs in.
    folder
        Where the files are.
    limit
        Bytes of values that may be in memory.

    Attributes
    ----------
    spilled
        How many bytes were moved to the disk so far.
    """

    def __init__(self, host: Host, folder: str, limit: int) -> None:
        self._host = host
        self._folder = folder
        self.limit = limit
        self.spilled = 0
        self._moving: set[int] = set()
        """The ids of the blocks that the thread copies; their references keep the ids theirs."""
        self._jobs: SimpleQueue[SharedFrame | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._next_look = 0.0
        self._warned = False

    def after_round(self, now: float) -> None:
        """Choose blocks for the disk if there is too much in memory."""
        if now < self._next_look:
            return
        self._next_look = now + _LOOK
        frames = [frame for frame in held_frames() if not frame.on_disk and id(frame) not in self._moving]
        in_memory = sum([frame.nbytes for frame in frames])
        if in_memory <= self.limit:
            return
        too_much = in_memory - int(_AIM * self.limit)
        for frame in frames:
            if too_much > 0:
                self._moving.add(id(frame))
                too_much -= frame.nbytes
                self._begin(frame)

    def _begin(self, frame: SharedFrame) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._copy_all, name="parslab-spill", daemon=True)
            self._thread.start()
        self._jobs.put(frame)

    def close(self) -> None:
        """End the thread; what it has not copied is not needed any more."""
        if self._thread is not None:
            while not self._jobs.empty():
                self._jobs.get()
            self._jobs.put(None)
            self._thread.join(5.0)

    # ----- the thread

    def _copy_all(self) -> None:
        while self._copy(self._jobs.get()):
            pass

    def _copy(self, frame: SharedFrame | None) -> bool:
        if frame is None:
            return False
        end: Callable[[], None]
        descriptor = -1
        try:
            os.makedirs(self._folder, 0o700, exist_ok=True)
            descriptor = unnamed_file(self._folder)
            frame.copy_to(descriptor)
        except OSError as error:
            why = error
            if descriptor >= 0:
                os.close(descriptor)
            end = lambda: self._failed(frame, why)  # noqa: E731
        else:
            end = lambda: self._copied(frame, descriptor)  # noqa: E731
        # The frame belongs to the loop's thread, which may be sending its descriptor just now.
        self._host.call_soon(end)
        return True

    # ----- the loop

    def _copied(self, frame: SharedFrame, descriptor: int) -> None:
        self._done(frame)
        self.spilled += frame.nbytes
        frame.move_to(descriptor)

    def _failed(self, frame: SharedFrame, error: OSError) -> None:
        self._done(frame)
        self._next_look = steady_time() + _PAUSE
        log.warning("a value cannot be moved to %s: %s", self._folder, error)
        if not self._warned:
            self._warned = True
            self._host.notify(
                "warning",
                f"The values of this run need more than {self.limit / 1e9:.3g} GB of memory, and cannot be moved to "
                f"{self._folder} ({error.strerror or error}): they stay in memory.",
            )

    def _done(self, frame: SharedFrame) -> None:
        self._moving.discard(id(frame))
