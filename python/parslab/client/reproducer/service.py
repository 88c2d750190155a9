"""``ReproducerService`` answers requests for cells that repeat a call, in a thread of its own.

Unpickling and ``repr`` may run the user's code, so neither the link's thread nor a cell does this.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from parslab.client.thread_pool import ThreadPool
from parslab.records.panel import CLIENT_SHIFT
from parslab.serialize.failures import one_line
from parslab.wire.messages.client import ReproducerWritten

if TYPE_CHECKING:
    from parslab.client.transport.link import KernelLink
    from parslab.wire.messages.client import RequestReproducer

__all__ = ["ReproducerService"]


class ReproducerService:
    """Answers ``RequestReproducer`` for one run.

    Parameters
    ----------
    link
        The connection to the DataFlowKernel.
    """

    def __init__(self, link: KernelLink) -> None:
        self._link = link
        self._thread = ThreadPool("reproducer", 1)

    def ask(self, message: RequestReproducer) -> None:
        """Reply in the thread of this service (called in the link's thread)."""
        self._thread.submit(lambda: self._answer(message))

    def _answer(self, message: RequestReproducer) -> None:
        from parslab.client.reproducer.cell import write_cell  # most sessions never need what it imports

        text = problem = ""
        try:
            text = write_cell(message, message.task & ((1 << CLIENT_SHIFT) - 1))
        except Exception as error:  # the user's objects may raise anything when they are read
            problem = str(error) if type(error) is ValueError else f"The call cannot be read: {one_line(error)}"
        with contextlib.suppress(OSError):
            self._link.send(ReproducerWritten(message.ask, text, problem))

    def close(self) -> None:
        """End the thread."""
        self._thread.close(0.5)
