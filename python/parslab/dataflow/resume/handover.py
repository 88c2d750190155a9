"""Hands a run over to a DataFlowKernel on another host, for example in the notebook's next batch job [shell].

1. Workers that end with this process get no more tasks.  Those that they run have some time to finish.
2. Results that are only in memory are written to the event log.
3. The process ends.  It leaves its blocks, the invitations of their managers, and a connection file that says that the
   run was handed over.  The next ``load()`` of the notebook starts the run again, on any host that sees its folder.

Until step 3 the run can stay: if its files cannot be written, all goes on as before, and the user reads why.  A
DataFlowKernel that is killed before has not handed the run over; the request stays for the one that replaces it.
"""

from __future__ import annotations

import contextlib
import enum
import json
import logging
import math
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.atomic_files import write_atomically
from parslab.clock import to_wall_time
from parslab.dataflow.graph.resolution import resolution
from parslab.dataflow.persistence.log_format import LARGE
from parslab.errors import ConfigurationError
from parslab.records.durations import format_duration
from parslab.records.executor_settings import keeps_tasks
from parslab.records.states import TaskState
from parslab.trust import read_text
from parslab.wire.messages.base import TaskKind
from parslab.wire.run_files import HANDOVER_REFUSED, HANDOVER_WANTED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from parslab.dataflow.clients.connection_file import ConnectionFile
    from parslab.dataflow.clients.presence import Presence
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.high_throughput.managers import ManagerService
    from parslab.dataflow.host import Host
    from parslab.dataflow.persistence.log_writer import LogWriter
    from parslab.remote.pool.pool import WorkerPool
    from parslab.wire.run_files import RunSettings

__all__ = ["Handover", "HandoverState"]

log = logging.getLogger(__name__)

_CHECK = 0.1
"""Seconds between two looks for tasks that still run on this host."""
_WRITING = 600.0
"""Seconds that results of many gigabytes may take to be written."""


class HandoverState(enum.Enum):
    """How far a handover is."""

    idle = 1
    """There is none, or the run has stayed."""
    finishing = 2
    """Tasks of this host may finish."""
    writing = 3
    """Results are written to the event log."""
    ready = 4
    """The process ends, and leaves everything to the next one."""


