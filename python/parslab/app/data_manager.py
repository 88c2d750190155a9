"""``DataManager`` stages the files of calls: it asks the providers of an executor what to do, and makes the tasks.

All code here runs in the user's process, in the thread that calls the app, and only after somebody has made a File of a
remote URL or loaded an executor with ``storage_access``.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from parslab.client.futures.app_future import AppFuture, DataFuture
from parslab.data_provider.file_noop import NoOpFileStaging
from parslab.data_provider.files import File
from parslab.data_provider.filesystems import FsspecStaging
from parslab.data_provider.ftp import FTPSeparateTaskStaging
from parslab.data_provider.http import HTTPSeparateTaskStaging
from parslab.data_provider.run_links import RunLinkStaging
from parslab.data_provider.staging import INTERNAL, Staging
from parslab.data_provider.urls import safe_name, url_digest
from parslab.data_provider.zip import ZipFileStaging
from parslab.errors import NoDataFlowKernelError, UnsupportedFileError
from parslab.plugins import STAGING, find_plugin
from parslab.serialize.functions import AppFunction
from parslab.wire.messages.base import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.data_provider.staging import TransferStaging

__all__ = ["DataManager", "data_manager", "default_staging"]

default_staging: list[Staging] = [
    NoOpFileStaging(),
    FTPSeparateTaskStaging(),
    HTTPSeparateTaskStaging(),
    ZipFileStaging(),
    FsspecStaging(),
]
"""The providers of executors without ``storage_access`` (Parsl: same name)."""

_TRANSFER = TaskSpec(staging=True)


class FileTransfer:
    """One transfer as it travels to the process that makes it.

    It holds what is in the File, and not the File, whose identity as an argument would cost more than its pickle.
    """

    __slots__ = ("_file", "_provider")

    def __init__(self, provider: TransferStaging, file: File) -> None:
        self._provider = provider
        self._file = vars(file)

    def _local(self) -> File:
        file = File.__new__(File)
        file.__setstate__(self._file)
        return file

    def fetch(self) -> None:
        """Copy the file from its URL to its path."""
        file = self._local()
        os.makedirs(os.path.dirname(file.filepath), exist_ok=True)
        self._provider.fetch(file)

    def store(self) -> None:
        """Copy the file from its path to its URL."""
        self._provider.store(self._local())


def _fetch(transfer: FileTransfer, after: object = None) -> None:
    """Fetch a file; ``after`` is the value of the task that has made it."""
    transfer.fetch()


def _store(transfer: FileTransfer, after: object = None) -> None:
    """Store a file; ``after`` is the value of the task that has written it."""
    transfer.store()


def _fetch_here(transfer: FileTransfer, after: object = None) -> list[Any]:
    transfer.fetch()
    return []  # the body of a join returns the futures that it waits for


def _store_here(transfer: FileTransfer, after: object = None) -> list[Any]:
    transfer.store()
    return []


_FETCH, _STORE = AppFunction(_fetch, None, "stage_in"), AppFunction(_store, None, "stage_out")
_FETCH_HERE, _STORE_HERE = AppFunction(_fetch_here, None, "stage_in"), AppFunction(_store_here, None, "stage_out")


class DataManager:
    """Stages the files of one run (Parsl: same name).

    Parameters
    ----------
    dfk
        The run.
    """

    def __init__(self, dfk: DataFlowKernel) -> None:
        # Weak, because the dictionary of all managers must not keep the handle of an ended run alive.
        self._dfk = weakref.ref(dfk)
        self._folder = os.path.join(os.fspath(dfk.run_dir), "staging")
        # Two threads that pass the same file must get one transfer, at once: a queue could not answer them.
        self._lock = threading.Lock()
        self._fetched: dict[str, AppFuture] = {}
        """The transfer to each path, so that one transfer serves all tasks that need the file."""
        self._written: dict[tuple[str, str], tuple[AppFuture, str]] = {}
        """By executor and URL: the task that writes a file, and the path of its local copy."""
        self._of_packages: dict[str, list[Staging]] = {}
        """By scheme: the providers that installed packages have, because a look-up reads the metadata of all."""
        self._owners: dict[str, str] = {}
        """The URL of which each path is the copy."""
        self._later: dict[int, list[Callable[[], object]]] = {}
        """By thread: calls that depend on a task that is not submitted yet."""

    @property
    def dfk(self) -> DataFlowKernel:
        """The run."""
        dfk = self._dfk()
        if dfk is None:
            raise NoDataFlowKernelError("The run of this data manager is over.")
        return dfk

    def _option(self, executor: str, name: str) -> Any:
        """Return an option of an executor; None for a guest, who has no configuration."""
        config = self.dfk.config
        described = () if config is None else config.executors
        return next((getattr(each, name, None) for each in described if each.label == executor), None)

    # ----- what calls of apps need

    def providers(self, executor: str) -> tuple[Staging, ...]:
        """Return the staging providers of an executor."""
        chosen = self._option(executor, "storage_access")
        # What the user names comes first. The defaults leave paths alone, which is right only where nodes see them.
        links = (RunLinkStaging(),) if self._option(executor, "shared_filesystem") is False else ()
        return (*links, *default_staging) if chosen is None else (*chosen, *links)

    def _provider(self, file: File, executor: str, into_task: bool) -> Staging:
        """Return the first provider that takes a file.

        Raises
        ------
        UnsupportedFileError
            No provider does.
        """
        candidates = list(self.providers(executor))
        if self._option(executor, "storage_access") is None:
            candidates += self._plugins(file)
        for provider in candidates:
            if provider.can_stage_in(file) if into_task else provider.can_stage_out(file):
                return provider
        what = "fetches" if into_task else "stores"
        raise UnsupportedFileError(
            f"No staging provider of executor {executor} {what} {file!r}: name one in its storage_access, or use a "
            "path in a folder that the notebook and the workers share."
        )

    def _plugins(self, file: File) -> list[Staging]:
        """Return the provider that an installed package has for the scheme of a file."""
        if file.scheme not in self._of_packages:
            known = any(file.scheme in getattr(provider, "schemes_in", ()) for provider in default_staging)
            plugin = None if known or file.scheme == "file" else find_plugin(STAGING, file.scheme, Staging)
            self._of_packages[file.scheme] = [] if plugin is None else [plugin()]
        return self._of_packages[file.scheme]

    def optionally_stage_in(self, value: Any, func: Callable[..., Any], executor: str) -> tuple[Any, Any]:
        """Return what a task gets in place of an argument, and its function with the transfers inside it.

        Anything that is neither a File nor a DataFuture stays as it is.
        """
        if isinstance(value, DataFuture):
            file = value.file_obj
            if not isinstance(file, File) or file.local_path is not None:
                return value, func
            written = self._written.get((executor, file.url))
            file = file.cleancopy()
            if written is not None:
                # The local copy is there when the task that writes it has ended, so nothing is fetched.
                file.local_path = written[1]
                return DataFuture(written[0], file), func
            parent: DataFuture | None = value
        elif isinstance(value, File) and value.local_path is None:
            file, parent = value.cleancopy(), None
        else:
            return value, func
        staged = self.stage_in(file, file if parent is None else parent, executor)
        return staged, self.replace_task(file, func, executor)

    def stage_in(self, file: File, value: File | DataFuture, executor: str) -> Any:
        """Start the transfer of an input, and return what the task gets; ``file`` is the copy of ``value`` for it."""
        parent = value if isinstance(value, DataFuture) else None
        staged = self._provider(file, executor, True).stage_in(self, executor, file, parent)
        if staged is not None:
            return staged
        return file if parent is None else DataFuture(parent.parent, file, parent.tid)

    def replace_task(self, file: File, func: Callable[..., Any], executor: str) -> Callable[..., Any]:
        """Return the function of a task with the transfer of an input inside it, if that is where it happens."""
        return self._provider(file, executor, True).replace_task(self, executor, file, func) or func

    def stage_out(self, file: File, executor: str, app_fu: AppFuture) -> Any:
        """Start the transfer of an output; return a future of its end, or None when there is none to wait for."""
        return self._provider(file, executor, False).stage_out(self, executor, file, app_fu)

    def replace_task_stage_out(self, file: File, func: Callable[..., Any], executor: str) -> Callable[..., Any]:
        """Return the function of a task with the transfer of an output inside it, if that is where it happens."""
        return self._provider(file, executor, False).replace_task_stage_out(self, executor, file, func) or func

    def needs_stage_out(self, file: File, executor: str) -> bool:
        """Return whether an output is more than a path."""
        return not isinstance(self._provider(file, executor, False), NoOpFileStaging)

    # ----- what providers need

    def place(self, file: File, executor: str) -> None:
        """Give a File the path of its local copy: ``working_dir`` of the executor, or a folder of the run.

        Two URLs with the same name at their end have different paths.

        Raises
        ------
        ConfigurationError
            The name is not safe.
        """
        name = safe_name(file.url)
        folder = self._option(executor, "working_dir")
        own = os.path.join(self._folder if folder is None else os.path.abspath(folder), url_digest(file.url), name)
        path = own
        if folder is not None:
            path = os.path.join(os.path.abspath(folder), name)
            if self._owners.setdefault(path, file.url) != file.url:
                path = own
        file.local_path, file.staged_by = path, self.dfk.run

    def fetch(self, provider: TransferStaging, executor: str, file: File, parent_fut: Future[Any] | None) -> DataFuture:
        """Return the future of a file that a task of its own fetches, once for all tasks that need it."""
        self.place(file, executor)
        path = file.filepath
        with self._lock:
            future = self._fetched.get(path)
            if future is None or (future.done() and (future.cancelled() or future.has_failed())):
                future = self._transfer(provider, executor, file, parent_fut, fetches=True)
                self._fetched[path] = future
        return DataFuture(future, file)

    def store(self, provider: TransferStaging, executor: str, file: File, app_fu: Future[Any]) -> AppFuture:
        """Return the future of a task that stores the file that a task writes."""
        self.place(file, executor)
        os.makedirs(os.path.dirname(file.filepath), exist_ok=True)
        future = self._transfer(provider, executor, file, app_fu, fetches=False)
        with self._lock:
            self._fetched.pop(file.filepath, None)
            if isinstance(app_fu, AppFuture):
                self._written[executor, file.url] = app_fu, file.filepath
        return future

    def _transfer(
        self, provider: TransferStaging, executor: str, file: File, after: Future[Any] | None, *, fetches: bool
    ) -> AppFuture:
        """Submit a transfer: as a task of the executor, or in the threads of this process."""
        transfer = FileTransfer(provider, file)
        args = (transfer,) if after is None else (transfer, after)
        label = provider.runs_on or executor
        dfk = self.dfk
        if label == INTERNAL:
            code = _FETCH_HERE if fetches else _STORE_HERE
            return self.submit(code.name, lambda future: dfk.submit_join(code, args, {}, spec=_TRANSFER, future=future))
        code = _FETCH if fetches else _STORE
        return self.submit(
            code.name, lambda future: dfk.submit(code, args, {}, executors=label, spec=_TRANSFER, future=future)
        )

    # ----- the order of calls

    def submit(self, name: str, call: Callable[[AppFuture | None], AppFuture]) -> AppFuture:
        """Submit a call now, or after the call whose outputs this thread stages.

        A transfer depends on the task that writes the file, and the DataFlowKernel must know that task first.
        """
        later = self._later.get(threading.get_ident())
        if later is None:
            return call(None)
        future = self.dfk.new_future(name)
        later.append(lambda: call(future))
        return future

    def begin_outputs(self) -> None:
        """Keep the calls that this thread makes from now on, until :meth:`end_outputs`."""
        self._later[threading.get_ident()] = []

    def end_outputs(self, submitted: bool) -> None:
        """Submit the calls that were kept, if the task on which they depend was submitted."""
        for call in self._later.pop(threading.get_ident(), ()):
            if submitted:
                call()


_managers: weakref.WeakKeyDictionary[DataFlowKernel, DataManager] = weakref.WeakKeyDictionary()
# Two threads that stage the first files of a run must get one manager.
_making = threading.Lock()


def data_manager(dfk: DataFlowKernel) -> DataManager:
    """Return the data manager of a run."""
    manager = _managers.get(dfk)
    if manager is None:
        with _making:
            manager = _managers.get(dfk)
            if manager is None:
                manager = _managers[dfk] = DataManager(dfk)
    return manager
