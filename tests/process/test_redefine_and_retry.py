"""Redefine and retry on real processes: exactly the failed branch runs again, and the same futures hold what comes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import random
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import AppFuture, File, bash_app, join_app, python_app
from parslab.errors import AppTimeout, DependencyError, JoinError, RetryError
from parslab.records.panel import (
    CommandReply,
    RetryRequest,
    Snapshot,
    SnapshotRequest,
    TaskDetail,
    TaskDetailRequest,
    TaskPage,
    TaskPageRequest,
)
from parslab.records.states import TaskState
from tests.process.sandbox import Sandbox, error_of, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab import DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])

_cells = iter(range(1_000_000))


class Notebook(dict[str, Any]):
    """A namespace whose cells are run one after the other."""

    def __init__(self) -> None:
        super().__init__(
            __name__="__main__", python_app=python_app, bash_app=bash_app, join_app=join_app, note=note, same=same
        )

    def run(self, text: str) -> None:
        """Run a cell; each is a file of its own, as in IPython."""
        exec(compile(text, f"<cell {next(_cells)}>", "exec"), self)


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


def note(path: Path, what: object) -> None:
    """Write down that something ran; one write, so that many may do it at once."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{what}\n".encode())
    finally:
        os.close(file)


def noted(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@python_app(executors=["llex"])
def same(value: Any) -> Any:
    return value


@contextlib.contextmanager
def run_with(sandbox: Sandbox, *executors: Any) -> Iterator[DataFlowKernel]:
    executors = executors or (parslab.LowLatencyExecutor(workers=2), parslab.ThreadPoolExecutor(max_threads=2))
    dfk = parslab.load(parslab.Config(executors=list(executors), run_dir=sandbox.runs))
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()


@pytest.fixture
def dfk(sandbox: Sandbox) -> Iterator[DataFlowKernel]:
    with run_with(sandbox) as dfk:
        yield dfk


BAD = """
@python_app(executors=["llex"])
def fit(x):
    raise ValueError(f"no fit for {x}")
"""
GOOD = """
@python_app(executors=["llex"])
def fit(x):
    return 10 * x
"""


def detail(dfk: DataFlowKernel, future: AppFuture) -> TaskDetail:
    answer = dfk.ask(TaskDetailRequest("", future.task_id))
    assert isinstance(answer, TaskDetail)
    return answer


# --- the redefined function ------------------------------------------------------------------------------------------


def test_redefined_function_gets_the_arguments_of_the_call(dfk: DataFlowKernel, notebook: Notebook) -> None:
    notebook.run(BAD)
    first = notebook["fit"](4)
    chain = same(same(first))
    assert isinstance(error_of(chain), DependencyError)
    notebook.run(GOOD)
    assert first.retry() is first
    assert not (first.done() and first.state is TaskState.failed)
    assert chain.result(20) == first.result(20) == 40
    assert chain.state is TaskState.exec_done


def test_without_another_definition_the_same_function_runs_again(dfk: DataFlowKernel, sandbox: Sandbox) -> None:
    path = sandbox.root / "ran"

    @python_app(executors=["llex"])
    def second_time() -> int:
        note(path, "once")
        if len(noted(path)) < 2:
            raise ValueError("not yet")
        return len(noted(path))

    future = second_time()
    error_of(future)
    assert future.retry().result(20) == 2
    assert detail(dfk, future).row.attempt == 1


def test_redefined_helper_is_used(dfk: DataFlowKernel, notebook: Notebook) -> None:
    notebook.run("def helper(x):\n    raise KeyError(x)")
    notebook.run("@python_app(executors=['llex'])\ndef fit(x):\n    return helper(x)")
    future = notebook["fit"](4)
    error_of(future)
    notebook.run("def helper(x):\n    return x + 1")
    assert future.retry().result(20) == 5


def test_redefined_command(dfk: DataFlowKernel, notebook: Notebook, sandbox: Sandbox) -> None:
    notebook.run("@bash_app(executors=['llex'])\ndef say(word, outputs=()):\n    return 'exit 3'")
    future = notebook["say"]("hello", outputs=[File(str(sandbox.root / "out"))])
    error_of(future)
    (file,) = future.outputs
    assert file.done()
    notebook.run("@bash_app(executors=['llex'])\ndef say(word, outputs=()):\n    return f'echo {word} > {outputs[0]}'")
    file.retry()
    with open(file.result(20)) as text:
        assert text.read() == "hello\n"


def test_a_longer_limit_of_the_app_holds(dfk: DataFlowKernel, notebook: Notebook) -> None:
    cell = """
@python_app(executors=["llex"], resource_specification={{"max_run_time": {limit}}})
def nap():
    import time
    time.sleep(1)
    return "rested"
"""
    notebook.run(cell.format(limit=0.2))
    future = notebook["nap"]()
    assert isinstance(error_of(future), AppTimeout)
    notebook.run(cell.format(limit=60))
    assert future.retry().result(20) == "rested"


def test_functions_of_the_same_name_from_elsewhere_are_left_alone(dfk: DataFlowKernel) -> None:
    def made(factor: int) -> Any:
        @python_app(executors=["llex"])
        def scaled(x: int, path: str) -> int:
            if not os.path.exists(path):
                raise FileNotFoundError(path)
            return x * factor

        return scaled

    path = str(dfk.run_dir / "there")
    double = made(2)(4, path)
    made(3)
    error_of(double)
    open(path, "w").close()
    assert double.retry().result(20) == 8


def test_a_function_that_cannot_travel_is_a_sentence(dfk: DataFlowKernel, notebook: Notebook) -> None:
    notebook.run(BAD)
    future = notebook["fit"](4)
    error_of(future)
    notebook["lock"] = threading.Lock()
    notebook.run("@python_app(executors=['llex'])\ndef fit(x):\n    return lock")
    with pytest.raises(RetryError, match=r"global 'lock' .* cannot be sent to a worker"):
        future.retry()
    assert future.state is TaskState.failed


# --- exactly the failed branch ---------------------------------------------------------------------------------------


def graph_of(notebook: Notebook, log: Path, tasks: int, bad: int, executor: str) -> tuple[list[AppFuture], set[int]]:
    """A random graph in which some tasks fail; its futures, and those that fail."""
    dice = random.Random(4)
    wrong = set(dice.sample(range(tasks), bad))
    notebook.update(log=str(log), wrong=wrong)
    notebook.run(STEP.format(executor=executor, condition="n in wrong"))
    futures: list[AppFuture] = []
    for n in range(tasks):
        needs = dice.sample(range(max(0, n - 40), n), min(n, dice.choice((0, 1, 1, 2))))
        futures.append(notebook["step"](n, [futures[need] for need in needs]))
    return futures, wrong


STEP = """
@python_app(executors=["{executor}"])
def step(n, needs):
    note(log, n)
    if {condition}:
        raise ValueError(n)
    return 1 + sum(needs)
"""


@pytest.mark.parametrize("executor", ["llex", "htex"])
def test_exactly_the_failed_branch_of_a_thousand_tasks_runs_again(
    sandbox: Sandbox, notebook: Notebook, executor: str
) -> None:
    kind = {
        "llex": parslab.LowLatencyExecutor(workers=2),
        "htex": parslab.HighThroughputExecutor(max_workers_per_node=2),
    }
    with run_with(sandbox, kind[executor]) as dfk:
        log = sandbox.root / "ran"
        futures, wrong = graph_of(notebook, log, 1000, 10, executor)
        failed = {n for n, future in enumerate(futures) if future.exception(60) is not None}
        ran_before = Counter(map(int, noted(log)))
        assert wrong <= failed
        assert len(failed) > 2 * len(wrong)
        unrun = {n for n in failed if futures[n].state is TaskState.dep_fail}
        assert ran_before == Counter(n for n in range(1000) if n not in unrun)
        notebook.run(STEP.format(executor=executor, condition="False"))
        said = dfk.retry()
        assert said == f"{len(failed)} tasks run again; step as now defined."
        results = [future.result(60) for future in futures]
        assert Counter(map(int, noted(log))) - ran_before == Counter(failed)
        assert min(results) == 1
        assert all(future.state is TaskState.exec_done for future in futures)


def test_retry_of_the_last_future_retries_the_chain(dfk: DataFlowKernel, notebook: Notebook, sandbox: Sandbox) -> None:
    notebook.run(BAD)
    large = same(b"x" * (1 << 20))
    last = same([same(notebook["fit"](4)), same(large)])
    del large
    error_of(last)
    notebook.run(GOOD)
    assert last.retry().result(20) == [40, b"x" * (1 << 20)]


# --- futures ---------------------------------------------------------------------------------------------------------


def test_parts_and_waiters_follow(dfk: DataFlowKernel, notebook: Notebook) -> None:
    notebook.run(BAD)
    future = notebook["fit"](4)
    part = future["a"]
    error_of(part)
    called: list[Any] = []
    future.add_done_callback(called.append)
    assert called == [future]
    notebook.run("@python_app(executors=['llex'])\ndef fit(x):\n    return {'a': x}")
    part.retry()
    later = threading.Event()
    part.add_done_callback(lambda _: later.set())
    assert concurrent.futures.wait([part, future], 20).not_done == set()
    assert next(concurrent.futures.as_completed([part], 20)).result() == 4
    assert later.wait(20)
    assert called == [future]

    async def awaited() -> Any:
        return await part

    assert asyncio.run(awaited()) == 4


def test_what_is_not_over_goes_on_and_what_has_a_result_says_so(dfk: DataFlowKernel, sandbox: Sandbox) -> None:
    @python_app(executors=["llex"])
    def waits(path: str) -> int:
        while not os.path.exists(path):
            pass
        return 1

    path = str(sandbox.root / "go")
    future = waits(path)
    assert future.retry() is future
    open(path, "w").close()
    assert future.result(20) == 1
    with pytest.raises(RetryError, match=r"Task \d+ \(waits\) has a result: there is nothing to try again\."):
        future.retry()
    assert dfk.retry() == "No task has failed."


def test_a_cancelled_task_begins_when_its_worker_has_let_go(dfk: DataFlowKernel, sandbox: Sandbox) -> None:
    path = sandbox.root / "ran"

    @python_app(executors=["llex"])
    def stubborn() -> int:
        import time

        number = len(noted(path))
        note(path, os.getpid())
        while number == 0:
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(30)
        first = int(noted(path)[0])
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, 0)
            if first != os.getpid():
                raise AssertionError("both at once")
        return number

    future = stubborn()
    until(lambda: bool(noted(path)), 20)
    assert future.cancel()
    assert future.retry().result(30) == 1
    assert len(noted(path)) == 2


