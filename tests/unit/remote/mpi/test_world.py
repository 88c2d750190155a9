"""Batches between ranks over an MPI made of paper: whole, in order, in pieces; and what a rank's tasks inherit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from parslab.remote.mpi import world as ranks
from parslab.remote.mpi.polling import LONGEST, SHORTEST, PollPause
from parslab.remote.mpi.world import World, without_mpi
from parslab.wire.messages.manager import LinkHeartbeat
from parslab.wire.messages.ranks import RankSetup
from tests.unit.remote.mpi.paper_world import outcome, task


class Request:
    """Something on its way; the test says when it is done."""

    def __init__(self, done: bool = True) -> None:
        self.done = done

    def Test(self) -> bool:
        return self.done


class Comm:
    """A communicator whose messages wait in a list; a receive is done at once unless its source is slow."""

    def __init__(self, rank: int, post: dict[int, list[tuple[int, int, bytes]]]) -> None:
        self.rank, self.size = rank, 3
        self.post = post
        self.slow: set[int] = set()
        self.receives: list[tuple[int, Request]] = []
        self.aborted: list[int] = []

    def Isend(self, what: list[Any], rank: int, tag: int) -> Request:
        self.post.setdefault(rank, []).append((self.rank, tag, bytes(what[0])))
        return Request(rank not in self.slow)

    def Iprobe(self, source: int, tag: int, status: Any) -> bool:
        waiting = self.post.get(self.rank, [])
        if waiting:
            status.now = waiting[0]
        return bool(waiting)

    def Irecv(self, what: list[Any], source: int, tag: int) -> Request:
        _, _, data = self.post[self.rank].pop(0)
        what[0][:] = data
        request = Request(source not in self.slow)
        self.receives.append((source, request))
        return request


class Status:
    now: tuple[int, int, bytes]

    def Get_source(self) -> int:
        return self.now[0]

    def Get_tag(self) -> int:
        return self.now[1]

    def Get_count(self, kind: Any) -> int:
        return len(self.now[2])


MPI = SimpleNamespace(Status=Status, BYTE="byte", ANY_SOURCE=-1, ANY_TAG=-1)


class Job:
    """Three ranks."""

    def __init__(self) -> None:
        post: dict[int, list[tuple[int, int, bytes]]] = {}
        self.comms = [Comm(rank, post) for rank in range(3)]
        self.worlds = [World(MPI, comm, (0, 1)) for comm in self.comms]  # type: ignore[arg-type]


def plain(batches: list[Any]) -> list[Any]:
    return [(rank, messages, [bytes(frame) for frame in frames]) for rank, (messages, frames) in batches]


def test_batches_arrive_whole_and_in_order() -> None:
    job = Job()
    setup = RankSetup("m", "0", "{}", True)
    job.worlds[0].send(1, [setup])
    job.worlds[0].send(1, [task(1, frames=2), LinkHeartbeat()], [b"abc", memoryview(b"")])
    assert plain(job.worlds[1].receive()) == [
        (0, [setup], []),
        (0, [task(1, frames=2), LinkHeartbeat()], [b"abc", b""]),
    ]
    assert job.worlds[1].receive() == []
    job.worlds[1].send(0, [outcome(1, frames=1)], [bytearray(b"value")])
    job.worlds[2].send(0, [LinkHeartbeat()])
    assert plain(job.worlds[0].receive()) == [(1, [outcome(1, frames=1)], [b"value"]), (2, [LinkHeartbeat()], [])]


def test_a_long_batch_travels_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "PIECE", 100)
    job = Job()
    frames = [bytes(range(256)), b"", b"x" * 144]
    for rank in (1, 2):
        job.worlds[rank].send(0, [outcome(rank, frames=3)], frames)
    job.worlds[1].send(0, [LinkHeartbeat()])
    assert plain(job.worlds[0].receive()) == [
        (1, [outcome(1, frames=3)], frames),
        (2, [outcome(2, frames=3)], frames),
        (1, [LinkHeartbeat()], []),
    ]


def test_a_slow_message_holds_back_its_own_rank_only() -> None:
    job = Job()
    job.comms[0].slow.add(1)
    job.worlds[1].send(0, [outcome(1)])
    job.worlds[2].send(0, [outcome(2)])
    assert plain(job.worlds[0].receive()) == [(2, [outcome(2)], [])]
    assert job.worlds[0].progress()
    job.comms[0].slow.clear()
    job.worlds[1].send(0, [LinkHeartbeat()])
    assert job.worlds[0].receive() == []
    job.comms[0].receives[0][1].done = True
    assert plain(job.worlds[0].receive()) == [(1, [outcome(1)], []), (1, [LinkHeartbeat()], [])]
    assert not job.worlds[0].progress()


def test_memory_of_a_send_lives_until_it_is_done() -> None:
    job = Job()
    job.comms[0].slow.add(1)
    job.worlds[0].send(1, [LinkHeartbeat()])
    ((request, data),) = job.worlds[0]._sends
    assert data
    assert job.worlds[0].progress()
    request.done = True  # type: ignore[attr-defined]
    assert not job.worlds[0].progress()


def test_one_look_does_not_read_for_ever() -> None:
    job = Job()
    for _ in range(ranks._MOST + 5):
        job.worlds[1].send(0, [LinkHeartbeat()])
    assert len(job.worlds[0].receive()) == ranks._MOST
    assert len(job.worlds[0].receive()) == 5


def test_tasks_inherit_the_users_settings_and_no_trace_of_the_job() -> None:
    of_the_job = ["PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "OMPI_MCA_ess", "MPI_LOCALRANKID", "HYDI_CONTROL_FD"]
    of_the_user = ["PATH", "OMPI_MCA_btl", "OMPI_ALLOW_RUN_AS_ROOT", "MPICH_OFI_STARTUP_CONNECT", "SLURM_JOB_ID"]
    assert without_mpi([*of_the_user, *of_the_job]) == of_the_job


def test_a_rank_looks_often_while_messages_come() -> None:
    pause = PollPause(0.0)
    pauses = []
    for _ in range(100):
        now = pause.due
        pause.looked(False, now)
        pauses.append(pause.due - now)
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(LONGEST)
    now = pause.due
    pause.looked(True, now)
    assert pause.due - now == pytest.approx(SHORTEST)
