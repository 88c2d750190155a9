"""The thread that owns the executor of somebody else [shell]: it makes it, gives it calls, and passes their ends on.

The library may take its time for any of that, and may have threads of its own.  So the loop of the host never calls it.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import pickle
import queue
import threading
import traceback
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from parslab.cores import usable_cores
from parslab.errors import ConfigurationError
from parslab.remote.engines.losses import is_broken
from parslab.remote.engines.runner import run_batch
from parslab.serialize.failures import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.records.executor_settings import EngineSettings
    from parslab.wire.messages.worker import Demand

__all__ = ["Engine", "NotBegun"]

log = logging.getLogger("parslab.engine")

_END = 2.0
"""Seconds that an executor may take to shut down."""


class NotBegun(Exception):
    """The executor refused a call, which it has certainly not begun."""


class Engine:
    """An executor, and the thread that calls it.

    Parameters
    ----------
    settings
        How it is made.

    Attributes
    ----------
    name
        What messages call it.
    workers
        How many calls it runs at a time.
    memory, gpus
        The bytes and the accelerators that its workers have together; 0 where it does not say.
    dashboard
        The address of its dashboard; empty where it has none.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._executor: Any = None
        self._futures: dict[int, Future[Any]] = {}
        self._why = ""
        self._made = threading.Event()
        self.workers = 1
        self.memory = self.gpus = 0
        self.dashboard = ""
        self.name = "executor"
        self._takes_demands = False
        self._thread = threading.Thread(target=self._run, name="parslab-engine", daemon=True)

    def start(self) -> None:
        """Make the executor.

        Raises
        ------
        ConfigurationError
            Its factory raised an error, or returned something else.
        """
        self._jobs.put(self._make)
        self._thread.start()
        self._made.wait()
        if self._why:
            raise ConfigurationError(self._why)

    def submit(
        self, number: int, args: tuple[Any, ...], ended: Callable[[int, Any], None], demand: Demand | None = None
    ) -> None:
        """Have the executor run a batch; any thread calls ``ended`` with what it returned or raised."""
        options = {"demand": demand} if demand is not None and self._takes_demands else {}
        self._jobs.put(lambda: self._submit(number, args, options, ended))

    def cancel(self, number: int) -> None:
        """Cancel a batch if the executor has not begun it; its end is then a ``CancelledError``."""
        self._jobs.put(lambda: self._cancel(number))

    def renew(self, renewed: Callable[[str], None]) -> None:
        """Make another executor in place of a broken one; ``renewed`` gets the reason if that is impossible."""
        self._jobs.put(lambda: self._renew(renewed))

    def close(self) -> None:
        """Shut the executor down, and wait for that for a while."""
        self._jobs.put(self._shut_down)
        self._jobs.put(None)
        self._thread.join(_END)

    # ----- in the thread

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                log.exception("an error of parslab itself")

    def _make(self) -> None:
        try:
            self._executor = made = _factory(self._settings)()
            submit = getattr(made, "submit", None)
            if not callable(submit) or not callable(getattr(made, "shutdown", None)):
                self._why = (
                    f"the factory must return a concurrent.futures.Executor, not {type(made).__name__} ({_short(made)})"
                )
            else:
                self.name = type(made).__name__
                self.workers = self._settings.workers or _workers_of(made)
                # Adapters of ours have these.
                self._takes_demands = bool(getattr(made, "takes_demands", False))
                self.memory, self.gpus = getattr(made, "memory", 0), getattr(made, "gpus", 0)
                self.dashboard = getattr(made, "dashboard", "")
                self.name = getattr(made, "shown_name", self.name)
        except BaseException as error:  # whatever the user's code or the library raises
            self._why = f"its factory raised {one_line(error)}{_place(error)}"
        finally:
            self._made.set()

    def _submit(
        self, number: int, args: tuple[Any, ...], options: dict[str, Any], ended: Callable[[int, Any], None]
    ) -> None:
        try:
            future = self._executor.submit(run_batch, *args, **options)
        except BaseException as error:
            if is_broken(error):
                refused = NotBegun(one_line(error))
                refused.__cause__ = error
                error = refused
            ended(number, error)
            return
        self._futures[number] = future
        future.add_done_callback(lambda done: self._done(number, done, ended))

    def _done(self, number: int, future: Future[Any], ended: Callable[[int, Any], None]) -> None:
        self._futures.pop(number, None)
        try:
            result: Any = future.result()
        except BaseException as error:
            result = error
        ended(number, result)

    def _cancel(self, number: int) -> None:
        future = self._futures.get(number)
        if future is not None:
            with contextlib.suppress(CancelledError):
                future.cancel()

    def _renew(self, renewed: Callable[[str], None]) -> None:
        self._shut_down()
        self._why = ""
        self._make()
        renewed(self._why)

    def _shut_down(self) -> None:
        executor, self._executor = self._executor, None
        if executor is None:
            return
        try:
            try:
                executor.shutdown(wait=False, cancel_futures=True)
            except TypeError:  # it has not all parameters of Python's own
                executor.shutdown(wait=False)
        except Exception as error:
            log.warning("the executor cannot be shut down: %s", one_line(error))


def _factory(settings: EngineSettings) -> Callable[[], Any]:
    factory: Callable[[], Any] = pickle.loads(base64.b64decode(settings.factory))
    return factory


def _workers_of(executor: Any) -> int:
    """Return how many calls an executor runs at a time, as far as it tells; else the cores of this host."""
    for name in ("num_workers", "_max_workers"):
        number = getattr(executor, name, None)
        if isinstance(number, int) and not isinstance(number, bool) and number > 0:
            return number
    return usable_cores()


def _place(error: BaseException) -> str:
    """Return where an error was raised, in brackets."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if len(frames) > 1 else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
