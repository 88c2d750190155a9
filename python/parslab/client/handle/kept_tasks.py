"""``KeptTasks`` keeps what calls were made with, for programs that read it from the records of tasks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parslab.client.futures.app_future import AppFuture
    from parslab.client.futures.task_record import KeptCall
    from parslab.config import Config

__all__ = ["KeptTasks"]


class KeptTasks:
    """The calls of one process; each future keeps its own.

    Parameters
    ----------
    ended_too
        Whether futures stay here after the end of their tasks.

    Attributes
    ----------
    futures
        These futures, by task.
    """

    def __init__(self, ended_too: bool) -> None:
        self._ended_too = ended_too
        self.futures: dict[int, AppFuture] = {}

    @classmethod
    def wanted_by(cls, config: Config | None) -> KeptTasks | None:
        """Return the object that a configuration wants; None if it keeps nothing."""
        ended_too = config is not None and not config.garbage_collect
        # A program that runs unchanged may read the arguments of its calls from their futures, as in Parsl.
        return cls(ended_too) if ended_too or "PARSLAB_AS_PARSL" in os.environ else None

    def add(self, future: AppFuture, call: KeptCall) -> None:
        """Keep a call."""
        future.call = call
        if self._ended_too:
            self.futures[future.task_id] = future
