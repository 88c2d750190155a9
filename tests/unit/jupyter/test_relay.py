"""The relay between a fake kernel, a fake comm and a fake run."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from parslab.jupyter import relay

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.client.handle.dfk import DataFlowKernel


class FakeRun:
    def __init__(self, name: str, left: bool = False) -> None:
        self.run = name
        self.state = SimpleNamespace(left=left)
        self.asked: list[bytes] = []
        self.on_feed: Callable[[bytes], None] | None = None
        self.on_end: list[Callable[[str], None]] = []

    def panel_ask(self, text: bytes) -> None:
        self.asked.append(text)

    @property
    def itself(self) -> DataFlowKernel:
        return cast("DataFlowKernel", self)

    def feed(self, text: bytes) -> None:
        assert self.on_feed is not None
        self.on_feed(text)

    def end(self, reason: str) -> None:
        for call in self.on_end:
            call(reason)


class FakeComm:
    def __init__(self, number: int, **options: Any) -> None:
        self.comm_id = f"comm-{number}"
        self.options = options
        self.sent: list[Any] = []
        self.closed: Any = None
        self.message: Callable[[dict[str, Any]], None] = lambda _: None
        self.close_message: Callable[[dict[str, Any]], None] = lambda _: None

    def on_msg(self, call: Callable[[dict[str, Any]], None]) -> None:
        self.message = call

    def on_close(self, call: Callable[[dict[str, Any]], None]) -> None:
        self.close_message = call

    def send(self, data: Any) -> None:
        self.sent.append(data)

    def close(self, data: Any) -> None:
        self.closed = data


class FakeKernel:
    """A kernel and its session."""

    def __init__(self) -> None:
        self.control_handlers: dict[str, Any] = {}
        self.session = self
        self.replies: list[tuple[str, dict[str, str]]] = []

    def send(self, stream: object, kind: str, content: dict[str, str], parent: object, ident: object) -> None:
        self.replies.append((kind, content))

    def request(self, **content: str) -> dict[str, str]:
        asyncio.run(self.control_handlers[relay.REQUEST](None, [b"x"], {"content": content}))
        kind, reply = self.replies[-1]
        assert kind == "parslab_reply"
        return reply


@pytest.fixture
def comms(monkeypatch: pytest.MonkeyPatch) -> list[FakeComm]:
    made: list[FakeComm] = []

    def create(**options: Any) -> FakeComm:
        made.append(FakeComm(len(made), **options))
        return made[-1]

    monkeypatch.setattr("comm.create_comm", create)
    monkeypatch.setattr(relay, "PERIOD", 0.0)
    return made


def settle(pipe: relay.Relay) -> None:
    assert pipe._pacer.settle(5.0)


def test_feed_goes_out_in_batches_and_in_order(comms: list[FakeComm]) -> None:
    run, pipe = FakeRun("r1"), relay.Relay(FakeKernel())
    pipe.serve(run.itself)
    assert comms[0].options == {"target_name": "parslab.monitor", "data": {"run": "r1"}}
    for number in range(100):
        run.feed(b"%d" % number)
    settle(pipe)
    assert [text for batch in comms[0].sent for text in batch["feed"]] == [str(number) for number in range(100)]
    assert len(comms[0].sent) < 100


@pytest.mark.parametrize("left", [False, True])
def test_the_end_of_a_run_comes_last(comms: list[FakeComm], left: bool) -> None:
    run, pipe = FakeRun("r1", left), relay.Relay(FakeKernel())
    pipe.serve(run.itself)
    run.feed(b"last")
    run.end("it was shut down")
    settle(pipe)
    assert comms[0].sent[-1] == {"feed": ["last"]}
    assert comms[0].closed == {"reason": "it was shut down", "left": left}
    run.feed(b"late")
    settle(pipe)
    assert len(comms[0].sent) == 1


def test_asks_go_through_on_both_ways(comms: list[FakeComm]) -> None:
    run, kernel = FakeRun("r1"), FakeKernel()
    pipe = relay.Relay(kernel)
    assert kernel.request(request="x")["status"] == "error"
    pipe.serve(run.itself)
    reply = kernel.request(request='{"type":"Heartbeat"}')
    assert reply == {"status": "ok", "comm_id": "comm-0", "run": "r1", "text": ""}
    comms[0].message({"content": {"data": {"request": "by comm"}}})
    comms[0].message({"content": {"data": {"other": 1}}})
    assert run.asked == [b'{"type":"Heartbeat"}', b"by comm"]


def test_a_second_run_takes_over(comms: list[FakeComm]) -> None:
    first, second, kernel = FakeRun("r1"), FakeRun("r2"), FakeKernel()
    pipe = relay.Relay(kernel)
    pipe.serve(first.itself)
    first.end("lost")
    settle(pipe)
    assert kernel.request(request="x") == {
        "status": "error",
        "comm_id": "",
        "run": "",
        "text": "No run is loaded in this kernel.",
    }
    pipe.serve(second.itself)
    assert kernel.request(request="y")["comm_id"] == "comm-1"
    assert (first.asked, second.asked) == ([], [b"y"])


def test_the_same_run_is_served_once(comms: list[FakeComm]) -> None:
    run, pipe = FakeRun("r1"), relay.Relay(FakeKernel())
    pipe.serve(run.itself)
    pipe.serve(run.itself)
    assert len(comms) == len(run.on_end) == 1


def test_a_comm_that_a_page_closed_is_opened_again(comms: list[FakeComm]) -> None:
    run, kernel = FakeRun("r1"), FakeKernel()
    relay.Relay(kernel).serve(run.itself)
    comms[0].close_message({})
    assert kernel.request(request="x")["comm_id"] == "comm-1"


def test_a_failing_request_is_answered(comms: list[FakeComm], monkeypatch: pytest.MonkeyPatch) -> None:
    run, kernel = FakeRun("r1"), FakeKernel()
    relay.Relay(kernel).serve(run.itself)
    monkeypatch.setattr(run, "panel_ask", lambda text: 1 // 0)
    reply = kernel.request(request="x")
    assert reply["status"] == "error"
    assert "ZeroDivisionError" in reply["text"]


def test_a_kernel_without_control_handlers_is_no_error(comms: list[FakeComm]) -> None:
    pipe = relay.Relay(object())
    pipe.serve(FakeRun("r1").itself)
    assert len(comms) == 1


def test_outside_of_ipython_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(__import__("sys").modules, "IPython.core.interactiveshell", raising=False)
    relay._on_load(FakeRun("r1").itself)