class Handover:
    """The handover of one run.

    Parameters
    ----------
    host, settings, table
        The process that it runs in, and the settings and the tasks of the run.
    worker_pools, manager_services
        The executors of the run that have workers, by number.
    log_writer
        The event log; None if the run has none.
    presence
        Keeps the run while its clients leave.
    file
        The connection file; None for a run that no other process can find.

    Attributes
    ----------
    state
        How far the handover is.
    give_tasks_to
        Lets only these executors have tasks, None: all of them; the kernel sets it.
    reason
        Why the process ends, once everything is ready for the next one; empty before.
    """

    def __init__(
        self,
        host: Host,
        settings: RunSettings,
        *,
        table: TaskTable,
        worker_pools: Mapping[int, WorkerPool[Task]],
        manager_services: Mapping[int, ManagerService],
        log_writer: LogWriter | None,
        presence: Presence,
        file: ConnectionFile | None,
    ) -> None:
        self.state = HandoverState.idle
        self.give_tasks_to: Callable[[Collection[int] | None], None] = lambda executors: None
        self.reason = ""
        self._host = host
        self._settings = settings
        self._table = table
        self._worker_pools = worker_pools
        self._manager_services = manager_services
        self._log_writer = log_writer
        self._presence = presence
        self._file = file
        self._folder = Path(settings.run_dir)
        self._deadline = 0.0
        """Until when tasks of this host may finish."""
        self._ends = 0.0
        """When blocks end unless another DataFlowKernel goes on with the run."""
        self._written: set[int] = set()
        """Tasks whose large results are in the event log."""
        self._attempt = 0
        """How many handovers of this process have begun."""
        self._refused: str | None = None
        """The last request that was refused, in case its file cannot be removed."""

    def stays(self, service: ManagerService) -> bool:
        """Return whether the blocks of an executor outlive this process."""
        return keeps_tasks(service.settings) and not service.settings.provider.local

    # ----- the begin

    def look_for_request(self) -> None:
        """Begin if another host asks for the run, by a file in its folder."""
        if self.state is not HandoverState.idle:
            return
        try:
            text = read_text(self._folder / HANDOVER_WANTED)
        except FileNotFoundError:
            return
        except OSError as error:  # also one that another user has written
            text, why = "", str(error)
        else:
            why = self._begin_request(text)
        if why and text != self._refused:
            self._refused = text
            self._refuse(f"Another host asks for run {self._settings.run}, which stays here: {why}")

    def _begin_request(self, text: str) -> str:
        """Begin because of a request; return why that is not possible."""
        try:
            wanted = json.loads(text)
            by, wait, keep = str(wanted["host"]), float(wanted["wait"]), float(wanted["keep"])
            if by == socket.gethostname():  # it has got the run
                self._remove(HANDOVER_WANTED)
                return ""
            self.begin(wait, keep)
        except ConfigurationError as error:
            return str(error)
        except (ValueError, LookupError, TypeError) as error:
            return f"{self._folder / HANDOVER_WANTED} holds no request ({error}). Ask again with `%parsl handover`."
        self._host.notify(
            "info", f"Host {by} has asked for this run: tasks of this host have {format_duration(wait)} to finish."
        )
        return ""

    def begin(self, wait: float, keep: float) -> str:
        """Begin to hand the run over; return a sentence that says what happens now.

        A second call may shorten the time of the tasks, and prolong that of the blocks.

        Parameters
        ----------
        wait
            Seconds that tasks on this host may take to finish.
        keep
            Seconds that blocks and their tasks go on while no DataFlowKernel serves the run.

        Raises
        ------
        ConfigurationError
            Another host could not go on with the run, or its files cannot be written.
        """
        self._check(wait, keep)
        now = self._host.now()
        if self.state is HandoverState.idle:
            self._begin(now)
            self._deadline, self._ends = now + wait, now + wait + keep
        else:
            self._deadline, self._ends = min(self._deadline, now + wait), max(self._ends, now + wait + keep)
        # Clients may leave before the process ends, and the run must not end with them.
        self._presence.stay(self._ends - now)
        for service in self._staying().values():
            service.keep_tasks(self._ends - now)
        left = self._running_here()
        text = f"Run {self._settings.run} is handed over: parslab.load() in the notebook's next job goes on with it."
        return f"{text} {left} running task{'s' * (left != 1)} of this host may finish before." if left else text

    def _check(self, wait: float, keep: float) -> None:
        run = f"Run {self._settings.run}"
        if not (0 <= wait < math.inf and 0 <= keep < math.inf):
            raise ConfigurationError(f"{run} cannot be handed over within {wait:g} s and kept for {keep:g} s.")
        if self._log_writer is None:
            raise ConfigurationError(
                f"{run} has no event log, from which another host could go on with it: load it with "
                "Config(resume=True)."
            )
        if self._log_writer.broken:
            raise ConfigurationError(
                f"{run} cannot be handed over, because its event log in {self._log_writer.folder} could not be "
                "written: wait for its results here."
            )
        if self._file is None or not self._settings.notebook:
            raise ConfigurationError(f"{run} belongs to no notebook, whose next kernel could go on with it.")

    def _begin(self, now: float) -> None:
        assert self._file is not None
        try:
            self._file.begin_handover()
        except OSError as error:
            raise ConfigurationError(f"Run {self._settings.run} {_cannot_write(self._file.path, error)}") from None
        self._remove(HANDOVER_REFUSED)
        self._attempt += 1
        self._written.clear()
        self._refused = None
        self.give_tasks_to(self._staying())
        self.state = HandoverState.finishing
        self._host.call_at(now, self._look_for_tasks)

    def _staying(self) -> dict[int, ManagerService]:
        return {number: service for number, service in self._manager_services.items() if self.stays(service)}

    def _running_here(self) -> int:
        """Return how many tasks run on workers that end with this process."""
        count = sum(len(peer.inflight) for pool in self._worker_pools.values() for peer in pool.peers)
        for service in self._manager_services.values():
            if not self.stays(service):
                count += sum(len(slot.inflight) for slot in service.queue.slots.values())
        return count

    # ----- the steps

    def hurry(self) -> bool:
        """Wait for no more tasks, because this process is asked to end; return whether a handover is under way.

        The second call returns False: whoever asks twice wants the end of the run.
        """
        hurried = self._deadline == -math.inf
        if self.state is HandoverState.idle or hurried:
            return False
        self._deadline = -math.inf
        return True

    def _look_for_tasks(self) -> None:
        left, now = self._running_here(), self._host.now()
        if left and now < self._deadline:
            self._host.call_at(now + _CHECK, self._look_for_tasks)
            return
        if left:
            log.warning("%d tasks did not finish in time, and run again in the next job", left)
        self.state = HandoverState.writing
        self.write_results()
        assert self._log_writer is not None
        attempt = self._attempt
        self._log_writer.when_written(lambda: self._results_written(attempt))
        self._host.call_at(now + _WRITING, lambda: self._took_too_long(attempt))

    def write_results(self) -> None:
        """Have the event log write results that are in memory only and are not written yet."""
        assert self._log_writer is not None
        # A set, because a task with an alias is in the table under two numbers.
        for task in set(self._table.tasks.values()):
            value = task.value
            done = task.state is TaskState.exec_done and task.kind == TaskKind.remote
            if done and value is not None and value.size > LARGE and task.id not in self._written:
                self._written.add(task.id)
                self._log_writer.keep_value(resolution(task), value)

    def _results_written(self, attempt: int) -> None:
        if self.state is not HandoverState.writing or attempt != self._attempt:
            return
        assert self._log_writer is not None
        assert self._file is not None
        if self._log_writer.broken:
            self._stay(f"its event log in {self._log_writer.folder} cannot be written: wait for its results here.")
            return
        try:
            self._file.prepare_handover(to_wall_time(self._ends))
        except OSError as error:
            self._stay(_cannot_write(self._file.path, error))
            return
        self.state = HandoverState.ready
        self.reason = "it was handed over; parslab.load() in the notebook's next job goes on with it"
        self._host.end_run(self.reason)

    def _took_too_long(self, attempt: int) -> None:
        if self.state is HandoverState.writing and attempt == self._attempt:
            self._stay(
                f"its results are not written within {_WRITING:g} s: look at the disk of {self._folder}, and hand "
                "the run over again."
            )

    def finish(self) -> None:
        """Let other hosts find the run, as the last step of this process."""
        assert self._file is not None
        try:
            self._file.hand_over()
        finally:
            self._remove(HANDOVER_WANTED)  # last: a DataFlowKernel that replaces this one needs it

    # ----- the run stays

    def _stay(self, why: str) -> None:
        """Go on as before, because the run cannot be handed over."""
        assert self._file is not None
        self.state = HandoverState.idle
        with contextlib.suppress(OSError):
            self._file.give_up_handover()
        self._presence.stay(0.0)
        for service in self._staying().values():
            service.keep_tasks()
        self.give_tasks_to(None)
        self._refuse(f"Run {self._settings.run} stays on {socket.gethostname()}, because {why}")

    def _refuse(self, text: str) -> None:
        """Tell the user, and the process that has asked for the run, why it stays."""
        self._host.notify("warning", text)
        with contextlib.suppress(OSError):
            write_atomically(self._folder / HANDOVER_REFUSED, text)
        self._remove(HANDOVER_WANTED)

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self._folder / name).unlink()


def _cannot_write(path: Path, error: OSError) -> str:
    return f"its connection file {path} cannot be written ({error.strerror or error}): make room on that disk."
