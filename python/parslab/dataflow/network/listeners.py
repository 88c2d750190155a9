"""Which doors the one port of a run has, and at which addresses it listens [shell]."""

from __future__ import annotations

from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from parslab.errors import ConfigurationError
from parslab.records.events import NoticeRaised
from parslab.remote.pool.pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.dataflow.high_throughput.managers import ManagerService
    from parslab.dataflow.network.hub import Hub, HubOwner
    from parslab.dataflow.network.local_managers import LocalManagers
    from parslab.dataflow.network.remote_workers import RemoteWorkers

__all__ = ["open_hub", "places"]

_ANYWHERE = "0.0.0.0"


def open_hub(
    executors: Sequence[tuple[dict[str, Any], WorkerPool | ManagerService]], owner: HubOwner, sockets: Path
) -> tuple[tuple[Hub, LocalManagers] | None, list[RemoteWorkers]]:
    """Listen where the executors of a run say, on one port, and begin those whose managers come there.

    Raises
    ------
    ConfigurationError
        Two executors name different ports, or it cannot listen.
    """
    wanted = [
        (settings, pool, *places(settings.get("address"), settings.get("local", False)))
        for settings, pool in executors
        if settings.get("address") or not isinstance(pool, WorkerPool)
    ]
    if not wanted:
        return None, []
    from parslab.dataflow.network.local_managers import LocalManagers
    from parslab.dataflow.network.remote_workers import RemoteWorkers

    ports = {settings["port"] for settings, *_ in wanted if settings.get("port")}
    if len(ports) > 1:
        numbers = " and ".join(map(str, sorted(ports)))
        raise ConfigurationError(f"executors name the ports {numbers}; all of a run share one: name one of them.")
    listen = list(dict.fromkeys(address for _, _, at, _ in wanted for address in at))
    if _ANYWHERE in listen:
        listen = [_ANYWHERE]
    hub = _hub(listen, next(iter(ports), 0), owner)
    near = LocalManagers(sockets / "managers.sock", owner)
    doors = []
    for _, pool, _, reach in wanted:
        if isinstance(pool, WorkerPool):
            door = RemoteWorkers(pool, hub, owner, reach[0])
            doors.append(door)
            owner.event(NoticeRaised(time(), "info", door.invitation))
        else:
            pool.start(hub, near, reach)
    return (hub, near), doors


def _hub(listen: list[str], port: int, owner: HubOwner) -> Hub:
    """The hub; of a run whose DataFlowKernel was started again, where it was before if nobody took its place."""
    from parslab.dataflow.network import port_state
    from parslab.dataflow.network.hub import Hub

    run_dir = Path(owner.run["run_dir"])
    before = port_state.kept(run_dir) if owner.run.get("revived") else None
    if before is None:
        hub = Hub(listen, port, owner)
    else:
        try:
            hub = Hub(listen, port or before.port, owner, before.keys)
        except ConfigurationError:
            if port:
                raise
            hub = Hub(listen, 0, owner, before.keys)
            text = (
                f"Port {before.port} of the run was taken by another program while its DataFlowKernel was down: it "
                f"listens at port {hub.port} now, which managers read in the run's folder; workers that were started "
                "by hand have to be started again."
            )
            owner.event(NoticeRaised(time(), "warning", text))
    port_state.keep(run_dir, hub.keys, hub.port)
    return hub


def places(address: str | None, local: bool) -> tuple[list[str], list[str]]:
    """Where to listen for an executor, and the addresses at which its managers should try to reach us.

    Parameters
    ----------
    address
        What its description names; None: the loopback when ``local``, else every address of this host.
    local
        Its blocks run on this host.
    """
    if address is not None:
        return [address], [address]
    if local:
        return ["127.0.0.1"], ["127.0.0.1"]
    from parslab.addresses import candidate_addresses

    return [_ANYWHERE], [address for address in candidate_addresses() if ":" not in address]
