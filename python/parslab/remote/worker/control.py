"""The control thread of a worker: it sleeps until a control message arrives or the link breaks (D5).

- It reports which task runs, and gives back the tasks that have not begun.
- It interrupts the running task.
- After a probe it sends output and finished outcomes ten times a second until the worker is idle.
- When the owner of the worker is gone, it ends the process and everything that tasks started.
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
"""Seconds between two sends of output while a task runs."""


def start_control(worker: Worker, link: WorkerLink) -> None:
    """Start the control thread; it ends with the process."""
    main = threading.get_ident()
    threading.Thread(target=_serve, args=(worker, link, main), name="parslab-control", daemon=True).start()


def end_group() -> None:
    """End this process at once, with every process that tasks started in its group."""
    # A worker from another host may share the group of its batch script, which must survive.
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
                        # Only ``Refused`` is left: the owner sends nothing more on this link.
                        return
            if streaming:
                # A long task would otherwise hold back outcomes that the main thread gathered before it.
                worker.send_finished()
                worker.send_live_output()
                streaming = worker.busy
    except (EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.EBADF:
            # The task closed our descriptors: no message can explain this death, so the exit status does.
            os._exit(CLOSED_DESCRIPTORS)
        end_group()


def _report(worker: Worker) -> WorkerReport:
    returned = worker.give_back()
    return WorkerReport(worker.current, worker.since, tuple(returned))


def _interrupt(worker: Worker, task: int, main: int) -> WorkerReport:
    if worker.current == task:
        # In this order: the handler in the main thread compares this number with the task that runs by then.
        worker.interrupting = task
        # The main thread gets the signal itself, so that the signal also interrupts a system call which blocks there.
        signal.pthread_kill(main, signal.SIGINT)
        return WorkerReport(worker.current, worker.since)
    return WorkerReport(worker.current, worker.since, tuple(worker.give_back(task)))
