"""The control thread of a worker: asleep in the kernel until the DataFlowKernel asks (D5), or the link breaks.

It answers what runs, gives back tasks that are not begun, interrupts the one that runs, and, once looked at, sends
output and finished outcomes ten times a second until the worker is idle. When the DataFlowKernel is gone it ends the
process and everything the tasks have started.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from typing import TYPE_CHECKING

from parslab.wire.messages.worker import CLOSED_DESCRIPTORS, InterruptTask, ProbeWorker, WorkerReport

if TYPE_CHECKING:
    from parslab.remote.worker.links import WorkerLink
    from parslab.remote.worker.worker import Worker

__all__ = ["end_group", "start_control"]

_TICK = 0.1


def start_control(worker: Worker, link: WorkerLink) -> None:
    """Start the thread; it ends with the process."""
    main = threading.get_ident()
    threading.Thread(target=_serve, args=(worker, link, main), name="parslab-control", daemon=True).start()


def end_group() -> None:
    """Leave at once, with every process that the tasks started in our group."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _serve(worker: Worker, link: WorkerLink, main: int) -> None:
    streaming = False
    try:
        while True:
            for messages, _ in link.receive(_TICK if streaming else None):
                for message in messages:
                    if type(message) is ProbeWorker:
                        streaming = True
                        link.send([_report(worker)])
                    elif type(message) is InterruptTask:
                        link.send([_interrupt(worker, message.task, main)])
                    else:
                        return
            if streaming:
                worker.send_finished()
                worker.send_live_output()
                streaming = worker.busy
    except (EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.EBADF:
            os._exit(CLOSED_DESCRIPTORS)
        end_group()


def _report(worker: Worker) -> WorkerReport:
    returned = worker.give_back()
    return WorkerReport(worker.current, worker.since, tuple(returned))


def _interrupt(worker: Worker, task: int, main: int) -> WorkerReport:
    if worker.current == task:
        worker.interrupting = task
        signal.pthread_kill(main, signal.SIGINT)
        return WorkerReport(worker.current, worker.since)
    return WorkerReport(worker.current, worker.since, tuple(worker.give_back(task)))
