"""Clients return to a DataFlowKernel that replaces a lost one: no future of theirs may wait for ever."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from parslab.dataflow.resume.failover import Failover
from parslab.records.states import TaskState
from parslab.testing.fakes import call, run_settings
from parslab.wire.messages.client import ClientResumed, TaskResolved
from tests.unit.dataflow.fake_host import FakeHost
from tests.unit.dataflow.graph.test_table import Graph

if TYPE_CHECKING:
    from pathlib import Path


class Client:
    """A connection without a socket."""

    def __init__(self, number: int, pid: int = 1) -> None:
        self.number = number
        self.pid = pid
        self.owner = False
        self.returned = False
        self.matcher = None
        self.functions: dict[int, int] = {}
        self.got: list[Any] = []


class Run(Graph):
    """A restored run whose clients return; it replaces the registry of clients as well."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.host = FakeHost()
        self.connected: dict[int, Client] = {}
        self.failover = Failover(
            self.host,
            run_settings(folder),
            folder,
            table=self.table,
            functions=SimpleNamespace(),  # type: ignore[arg-type]
            clients=self,  # type: ignore[arg-type]
            unused_functions=SimpleNamespace(),  # type: ignore[arg-type]
            presence=SimpleNamespace(),  # type: ignore[arg-type]
            log_service=SimpleNamespace(),  # type: ignore[arg-type]
        )

    def add(self, number: int, pid: int = 1) -> Any:
        client = self.connected[number] = Client(number, pid)
        return client

    def send(self, client: Client, messages: list[Any]) -> None:
        client.got += messages

    def remove(self, client: Client) -> None:
        del self.connected[client.number]

    def renumber(self, client: Client, number: int) -> None:
        del self.connected[client.number]
        client.number = number
        self.connected[number] = client

    def resumed(self, client: Any, *unfinished: int) -> None:
        self.failover.resumed(client, ClientResumed(list(unfinished), 0))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_a_call_that_nobody_knows_fails_after_a_moment(run: Run) -> None:
    client = run.add(0)
    run.resumed(client, 7)
    assert client.got == []
    run.host.run_timers()
    (resolved,) = client.got
    assert (resolved.task, resolved.state) == (7, TaskState.failed)
    assert "CallLost" in resolved.failure.error


@pytest.mark.parametrize("ended", [True, False])
def test_a_call_that_another_kernel_has_taken_over_does_not_wait_for_ever(run: Run, ended: bool) -> None:
    run.table.submit(1, call(7), [], "f")
    if ended:
        run.ready()
        run.done(7)
    client = run.add(0)
    run.resumed(client, 7)
    run.host.run_timers()
    (resolved,) = client.got
    assert isinstance(resolved, TaskResolved)
    assert resolved.state is (TaskState.exec_done if ended else TaskState.failed)


def test_a_parked_task_runs_when_another_kernel_takes_it_over(run: Run) -> None:
    run.table.submit(0, call(7), [], "f")
    client = run.add(0)
    run.resumed(client)  # it has the result of 7 already
    assert run.ready() == []
    run.host.run_timers()
    assert run.ready() == []
    run.table.tasks[7].client = 1
    run.host.run_timers()
    assert run.ready() == [7]


def test_a_process_that_connects_twice_keeps_its_number(run: Run) -> None:
    earlier = run.add(3, pid=42)
    earlier.functions, earlier.owner = {5: 1}, True
    again = run.add(9, pid=42)
    assert run.failover.rejoin(again, 3)
    assert run.connected == {3: again}
    assert (again.functions, again.owner, again.returned) == ({5: 1}, True, True)


def test_another_process_does_not_get_a_number_that_is_in_use(run: Run) -> None:
    run.add(3, pid=42)
    other = run.add(9, pid=43)
    assert not run.failover.rejoin(other, 3)
    assert other.number == 9
