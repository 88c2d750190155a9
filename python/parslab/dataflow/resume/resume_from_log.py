"""Finds earlier calls in the event log for a kernel that returns to the run of its notebook [shell].

The log of a long session takes seconds to read, so a thread reads it.  The client is welcomed when the thread is done.
The loop reads what was written meanwhile.  Results of an earlier run of the notebook, which had another configuration,
are found in the same way.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, TypeAlias

from parslab.clock import steady_time
from parslab.dataflow.persistence import log_format
from parslab.dataflow.resume.call_matching import CallMatching, PriorCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from parslab.dataflow.clients.connection import ClientConnection, PriorCallMatcher
    from parslab.dataflow.clients.leases import Leases
    from parslab.dataflow.clients.registry import ClientRegistry
    from parslab.dataflow.graph.function_registry import FunctionRegistry
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.values import StoredValue
    from parslab.dataflow.host import Host
    from parslab.dataflow.persistence.log_writer import LogWriter

__all__ = ["ResumeFromLog"]

log = logging.getLogger(__name__)

_PAUSE = 2.0
"""Seconds without a call after which the cells of a notebook count as done."""
_READ_TIMEOUT = 15.0
"""Seconds that a client waits at most for the log to be read: less than it waits for its welcome."""
_SWEEP = 600.0
"""Seconds after which results that no call has matched leave the memory."""
_DECODED = 16
"""Entries of the log that stay decoded: calls repeat in about the order in which they ended."""

_Entry: TypeAlias = tuple[log_format.Position, log_format.LogItem]


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        log.exception(what)


class ResumeFromLog:
    """Offers the calls of lost kernels to the kernels that return to their notebooks.

    Parameters
    ----------
    host
        The process that it runs in.
    log_writer
        Writes the event log.
    leases
        Knows which clients are gone.
    table, functions, clients
        The tasks, the functions and the attached clients of the run.
    inherits
        Folders of earlier runs whose results may be taken over, too.
    """

    def __init__(
        self,
        host: Host,
        log_writer: LogWriter,
        *,
        leases: Leases,
        table: TaskTable,
        functions: FunctionRegistry,
        clients: ClientRegistry,
        inherits: Iterable[str],
    ) -> None:
        self._host = host
        self._log_writer = log_writer
        self._leases = leases
        self._table = table
        self._functions = functions
        self._clients = clients
        self._inherits = [log_format.log_folder(run) for run in inherits]
        self._found: dict[str, tuple[CallMatching, PriorCalls]] = {}
        """The matching, and the calls that it offers, of each notebook."""

    def expected(self, notebook: str) -> bool:
        """Return whether there may be earlier calls of this notebook."""
        return bool(notebook and (self._inherits or self._leases.absent(notebook)))

    def find(self, client: ClientConnection, ready: Callable[[int], None]) -> None:
        """Find what a kernel may take over, then call ``ready`` with the number of its first call (-1: any)."""
        # Fixed before the thread starts: clients that leave meanwhile belong to a later search.
        lost = frozenset(self._leases.absent(client.notebook))
        alone = not self._leases.sharers(client.number)
        prior = PriorCalls(self._log_writer.folder, lost, self._inherits, client.notebook)
        matching = CallMatching(self._table, self._functions, prior.value)
        answered = False

        def answer(first: int) -> None:
            nonlocal answered
            if not answered and self._clients.connected.get(client.number) is client:
                ready(first)
            answered = True

        def finish() -> None:
            # Whatever is wrong with the log, the client must get its answer: load() waits for it.
            with _logged("the event log cannot be read"):
                self._offer(client.notebook, matching, prior)
            answer(prior.highest + 1 if alone and prior.highest >= 0 else -1)

        def read() -> None:
            with _logged("the event log cannot be read"):
                prior.read(matching)
            # The table belongs to the loop: the thread may only read files.
            self._host.call_soon(finish)

        def time_out() -> None:
            if not answered:
                self._host.notify(
                    "warning",
                    f"The event log is still being read after {_READ_TIMEOUT:.0f} s: calls that are made before that "
                    "is done run anew.",
                )
                answer(-1)

        self._host.call_at(steady_time() + _READ_TIMEOUT, time_out)
        try:
            threading.Thread(target=read, daemon=True, name="parslab-resume").start()
        except RuntimeError:  # no thread can be started now: the loop reads the log itself
            read()

    def _offer(self, notebook: str, matching: CallMatching, prior: PriorCalls) -> None:
        """Offer the earlier calls to all kernels of the notebook."""
        # What happened while the thread was reading may still be in memory.
        self._log_writer.write()
        prior.read_on(matching)
        matching.offer(prior.calls())
        before = self._found.get(notebook)
        if before is not None:
            matching.follow(before[0])
        self._found[notebook] = matching, prior
        for client in self._clients.connected.values():
            if client.notebook == notebook:
                client.matcher = matching
        self._host.call_at(steady_time() + _SWEEP, lambda: self._sweep(notebook, matching))

    def why(self, task: int) -> str | None:
        """Say why a call of a returned kernel ran again; None if it is no such call."""
        for matching, _ in self._found.values():
            text = matching.why(task)
            if text is not None:
                return text
        return None

    def matching_began(self, matching: PriorCallMatcher) -> None:
        """The first call of a kernel that returned was submitted."""
        self._host.call_at(steady_time() + _PAUSE, lambda: self._report(matching, 0))

    def _report(self, matching: PriorCallMatcher, before: int) -> None:
        """Report once, when the calls pause, how many tasks they have taken over."""
        count = matching.adopted + matching.anew
        if count != before and not matching.done:
            self._host.call_at(steady_time() + _PAUSE, lambda: self._report(matching, count))
        elif matching.adopted:
            anew = f" {matching.anew} ran anew: `%parsl explain TASK` says why." if matching.anew else ""
            self._host.notify(
                "info", f"Cells that ran again took over {matching.adopted} tasks of the kernel before.{anew}"
            )

    def _sweep(self, notebook: str, matching: CallMatching) -> None:
        """Release results that no call has asked for: they stay in the event log."""
        self._log_writer.write()
        current, prior = self._found[notebook]
        # A newer kernel has its own sweep.
        if current is not matching or matching.done:
            return
        prior.read_on(matching)
        tasks = self._table.tasks
        idle = [call.task for call in prior.calls() if not call.run and call.place is not None]
        self._table.release([n for n in idle if (task := tasks.get(n)) is not None and task.client in prior.lost])
        self._host.call_at(steady_time() + _SWEEP, lambda: self._sweep(notebook, matching))


class PriorCalls:
    """The calls of the lost kernels of one notebook, read from the event logs.

    Runs are numbered: 0 is this run, ``i`` is the earlier run ``inherits[i - 1]``.

    Parameters
    ----------
    folder
        The folder of this run's event log.
    lost
        The clients of this run that are gone.
    inherits
        Folders of the event logs of earlier runs.
    notebook
        The notebook whose calls count in those runs.

    Attributes
    ----------
    highest
        The highest number of a call that a lost kernel of this run made.
    """

    def __init__(self, folder: Path, lost: frozenset[int], inherits: list[Path], notebook: str) -> None:
        self._folders = [folder, *inherits]
        self.lost = lost
        self._notebook = notebook
        self._order: dict[tuple[int, int], PriorCall] = {}
        self._functions: dict[int, tuple[bytes, dict[str, bytes], str]] = {}
        self._last: log_format.Position | None = None
        self._decoded: dict[tuple[int, int, int], list[log_format.LogItem]] = {}
        self.highest = -1

    def read(self, matching: CallMatching) -> None:
        """Read the logs from their beginning (called in a thread)."""
        for run in range(len(self._folders) - 1, 0, -1):
            self._functions.clear()  # each run has its own numbers of functions
            self._read_items(matching, run, log_format.entries(self._folders[run]))
        self._functions.clear()
        self._read_items(matching, 0, log_format.entries(self._folders[0]))

    def read_on(self, matching: CallMatching) -> None:
        """Read what was written since the last read."""
        last = self._last
        # ``entries`` repeats the whole entry of ``last``, which may hold many items.
        fresh = (pair for pair in log_format.entries(self._folders[0], last) if last is None or pair[0] > last)
        self._read_items(matching, 0, fresh)

    def calls(self) -> list[PriorCall]:
        """Return the calls in order, those of earlier runs first."""
        return list(self._order.values())

    def _read_items(self, matching: CallMatching, run: int, items: Iterator[_Entry]) -> None:
        clients: set[int] = set() if run else set(self.lost)
        for place, item in items:
            if not run:
                # Only this run's log can grow while it is read.
                self._last = place
            match item:
                case log_format.CallItem():
                    if item.client in clients:
                        self._called(matching, run, item)
                case log_format.EndItem():
                    matching.ended(item.task, item.resolved.state, item.place or place, run)
                case log_format.FunctionItem(code=code):
                    self._functions[item.fn] = (code.fingerprint or code.digest, code.parts, code.name)
                case log_format.ReopenedTasks():
                    for task in item.tasks:
                        matching.reopened(task, run)
                case log_format.CallsTakenOver():
                    self._taken_over(matching, run, item, item.client in clients)
                case log_format.ClientJoined():
                    # Clients of another run have other numbers: only the notebook says whose calls they made.
                    if run and item.notebook == self._notebook:
                        clients.add(item.client)

    def _called(self, matching: CallMatching, run: int, item: log_format.CallItem) -> None:
        submit = item.submit
        fingerprint, parts, name = self._functions.get(submit.fn, (b"", {}, ""))
        call = PriorCall(
            task=submit.task,
            kind=submit.kind,
            app=submit.name or name,
            shown=submit.shown,
            fingerprint=fingerprint,
            parts=parts,
            run=run,
        )
        matching.called(call, submit, item.frames)
        self._order[run, submit.task] = call
        if not run:
            self.highest = max(self.highest, submit.task)

    def _taken_over(self, matching: CallMatching, run: int, item: log_format.CallsTakenOver, lost: bool) -> None:
        """Handle that a kernel took calls over.

        If that kernel is lost, too, the calls take the places of those that it made.  Otherwise no other kernel may
        have them.
        """
        for alias, task in item.tasks:
            self._order.pop((run, alias), None)
            call = self._order.pop((run, task), None)
            if call is not None and lost:
                matching.renamed(task, alias, run)
                self._order[run, task] = call

    # ----- values

    def value(self, call: PriorCall) -> StoredValue | None:
        """Return the result of an ended call; None when it cannot be read."""
        place = call.place
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

    def _item(self, run: int, folder: Path, place: log_format.Position) -> log_format.LogItem | None:
        at = (run, place.segment, place.offset)
        items = self._decoded.get(at)
        if items is None:
            # The oldest entry leaves: a dictionary keeps the order of insertion.
            if len(self._decoded) >= _DECODED:
                del self._decoded[next(iter(self._decoded))]
            items = self._decoded[at] = log_format.items_at(folder, place)
        return items[place.item] if place.item < len(items) else None
