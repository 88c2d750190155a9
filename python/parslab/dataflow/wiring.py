"""Builds the components of a DataFlowKernel and gives each its collaborators.

This is the only module that knows all components.  Nothing here does any work: no file, socket or process is opened
before :class:`parslab.dataflow.kernel.Kernel` starts the components.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from parslab.dataflow.clients.commands import ClientCommands
from parslab.dataflow.clients.log_service import LogService
from parslab.dataflow.clients.panel_feed import PanelFeed
from parslab.dataflow.clients.presence import Presence
from parslab.dataflow.clients.registry import ClientRegistry
from parslab.dataflow.clients.replies import ReplySender
from parslab.dataflow.clients.requests import ClientRequests
from parslab.dataflow.clients.retry_service import RetryService
from parslab.dataflow.clients.sessions import Sessions
from parslab.dataflow.clients.unused_functions import UnusedFunctions
from parslab.dataflow.graph.function_registry import FunctionRegistry
from parslab.dataflow.graph.memoization.memo import Memo
from parslab.dataflow.graph.rich_output import RichOutput
from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.high_throughput.block_commands import BlockCommands
from parslab.dataflow.host import LoopHost
from parslab.dataflow.operations.reproducers import Reproducers
from parslab.dataflow.persistence.checkpointing import Checkpointing
from parslab.dataflow.persistence.log_format import log_folder
from parslab.dataflow.resume.handover import Handover
from parslab.dataflow.resume.resume_from_log import ResumeFromLog
from parslab.dataflow.value_spill import ValueSpill
from parslab.dataflow.worker_events import WorkerEvents
from parslab.records.executor_settings import HighThroughputSettings, LowLatencySettings
from parslab.records.software import Software
from parslab.remote.pool.pool import WorkerPool
from parslab.remote.pool.processes import ProcessPlan, WorkerRun, thread_variables
from parslab.wire.messages.base import TaskKind

if TYPE_CHECKING:
    from parslab.dataflow.clients.connection_file import ConnectionFile
    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.high_throughput.managers import ManagerService
    from parslab.dataflow.resume.failover import Failover
    from parslab.remote.loop import Loop
    from parslab.wire.run_files import RunSettings

__all__ = ["Components"]


class Components:
    """The components of one run.

    Parameters
    ----------
    settings
        The settings of the run.
    loop
        The loop of the process.
    connection_file
        The run's connection file; None for a run that no other process can find.
    """

    def __init__(self, settings: RunSettings, loop: Loop, connection_file: ConnectionFile | None) -> None:
        self._settings = settings
        # Each step uses only what the steps before it have made.
        self._make_core(loop)
        self._make_executors()
        self._make_client_services(connection_file)
        self._make_resumption()
        self._make_handover(connection_file)
        self._make_sessions()

    def _make_core(self, loop: Loop) -> None:
        settings = self._settings
        labels = tuple(executor.label for executor in settings.executors)
        self.functions = FunctionRegistry()
        self.memo = Memo(self.functions, on=settings.app_cache)
        # In a burst, monitoring reads events late, and folded moves save three events for most tasks.
        self.table = TaskTable(labels, settings.retries, self.memo, fold_moves=True)
        # A run whose process was restarted has recovery tasks with the first numbers already.
        self.table.recovery.first += settings.restarts << 20
        self.host = LoopHost(loop, self.table.out)
        self.checkpointing = Checkpointing(self.memo, settings, self.host)
        self.clients = ClientRegistry(loop)
        self.log_service = LogService(
            self.host, settings, clients=self.clients, table=self.table, functions=self.functions
        )
        self.value_spill = ValueSpill(
            self.host, settings.values.spill_dir or str(Path(settings.run_dir) / "values"), settings.values.memory
        )

    def _make_executors(self) -> None:
        self.rich_output = RichOutput()
        self.worker_events = WorkerEvents(
            self.host,
            table=self.table,
            functions=self.functions,
            clients=self.clients,
            log_writer=self.log_service.writer,
            rich_output=self.rich_output,
        )
        self.worker_pools: dict[int, WorkerPool[Task]] = {}
        self.manager_services: dict[int, ManagerService] = {}
        for number, executor in enumerate(self._settings.executors):
            # Threads belong to the clients, so an executor of threads has no pool here.
            match executor:
                case LowLatencySettings():
                    self.worker_pools[number] = self._worker_pool(number, executor)
                case HighThroughputSettings():
                    self.manager_services[number] = self._manager_service(number, executor)
        # The loop treats both kinds alike (``ExecutorPool``).
        self.pools: dict[int, WorkerPool[Task] | ManagerService] = {**self.worker_pools, **self.manager_services}

    def _worker_pool(self, number: int, executor: LowLatencySettings) -> WorkerPool[Task]:
        run = self._settings
        # The user's environment is last, so that it has priority over our limits for the threads of libraries.
        plan = ProcessPlan({**thread_variables(executor.threads_per_worker), **executor.environment})
        return WorkerPool(
            number,
            executor.label,
            executor.label,
            plans=[plan] * executor.workers,
            run=WorkerRun(run.run, package=run.package, path=run.path, cwd=run.cwd, folder=run.run_dir),
            host=self.host,
            tasks=self.worker_events,
            on_broken=self.worker_events.pool_broken,
            software=Software.of(executor.requirements, executor.container),
        )

    def _manager_service(self, number: int, executor: HighThroughputSettings) -> ManagerService:
        # Imported here, because only runs with such an executor need what it loads.
        from parslab.dataflow.high_throughput.managers import ManagerService

        return ManagerService(
            number,
            executor,
            run=self._settings,
            host=self.host,
            tasks=self.worker_events,
            find_task=self.table.tasks.get,
        )

    def _make_client_services(self, connection_file: ConnectionFile | None) -> None:
        self.unused_functions = UnusedFunctions(self.functions, self.table, self.pools)
        self.panel_feed = PanelFeed(self.host, self.table, self.clients, self.pools)
        self.replies = ReplySender(self.table.out, self.clients, self.log_service)
        self.presence = Presence(
            self.host,
            self._settings,
            clients=self.clients,
            table=self.table,
            log_service=self.log_service,
            file=connection_file,
        )
        self.retry_service = RetryService(
            self.host,
            table=self.table,
            functions=self.functions,
            clients=self.clients,
            pools=self.pools,
            log_writer=self.log_service.writer,
            failed_alike=lambda group: self.panel_feed.view.failures.tasks_of(group),
        )
        self.reproducers = Reproducers(self.table, self.functions, self.clients.connected)

    def _make_resumption(self) -> None:
        settings, log_writer = self._settings, self.log_service.writer
        self.prior_calls: ResumeFromLog | None = None
        self.failover: Failover | None = None
        # Both components read the event log, so a run without a log has neither.
        if log_writer is None:
            return
        self.prior_calls = ResumeFromLog(
            self.host,
            log_writer,
            leases=self.presence.leases,
            table=self.table,
            functions=self.functions,
            clients=self.clients,
            inherits=settings.inherits,
        )
        if settings.restarts:
            from parslab.dataflow.resume.failover import Failover

            self.failover = Failover(
                self.host,
                settings,
                log_folder(settings.run_dir),
                table=self.table,
                functions=self.functions,
                clients=self.clients,
                unused_functions=self.unused_functions,
                presence=self.presence,
                log_service=self.log_service,
            )
            for service in self.manager_services.values():
                service.claim = self.failover.claim

    def _make_handover(self, connection_file: ConnectionFile | None) -> None:
        self.handover = Handover(
            self.host,
            self._settings,
            table=self.table,
            worker_pools=self.worker_pools,
            manager_services=self.manager_services,
            log_writer=self.log_service.writer,
            presence=self.presence,
            file=connection_file,
        )

    def _make_sessions(self) -> None:
        self.requests = ClientRequests(
            self.host,
            table=self.table,
            functions=self.functions,
            unused_functions=self.unused_functions,
            presence=self.presence,
            commands=self._commands(),
            retry_service=self.retry_service,
            log_writer=self.log_service.writer,
            failover=self.failover,
            prior_calls=self.prior_calls,
            rich_output=self.rich_output,
        )
        self.sessions = Sessions(
            self.host,
            self._settings,
            self._kinds(),
            clients=self.clients,
            requests=self.requests,
            presence=self.presence,
            log_service=self.log_service,
            retry_service=self.retry_service,
            unused_functions=self.unused_functions,
            failover=self.failover,
            prior_calls=self.prior_calls,
        )

    def _commands(self) -> ClientCommands:
        """Return what carries out the requests of panels and of clients."""
        return ClientCommands(
            self.host,
            clients=self.clients,
            table=self.table,
            memo=self.memo,
            panel_feed=self.panel_feed,
            presence=self.presence,
            retry_service=self.retry_service,
            reproducers=self.reproducers,
            checkpointing=self.checkpointing,
            hand_over=self.handover.begin,
            block_command=BlockCommands(tuple(self.manager_services.values())).carry_out,
            reasons=(self.table.recovery.why, *(() if self.prior_calls is None else (self.prior_calls.why,))),
            places=[service.why for service in self.manager_services.values() if service.in_mpi_mode],
        )

    def _kinds(self) -> tuple[tuple[str, int], ...]:
        """Return the label of each executor, and where its tasks run."""
        return tuple(
            (label, TaskKind.remote if number in self.pools else TaskKind.local)
            for number, label in enumerate(self.table.labels)
        )
