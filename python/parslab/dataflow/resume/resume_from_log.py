"""A kernel comes back to its notebook's run: what its calls can take over is found in the run's record [shell].

Reading may take seconds after a long session, so it is done by a thread; the client is told welcome when it is done,
and only what was written meanwhile is read in the loop.  Results of an earlier run of the notebook, which had another
configuration, are found in the same way.
"""

from __future__ import annotations

import logging
import threading
from time import time
from typing import TYPE_CHECKING, Any

from parslab.dataflow.persistence import log_format
from parslab.dataflow.resume.call_matching import CallMatching, PriorCall
from parslab.records.events import NoticeRaised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from parslab.dataflow.clients.connection import ClientConnection
    from parslab.dataflow.graph.values import StoredValue
    from parslab.dataflow.kernel import Kernel
    from parslab.dataflow.persistence.log_writer import LogWriter

__all__ = ["ResumeFromLog"]

log = logging.getLogger(__name__)

_TELL = 2.0
"""Seconds without a call after which the cells of a notebook are taken to pause."""
_SWEEP = 600.0
"""Seconds after which results that nobody has taken over leave the memory."""
_OPEN = 16
"""Entries of the record that are kept decoded: calls are made again in much the order in which they ended."""


class ResumeFromLog:
    """Everybody who may take over what lost kernels have left.

    Parameters
    ----------
    kernel
        The run.
    recorder
        Writes its record.
    inherits
        Folders of earlier runs whose results may be taken over, too.
    """

    def __init__(self, kernel: Kernel, recorder: LogWriter, inherits: Iterable[str]) -> None:
        self._kernel = kernel
        self._recorder = recorder
        self._folder = recorder.folder
        self._inherits = [log_format.folder_of(run) for run in inherits]
        self._found: dict[str, tuple[CallMatching, PriorCalls]] = {}

    def expected(self, notebook: str) -> bool:
        """Whether there may be anything for kernels of this notebook to take over."""
        return bool(notebook and (self._inherits or self._kernel.attendance.leases.kept(notebook)))

    def come(self, client: ClientConnection, ready: Callable[[int], None]) -> None:
        """Find what a kernel may take over, then call ``ready(number of its first call)`` (-1: as it likes)."""
        kernel, notebook = self._kernel, client.notebook
        leases = kernel.attendance.leases
        lost = frozenset(leases.kept(notebook))
        alone = not leases.sharers(client.number)
        estate = PriorCalls(self._folder, lost, self._inherits, notebook)
        adoption = CallMatching(kernel.table, kernel.codes, estate.value)

        def finish() -> None:
            self._recorder.write()
            estate.read_on(adoption)  # what was written while the thread read
            adoption.offer(estate.calls())
            before = self._found.get(notebook)
            if before is not None:
                adoption.follow(before[0])
            self._found[notebook] = adoption, estate
            for other in kernel.clients.values():
                if other.notebook == notebook:
                    other.adoption = adoption
            if client.number in kernel.clients:
                ready(estate.highest + 1 if alone and estate.highest >= 0 else -1)
            kernel.at(time() + _SWEEP, lambda: self._sweep(notebook, adoption))

        def read() -> None:
            try:
                estate.read(adoption)
            except Exception:  # whatever is wrong with it, the notebook shall go on
                log.exception("the record cannot be read")
            kernel.loop.post(finish)

        threading.Thread(target=read, daemon=True, name="parslab-heirs").start()

    def why(self, task: int) -> str | None:
        """Why a call of a kernel that came back was made anew."""
        for adoption, _ in self._found.values():
            text = adoption.why(task)
            if text is not None:
                return text
        return None

    def begun(self, adoption: CallMatching) -> None:
        """The first call of a kernel that came back is there."""
        self._kernel.at(time() + _TELL, lambda: self._tell(adoption, 0))

    def _tell(self, adoption: CallMatching, before: int) -> None:
        """Say once what the cells that ran again have taken over, when they pause."""
        count = adoption.adopted + adoption.anew
        if count != before and not adoption.done:
            self._kernel.at(time() + _TELL, lambda: self._tell(adoption, count))
            return
        if adoption.adopted:
            anew = f" {adoption.anew} ran anew: `%parsl explain TASK` says why." if adoption.anew else ""
            text = f"Cells that ran again took over {adoption.adopted} tasks of the kernel before.{anew}"
            self._kernel.event(NoticeRaised(time(), "info", text))

    def _sweep(self, notebook: str, adoption: CallMatching) -> None:
        """Let go of what nobody has asked for: it stays in the record."""
        self._recorder.write()
        adoption_now, estate = self._found[notebook]
        if adoption_now is not adoption or adoption.done:
            return
        estate.read_on(adoption)
        table = self._kernel.table
        idle = [call.task for call in estate.calls() if not call.run and call.place is not None]
        table.release([n for n in idle if (task := table.tasks.get(n)) is not None and task.client in estate.lost])
        self._kernel.at(time() + _SWEEP, lambda: self._sweep(notebook, adoption))