def test_retry_in_a_callback_knows_of_what_came_with_it(dfk: DataFlowKernel, notebook: Notebook) -> None:
    """What failed because of it came in the same batch, and was not looked at yet when the callback asked."""
    notebook.run(BAD)
    tried = threading.Event()

    def mend(future: AppFuture) -> None:
        notebook.run(GOOD)
        future.retry()
        tried.set()

    gate: concurrent.futures.Future[int] = concurrent.futures.Future()
    first = notebook["fit"](same(gate))
    first.add_done_callback(mend)
    others = [same(first) for _ in range(50)]
    gate.set_result(4)
    assert tried.wait(20)
    assert [future.result(20) for future in (first, *others)] == [40] * 51


# --- joins and threads -----------------------------------------------------------------------------------------------


def test_joins_wait_again_for_what_failed_in_them(dfk: DataFlowKernel, notebook: Notebook, sandbox: Sandbox) -> None:
    bodies, log = sandbox.root / "bodies", sandbox.root / "ran"
    notebook.update(bodies=bodies, log=str(log))
    notebook.run(STEP.format(executor="llex", condition="n == 3"))
    notebook.run(
        "@join_app\ndef inner(n):\n    note(bodies, f'inner {n}')\n    return [step(i, []) for i in range(n)]\n"
        "@join_app\ndef outer():\n    note(bodies, 'outer')\n    return [inner(2), inner(5)]"
    )
    future = notebook["outer"]()
    after = same(future)
    assert isinstance(error_of(future), JoinError)
    error_of(after)
    notebook.run(STEP.format(executor="llex", condition="False"))
    future.retry()
    assert after.result(20) == future.result(20) == [[1, 1], [1] * 5]
    assert Counter(noted(bodies)) == Counter(["outer", "inner 2", "inner 5"])
    assert Counter(noted(log)) == Counter([*"01", *"012334"])


