"""``Staging`` is the base of staging providers, which bring files to where tasks run and back.

A provider of your own has Parsl's form, so providers that were written for Parsl work unchanged.  Name it in
``storage_access`` of an executor, or by an entry point of the group ``parslab.staging`` (see :mod:`parslab.plugins`)
whose name is the scheme of its URLs::

    class VaultStaging(TransferStaging):
        \"\"\"Files of our institute's vault, which every node has mounted: vault:/run-7/a.h5.\"\"\"

        schemes_in = schemes_out = frozenset({"vault"})

        def fetch(self, file):
            copied(os.environ["VAULT"] + file.path, file.filepath)

        def store(self, file):
            copied(file.filepath, os.environ["VAULT"] + file.path)

Test it with :class:`parslab.testing.conformance.StagingSuite`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from parslab.data_provider.node_copies import fetch_once, make_folders
from parslab.errors import FileLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from parslab.data_provider.files import File

__all__ = ["INTERNAL", "DataMover", "Staging", "TransferStaging", "WithTransfers", "transferred"]

INTERNAL = "_parsl_internal"
"""The label of the threads of the client's process that run some transfers (Parsl: same name)."""


class DataMover(Protocol):
    """The data manager of a run, as providers see it (``parslab.app.data_manager.DataManager``)."""

    def fetch(self, provider: TransferStaging, executor: str, file: File, parent_fut: Future[Any] | None) -> Any:
        """Return the future of a task that fetches a file."""

    def store(self, provider: TransferStaging, executor: str, file: File, app_fu: Future[Any]) -> Any:
        """Return the future of a task that stores a file."""

    def place(self, file: File, executor: str) -> None:
        """Give a File the path of its local copy."""


