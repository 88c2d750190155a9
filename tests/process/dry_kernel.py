"""A kernel that only writes down what it would send: the same cells in another process, under other names and lines.

``python -m tests.process.dry_kernel`` reads notebooks from stdin, runs the cells of each in a namespace of its own, and
prints the calls that the DataFlowKernel would have received.  :func:`kernels` does it in two processes with other
hash seeds, names of cells and line numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import linecache
import os
import queue
import socket
import subprocess
import sys
import threading
import types
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def kernels(notebooks: dict[str, list[str]], folder: Path, seeds: tuple[int, int] = (1, 2)) -> list[dict[str, Any]]:
    """What two kernels say of these notebooks, by their name."""
    calls = []
    for number, seed in enumerate(seeds):
        env = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": f"{ROOT / 'python'}:{ROOT}:{folder}"}
        asked = json.dumps({"notebooks": notebooks, "offset": 7 * number, "before": 300 * number})
        command = [sys.executable, "-W", "error", "-m", "tests.process.dry_kernel"]
        done = subprocess.run(command, input=asked, env=env, cwd=folder, capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stderr
        calls.append(json.loads(done.stdout))
    return calls


class Kernel:
    """A handle of a run whose DataFlowKernel only writes down the calls that it receives."""

    def __init__(self) -> None:
        from parslab.client.handle.dfk import DataFlowKernel
        from parslab.client.handle.run_connection import RunConnection
        from parslab.wire.messages.base import PROTOCOL, TaskKind
        from parslab.wire.messages.client import ClientMessage, Welcome
        from parslab.wire.stream import Stream, decoder

        ours, theirs = socket.socketpair()
        self._peer = Stream(theirs, decoder(ClientMessage))
        self._codes: dict[int, Any] = {}
        self._calls: list[dict[str, Any]] = []
        self._marks: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._first = 0
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        self._peer.send([Welcome(0, "000", PROTOCOL, "", (("llex", TaskKind.remote), ("threads", TaskKind.local)))])
        connection = RunConnection(run="000", run_dir=Path("runs"), pid=0, sock=ours, threads={"threads": 1})
        self.handle = DataFlowKernel.opened(None, connection)

    def close(self) -> None:
        self.handle.cleanup()
        self._thread.join()
        self._peer.close()

    def take_calls(self) -> list[dict[str, Any]]:
        """Return the calls since the last time, in the form in which the event log would have them."""
        mark = len(self._calls)
        self.handle.follow(1 << 50 | mark, lambda *_: None)
        assert self._marks.get(timeout=20) == 1 << 50 | mark
        calls = self._calls[self._first :]
        self._first = len(self._calls)
        first = min((call["task"] for call in calls), default=0)
        for call in calls:
            call["deps"] = [task - first for task in call["deps"]]
            del call["task"]
        return calls

    def _listen(self) -> None:
        with contextlib.suppress(EOFError):
            while True:
                for messages, frames in self._peer.receive():
                    self._take(messages, frames)

    def _take(self, messages: list[Any], frames: list[Any]) -> None:
        for message in messages:
            kind = type(message).__name__
            own = [frames.pop(0) for _ in range(getattr(message, "frames", 0))]
            if kind == "DefineFunction":
                self._codes[message.fn] = message
            elif kind == "FollowOutput":
                self._marks.put(message.task)
            elif kind == "SubmitTask":
                code = self._codes.get(message.fn)
                self._calls.append(
                    {
                        "task": message.task,
                        "fingerprint": code.fingerprint.hex() if code else "",
                        "parts": {label: digest.hex() for label, digest in code.parts.items()} if code else {},
                        "arguments": hashlib.sha256(message.identity or b"".join([message.args, *own])).hexdigest(),
                        "identity": message.identity.hex(),
                        "memo": message.memo,
                        "unknown": message.unknown,
                        "deps": list(message.deps),
                    }
                )


def run(kernel: Kernel, cells: list[str], offset: int, before: int) -> list[dict[str, Any]]:
    """Run the cells of a notebook as `__main__`, and return the calls."""
    from parslab.client import session

    main = types.ModuleType("__main__")
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, session, "_current", session._current)
        session._current = kernel.handle
        stack.callback(sys.modules.__setitem__, "__main__", sys.modules["__main__"])
        sys.modules["__main__"] = main
        for number, cell in enumerate(cells):
            source = "\n" * offset + cell
            filename = f"/tmp/ipykernel_{os.getpid()}/{before + number}.py"
            linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
            exec(compile(source, filename, "exec"), vars(main))
        return kernel.take_calls()


def main() -> None:
    asked = json.load(sys.stdin)
    warnings.simplefilter("error")
    kernel = Kernel()
    try:
        calls = {
            name: run(kernel, cells, asked["offset"], asked["before"] + 10 * number)
            for number, (name, cells) in enumerate(asked["notebooks"].items())
        }
    finally:
        kernel.close()
    json.dump(calls, sys.stdout)


if __name__ == "__main__":
    main()
