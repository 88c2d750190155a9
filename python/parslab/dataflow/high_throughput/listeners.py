"""Opens the port of a run, and its socket for managers of this host, if an executor needs them [shell]."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from parslab.errors import ConfigurationError
from parslab.records.executor_settings import HighThroughputSettings, LowLatencySettings
from parslab.remote.pool.pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parslab.dataflow.files.service import FileService
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.high_throughput.managers import ManagerService
    from parslab.dataflow.host import Host
    from parslab.dataflow.network.hub import Hub
    from parslab.dataflow.network.local_managers import LocalManagers
    from parslab.dataflow.network.remote_workers import RemoteWorkers
    from parslab.records.executor_settings import ExecutorSettings
    from parslab.wire.run_files import RunSettings

__all__ = ["Listeners", "addresses_for", "open_listeners"]

_ANYWHERE = "0.0.0.0"


class Listeners(NamedTuple):
    """The open port and socket of a run; empty where all its workers are children of the DataFlowKernel."""

    hub: Hub | None = None
    local_managers: LocalManagers | None = None
    remote_workers: Sequence[RemoteWorkers] = ()
    files: FileService | None = None
    """None where all nodes see the files of this host."""

    def close(self, run_goes_on: bool = False) -> None:
        """Tell remote workers that the run is over, and close the port and the socket."""
        for workers in self.remote_workers:
            workers.close()
        if self.files is not None:
            self.files.close()
        if self.hub is not None:
            self.hub.close(run_goes_on)
        if self.local_managers is not None:
            self.local_managers.close()


def open_listeners(
    executors: Sequence[tuple[ExecutorSettings, WorkerPool[Task] | ManagerService]],
    *,
    run: RunSettings,
    host: Host,
    sockets: Path,
    table: TaskTable,
) -> Listeners:
    """Listen on one port at the addresses of a run's executors, and start the executors whose managers connect there.

    Raises
    ------
    ConfigurationError
        Two executors name different ports, or this host cannot listen there.
    """
    wanted = []
    for settings, pool in executors:
        match settings:
            case LowLatencySettings(address=str() as address, port=port):
                wanted.append((pool, *addresses_for(address, local=False), port))
            case HighThroughputSettings(provider=provider, address=address, port=port):
                wanted.append((pool, *addresses_for(address, local=provider.local or provider.tunnelled), port))
    if not wanted:
        return Listeners()
    from parslab.dataflow.network.local_managers import LocalManagers
    from parslab.dataflow.network.remote_workers import RemoteWorkers

    # One port for all executors, so that a firewall or a tunnel needs only one rule.
    ports = {port for *_, port in wanted if port}
    if len(ports) > 1:
        numbers = " and ".join(map(str, sorted(ports)))
        raise ConfigurationError(f"executors name the ports {numbers}; all of a run share one: name one of them.")
    hub = _open_hub(_merged(at for _, at, _, _ in wanted), next(iter(ports), 0), run, host)
    # Opened even if all blocks are remote: a block may turn out to run on this host.
    local = LocalManagers(sockets / "managers.sock", host)
    remote_workers = []
    for pool, _, reach, _ in wanted:
        if isinstance(pool, WorkerPool):
            workers = RemoteWorkers(pool, hub, host, reach[0])
            remote_workers.append(workers)
            host.notify("info", workers.invitation)
        else:
            pool.start(hub, local, reach)
    files = _open_files(hub, [pool for pool, *_ in wanted], run=run, host=host, table=table)
    return Listeners(hub, local, remote_workers, files)


def _merged(addresses: Iterable[Sequence[str]]) -> list[str]:
    """Return the addresses at which the executors want the one port."""
    merged = list(dict.fromkeys(address for each in addresses for address in each))
    # A second bind of the same port would fail: the wildcard includes all other addresses.
    return [_ANYWHERE] if _ANYWHERE in merged else merged


def _open_files(
    hub: Hub,
    pools: Sequence[WorkerPool[Task] | ManagerService],
    *,
    run: RunSettings,
    host: Host,
    table: TaskTable,
) -> FileService | None:
    """Serve the files of this host to the nodes of executors that do not share its disk."""
    far = [pool for pool in pools if not isinstance(pool, WorkerPool) and not pool.settings.manager.shared_filesystem]
    if not far:
        return None
    from parslab.dataflow.files.service import FileService
    from parslab.wire.messages.files import FileHello

    files = FileService(host, run.run, run.run_dir, table)
    for pool in far:
        hub.register(FileHello, pool.number, files)
        # Heartbeats of managers find a node whose network was cut long before its connection for files breaks.
        pool.node_lost = files.node_lost
    return files


def _open_hub(listen: list[str], port: int, run: RunSettings, host: Host) -> Hub:
    """Open the hub; after a crash, use the port of the lost DataFlowKernel unless another program has taken it."""
    from parslab.dataflow.network import port_state
    from parslab.dataflow.network.hub import Hub

    run_dir = Path(run.run_dir)
    before = port_state.read(run_dir) if run.restarts else None
    if before is None:
        hub = Hub(listen, port, run=run, host=host)
    else:
        try:
            hub = Hub(listen, port or before.port, run=run, host=host, keys=before.keys)
        except ConfigurationError:
            # The user named the port, so peers elsewhere rely on it: another one would not help them.
            if port:
                raise
            hub = Hub(listen, 0, run=run, host=host, keys=before.keys)
            host.notify(
                "warning",
                f"Port {before.port} of the run was taken by another program while its DataFlowKernel was down: it "
                f"listens at port {hub.port} now, which managers read in the run's folder; workers that were started "
                "by hand have to be started again.",
            )
    port_state.write(run_dir, hub.keys, hub.port)
    return hub


def addresses_for(address: str | None, *, local: bool) -> tuple[list[str], list[str]]:
    """Return where to listen for an executor, and the addresses at which its managers should try to reach this host.

    Parameters
    ----------
    address
        The address that its description names; None: the loopback when ``local``, else every address of this host.
    local
        Whether its managers reach this host at the loopback address.
    """
    if address is not None:
        return [address], [address]
    if local:
        return ["127.0.0.1"], ["127.0.0.1"]
    from parslab.addresses import candidate_addresses

    # Which interface the nodes can reach is unknown here, so managers try all addresses of this host.
    return [_ANYWHERE], [address for address in candidate_addresses() if ":" not in address]