class PriorCalls:
    """What the lost kernels of one notebook have left, as the records tell it.

    Parameters
    ----------
    folder
        Of this run's record.
    lost
        Clients of this run that are gone.
    inherits
        Folders of the records of earlier runs.
    notebook
        Whose calls of those runs are meant.
    """

    def __init__(self, folder: Path, lost: frozenset[int], inherits: list[Path], notebook: str) -> None:
        self._folders = [folder, *inherits]
        self.lost = lost
        self._notebook = notebook
        self._order: dict[tuple[int, int], PriorCall] = {}
        self._functions: dict[int, tuple[bytes, dict[str, bytes], str]] = {}
        self._last: log_format.Position | None = None
        self._open: dict[tuple[int, int, int], list[Any]] = {}
        self.highest = -1
        """The highest number of a call of this run's lost kernels."""

    def read(self, adoption: CallMatching) -> None:
        """Read all that there is; in a thread."""
        for run in range(len(self._folders) - 1, 0, -1):
            self._functions.clear()
            self._through(adoption, run, log_format.entries(self._folders[run]))
        self._functions.clear()
        self._through(adoption, 0, log_format.entries(self._folders[0]))

    def read_on(self, adoption: CallMatching) -> None:
        """Read what was written since."""
        last = self._last
        fresh = (pair for pair in log_format.entries(self._folders[0], last) if last is None or pair[0] > last)
        self._through(adoption, 0, fresh)

    def calls(self) -> list[PriorCall]:
        """The calls in order, those of earlier runs first."""
        return list(self._order.values())

    def _through(self, adoption: CallMatching, run: int, items: Iterator[tuple[log_format.Position, Any]]) -> None:
        mine: set[int] = set(self.lost) if not run else set()
        order = self._order
        for place, item in items:
            if not run:
                self._last = place
            kind = type(item)
            if kind is log_format.CallItem:
                if item.client in mine:
                    submit = item.submit
                    fingerprint, parts, name = self._functions.get(submit.fn, (b"", {}, ""))
                    call = adoption.called(submit, item.frames, fingerprint, parts, submit.name or name, run)
                    order[run, submit.task] = call
                    if not run:
                        self.highest = max(self.highest, submit.task)
            elif kind is log_format.EndItem:
                adoption.ended(item.task, item.resolved.state, item.place or place, run)
            elif kind is log_format.FunctionItem:
                code = item.code
                self._functions[item.fn] = (code.fingerprint or code.digest, code.parts, code.name)
            elif kind is log_format.ReopenedTasks:
                for task in item.tasks:
                    adoption.reopened(task, run)
            elif kind is log_format.CallsTaken:
                self._took(adoption, run, item, item.client in mine)
            elif kind is log_format.ClientJoined and run and item.notebook == self._notebook:
                mine.add(item.client)

    def _took(self, adoption: CallMatching, run: int, item: log_format.CallsTaken, lost: bool) -> None:
        """A kernel had taken calls over: they stand where it made them, or are gone when it is still there."""
        for alias, task in item.tasks:
            self._order.pop((run, alias), None)
            call = self._order.pop((run, task), None)
            if call is not None and lost:
                adoption.renamed(task, alias, run)
                self._order[run, task] = call

    # ----- values

    def value(self, call: PriorCall) -> StoredValue | None:
        """What an ended call gave; None when it cannot be read."""
        place: log_format.Position | None = call.place
        if place is None:
            return None
        folder = self._folders[call.run]
        try:
            item = self._item(call.run, folder, place)
            if isinstance(item, log_format.EndItem):
                return item.value
            return log_format.value_at(folder, place)
        except OSError:
            return None

    def _item(self, run: int, folder: Path, place: log_format.Position) -> Any:
        at = (run, place.segment, place.offset)
        items = self._open.get(at)
        if items is None:
            if len(self._open) >= _OPEN:
                del self._open[next(iter(self._open))]
            items = self._open[at] = log_format.items_at(folder, place)
        return items[place.item] if place.item < len(items) else None
