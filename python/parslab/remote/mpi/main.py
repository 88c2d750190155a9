"""Start and end of each rank of a pool: rank 0 finds the DataFlowKernel, and tells the others which run they serve.

Every wait has a limit.  A rank whose partners are gone ends by itself, and a rank that cannot leave in good order ends
the whole MPI job.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import msgspec

from parslab.clock import set_anchor
from parslab.cores import usable_cores
from parslab.errors import ConfigurationError, OptionalModuleMissing
from parslab.remote.manager.link import LocalManagerLink
from parslab.remote.manager.main import PATIENCE, manager_hello, reading_failed, run_of, serve, succession_of
from parslab.remote.manager.meeting import Unreachable, meet
from parslab.remote.manager.pinning import plan
from parslab.remote.manager.sampling import Sampler, usable_memory
from parslab.remote.mpi.lead import LeadManager
from parslab.remote.mpi.link import RankLink, RankManager
from parslab.remote.mpi.pool import HEARTBEAT, SILENCE, RankPool
from parslab.remote.mpi.world import join_world
from parslab.remote.pool.worker_start import ProcessPlan
from parslab.wire.descriptors import raise_limit
from parslab.wire.invitations import ManagerInvitation, RunOver
from parslab.wire.messages.base import Refused
from parslab.wire.messages.manager import ManagerBroken
from parslab.wire.messages.ranks import RankSetup

if TYPE_CHECKING:
    from parslab.remote.mpi.world import End, World

__all__ = ["main"]

log = logging.getLogger("parslab.manager")

_SETUP = 60.0
"""Seconds that a rank waits for the first message of rank 0, which has to find the DataFlowKernel before."""


def main(path: str, block: str) -> NoReturn:
    """Run one rank of a pool until the run or the block is over."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    raise_limit()
    try:
        world = join_world()
    except OptionalModuleMissing as error:
        sys.exit(f"parslab: {socket.gethostname()} ({sys.executable}): {error}")
    except ImportError as error:
        sys.exit(f"parslab: {socket.gethostname()}: mpi4py finds no MPI library ({error}): load one in worker_init.")
    if world.size < 2:
        sys.exit(
            "parslab: this process is the only rank of its MPI job: mpi4py uses another MPI than the program that "
            "started it (choose one in worker_init), or ranks_per_node is 1."
        )
    status, how = _lead(world, path, block) if world.rank == 0 else _follow(world, path)
    world.leave(status, how)


def _lead(world: World, path: str, block: str) -> tuple[int, End]:
    """Run the manager; return its exit status, and how it ends."""
    try:
        invitation, link, name = meet(path, block, PATIENCE)
    except (RunOver, Unreachable, ConfigurationError, OSError) as error:
        over = isinstance(error, RunOver)
        print(f"parslab: {'the run is over: ' if over else ''}{reading_failed(error, path)}", file=sys.stderr)
        for rank in range(1, world.size):
            world.send(rank, [Refused("there is no run")])
        world.flush(1.0)
        return (0, "together") if over else (2, "job")
    local = isinstance(link, LocalManagerLink)
    if local:
        set_anchor(invitation.clock)
    # The keys stay here: what travels between ranks is not encrypted.
    known = msgspec.structs.replace(invitation, server_key="", public_key="", secret_key="", addresses=[])
    setup = RankSetup(name, block, json.dumps(msgspec.to_builtins(known)), local)
    workers = world.size - 1
    hello = manager_hello(invitation, block, name, workers=workers, cores=workers, memory=usable_memory())
    manager = LeadManager(
        hello,
        run_of(invitation, path),
        invitation.manager,
        world,
        setup,
        succession=succession_of(invitation, block, path),
    )
    status = serve(manager, link, None, None)
    pool = manager.pool
    return status, _end(isinstance(pool, RankPool) and pool.all_left, manager.signalled)


def _follow(world: World, path: str) -> tuple[int, End]:
    """Run the manager of this rank's worker; return the exit status, and how it ends."""
    setup = _await_setup(world)
    if setup is None:
        return 0, "together"
    try:
        invitation = msgspec.convert(json.loads(setup.invitation), ManagerInvitation)
        if setup.local and invitation.host == socket.gethostname():
            set_anchor(invitation.clock)
        manager = _worker_manager(world, setup, invitation, path)
    except (ConfigurationError, OSError) as error:
        world.send(0, [ManagerBroken(f"{socket.gethostname()}: {error}")])
        world.flush(1.0)
        return 2, "job"
    status = serve(manager, RankLink(world), Sampler(), None)
    return status, _end(manager.dismissed, manager.signalled)


def _end(in_order: bool, signalled: bool) -> End:
    if signalled:
        return "alone"
    return "together" if in_order else "job"


def _await_setup(world: World) -> RankSetup | None:
    """Return the first message of rank 0; None if there is no run."""
    until = time.monotonic() + _SETUP
    while time.monotonic() < until:
        for _, (messages, _) in world.receive():
            for message in messages:
                return message if isinstance(message, RankSetup) else None
        time.sleep(0.01)
    log.error("rank 0 has sent nothing for %.0f s", _SETUP)
    world.leave(2, "job")


def _worker_manager(world: World, setup: RankSetup, invitation: ManagerInvitation, path: str) -> RankManager:
    place, count = world.neighbours
    name = f"{setup.manager}-{world.rank}"
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(usable_cores()))
    memory = usable_memory()
    # The number of workers is that of the ranks, however many cores each has.
    settings = msgspec.structs.replace(
        invitation.manager,
        max_workers_per_node=count,
        cores_per_worker=min(invitation.manager.cores_per_worker, usable_cores() / count),
        heartbeat_period=HEARTBEAT,
        heartbeat_threshold=SILENCE,
        drain_period=None,
    )
    plans = plan(
        settings,
        cores,
        memory,
        setup.manager,
        setup.block,
        usable=usable_cores(),
        pinnable=hasattr(os, "sched_setaffinity"),
        inherited=os.environ,
    )
    if len(plans) < count:
        raise ConfigurationError(
            f"{count} ranks of this node have workers, but available_accelerators or cpu_affinity has room for "
            f"{len(plans)}: use ranks_per_node={len(plans) + 1} at most."
        )
    own = plans[place]
    hello = manager_hello(invitation, setup.block, name, workers=1, cores=1, memory=memory // count)
    process = ProcessPlan(own.environment, tuple(sorted(own.cores)) if own.cores is not None else None)
    return RankManager(hello, run_of(invitation, path), settings, [process])
