"""Who waits for a handover learns in one sentence how it ended, whatever happens to the process that has the run."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab.client.handle import handover
from parslab.client.handle.handover import await_handover, request_handover
from parslab.client.process.connection_file import connection_path
from parslab.client.process.launch import was_handed_over
from parslab.client.reattach import bring_here
from parslab.client.run_state import RunState
from parslab.errors import ConfigurationError, DataFlowKernelLost
from parslab.wire.notebooks import NotebookPlace
from parslab.wire.run_files import (
    HANDOVER_REFUSED,
    HANDOVER_WANTED,
    ConnectionInfo,
    read_connection_info,
    write_connection_info,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HERE = socket.gethostname()


class Shared:
    """The files that both hosts see; while a process waits, the next step happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[Callable[[], object]] = []
        self.waits: list[tuple[str, float]] = []
        self.publish()

    def publish(self, **fields: Any) -> ConnectionInfo:
        """The process that has the run writes its connection file."""
        info = ConnectionInfo(
            **{
                "run": "000-a",
                "pid": 7,
                "host": "n1",
                "socket": "/x",
                "run_dir": str(self.folder),
                "notebook": "/books/fit.ipynb",
                **fields,
            }
        )
        write_connection_info(connection_path("000-a"), info)
        return info

    @property
    def info(self) -> ConnectionInfo:
        return read_connection_info(connection_path("000-a"))

    @property
    def asked(self) -> bool:
        return (self.folder / HANDOVER_WANTED).exists()

    def refuse(self, text: str) -> None:
        path = self.folder / HANDOVER_REFUSED
        path.write_text(text)
        path.chmod(0o600)


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shared:
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    shared = Shared(folder)

    class Wait:
        """Ends when the test has no more steps."""

        def __init__(self, what: str, limit: float) -> None:
            shared.waits.append((what, limit))

        def step(self) -> float:
            return float(bool(shared.steps))

        def pause(self) -> None:
            shared.steps.pop(0)()

    monkeypatch.setattr(handover, "BoundedWait", Wait)
    return shared


# ----- another host


def test_a_host_asks_and_waits(shared: Shared) -> None:
    shared.refuse("no")  # after an earlier request
    shared.steps = [
        lambda: (
            json.loads((shared.folder / HANDOVER_WANTED).read_text()) == {"wait": 5, "keep": 9, "host": HERE} or 1 / 0
        ),
        lambda: shared.publish(handing_over=True),
        lambda: shared.publish(handed_over=True),
    ]
    request_handover(shared.info, 5, 9)
    assert shared.steps == []
    assert shared.waits == [
        (f"n1 to hand run 000-a over; its log is {shared.folder}/dfk.log", 120.0),
        ("tasks and results of run 000-a on n1", 665.0),
    ]


def test_another_kernel_of_this_host_was_faster(shared: Shared) -> None:
    shared.steps = [lambda: shared.publish(handed_over=True, host=HERE)]
    request_handover(shared.info, 5, 9)


def test_a_third_host_was_faster(shared: Shared) -> None:
    shared.steps = [lambda: shared.publish(host="n3")]
    with pytest.raises(
        ConfigurationError, match=r"^Host n3 goes on with run 000-a of n1: run `%parsl handover` again\.$"
    ):
        request_handover(shared.info, 5, 9)
    assert not shared.asked


def test_a_host_that_does_not_answer(shared: Shared) -> None:
    with pytest.raises(ConfigurationError) as failure:
        request_handover(shared.info, 5, 9)
    assert str(failure.value) == (
        f"Host n1 does not answer, and has not handed run 000-a over within 120 s: look into {shared.folder}/dfk.log. "
        "If n1 has ended, parslab.load() starts a new run."
    )
    assert not shared.asked  # n1 must not hand it over hours later, when nobody wants it


def test_a_host_that_dies_while_it_hands_over(shared: Shared) -> None:
    shared.steps = [lambda: shared.publish(handing_over=True), lambda: None]
    with pytest.raises(
        ConfigurationError, match=r"^Host n1 has not finished to hand run 000-a over within 665 s: look"
    ):
        request_handover(shared.info, 5, 9)


def test_a_host_that_keeps_the_run(shared: Shared) -> None:
    shared.steps = [lambda: shared.refuse("Run 000-a stays on n1, because its disk is full.")]
    with pytest.raises(ConfigurationError, match=r"^Run 000-a stays on n1, because its disk is full\.$"):
        request_handover(shared.info, 5, 9)
    assert not shared.asked


def test_a_run_that_ends_before(shared: Shared) -> None:
    shared.steps = [lambda: connection_path("000-a").unlink()]
    with pytest.raises(ConfigurationError, match=r"^Run 000-a has ended on n1 before it was handed over: parslab.load"):
        request_handover(shared.info, 5, 9)


def test_an_interrupt_takes_the_request_back(shared: Shared) -> None:
    def interrupt() -> None:
        assert shared.asked
        raise KeyboardInterrupt

    shared.steps = [interrupt]
    with pytest.raises(KeyboardInterrupt):
        request_handover(shared.info, 5, 9)
    assert not shared.asked