class Staging:
    """Base of staging providers (Parsl: same name); the methods here stage nothing.

    parslab calls the methods in the thread that calls the app, before the task is submitted.  A method may change the
    File that it gets, which is a copy for this task.  ``executor`` is the label of the executor that runs the task.
    """

    def can_stage_in(self, file: File) -> bool:
        """Return whether the provider brings this file to tasks."""
        return False

    def can_stage_out(self, file: File) -> bool:
        """Return whether the provider brings this file back from tasks."""
        return False

    def stage_in(self, dm: Any, executor: str, file: File, parent_fut: Future[Any] | None) -> Any:
        """Start the transfer of an input; return a DataFuture that the task waits for, or None.

        Parameters
        ----------
        dm
            The data manager; ``dm.dfk`` is the run.
        executor
            The label of the executor.
        file
            The file; set its ``local_path``.
        parent_fut
            The future of the task that makes the file, if one does: the transfer must wait for it.
        """
        return None

    def stage_out(self, dm: Any, executor: str, file: File, app_fu: Future[Any]) -> Any:
        """Start the transfer of an output; return a future of its end, or None.

        ``app_fu`` is the future of the task that writes the file: the transfer must wait for it.
        """
        return None

    def replace_task(self, dm: Any, executor: str, file: File, f: Callable[..., Any]) -> Callable[..., Any] | None:
        """Return a function that fetches an input and calls ``f``, the function of the task; None: call ``f``."""
        return None

    def replace_task_stage_out(
        self, dm: Any, executor: str, file: File, f: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """Return a function that calls ``f`` and stores an output; None: call ``f``."""
        return None

    # Two providers with the same options are equal, because the cell with the configuration may run again.

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({options})"


class TransferStaging(Staging):
    """A provider that says how to fetch and store one file, and leaves the rest to parslab.

    ``fetch`` and ``store`` run where ``in_task`` says: on the node of the task, before and after its function; or in a
    task of their own on the same executor.  A task of its own runs once for all tasks that need the file.
    """

    schemes_in: ClassVar[frozenset[str]] = frozenset()
    """Schemes of the URLs that it fetches."""
    schemes_out: ClassVar[frozenset[str]] = frozenset()
    """Schemes of the URLs that it stores."""
    in_task: ClassVar[bool] = False
    """Whether transfers run inside the task."""
    runs_on: ClassVar[str] = ""
    """The label of the executor that runs transfers; empty: that of the task."""

    def fetch(self, file: File) -> None:
        """Copy the file of ``file.url`` to ``file.filepath``, which must never exist half-written."""
        raise NotImplementedError

    def store(self, file: File) -> None:
        """Copy the file at ``file.filepath`` to ``file.url``, which must never exist half-written."""
        raise NotImplementedError

    def prepare(self, file: File) -> None:
        """Do on the node what comes before the transfers of a task, such as to choose a path there."""

    def finish(self, file: File) -> None:
        """Do on the node what comes after a task, whether it failed or not."""

    def can_stage_in(self, file: File) -> bool:
        return file.scheme in self.schemes_in

    def can_stage_out(self, file: File) -> bool:
        return file.scheme in self.schemes_out

    def stage_in(self, dm: DataMover, executor: str, file: File, parent_fut: Future[Any] | None) -> Any:
        return None if self.in_task else dm.fetch(self, executor, file, parent_fut)

    def stage_out(self, dm: DataMover, executor: str, file: File, app_fu: Future[Any]) -> Any:
        return None if self.in_task else dm.store(self, executor, file, app_fu)

    def replace_task(
        self, dm: DataMover, executor: str, file: File, f: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        if not self.in_task:
            return None
        dm.place(file, executor)
        return WithTransfers.around(f).fetching(self, file)

    def replace_task_stage_out(
        self, dm: DataMover, executor: str, file: File, f: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        if not self.in_task:
            return None
        dm.place(file, executor)
        return WithTransfers.around(f).storing(self, file)


class WithTransfers:
    """A function of a task, with the transfers before and after it.

    Attributes
    ----------
    function
        The function.
    inputs, outputs
        Pairs of provider and File: what to fetch first, and what to store when the function has returned.
    """

    __slots__ = ("function", "inputs", "outputs")

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: tuple[tuple[TransferStaging, File], ...] = (),
        outputs: tuple[tuple[TransferStaging, File], ...] = (),
    ) -> None:
        self.function = function
        self.inputs = inputs
        self.outputs = outputs

    @classmethod
    def around(cls, function: Callable[..., Any]) -> WithTransfers:
        """Return the function itself if it has transfers already, else one around it."""
        return function if isinstance(function, WithTransfers) else cls(function)

    def fetching(self, provider: TransferStaging, file: File) -> WithTransfers:
        """Return the same function with one more transfer before it."""
        return WithTransfers(self.function, (*self.inputs, (provider, file)), self.outputs)

    def storing(self, provider: TransferStaging, file: File) -> WithTransfers:
        """Return the same function with one more transfer after it."""
        return WithTransfers(self.function, self.inputs, (*self.outputs, (provider, file)))

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        with transferred(self.inputs, self.outputs):
            return self.function(*args, **kwargs)


@contextlib.contextmanager
def transferred(
    inputs: tuple[tuple[TransferStaging, File], ...], outputs: tuple[tuple[TransferStaging, File], ...]
) -> Iterator[None]:
    """Fetch the inputs of a task before the block, and store its outputs after it unless it fails."""
    prepared: list[tuple[TransferStaging, File]] = []
    try:
        for provider, file in (*inputs, *outputs):
            provider.prepare(file)
            prepared.append((provider, file))
        lost: FileLostError | None = None
        for provider, file in inputs:
            try:
                fetch_once(provider.fetch, file)
            except FileLostError as error:
                # The others are asked for all the same, so that the run makes all lost ones again at once.
                lost = lost or error
        if lost is not None:
            raise lost
        make_folders(file for _, file in outputs)
        yield
        for provider, file in outputs:
            provider.store(file)
    finally:
        for provider, file in prepared:
            provider.finish(file)
