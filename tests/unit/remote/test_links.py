"""The data link of a worker wakes only when something has arrived."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

import pytest

from parslab.remote.worker.links import UnixWorkerLink
from parslab.wire.messages.worker import Outcome, WorkerMessage
from parslab.wire.stream import Stream, decoder


def _status(thread: threading.Thread) -> dict[str, str]:
    lines = Path(f"/proc/self/task/{thread.native_id}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _until_asleep(thread: threading.Thread) -> int:
    """Wait until the thread sleeps; return how often it has gone to sleep."""
    pause = threading.Event()
    for _ in range(5000):
        status = _status(thread)
        if status["State"].startswith("S"):
            return int(status["voluntary_ctxt_switches"])
        pause.wait(0.001)
    raise AssertionError("it never slept")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_read_of_the_owner_does_not_wake_a_worker_that_waits() -> None:
    """The worker slept in ``recv``, which Linux also wakes when the owner has read an outcome."""
    ours, theirs = socket.socketpair()
    link = UnixWorkerLink(theirs.detach(), decoder(WorkerMessage))
    owner = Stream(ours, decoder(WorkerMessage))
    outcome = Outcome(task=1, attempt=0, inline=b"", frames=0, started=0.0, ended=0.0)

    def wait() -> None:
        with pytest.raises(EOFError):
            link.receive(None)

    waiting = threading.Thread(target=wait)
    waiting.start()
    slept = before = _until_asleep(waiting)
    for _ in range(50):
        link.send([outcome])
        assert ours.recv(1 << 16)
        slept = _until_asleep(waiting)
    owner.close()
    waiting.join(5)
    link._stream.close()
    assert slept - before < 25
