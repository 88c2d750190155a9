"""The description of the thread pool in the notebook's own process, where tasks get the caller's objects."""

from __future__ import annotations

from typing import Any, ClassVar

from parslab.description import Label, PathText, Whole
from parslab.executors.base import Executor, StorageAccess
from parslab.records.executor_settings import ThreadPoolSettings

__all__ = ["ThreadPoolExecutor"]


class ThreadPoolExecutor(Executor):
    """Threads in the process that calls the apps: nothing is pickled, and all threads share the GIL.

    All tasks and the notebook share the state of this process, so parslab cannot restore it after a task. A task that
    changes the working folder, the environment, the umask or the locale changes it for everything else, at once.

    Parameters
    ----------
    label
        The name with which apps choose it.
    max_threads
        The number of tasks that run at the same time.
    storage_access
        The staging providers that bring files to tasks and back; None means the default ones.
    working_dir
        The folder for local copies of remote files; None means a folder of the run.

    Examples
    --------
    >>> ThreadPoolExecutor(max_threads=8)
    ThreadPoolExecutor(max_threads=8)
    """

    label = Label("threads")
    max_threads = Whole(2, low=1)
    storage_access = StorageAccess(None)
    working_dir = PathText(None)

    positional: ClassVar[tuple[str, ...]] = (
        "label",
        "max_threads",
        "thread_name_prefix",
        "storage_access",
        "working_dir",
        "remote_monitoring_radio",
    )
    ignored: ClassVar[dict[str, str]] = {
        "managed": "the run always ends its threads",
        "remote_monitoring_radio": "monitoring needs no settings",
        "thread_name_prefix": "threads have the name of the label",
    }
    expected: ClassVar[dict[str, Any]] = {"managed": True, "thread_name_prefix": ""}

    def settings(self) -> ThreadPoolSettings:
        return ThreadPoolSettings(label=self.label, max_threads=self.max_threads)
