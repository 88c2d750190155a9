"""The DataFlowKernel process dies, hangs or is stopped: futures say so at once, nothing of the run stays.

Without a record (``resume=False``); what becomes of a run that has one is in ``test_failover``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import cloudpickle
import psutil
import pytest

import parslab
from parslab import join_app, python_app
from parslab.errors import DataFlowKernelLost, NoDataFlowKernelError
from tests.process.sandbox import Sandbox, alive, error_of, is_gone, patience, until, within, workers_of

if TYPE_CHECKING:
    from parslab import AppFuture

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@python_app
def nap(seconds: float, after: object = None) -> float:
    time.sleep(seconds)
    return seconds


@python_app
def spin(seconds: float) -> int:
    """Hold the GIL in a C call."""
    import re

    return len(re.findall("(a+)+$", "a" * 40 + "b"))


@python_app
def offspring() -> list[int]:
    """A child that sleeps, and a grandchild below it."""
    shell = subprocess.Popen("sleep 600 & echo $!; wait", shell=True, stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    return [shell.pid, int(shell.stdout.readline())]


def functions_of(thread: threading.Thread) -> list[str]:
    """The names of the functions that a thread of this process is in."""
    assert thread.ident is not None
    frame = sys._current_frames().get(thread.ident)
    found = []
    while frame is not None:
        found.append(frame.f_code.co_name)
        frame = frame.f_back
    return found


def test_every_future_fails_at_once_with_the_path_of_the_log(sandbox: Sandbox) -> None:
    @join_app
    def joined() -> list[AppFuture]:
        return [nap(60), nap(60)]

    with sandbox.load(workers=2, resume=False) as dfk:
        children = offspring().result()
        workers = workers_of(dfk.pid)
        futures = [nap(60) for _ in range(20)] + [nap(0, after=nap(60)), joined()]
        part = futures[0]["x"]
        until(futures[0].running)
        with within(2):
            os.kill(dfk.pid, signal.SIGKILL)
            errors = [error_of(future, 2) for future in futures]
        assert all(isinstance(error, DataFlowKernelLost) for error in errors)
        assert str(errors[0]) == (
            f"The DataFlowKernel of run {dfk.run} was killed by SIGKILL; its log is {dfk.run_dir / 'dfk.log'}. "
            "Start anew with parslab.load()."
        )
        assert isinstance(part.exception(1), DataFlowKernelLost)
        for pid in (*workers, *children):
            until(is_gone(pid), 5)
        sandbox.assert_empty()
        with pytest.raises(NoDataFlowKernelError, match=r"was killed by SIGKILL.*parslab\.load\(\)"):
            nap(0)
        with parslab.load(dfk.config) as again:
            assert again is not dfk
            assert nap(0).result(10) == 0


def test_death_by_an_error_of_its_own_is_reported(sandbox: Sandbox) -> None:
    with sandbox.load(resume=False) as dfk:
        future = nap(60)
        until(future.running)
        os.kill(dfk.pid, signal.SIGABRT)
        assert "was killed by SIGABRT" in str(error_of(future, 2))


def test_signal_that_ends_the_run_is_named(sandbox: Sandbox) -> None:
    with sandbox.load(resume=False) as dfk:
        future = nap(60)
        until(future.running)
        os.kill(dfk.pid, signal.SIGTERM)
        error = error_of(future, 5)
        assert isinstance(error, DataFlowKernelLost)
        assert "has ended: it received SIGTERM" in str(error)
        until(is_gone(dfk.pid))


def test_workers_that_hold_the_gil_go_too(sandbox: Sandbox) -> None:
    with sandbox.load(workers=1, resume=False) as dfk:
        children = offspring().result()
        (worker,) = workers_of(dfk.pid)
        spent = psutil.Process(worker).cpu_times().user
        future = spin(60)
        until(lambda: psutil.Process(worker).cpu_times().user > spent + 0.1, what="the worker is in the C call")
        assert not future.done()
        os.kill(dfk.pid, signal.SIGKILL)
        for pid in (worker, *children):
            until(is_gone(pid), 5)


def test_children_in_sessions_of_their_own_go_too(sandbox: Sandbox) -> None:
    @python_app
    def daemon() -> int:
        return subprocess.Popen(["sleep", "600"], start_new_session=True).pid

    with sandbox.load(workers=1, resume=False) as dfk:
        sleep = daemon().result()
        os.kill(dfk.pid, signal.SIGKILL)
        until(is_gone(sleep), 5)


def test_a_busy_main_thread_does_not_delay_the_news(sandbox: Sandbox) -> None:
    with sandbox.load(resume=False) as dfk:
        future = nap(60)
        until(future.running)
        os.kill(dfk.pid, signal.SIGKILL)
        began = time.monotonic()
        while not future.done() and time.monotonic() - began < 5:
            sum(range(1000))
        assert time.monotonic() - began < 2
        assert isinstance(error_of(future, 0), DataFlowKernelLost)


def test_thread_that_waits_for_a_large_value_is_woken(sandbox: Sandbox) -> None:
    @python_app
    def large() -> bytes:
        return bytes(300_000_000)

    with sandbox.load(resume=False) as dfk:
        future = large()
        until(future.done)
        os.kill(dfk.pid, signal.SIGSTOP)
        got: list[BaseException] = []

        def ask() -> None:
            try:
                future.result()
            except BaseException as error:
                got.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        until(lambda: "result" in functions_of(thread))
        os.kill(dfk.pid, signal.SIGKILL)
        thread.join(5)
        assert isinstance(got[0], DataFlowKernelLost)


@pytest.mark.timeout(180)
def test_a_stopped_one_goes_on_where_it_was(sandbox: Sandbox) -> None:
    """Each call cost ten times as much while it was stopped, so that this took too long on a busy machine."""
    with sandbox.load(workers=2, resume=False) as dfk:
        assert nap(0).result() == 0
        running = nap(0.2)
        os.kill(dfk.pid, signal.SIGSTOP)
        try:
            until(lambda: psutil.Process(dfk.pid).status() == psutil.STATUS_STOPPED)
            with within(2):  # calls never wait for it
                waiting = [nap(0) for _ in range(20_000)]
            assert not waiting[0].done()
        finally:
            os.kill(dfk.pid, signal.SIGCONT)
        assert running.result(10 * patience()) == 0.2
        assert sum(future.result(15 * patience()) for future in waiting) == 0
        assert alive(dfk.pid)


def test_a_stopped_one_is_ended_by_cleanup(sandbox: Sandbox) -> None:
    with sandbox.load(resume=False) as dfk:
        nap(60)
        worker = workers_of(dfk.pid)[0]
        os.kill(dfk.pid, signal.SIGSTOP)
        with within(9):
            dfk.cleanup()
        until(is_gone(dfk.pid), 1)
        until(is_gone(worker), 5)


def test_questions_are_answered_by_a_sentence_after_its_death(sandbox: Sandbox) -> None:
    with sandbox.load(resume=False) as dfk:
        future = nap(60)
        until(future.running)
        os.kill(dfk.pid, signal.SIGKILL)
        error_of(future, 2)
        assert future.state.name == "failed"
        assert "DataFlowKernelLost" in (future.traceback() or "")
        with pytest.raises(NoDataFlowKernelError, match="was killed by SIGKILL"):
            future.logs()
        dfk.wait_for_current_tasks()
        assert "over" in repr(dfk)
