"""A Dask client as an executor: what a call asks for, and how it ends."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import pytest

from parslab.remote.engines.dask import DaskCalls
from parslab.wire.messages.worker import Demand


class FakeFuture:
    """A future of Dask that the test ends."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.value: Any = None
        self.state = "pending"
        self.ended: Any = None

    def add_done_callback(self, ended: Any) -> None:
        self.ended = ended

    def cancelled(self) -> bool:
        return self.state == "cancelled"

    def cancel(self, reason: str) -> None:
        self.state = "cancelled"
        self.ended(self)

    def exception(self) -> BaseException | None:
        return self.error

    def result(self) -> Any:
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value

    def end(self, value: Any = None, error: BaseException | None = None) -> None:
        self.value, self.error, self.state = value, error, "ended"
        self.ended(self)


class FakeClient:
    """A client of a cluster with two workers."""

    id = "Client-1"
    dashboard_link = "http://127.0.0.1:8787/status"

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any], FakeFuture]] = []
        self.resources = {"GPU": 2.0, "CPU": 4.0}

    def wait_for_workers(self, count: int, timeout: float) -> None:
        raise TimeoutError

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        assert n_workers == -1  # by default only five are told
        one = {"nthreads": 4, "memory_limit": 1000, "resources": self.resources}
        return {"workers": {"tcp://a": one, "tcp://b": {"nthreads": 2, "memory_limit": 500, "resources": {}}}}

    def submit(self, *args: Any, **options: Any) -> FakeFuture:
        self.calls.append((args, options, made := FakeFuture()))
        return made

    def close(self, timeout: float) -> None:
        self.calls.clear()


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def calls(client: FakeClient) -> DaskCalls:
    return DaskCalls(client, None)


def test_the_size_of_the_cluster_is_read(calls: DaskCalls) -> None:
    assert (calls.num_workers, calls.memory, calls.gpus) == (6, 1500, 2)
    assert calls.dashboard == FakeClient.dashboard_link


def test_each_call_has_a_key_of_its_own(client: FakeClient, calls: DaskCalls) -> None:
    for _ in range(2):
        calls.submit(print, 1)
    (args, first, _), (_, second, _) = client.calls
    assert args == (print, 1)
    assert first["key"] != second["key"]
    assert set(first) == {"key", "pure"}


def test_demands_become_resources_and_priority(client: FakeClient, calls: DaskCalls) -> None:
    calls.submit(print, demand=Demand(cores=1.5, memory=100, gpus=1, priority=3.0))
    options = client.calls[0][1]
    # No worker declares MEMORY: Dask would wait for one for ever.
    assert options["resources"] == {"CPU": 1.5, "GPU": 1.0}
    assert options["priority"] == -3.0
    client.resources = {}
    calls.submit(print, demand=Demand(cores=1.0))
    assert client.calls[1][1]["resources"] is None


def test_a_call_ends_as_that_of_dask(client: FakeClient, calls: DaskCalls) -> None:
    good, bad, gone, cancelled = (calls.submit(print) for _ in range(4))
    ends = [future for _, _, future in client.calls]
    ends[0].end(5)
    ends[1].end(error=ValueError("no"))
    ends[2].end(ConnectionError("its worker has left"))
    assert good.result(0) == 5
    assert str(bad.exception(0)) == "no"
    assert isinstance(gone.exception(0), ConnectionError)
    assert not good.cancel()
    assert cancelled.cancel()
    assert isinstance(cancelled.exception(0), concurrent.futures.CancelledError)
