"""Futures that stand for a part of what a task gives, or for a file that it writes; no task is made for them.

They are settled when their task is, and unfinished again when it is tried again.
"""

from __future__ import annotations

from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED
from typing import TYPE_CHECKING, Any

from parslab.client.futures.base import BaseFuture
from parslab.serialize.references import Constant, follow_path

if TYPE_CHECKING:
    from parslab.client.futures.app_future import AppFuture
    from parslab.serialize.references import Path

__all__ = ["DataFuture", "ResultPart"]


class ResultPart(BaseFuture):
    """A part of a task's value: ``fut["a"][0]``.  It is a path, not a task."""

    def __init__(self, parent: AppFuture, path: tuple[Any, ...]) -> None:
        self._parent = parent
        self._path = path
        parent.add_done_callback(self._parent_done)

    def _parent_done(self, parent: AppFuture) -> None:
        parent._follow(self)
        self._settle(CANCELLED_AND_NOTIFIED if parent.cancelled() else FINISHED)

    def _reopen(self) -> None:
        super()._reopen()
        self._parent.add_done_callback(self._parent_done)

    def _value(self, until: float | None = None) -> Any:
        return follow_path(self._parent._value(until), self._path)

    def _error(self, until: float | None = None) -> BaseException | None:
        error = self._parent._error(until)
        if error is None:
            try:
                self._value(until)
            except FutureTimeout:
                raise
            except Exception as missing:
                return missing
        return error

    def _failed(self) -> bool:
        return self._parent._failed()

    def _identity(self) -> tuple[AppFuture, Path]:
        return self._parent, self._path

    def _before_waiting(self) -> None:
        self._parent._before_waiting()

    def running(self) -> bool:
        """Whether the task behind it runs."""
        return self._parent.running()

    def cancel(self) -> bool:
        """Cancel the task behind it."""
        return self._parent.cancel()

    def retry(self) -> ResultPart:
        """Try the task behind it again; see :meth:`AppFuture.retry`."""
        self._parent.retry()
        return self

    @property
    def task_id(self) -> int:
        """The number of the task behind it."""
        return self._parent.task_id

    def __repr__(self) -> str:
        path = "".join(f"[{key!r}]" for key in self._path)
        return f"<ResultPart {path} of {self._parent!r}>"


class DataFuture(BaseFuture):
    """A file that a task will have written (Parsl: ``DataFuture``); its result is the ``File``.

    Parameters
    ----------
    parent
        The task that writes it.
    file
        What ``result()`` returns, and what an app gets that is given this future.
    """

    def __init__(self, parent: AppFuture, file: Any) -> None:
        self.parent = parent
        self.file_obj = file
        parent.add_done_callback(self._parent_done)

    def _parent_done(self, parent: AppFuture) -> None:
        parent._follow(self)
        self._settle(CANCELLED_AND_NOTIFIED if parent.cancelled() else FINISHED)

    def _reopen(self) -> None:
        super()._reopen()
        self.parent.add_done_callback(self._parent_done)

    def _value(self, until: float | None = None) -> Any:
        return self.file_obj

    def _error(self, until: float | None = None) -> BaseException | None:
        return self.parent._error(until)

    def _failed(self) -> bool:
        return self.parent._failed()

    def _identity(self) -> tuple[AppFuture, Path]:
        return self.parent, Constant(self.file_obj)

    def _before_waiting(self) -> None:
        self.parent._before_waiting()

    def running(self) -> bool:
        """Whether the task that writes the file runs."""
        return self.parent.running()

    def cancel(self) -> bool:
        """Cancel the task that writes the file."""
        return self.parent.cancel()

    def retry(self) -> DataFuture:
        """Try the task that writes the file again; see :meth:`AppFuture.retry`."""
        self.parent.retry()
        return self

    @property
    def task_id(self) -> int:
        """The number of the task that writes the file."""
        return self.parent.task_id

    @property
    def tid(self) -> int:
        """The number of the task that writes the file (Parsl's name)."""
        return self.parent.task_id

    @property
    def filepath(self) -> str:
        """The path of the file."""
        return str(getattr(self.file_obj, "filepath", self.file_obj))

    @property
    def filename(self) -> str:
        """The path of the file (Parsl's name)."""
        return self.filepath

    def __repr__(self) -> str:
        return f"<DataFuture {self.filepath} of {self.parent!r}>"
