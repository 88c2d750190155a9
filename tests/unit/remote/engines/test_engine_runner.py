"""What a worker of an engine does with a batch: outcomes, output, tasks that were taken back, errors of the engine."""

from __future__ import annotations

import concurrent.futures
import os
import sys
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import msgspec
import pytest

from parslab.clock import anchor
from parslab.remote.engines.batch import BatchCall, BatchFunction, RunOnWorker, reply_messages
from parslab.remote.engines.capture import captured_output
from parslab.remote.engines.losses import is_broken, is_loss
from parslab.remote.engines.page import ALL, HostPage, WorkerPage, open_page
from parslab.remote.engines.runner import run_batch
from parslab.serialize.functions import AppFunction
from parslab.serialize.values import pack, unpack
from parslab.version import version
from parslab.wire.messages.base import OutputPrinted, Refused
from parslab.wire.messages.worker import Outcome, RunTask, WorkerReport

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
linux = pytest.mark.skipif(sys.platform != "linux", reason="a page is opened through /proc")


def batch(function: Any, *calls: tuple[Any, ...], page: str = "", row: int = 0) -> tuple[bytes, list[bytes]]:
    """What the host of an engine sends for these calls of a function."""
    pickled = AppFunction(function).current()
    tasks, frames = [], []
    for number, args in enumerate(calls):
        inline, buffers = pack((args, {}))
        tasks.append(RunTask(number, 0, 7, inline, len(buffers)))
        frames += [bytes(buffer) for buffer in buffers]
    run = RunOnWorker(anchor(), page)
    head = BatchCall(4, row, run, [BatchFunction(7, pickled.digest, "f")], tasks)
    return msgspec.msgpack.encode(head), [*frames, pickled.payload]


def run(function: Any, *calls: tuple[Any, ...], **options: Any) -> tuple[list[Any], list[bytes]]:
    head, frames = run_batch(version(), PYTHON, *batch(function, *calls, **options))
    return reply_messages.decode(head), frames


def test_outcomes_come_in_order_with_their_values() -> None:
    messages, _ = run(lambda x: x + 1, (1,), (2,))
    assert [(one.task, unpack(one.inline, [])) for one in messages] == [(0, 2), (1, 3)]
    assert all(one.ended >= one.started for one in messages)


def test_large_values_are_frames() -> None:
    messages, frames = run(lambda data: data + b"!", (b"x" * 100_000,))
    assert messages[0].frames == len(frames)
    assert unpack(messages[0].inline, frames) == b"x" * 100_000 + b"!"


def test_an_error_fails_its_task_only() -> None:
    messages, _ = run(lambda x: 1 // x, (0,), (1,))
    assert messages[0].failure.error.startswith("ZeroDivisionError")
    assert "in run_batch" not in messages[0].failure.traceback
    assert messages[1].failure is None


def test_the_output_of_each_task_is_its_own() -> None:
    stdout = sys.stdout
    messages, _ = run(lambda x: print(x), ("one",), ("two",))
    assert [message.text for message in messages if type(message) is OutputPrinted] == [b"one\n", b"two\n"]
    assert sys.stdout is stdout


def test_long_output_is_cut_in_the_middle() -> None:
    with captured_output() as output:
        print("a" * 200_000 + "b" * 2_000_000 + "c" * 10)
        (message,) = output.messages(1)
    assert message.text.startswith(b"a" * 200_000)
    assert message.text.endswith(b"c" * 10 + b"\n")
    assert b" bytes cut] ..." in message.text
    assert len(message.text) < 400_000


def test_other_versions_are_refused() -> None:
    head, frames = run_batch("0.0.1", PYTHON, *batch(abs, (1,)))
    (message,) = reply_messages.decode(head)
    assert type(message) is Refused
    assert "parslab 0.0.1" in message.reason
    assert frames == []
    head, _ = run_batch(version(), "2.7", *batch(abs, (1,)))
    assert "Python 2.7" in reply_messages.decode(head)[0].reason  # type: ignore[union-attr]


@linux
def test_a_worker_begins_no_task_that_was_taken_back() -> None:
    page = HostPage(3)
    row = page.take(4)
    page.keep(row, 1)
    messages, _ = run(lambda: 1, (), (), (), page=page.address, row=row)
    assert [type(message) for message in messages] == [Outcome, WorkerReport]
    assert messages[1].returned == (1, 2)
    found = page.running(row, 4)
    assert found is not None
    assert found.pid == os.getpid()
    open_page.cache_clear()
    page.close()


@linux
def test_rows_of_the_page_are_used_again() -> None:
    page = HostPage(2)
    rows = [page.take(1), page.take(2)]
    assert page.take(3) == 0
    cells = open_page(page.address)
    assert cells is not None
    assert WorkerPage(cells, rows[0], 1).begin(0, 5.5)
    assert page.running(rows[0], 1) == (0, 5.5, os.getpid())
    page.give(rows[0])
    assert page.take(3) == rows[0]
    assert page.running(rows[0], 3) is None  # nobody has begun the new batch
    assert page.kept(rows[0]) == ALL
    cells.release()
    open_page.cache_clear()
    page.close()


@linux
def test_the_page_of_another_process_is_not_opened() -> None:
    page = HostPage(1)
    pid, descriptor, nonce, size = page.address.split(":")
    assert open_page(f"{pid}:{descriptor}:{int(nonce) + 1}:{size}") is None
    assert open_page(f"{pid}:9999:{nonce}:{size}") is None
    open_page.cache_clear()
    page.close()


def test_errors_that_tell_of_a_lost_worker_are_known() -> None:
    class KilledWorker(Exception):
        """As in Dask."""

    assert is_loss(BrokenProcessPool("gone"))
    assert is_loss(KilledWorker("task", "worker", 0))
    assert is_loss(ConnectionResetError())
    assert is_loss(concurrent.futures.CancelledError())
    assert not is_loss(ValueError())
    assert is_broken(BrokenProcessPool("gone"))
    assert is_broken(RuntimeError("cannot schedule new futures after shutdown"))
    assert not is_broken(RuntimeError("no"))
