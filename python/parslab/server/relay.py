"""Connects one panel with the run that it wants, as often as that run appears and goes [shell].

A relay looks for the run, connects to it, and passes messages on in both directions.  When the connection ends, it
reports that to the page and looks again: a run may be restarted, and the next run of the same kernel may follow.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import msgspec

from parslab.errors import UntrustedPathError
from parslab.records.panel import RelayStatus
from parslab.server.page_outbox import PageOutbox
from parslab.server.run_socket import RunSocket, connect
from parslab.version import version

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from parslab.server.live_runs import LiveRuns, WantedRun
    from parslab.wire.run_files import ConnectionInfo

__all__ = ["PERIOD", "PanelRelay", "refusal_of_page"]

PERIOD = 0.5
"""Seconds between two looks for the run, while a panel waits for it."""

_State = Literal["live", "absent", "ended", "lost", "refused", "skipped"]


def _status(state: _State, run: str = "", text: str = "") -> bytes:
    return msgspec.json.encode(RelayStatus(state, run, text))


class PanelRelay:
    """The route of one panel.

    Parameters
    ----------
    wanted
        The run that the panel wants.
    runs
        Finds it.
    write
        Sends a message to the page; its result is awaited.
    """

    def __init__(self, wanted: WantedRun, runs: LiveRuns, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._wanted = wanted
        self._runs = runs
        self._outbox = PageOutbox(write, _status("skipped"))
        self._socket: RunSocket | None = None
        self._left = asyncio.Event()
        self._info: ConnectionInfo | None = None
        """The run that the server is connected with, or was last."""
        self._welcomed = False
        self._reported: tuple[str, str, str] | None = None
        self._task = asyncio.get_running_loop().create_task(self._follow())

    def request(self, text: bytes) -> None:
        """Pass a request of the page on; without a run it is dropped, and the page knows that from the status."""
        if self._socket is not None:
            self._socket.request(text)

    def close(self) -> None:
        """End the route, because the page has gone; twice is safe."""
        self._task.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._outbox.close()

    # ----- what the run sends (RunListener)

    def welcomed(self, run: str) -> None:
        """The run answers."""
        self._welcomed = True
        self._report("live", run)

    def received(self, text: bytes) -> None:
        """Pass a message of the run on to the page."""
        self._outbox.put(text)

    def left(self, reason: str | None) -> None:
        """Report the end of the connection."""
        self._socket = None
        info = self._info
        assert info is not None
        if self._welcomed:
            self._report("lost" if reason is None else "ended", info.run, reason or "")
        elif info.package != version():
            self._report("refused", info.run, _other_version(info))
        elif reason is not None:
            self._report("refused", info.run, reason)
        else:
            self._absent()
        self._left.set()

    # ----- from run to run

    async def _follow(self) -> None:
        refused: tuple[str, int] | None = None
        while True:
            info = await self._runs.look(self._wanted)
            if info is None:
                refused = None
                self._absent()
            elif (info.run, info.pid) != refused and not await self._serve(info):
                # The same process would refuse again.
                refused = info.run, info.pid
            await asyncio.sleep(PERIOD)

    def _absent(self) -> None:
        # The page keeps the reason why the last run ended.
        if self._reported is None or self._reported[0] not in ("ended", "lost"):
            self._report("absent")

    async def _serve(self, info: ConnectionInfo) -> bool:
        """Serve the panel until the connection ends; False if the run refuses this server."""
        if not info.panels:
            self._report("refused", info.run, _too_old(info))
            return False
        try:
            sock = await connect(info)
        except UntrustedPathError as error:
            self._report("refused", info.run, str(error))
            return False
        except OSError:
            # The run ends or starts just now, or its process is dead and the file still here.
            self._absent()
            return True
        self._info, self._welcomed = info, False
        self._left.clear()
        self._socket = RunSocket(sock, self)
        await self._left.wait()
        return self._reported is None or self._reported[0] != "refused"

    def _report(self, state: _State, run: str = "", text: str = "") -> None:
        if self._reported != (state, run, text) or state == "live":
            self._reported = state, run, text
            self._outbox.put(_status(state, run, text), essential=True)


def refusal_of_page() -> bytes:
    """Return the message to a page with another version of the route, for example because the server was replaced."""
    return _status("refused", text="This page is not of the parslab that the Jupyter server has: reload the page.")


def _other_version(info: ConnectionInfo) -> str:
    return (
        f"Run {info.run} has parslab {info.package}, and the Jupyter server has parslab {version()}: run "
        f"`pip install parslab=={info.package}` where the server runs, and restart it."
    )


def _too_old(info: ConnectionInfo) -> str:
    return (
        f"Run {info.run} was started by parslab {info.package}, and the Jupyter server has parslab {version()}: run "
        "`pip install --upgrade parslab` in the environment of the kernel, and restart the kernel."
    )
