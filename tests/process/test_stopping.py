"""Tasks of every kind and state that are cancelled or run too long: they end, their dependents fail.

One run serves them all; it must be gone, with everything, when the block of its sandbox ends.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import bash_app, join_app, python_app
from parslab.errors import AppTimeout, DependencyError
from parslab.records.states import TaskState
from tests.process.blocks import executor as blocks_executor
from tests.process.sandbox import Sandbox, error_of, is_gone, patience, until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from parslab import AppFuture, DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.leaves_behind("workers that are stopped are replaced, in a run that all tests share")

S = TaskState
LABELS = ["llex", "htex"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataFlowKernel]:
    """One worker of each kind."""
    tmp_path_factory.getbasetemp()
    with Sandbox().entered() as sandbox:
        executors = [
            parslab.LowLatencyExecutor(workers=1),
            blocks_executor(workers=1),
            parslab.ThreadPoolExecutor(max_threads=1),
        ]
        dfk = parslab.load(parslab.Config(executors=executors, run_dir=sandbox.runs, strategy_period=0.2))
        try:
            yield dfk
        finally:
            dfk.cleanup()
            parslab.clear()


def pid() -> int:
    return os.getpid()


def waits(gate: Path, begun: Path | None = None) -> int:
    """Until the test opens the gate."""
    if begun is not None:
        begun.write_text(str(os.getpid()))
    while not gate.exists():
        time.sleep(0.01)
    return 7


def holds(seconds: float, begun: Path | None = None, child: bool = False) -> int:
    """Keeps the interpreter to itself in a C function, so that no other thread of the worker does anything."""
    kin = [subprocess.Popen(["sleep", "600"], start_new_session=new).pid for new in (False, True)] if child else []
    if begun is not None:
        begun.with_suffix(".part").write_text(" ".join(map(str, [os.getpid(), *kin])))
        begun.with_suffix(".part").rename(begun)
    if seconds:
        ctypes.PyDLL(None).sleep(int(seconds))
    return os.getpid()


def searches(begun: Path) -> Any:
    """A regular expression that takes for ever."""
    begun.write_text(str(os.getpid()))
    return re.match("(a+)+$", "a" * 60 + "b")


def leaves_children(begun: Path) -> None:
    """Starts processes, one in a session of its own and one that does not mind TERM, and waits for none of them."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    kin = [subprocess.Popen(["sleep", "600"]), subprocess.Popen(["sleep", "600"], start_new_session=True)]
    kin.append(subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE))
    assert kin[-1].stdout is not None
    kin[-1].stdout.readline()
    begun.with_suffix(".part").write_text(" ".join(str(child.pid) for child in kin))
    begun.with_suffix(".part").rename(begun)
    time.sleep(600)


def script(begun: Path) -> str:
    return f"sleep 600 & trap '' TERM; echo $$ $! > {begun}.part; mv {begun}.part {begun}; while true; do sleep 1; done"


def on(label: str, function: Any) -> Any:
    return python_app(executors=[label])(function)


def pids_of(path: Path) -> list[int]:
    """What a task wrote down when it had begun."""
    until(path.exists, 20, "the task has begun")
    return [int(word) for word in path.read_text().split()]


def state_is(future: AppFuture, state: TaskState) -> None:
    until(lambda: future.state is state, 20, f"{future} is {state.name}")


def told_by(future: AppFuture, root: AppFuture) -> None:
    """What depends on a cancelled task says so."""
    error = error_of(future)
    assert type(error) is DependencyError
    assert f"task {root.task_id}" in str(error)
    assert "it was cancelled" in str(error)
    assert future.state is S.dep_fail


# --- cancelling, state by state --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["python", "bash"])
@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("state", [S.pending, S.ready, S.running])
def test_cancel(run: DataFlowKernel, tmp_path: Path, label: str, kind: str, state: TaskState) -> None:
    worker = on(label, pid)().result(30)
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    before = None if state is S.running else on(label, waits)(gate)
    needed = [before] if state is S.pending else []
    if kind == "bash":
        future = bash_app(executors=[label])(script)(begun, inputs=needed)
    else:
        future = on(label, lambda _, *rest: waits(*rest))(needed, gate, begun)
    dependent = on(label, lambda _: 1)(future)
    pids: list[int] = []
    if state is S.running:
        pids = pids_of(begun)
        state_is(future, S.running)
    elif state is S.pending:
        assert future.state is S.pending
    else:
        assert before is not None
        state_is(before, S.running)
        assert future.state in (S.ready, S.launched)
    with within(1):
        assert future.cancel()
    assert future.cancelled()
    told_by(dependent, future)
    for one in pids if kind == "bash" else ():
        until(is_gone(one), 3)
    gate.touch()
    if before is not None:
        assert before.result(20) == 7
    assert on(label, pid)().result(20) == worker
    assert state is S.running or not begun.exists()


@pytest.mark.parametrize("label", LABELS)
def test_a_task_sent_ahead_is_cancelled_and_the_one_before_it_goes_on(
    run: DataFlowKernel, tmp_path: Path, label: str
) -> None:
    app = on(label, holds)
    worker = [app(0).result(30) for _ in range(20)][-1]  # known to be short: the next ones are sent ahead
    first = app(2, tmp_path / "first")
    second = app(60)  # its worker reads the stop only when the first one releases it: then it may just begin
    pids_of(tmp_path / "first")
    state_is(second, S.launched)
    assert second.cancel()
    assert first.result(30) == worker
    assert on(label, pid)().result(20) > 0