def test_redefined_join_runs_its_body_again(dfk: DataFlowKernel, notebook: Notebook) -> None:
    notebook.run(BAD)
    notebook.run("@join_app\ndef outer(x):\n    return fit(x)")
    future = notebook["outer"](4)
    error_of(future)
    notebook.run("@join_app\ndef outer(x):\n    return [same(x)]")
    assert future.retry().result(20) == [4]


def test_a_join_whose_body_failed_runs_it_again(dfk: DataFlowKernel, notebook: Notebook) -> None:
    notebook.run("@join_app\ndef outer(x):\n    raise KeyError(x)")
    future = notebook["outer"](4)
    error_of(future)
    notebook.run("@join_app\ndef outer(x):\n    return same(x)")
    assert future.retry().result(20) == 4


def test_thread_pool_tasks_and_what_hangs_on_them(dfk: DataFlowKernel, notebook: Notebook) -> None:
    """The notebook keeps what it takes to run them again, though it has the last future alone."""
    notebook.run("@python_app(executors=['threads'])\ndef local(x):\n    raise KeyError(x)")
    thing = {"by": "reference"}
    last = same(same(notebook["local"](thing)))
    error_of(last)
    notebook.run("@python_app(executors=['threads'])\ndef local(x):\n    x['seen'] = True\n    return x")
    assert last.retry().result(20) == {"by": "reference", "seen": True}
    assert thing["seen"]


