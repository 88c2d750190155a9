"""Pass JSON texts between the panels of a kernel and the loaded run, without reading them.

- From the run to the panels: the kernel opens one comm per run. The ``parslab-relay`` thread sends batches of texts
  over it, at most twenty times a second, so that panels stay live while a cell is busy.
- From a panel to the run: the panel sends messages on the *control* channel, which the kernel serves while a cell is
  busy. If a kernel has no such handlers, the panel sends messages over the comm. A reloaded page learns on the control
  channel which comm to use.

A kernel has one relay, which serves one run after the other.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from parslab.client import session
from parslab.jupyter import display
from parslab.jupyter.interrupts import wake_on_signals
from parslab.jupyter.rate_limit import RateLimiter

if TYPE_CHECKING:
    from parslab.client.handle.dfk import DataFlowKernel

__all__ = ["REQUEST", "TARGET", "Channel", "Relay", "join_sessions"]

log = logging.getLogger(__name__)

TARGET = "parslab.monitor"
REQUEST = "parslab_request"
REPLY = "parslab_reply"
PERIOD = 0.05
"""Seconds between two messages to the panels."""


class Channel:
    """The comm of one run.

    Parameters
    ----------
    dfk
        The run whose feed goes to the panels.
    pacer
        Limits how often texts are sent.
    """

    def __init__(self, dfk: DataFlowKernel, pacer: RateLimiter) -> None:
        self.dfk = dfk
        self._pacer = pacer
        self._texts: list[str] = []
        self._reason: str | None = None
        self._comm: Any = None
        self.open()
        dfk.on_feed = self.feed
        dfk.on_end.append(self.end)

    @property
    def comm_id(self) -> str:
        """The id of the comm that panels attach to; empty after the run has ended."""
        return "" if self._comm is None else str(self._comm.comm_id)

    @property
    def alive(self) -> bool:
        """Whether the run has not ended."""
        return self._reason is None

    def open(self) -> None:
        """Open the comm, also after a front end has closed it."""
        import comm

        if self._comm is None and self._reason is None:
            self._comm = comm.create_comm(target_name=TARGET, data={"run": self.dfk.run})
            self._comm.on_msg(self._asked)
            self._comm.on_close(self._closed)

    def feed(self, text: bytes) -> None:
        """Pass a message on to every panel; the link's thread calls this."""
        self._texts.append(text.decode())
        self._pacer.mark(self._send)

    def end(self, reason: str) -> None:
        """Report that the run has ended, or that this kernel has left it, to the panels, and close the comm."""
        self._reason = reason
        self._pacer.mark(self._send)

    def _send(self) -> None:
        # The link's thread may append meanwhile, so exactly the texts that are taken are deleted.
        count = len(self._texts)
        texts = self._texts[:count]
        del self._texts[:count]
        comm, reason = self._comm, self._reason
        if comm is None:
            return
        # Before the end, because a closed comm carries no texts.
        if texts:
            comm.send({"feed": texts})
        if reason is not None:
            self._comm = None
            comm.close({"reason": reason, "left": self.dfk.state.left})

    def _asked(self, message: dict[str, Any]) -> None:
        text = message["content"]["data"].get("request")
        if isinstance(text, str):
            self.dfk.panel_ask(text.encode())

    def _closed(self, _: dict[str, Any]) -> None:
        self._comm = None


class Relay:
    """Connects the panels of an IPython kernel to the run that is loaded in it."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._pacer = RateLimiter(PERIOD, "relay")
        self._channel: Channel | None = None
        # ipykernel has this dictionary.  Another kernel may lack it.
        handlers = getattr(kernel, "control_handlers", None)
        if isinstance(handlers, dict):
            handlers[REQUEST] = self._on_request
        else:
            log.warning("this kernel has no control handlers: panels cannot ask while a cell is busy")

    def serve(self, dfk: DataFlowKernel) -> None:
        """Connect a run that has just been loaded to the panels."""
        if self._channel is None or self._channel.dfk is not dfk:
            self._channel = Channel(dfk, self._pacer)

    async def _on_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """Forward a panel's control message; the kernel's control thread calls this and must not wait."""
        try:
            reply = self.answer(parent.get("content") or {})
        except Exception as error:
            # After an exception ipykernel sends no reply, and the panel would wait for ever.
            log.exception("a request of the panel failed")
            reply = {"status": "error", "comm_id": "", "run": "", "text": f"{type(error).__name__}: {error}"}
        self._kernel.session.send(stream, REPLY, reply, parent, ident)

    def answer(self, content: dict[str, Any]) -> dict[str, str]:
        """Forward a panel's request, and return the id of the comm that brings the answer."""
        channel = self._channel
        if channel is None or not channel.alive:
            return {"status": "error", "comm_id": "", "run": "", "text": "No run is loaded in this kernel."}
        channel.open()  # a page without our extension closes a comm whose target it does not know
        text = content.get("request")
        if isinstance(text, str):
            channel.dfk.panel_ask(text.encode())
        return {"status": "ok", "comm_id": channel.comm_id, "run": channel.dfk.run, "text": ""}


_relay: Relay | None = None


def join_sessions() -> None:
    """Show every run that this process loads in its notebook; does nothing without IPython."""
    if _on_load not in session.on_load:
        session.on_load.append(_on_load)


def _on_load(dfk: DataFlowKernel) -> None:
    global _relay
    # A script without IPython must not import it for nothing.
    module = sys.modules.get("IPython.core.interactiveshell")
    if module is None or not module.InteractiveShell.initialized():
        return
    shell = module.InteractiveShell.instance()
    display.install(shell)
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return
    if _relay is None or _relay._kernel is not kernel:
        _relay = Relay(kernel)
        wake_on_signals(kernel)
    _relay.serve(dfk)
