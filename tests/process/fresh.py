"""A kernel that only writes down what it would send: the same cells in another process, under other names and lines.

``python -m tests.process.fresh`` reads notebooks from stdin, runs the cells of each in a namespace of its own, and
prints what the DataFlowKernel would have been told of their calls.  :func:`kernels` does it in two processes with other
hash seeds, names of cells and line numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import linecache
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def kernels(notebooks: dict[str, list[str]], folder: Path, seeds: tuple[int, int] = (1, 2)) -> list[dict[str, Any]]:
    """What two kernels say of these notebooks, by their name."""
    told = []
    for number, seed in enumerate(seeds):
        env = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": f"{ROOT / 'python'}:{ROOT}:{folder}"}
        asked = json.dumps({"notebooks": notebooks, "offset": 7 * number, "before": 300 * number})
        command = [sys.executable, "-W", "error", "-m", "tests.process.fresh"]
        done = subprocess.run(command, input=asked, env=env, cwd=folder, capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stderr
        told.append(json.loads(done.stdout))
    return told


class Kernel:
    """A handle of a run whose link leads nowhere."""

    def __init__(self) -> None:
        from parslab.client.codes import SentCodes
        from parslab.client.dfk import DataFlowKernel
        from parslab.client.identities import Identities
        from parslab.client.local import LocalTasks

        self.sent: list[Any] = []
        handle: Any = DataFlowKernel(None, "000", Path("runs"), 0, None)
        handle._link = self
        handle._codes = SentCodes(handle._link)
        handle._identities = Identities(True)
        handle._local = LocalTasks(handle, {"threads": 1})
        handle._kinds, handle.labels = (0, 1), ("llex", "threads")
        handle._ids = itertools.count()
        self.handle = handle

    def send(self, message: Any, frames: Any = ()) -> None:
        self.sent.append((message, [bytes(frame) for frame in frames]))

    call = later = send

    def close(self) -> None:
        self.handle._local.close()

    def told(self) -> list[dict[str, Any]]:
        """What it was told of each call: as one that keeps it would find it again."""
        codes, calls = {}, []
        for message, frames in self.sent:
            kind = type(message).__name__
            if kind == "Code":
                codes[message.fn] = message
            elif kind == "Submit":
                code = codes.get(message.fn)
                arguments = hashlib.sha256(message.identity or b"".join([message.args, *frames])).hexdigest()
                calls.append(
                    {
                        "app": message.name or (code.name if code else ""),
                        "fingerprint": code.fingerprint.hex() if code else "",
                        "parts": {label: digest.hex() for label, digest in code.parts.items()} if code else {},
                        "arguments": arguments,
                        "identity": message.identity.hex(),
                        "memo": message.memo,
                        "unknown": message.unknown,
                        "deps": list(message.deps),
                    }
                )
        return calls


def run(cells: list[str], offset: int, before: int) -> list[dict[str, Any]]:
    """Run the cells of a notebook as `__main__`; what was told of its calls."""
    from parslab.client import session

    main = types.ModuleType("__main__")
    names: dict[str, Any] = vars(main)
    kernel = Kernel()
    with contextlib.ExitStack() as stack:
        stack.callback(kernel.close)
        stack.callback(setattr, session, "_current", session._current)
        session._current = kernel.handle
        stack.callback(sys.modules.__setitem__, "__main__", sys.modules["__main__"])
        sys.modules["__main__"] = main
        for number, cell in enumerate(cells):
            source = "\n" * offset + cell
            filename = f"/tmp/ipykernel_{os.getpid()}/{before + number}.py"
            linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
            exec(compile(source, filename, "exec"), names)
        return kernel.told()


def main() -> None:
    asked = json.load(sys.stdin)
    warnings.simplefilter("error")
    told = {
        name: run(cells, asked["offset"], asked["before"] + 10 * number)
        for number, (name, cells) in enumerate(asked["notebooks"].items())
    }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