def test_foreign_futures_are_a_sentence(dfk: DataFlowKernel) -> None:
    foreign: concurrent.futures.Future[int] = concurrent.futures.Future()
    future = same(foreign)
    foreign.set_exception(ValueError("theirs"))
    error_of(future)
    with pytest.raises(
        RetryError, match=r"stands for a future that is not of this run .* only who made it can try again"
    ):
        future.retry()


# --- from the panel --------------------------------------------------------------------------------------------------


def rows(dfk: DataFlowKernel, *states: str) -> int:
    answer = dfk.ask(TaskPageRequest("", states=list(states)))
    assert isinstance(answer, TaskPage)
    return answer.total


def test_the_panel_retries_with_the_functions_of_now(dfk: DataFlowKernel, notebook: Notebook) -> None:
    notebook.run(BAD)
    futures = [same(notebook["fit"](n)) for n in range(3)]
    for future in futures:
        error_of(future)
    assert rows(dfk, "failed", "dep_fail") == 6
    notebook.run(GOOD)
    answer = dfk.ask(RetryRequest("", everything=True, app="other"))
    assert answer == CommandReply("", "No task of app other has failed.")
    answer = dfk.ask(RetryRequest("", everything=True, app="fit"))
    assert isinstance(answer, CommandReply)
    assert (
        answer.text
        == "6 tasks run again, 3 of them because they hang together with what was asked for; fit as now defined."
    )
    assert [future.result(20) for future in futures] == [0, 10, 20]
    assert rows(dfk, "failed", "dep_fail") == 0
    snapshot = dfk.ask(SnapshotRequest(subscribe=False))
    assert isinstance(snapshot, Snapshot)
    assert snapshot.overview.counts == {"exec_done": 6}
    assert {node.state for node in snapshot.nodes} == {"exec_done"}
    shown = detail(dfk, futures[0])
    assert (shown.row.error, shown.traceback, shown.row.shown) == ("", "", "task 0")