@pytest.mark.parametrize("label", LABELS)
def test_a_task_that_holds_the_interpreter_is_cancelled_with_its_worker(
    run: DataFlowKernel, tmp_path: Path, label: str
) -> None:
    future = on(label, holds)(600, tmp_path / "begun", child=True)
    pids = pids_of(tmp_path / "begun")
    with within(2.5):
        assert future.cancel()
        for one in pids:
            until(is_gone(one), 3)
    assert on(label, pid)().result(20) != pids[0]


@pytest.mark.parametrize("label", LABELS)
def test_what_a_cancelled_function_has_started_goes_with_it(run: DataFlowKernel, tmp_path: Path, label: str) -> None:
    worker = on(label, pid)().result(30)
    stays = on(label, lambda: subprocess.Popen(["sleep", "600"]).pid)().result(20)
    time.sleep(0.05)  # of different age, in hundredths of a second
    future = on(label, leaves_children)(tmp_path / "begun")
    pids = pids_of(tmp_path / "begun")
    assert future.cancel()
    for one in pids:
        until(is_gone(one), 3)
    assert on(label, pid)().result(20) == worker
    os.kill(stays, signal.SIGKILL)  # was left alone


def test_cancelling_thread_pool_tasks(run: DataFlowKernel, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    first = on("threads", waits)(gate)
    state_is(first, S.running)
    queued = on("threads", waits)(gate, begun)
    pending = on("threads", lambda _: 1)(first)
    assert not first.cancel()  # nobody can stop a thread
    assert not first.done()
    assert queued.cancel()
    assert pending.cancel()
    gate.touch()
    assert first.result(20) == 7
    assert on("threads", pid)().result(20) == os.getpid()
    assert not begun.exists()


def test_cancelling_joins(run: DataFlowKernel, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    called: list[AppFuture] = []

    @join_app
    def fans(_: Any = None) -> list[AppFuture]:
        called.extend([on("llex", waits)(gate), on("llex", waits)(gate, begun)])
        return called[:1]

    pending = fans(on("htex", waits)(gate))
    assert pending.state is S.pending
    assert pending.cancel()
    join = fans()
    mine = on("llex", waits)(gate)
    dependent = on("llex", lambda _: 1)(join)
    state_is(join, S.joining)
    assert join.cancel()
    told_by(dependent, join)
    until(lambda: all(future.cancelled() for future in called), 5)
    assert not mine.done()
    gate.touch()
    assert mine.result(20) == 7
    assert len(called) == 2
    assert not begun.exists()


# --- too long, also where nobody listens -----------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["sleep", "search", "children", "bash", "deaf"])
@pytest.mark.parametrize("label", LABELS)
def test_a_limit_is_kept_from_outside(run: DataFlowKernel, tmp_path: Path, label: str, what: str) -> None:
    on(label, pid)().result(30)
    begun, limit = tmp_path / "begun", 0.5

    def deaf() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        holds(600, begun, child=True)

    calls: dict[str, Callable[[], AppFuture]] = {
        "sleep": lambda: on(label, holds)(600, begun, child=True, walltime=limit),
        "search": lambda: on(label, searches)(begun, walltime=limit),
        "children": lambda: on(label, leaves_children)(begun, walltime=limit),
        "bash": lambda: bash_app(executors=[label])(script)(begun, walltime=limit),
        "deaf": lambda: on(label, deaf)(walltime=limit),
    }
    future = calls[what]()
    pids = pids_of(begun)
    with within(limit + 2):
        error = error_of(future)
        assert type(error) is AppTimeout
        assert f"ran longer than its limit of {limit:g} s" in str(error)
        if what != "search":
            for one in pids[1:] if what == "sleep" else pids:
                until(is_gone(one), 1)
    assert on(label, pid)().result(20 * patience()) > 0


@pytest.mark.parametrize("label", LABELS)
def test_a_limit_ends_what_a_command_has_sent_into_the_background(
    run: DataFlowKernel, tmp_path: Path, label: str
) -> None:
    """An orphan in a session of its own, which does not mind TERM."""

    @bash_app(executors=[label])
    def daemonizes(begun: Path) -> str:
        orphan = f"trap '' TERM; echo $$ > {begun}.part; mv {begun}.part {begun}; while true; do sleep 1; done"
        return f'(setsid bash -c "{orphan.replace("$", chr(92) + "$")}" &); sleep 600'

    on(label, pid)().result(30)
    begun = tmp_path / "begun"
    future = daemonizes(begun, walltime=0.5)
    (orphan,) = pids_of(begun)
    assert type(error_of(future)) is AppTimeout
    until(is_gone(orphan), 20)


def test_everything_at_once_is_cancelled_soon(run: DataFlowKernel, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    futures: list[AppFuture] = []
    for label in LABELS:
        futures += [on(label, waits)(gate) for _ in range(200)]
        futures += [on(label, lambda _: 1)(future) for future in futures[-50:]]
    with within(2):
        assert run.cancel() == ""
        run.wait_for_current_tasks()
    assert all(future.cancelled() for future in futures)
    assert all(on(label, pid)().result(20) > 0 for label in LABELS)
