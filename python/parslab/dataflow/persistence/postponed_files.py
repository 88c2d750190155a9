"""Decides which large arguments get a file in the event log [core].

Only the client can make its arguments again, so the log needs them as long as their task may run again.  Most tasks are
short, and nobody asks for them after their end.  So a file waits for a moment, and is not written if the task is
forgotten by then.  Until then the client keeps the batch, and would send it to the next DataFlowKernel (D58).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.wire.stream import Buffer

__all__ = ["DELAY", "UNUSED", "FileJob", "PostponedFiles"]

DELAY = 0.5
"""Seconds that the file of an argument waits."""
UNUSED = ".unused"
"""Ends the name of an empty file that says: the frames of this name were not written, because nobody needs them."""


class FileJob(NamedTuple):
    """A file of large frames that a thread writes."""

    file: str
    frames: list[Buffer]
    client: int = -1
    """The client whose batch has the frames; -1: they are no batch."""
    batch: int = 0


class PostponedFiles:
    """The files that wait, by name."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[FileJob, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, job: FileJob, task: int) -> None:
        """Let a file wait, which has the arguments of this task."""
        self._waiting[job.file] = job, task

    def take(self, file: str) -> FileJob | None:
        """Return a file that has waited long enough; None if it was not needed."""
        job, _ = self._waiting.pop(file, (None, 0))
        return job

    def take_all(self) -> list[FileJob]:
        """Return all files that wait."""
        jobs = [job for job, _ in self._waiting.values()]
        self._waiting.clear()
        return jobs

    def take_unneeded(self, forgotten: Callable[[int], bool]) -> list[FileJob]:
        """Return the files of forgotten tasks, without their frames."""
        found = [job for job, task in self._waiting.values() if forgotten(task)]
        for job in found:
            del self._waiting[job.file]
        return [FileJob(job.file + UNUSED, [], job.client, job.batch) for job in found]
