"""``ResultPart`` and ``DataFuture`` are futures of a part of a task's result, and of a file that the task writes.

The DataFlowKernel has no task for them.  Their task's future settles them, and a retry makes them unfinished again.
"""

from __future__ import annotations

from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED
from typing import TYPE_CHECKING, Any, TypeVar

from parslab.client.futures.base import BaseFuture
from parslab.serialize.references import Constant, follow_path

if TYPE_CHECKING:
    from parslab.client.futures.base import TaskFuture
    from parslab.serialize.references import Path

__all__ = ["DataFuture", "ResultPart"]

D = TypeVar("D", bound="_DerivedFuture")


class _DerivedFuture(BaseFuture):
    """A future that the future of a task settles.

    Attributes
    ----------
    parent
        The future of the task.
    """

    def __init__(self, parent: TaskFuture) -> None:
        super().__init__()
        self.parent = parent
        parent.add_done_callback(self._parent_done)

    def _parent_done(self, parent: TaskFuture) -> None:
        # Attach before settling: a thread that wakes may retry the task, and a retry reopens only attached futures.
        parent.attach_derived(self)
        self._settle(CANCELLED_AND_NOTIFIED if parent.cancelled() else FINISHED)

    def reopen(self) -> None:
        super().reopen()
        # The task's future has called the first callback, and calls each callback once.
        self.parent.add_done_callback(self._parent_done)

    def error_by(self, deadline: float | None) -> BaseException | None:
        return self.parent.error_by(deadline)

    def has_failed(self) -> bool:
        return self.parent.has_failed()

    def before_waiting(self) -> None:
        self.parent.before_waiting()

    def running(self) -> bool:
        """Return whether the task of this future runs."""
        return self.parent.running()

    def cancel(self) -> bool:
        """Cancel the task of this future."""
        return self.parent.cancel()

    def retry(self: D) -> D:
        """Run the task of this future again; see :meth:`AppFuture.retry`."""
        self.parent.retry()
        return self

    @property
    def task_id(self) -> int:
        """The number of the task of this future."""
        return self.parent.task_id


class ResultPart(_DerivedFuture):
    """The future of a part of a task's value, which ``future["a"][0]`` returns."""

    def __init__(self, parent: TaskFuture, path: tuple[Any, ...]) -> None:
        self._path = path
        super().__init__(parent)

    def value_by(self, deadline: float | None) -> Any:
        return follow_path(self.parent.value_by(deadline), self._path)

    def error_by(self, deadline: float | None) -> BaseException | None:
        error = super().error_by(deadline)
        if error is None:
            try:
                self.value_by(deadline)
            except FutureTimeout:
                raise  # the value has not arrived, which says nothing about the part
            except Exception as missing:
                return missing
        return error

    def reference(self) -> tuple[TaskFuture, Path]:
        return self.parent, self._path

    def __repr__(self) -> str:
        path = "".join(f"[{key!r}]" for key in self._path)
        return f"<ResultPart {path} of {self.parent!r}>"


class DataFuture(_DerivedFuture):
    """The future of a file that a task writes (Parsl: ``DataFuture``); its result is the ``File``.

    Parameters
    ----------
    parent
        The future of the task that writes the file.
    file
        The result, which an app gets in place of this future.
    tid
        The number of the task that writes the file, where ``parent`` is a task that stages it; None: that of parent.
    """

    def __init__(self, parent: TaskFuture, file: Any, tid: int | None = None) -> None:
        self.file_obj = file
        self._tid = tid
        super().__init__(parent)

    def value_by(self, deadline: float | None) -> Any:
        return self.file_obj

    def reference(self) -> tuple[TaskFuture, Path]:
        return self.parent, Constant(self.file_obj)

    @property
    def tid(self) -> int:
        """The number of the task that writes the file (Parsl's name)."""
        return self.parent.task_id if self._tid is None else self._tid

    @property
    def filepath(self) -> str:
        """The path of the file."""
        return str(getattr(self.file_obj, "filepath", self.file_obj))

    @property
    def filename(self) -> str:
        """The path of the file (Parsl's name)."""
        return self.filepath

    def __repr__(self) -> str:
        return f"<DataFuture {self.file_obj} of {self.parent!r}>"
