"""The test suite that every executor must pass, through the public API.

A member of the family makes a subclass in a test file of its own; pytest finds the rest::

    class TestMine(ExecutorSuite):
        def executor(self):
            return MyExecutor(label="mine")

A flag of the class says what an executor does differently on purpose, and a test checks that too.  This module needs
pytest.
"""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import CancelledError, as_completed
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab.errors import AppError, AppExit, DependencyError, JoinError, RemoteTraceback, SerializationError
from parslab.records.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.executors import Executor

__all__ = ["ExecutorSuite", "eventually"]

_LIMIT = 30.0
"""Seconds that any single result may take on a busy machine."""


def eventually(holds: Callable[[], Any], limit: float = _LIMIT) -> Any:
    """Wait until ``holds()`` is true and return what it returned.

    Raises
    ------
    AssertionError
        ``holds()`` was false until the limit had passed.
    """
    pause, deadline = threading.Event(), time.monotonic() + limit
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never came true"
        pause.wait(0.01)
    return found


class ExecutorSuite:
    """The suite; subclasses are collected by pytest.

    Attributes
    ----------
    by_reference : bool
        Whether the task works on the caller's objects, because arguments and results are not copied.
    interrupts : bool
        Whether cancelling a running task ends its body; otherwise a running task cannot be cancelled.
    captures_output : bool
        Whether ``AppFuture.logs`` returns the output of a task.
    """

    by_reference = False
    interrupts = True
    captures_output = True

    def executor(self) -> Executor:
        """Return the executor to test."""
        raise NotImplementedError

    def joined(self, kernel: DataFlowKernel) -> contextlib.AbstractContextManager[Any]:
        """Do what the executor needs beside ``load``, such as starting workers on another host."""
        return contextlib.nullcontext()

    @pytest.fixture
    def kernel(self, tmp_path: Path) -> Iterator[DataFlowKernel]:
        """Load a run that has only this executor."""
        config = parslab.Config(executors=[self.executor()], run_dir=str(tmp_path / "runinfo"))
        with parslab.load(config) as kernel, self.joined(kernel):
            yield kernel

    # ----- results

    def test_results(self, kernel: DataFlowKernel) -> None:
        """Arguments and results of every kind arrive unchanged."""

        @parslab.python_app
        def echo(*args: Any, **kwargs: Any) -> Any:
            return args, kwargs

        for value in (None, 1, 2.5, "text", b"bytes", [1, {"a": (2, 3)}], {1, 2}):
            assert echo(value, k=value).result(_LIMIT) == ((value,), {"k": value})
        future = echo()
        assert future.result(_LIMIT) == ((), {})
        assert future.state is TaskState.exec_done
        assert future.exception() is None

    def test_exceptions(self, kernel: DataFlowKernel) -> None:
        """Exceptions keep their type, and show where they were raised."""

        class OfTheUser(LookupError):
            pass

        @parslab.python_app
        def fails(kind: Any) -> None:
            raise kind("no such thing")

        for kind in (ValueError, OfTheUser):
            future = fails(kind)
            error = future.exception(_LIMIT)
            assert error is not None
            assert type(error).__name__ == kind.__name__
            assert isinstance(error, kind.__mro__[1])
            assert error.args == ("no such thing",)
            assert isinstance(error.__cause__, RemoteTraceback)
            assert "in fails" in error.__cause__.text
            assert 'raise kind("no such thing")' in error.__cause__.text
            assert "in fails" in str(future.traceback())
            assert future.state is TaskState.failed

    def test_sys_exit_ends_only_the_task(self, kernel: DataFlowKernel) -> None:
        """``sys.exit`` in a task ends neither the worker nor the process that waits for the result."""

        @parslab.python_app
        def leaves() -> None:
            import sys

            sys.exit(3)

        # The second call shows that the first one has not ended the worker.
        for _ in range(2):
            error = leaves().exception(_LIMIT)
            assert isinstance(error, AppExit)
            assert "sys.exit(3)" in str(error)

    def test_bash_apps(self, kernel: DataFlowKernel, tmp_path: Path) -> None:
        """The command line of a bash app runs on the executor."""

        @parslab.bash_app
        def writes(text: str, stdout: str) -> str:
            return f"echo {text}; test {text} != bad"

        out = str(tmp_path / "out.txt")
        assert writes("good", stdout=out).result(_LIMIT) == 0
        assert (tmp_path / "out.txt").read_text() == "good\n"
        assert isinstance(writes("bad", stdout=out).exception(_LIMIT), AppError)

    # ----- the graph

    def test_dependencies(self, kernel: DataFlowKernel) -> None:
        """Futures at any depth are waited for and replaced by their values."""

        @parslab.python_app
        def add(*numbers: Any) -> int:
            total = 0
            for number in numbers:
                total += sum(number) if isinstance(number, list) else number
            return total

        one = add(1)
        left, right = add(one, 10), add(one, 100)
        assert add(left, right).result(_LIMIT) == 112
        assert add([one, left], right).result(_LIMIT) == 113
        chain = one
        for _ in range(50):
            chain = add(chain, 1)
        assert chain.result(_LIMIT) == 51

    def test_parts_of_results(self, kernel: DataFlowKernel) -> None:
        """A part of a future is a dependency on its task."""

        @parslab.python_app
        def table() -> dict[str, list[int]]:
            return {"a": [1, 2]}

        @parslab.python_app
        def double(x: int) -> int:
            return 2 * x

        future = table()
        assert double(future["a"][1]).result(_LIMIT) == 4
        assert future["a"].result(_LIMIT) == [1, 2]

    def test_failures_travel_along_the_graph(self, kernel: DataFlowKernel) -> None:
        """Dependents do not run, and name the task that really failed."""

        @parslab.python_app
        def fails() -> None:
            raise ValueError("the root")

        @parslab.python_app
        def uses(x: Any) -> Any:
            return x

        root = fails()
        end = uses(uses(root))
        error = end.exception(_LIMIT)
        assert isinstance(error, DependencyError)
        assert "the root" in str(error)
        assert error.roots[0][0] == root.task_id
        assert end.state is TaskState.dep_fail

    def test_joins(self, kernel: DataFlowKernel) -> None:
        """A join app's result is that of the futures it returned."""

        @parslab.python_app
        def square(x: int) -> int:
            if x > 100:
                raise ValueError("too large")
            return x * x

        @parslab.join_app
        def squares(numbers: list[int]) -> Any:
            return [square(n) for n in numbers]

        @parslab.join_app
        def one(x: int) -> Any:
            return square(x)

        @parslab.python_app
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        assert squares([1, 2, 3]).result(_LIMIT) == [1, 4, 9]
        assert squares([]).result(_LIMIT) == []
        assert total(squares([1, 2])).result(_LIMIT) == 5
        assert one(total([one(2), 1])).result(_LIMIT) == 25
        assert isinstance(squares([1, 101]).exception(_LIMIT), JoinError)

    # ----- many and large

    def test_many_tasks(self, kernel: DataFlowKernel) -> None:
        """Each of many tasks ends once, with its own value."""

        @parslab.python_app
        def same(x: int) -> int:
            return x

        futures: list[Any] = [same(n) for n in range(2000)]
        assert [future.result(_LIMIT) for future in futures] == list(range(2000))
        some: list[Any] = [same(n) for n in range(100)]
        assert {future.result() for future in as_completed(some, _LIMIT)} == set(range(100))
        assert kernel.unfinished == 0

    def test_large_values(self, kernel: DataFlowKernel) -> None:
        """Values of megabytes arrive as arguments, as results, and from task to task."""

        @parslab.python_app
        def grow(data: bytes) -> bytes:
            return data + b"!"

        data = bytes(range(256)) * (8 << 12)
        assert grow(grow(data)).result(_LIMIT) == data + b"!!"

    # ----- cancel

    def test_cancel_before_it_runs(self, kernel: DataFlowKernel, tmp_path: Path) -> None:
        """A task that waits for another one never runs, and neither do its dependents."""
        gate, ran = tmp_path / "gate", tmp_path / "ran"
        opened, touch = self._gate(), self._touch()
        first = opened(str(gate))
        waits = touch(str(ran), first)
        after = touch(str(ran), waits)
        assert waits.cancel()
        with pytest.raises(CancelledError):
            waits.result(_LIMIT)
        gate.touch()
        assert first.result(_LIMIT) == "opened"
        assert isinstance(after.exception(_LIMIT), DependencyError)
        assert not waits.running()
        assert not ran.exists()
        assert not first.cancel()

    def test_cancel_while_it_runs(self, kernel: DataFlowKernel, tmp_path: Path) -> None:
        """The future is cancelled at once, or says that it cannot be; the executor continues with other tasks."""
        gate, begun, late, ended = (tmp_path / name for name in ("gate", "begun", "late", "ended"))

        @parslab.python_app
        def endless(begun: str, gate: str, late: str, ended: str) -> None:
            import os
            import time

            open(begun, "w").close()
            try:
                while not os.path.exists(gate):
                    time.sleep(0.01)
                open(late, "w").close()
            finally:
                open(ended, "w").close()

        future = endless(str(begun), str(gate), str(late), str(ended))
        eventually(begun.exists)
        assert future.cancel() is self.interrupts
        if self.interrupts:
            with pytest.raises(CancelledError):
                future.result(_LIMIT)
            eventually(ended.exists)
        touch = self._touch()
        assert [touch(str(tmp_path / str(n)), None).result(_LIMIT) for n in range(4)] == ["touched"] * 4
        gate.touch()
        if not self.interrupts:
            assert future.result(_LIMIT) is None
            assert late.exists()
        else:
            # A body that still ran would see the gate while the worker runs these tasks.
            assert [touch(str(tmp_path / str(n)), None).result(_LIMIT) for n in range(4)] == ["touched"] * 4
            assert not late.exists()

    @staticmethod
    def _gate() -> Any:
        @parslab.python_app
        def opened(path: str) -> str:
            import os
            import time

            while not os.path.exists(path):
                time.sleep(0.01)
            return "opened"

        return opened

    @staticmethod
    def _touch() -> Any:
        @parslab.python_app
        def touch(path: str, _: Any) -> str:
            open(path, "w").close()
            return "touched"

        return touch

    # ----- functions and values as they are now

    def test_a_function_that_is_defined_anew(self, kernel: DataFlowKernel) -> None:
        """The next call sees redefined helpers, changed globals and changed lists."""
        names: dict[str, Any] = {"__name__": "__main__", "factor": 2, "offsets": [1]}
        exec("def helper(x): return x * factor + sum(offsets)\ndef f(x): return helper(x)", names)
        app = parslab.python_app(names["f"])
        assert app(5).result(_LIMIT) == 11
        names["factor"] = 3
        assert app(5).result(_LIMIT) == 16
        names["offsets"].append(10)
        assert app(5).result(_LIMIT) == 26
        exec("def helper(x): return -x", names)
        assert app(5).result(_LIMIT) == -5

    def test_arguments_are_copied_or_shared(self, kernel: DataFlowKernel) -> None:
        """Tasks work on copies, or with ``by_reference`` on the caller's objects."""

        @parslab.python_app
        def append(numbers: list[int]) -> list[int]:
            numbers.append(1)
            return numbers

        mine: list[int] = []
        result = append(mine).result(_LIMIT)
        assert result == [1]
        assert (result is mine) is self.by_reference
        assert mine == ([1] if self.by_reference else [])

    def test_what_cannot_be_pickled(self, kernel: DataFlowKernel) -> None:
        """The call refuses an argument that cannot be pickled, unless the executor pickles nothing."""

        @parslab.python_app
        def locked(lock: Any) -> bool:
            return bool(lock.locked())

        if self.by_reference:
            assert locked(threading.Lock()).result(_LIMIT) is False
            return
        with pytest.raises(SerializationError, match="argument 0 of app locked"):
            locked(threading.Lock())

        @parslab.python_app
        def makes() -> Any:
            return (n for n in range(3))

        assert isinstance(makes().exception(_LIMIT), SerializationError)

    def test_output(self, kernel: DataFlowKernel) -> None:
        """The output of a task can be read from the task's own future."""
        if not self.captures_output:
            return

        @parslab.python_app
        def says(text: str) -> None:
            import sys

            print(text)
            print(f"{text} again", file=sys.stderr)

        first, second = says("one"), says("two")
        first.result(_LIMIT)
        second.result(_LIMIT)
        assert eventually(lambda: first.logs("stdout")) == "one\n"
        assert eventually(lambda: second.logs("stderr")) == "two again\n"

    # ----- the end

    def test_a_run_that_ends_leaves_no_future_waiting(self, kernel: DataFlowKernel, tmp_path: Path) -> None:
        """Unfinished tasks are cancelled with their run."""
        running, waiting = tmp_path / "gate", self._touch()
        first = self._gate()(str(running))
        second = waiting(str(tmp_path / "after"), first)
        kernel.cleanup()
        running.touch()  # ends the body where it runs in a thread, which nothing can interrupt
        for future in (first, second):
            with pytest.raises((CancelledError, parslab.errors.ParslabError)):
                future.result(_LIMIT)
        assert not (tmp_path / "after").exists()