def test_a_folder_that_cannot_be_written(shared: Shared) -> None:
    info = shared.info
    info.run_dir = str(shared.folder / "elsewhere")
    with pytest.raises(
        ConfigurationError, match=rf"^Host {HERE} cannot ask for run 000-a, because .*{HANDOVER_WANTED} "
    ):
        request_handover(info, 5, 9)


# ----- which run


def place() -> NotebookPlace:
    return NotebookPlace("/books/fit.ipynb")


def test_a_run_that_was_handed_over_need_not_be_asked_for(shared: Shared) -> None:
    shared.publish(handed_over=True)
    bring_here(place(), 5, 9)
    shared.publish(handed_over=True, host=HERE, pid=1 << 22)
    bring_here(place(), 5, 9)
    assert shared.waits == []


def test_a_run_of_this_host_need_not_be_asked_for(shared: Shared) -> None:
    shared.publish(host=HERE, pid=os.getpid())
    bring_here(place(), 5, 9)
    assert shared.waits == []


def test_a_run_of_another_host_is_asked_for(shared: Shared) -> None:
    shared.steps = [lambda: shared.publish(handed_over=True)]
    bring_here(place(), 5, 9)
    assert len(shared.waits) == 1


@pytest.mark.parametrize("silent", [True, False])
def test_no_other_host_has_a_run(shared: Shared, silent: bool) -> None:
    if silent:
        os.utime(connection_path("000-a"), (1000.0, 1000.0))
    else:
        shared.publish(notebook="/books/other.ipynb")
    with pytest.raises(ConfigurationError, match=f"^No other host has a run of this notebook that {HERE} can see: "):
        bring_here(place(), 5, 9)


def test_a_script_has_no_run_elsewhere(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSLAB_NOTEBOOK", "")
    with pytest.raises(ConfigurationError, match="belongs to no notebook"):
        parslab.handover()


# ----- the process that has the run


@pytest.fixture
def state(shared: Shared) -> RunState:
    shared.publish(host=HERE)
    return RunState("000-a", shared.folder, 7)


def test_a_client_waits_for_the_end(shared: Shared, state: RunState) -> None:
    def end() -> None:
        shared.publish(host=HERE, handed_over=True)
        state.ended = DataFlowKernelLost("000-a", "was handed over", "log")

    shared.steps = [lambda: None, end]
    assert await_handover(state, lambda: "begun", 5) == "begun"


@pytest.mark.parametrize("fields", [{"host": "n2"}, {"pid": 8, "host": HERE}])
def test_the_next_process_may_have_the_run_already(shared: Shared, state: RunState, fields: dict[str, Any]) -> None:
    shared.publish(**fields)
    state.ended = DataFlowKernelLost("000-a", "was handed over", "log")
    assert await_handover(state, lambda: "begun", 5) == "begun"


def test_a_run_that_ends_otherwise_was_not_handed_over(shared: Shared, state: RunState) -> None:
    def end() -> None:
        connection_path("000-a").unlink()
        state.ended = DataFlowKernelLost("000-a", "has ended: it was shut down by its owner", "log")

    shared.steps = [end]
    with pytest.raises(ConfigurationError, match=r"^Run 000-a was not handed over: .*it was shut down by its owner"):
        await_handover(state, lambda: "begun", 5)


def test_a_process_that_was_killed_and_started_again_begins_again(shared: Shared, state: RunState) -> None:
    begun: list[int] = []

    def restarted() -> None:
        state.pid = 8

    def end() -> None:
        shared.publish(host=HERE, pid=8, handed_over=True)
        state.ended = DataFlowKernelLost("000-a", "was handed over", "log")

    shared.steps = [restarted, lambda: None, end]
    await_handover(state, lambda: begun.append(state.pid) or "begun", 5)  # type: ignore[func-returns-value]
    assert begun == [7, 8]


def test_a_client_learns_why_the_run_stays(shared: Shared, state: RunState) -> None:
    shared.steps = [lambda: shared.refuse("Run 000-a stays on n1, because its disk is full.")]
    with pytest.raises(ConfigurationError, match=r"^Run 000-a stays on n1, because its disk is full\.$"):
        await_handover(state, lambda: "begun", 5)


def test_a_client_does_not_wait_for_ever(state: RunState) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^Run 000-a was not handed over within 665 s: look into .*dfk\.log\.$"
    ):
        await_handover(state, lambda: "begun", 5)


def test_who_may_start_a_run_again(shared: Shared) -> None:
    """A client of the old process must not start what another host goes on with."""
    path = connection_path("000-a")
    assert was_handed_over(path)  # it is on n1
    shared.publish(host=HERE)
    assert not was_handed_over(path)
    shared.publish(host=HERE, handed_over=True)
    assert was_handed_over(path)
    path.unlink()
    assert not was_handed_over(path)
