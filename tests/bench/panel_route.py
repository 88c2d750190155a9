"""The panel through the Jupyter server while its client cannot say a word: how late events and commands are.

Called by ``tests.bench.cases`` in a fresh process; arguments and figures as there.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.jupyter_server import Page

__all__ = ["busy_and_dead"]

_CLIENT = """
    import ctypes

    @python_app
    def held(gate):
        import os, time
        while not os.path.exists(gate): time.sleep(0.001)

    dfk = load(workers=2)
    dfk.keep(600)
    futures = [held(f"GATES/{number}") for number in range(COUNT)]
    while not futures[1].running(): time.sleep(0.01)
    emit(run=dfk.run)
    # A call through PyDLL keeps the interpreter's lock.
    ctypes.PyDLL(None).read(0, ctypes.create_string_buffer(1), 1)
"""


async def _rounds(panel: Page, gates: Path, tasks: range) -> dict[str, float]:
    """Let one task end and cancel the next, in turns; return how long it took until the page knew."""
    events, commands = [], []
    for number in tasks[::2]:
        # A worker may need a moment for its next task, and that is not measured.
        await panel.counted("running", 2)
        (gates / str(number)).touch()
        begun = time.perf_counter()
        await panel.counted("exec_done", number // 2 + 1)
        events.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        panel.send(type="CancelRequest", request_id=f"c{number}", tasks=[panel.tasks[number + 1]])
        await panel.reply("CommandReply")
        await panel.counted("cancelled", number // 2 + 1)
        commands.append(time.perf_counter() - begun)
    return {
        "event": statistics.median(events),
        "latest_event": max(events),
        "cancel": statistics.median(commands),
        "latest_cancel": max(commands),
    }


def busy_and_dead(rounds: int) -> dict[str, float]:
    """How late events and commands are while the client holds the interpreter's lock, and after it was killed."""
    from tests.process.jupyter_server import Server, page
    from tests.process.sandbox import Sandbox

    with Sandbox().entered() as sandbox:
        gates = sandbox.root / "gates"
        gates.mkdir()
        source = _CLIENT.replace("GATES", str(gates)).replace("COUNT", str(4 * rounds + 2))
        server = Server(sandbox)
        try:
            with sandbox.script(source, stdin=subprocess.PIPE) as client:
                run = client.read_json(60)["run"]

                async def scene() -> dict[str, Any]:
                    async with page(server, f"run={run}") as panel:
                        await panel.status("live")
                        panel.send(type="SnapshotRequest", request_id="s")
                        await panel.reply("Snapshot")
                        held = await _rounds(panel, gates, range(2 * rounds))
                        client.popen.kill()
                        client.popen.wait()
                        dead = await _rounds(panel, gates, range(2 * rounds, 4 * rounds))
                        panel.send(type="LingerRequest", request_id="l", seconds=0)
                        await panel.status("ended")
                    return {"held": held, "dead": dead}

                found = asyncio.run(scene())
        finally:
            server.stop()
    return {f"{who}.{what}": taken for who, figures in found.items() for what, taken in figures.items()}
