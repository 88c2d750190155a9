"""What Parsl's users rely on in apps: each test is a statement about Parsl's behaviour, on a worker and in threads."""

from __future__ import annotations

import concurrent.futures
import copy
import functools
import inspect
import operator
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import parslab as parsl
from parslab import AUTO_LOGNAME, Config, File, bash_app, join_app, python_app
from parslab.app.bash import BashApp
from parslab.app.python import PythonApp
from parslab.bodies.absent import AbsentApp
from parslab.errors import (
    AppBadFormatting,
    AppTimeout,
    BadStdStreamFile,
    BashAppNoReturn,
    BashExitFailure,
    ConfigurationError,
    JoinError,
    MissingOutputs,
)
from parslab.executors import LowLatencyExecutor, ThreadPoolExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parslab import DataFlowKernel


def automatic(call: Any, stream: str) -> Any:
    """The ``std_autopath`` of the run: a File for apps with this label, else a path."""
    path = os.path.abspath(f"auto/{call['func_name']}.{stream}")
    return File(path) if call["label"] == "file" else (path, "w")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[DataFlowKernel]:
    executors = [LowLatencyExecutor(workers=1), ThreadPoolExecutor()]
    with parsl.load(Config(executors=executors, run_dir=tmp_path / "runinfo")) as dfk:
        yield dfk
    parsl.clear()


@pytest.fixture(params=["llex", "threads"])
def label(request: pytest.FixtureRequest, run: DataFlowKernel) -> str:
    return str(request.param)


# --- callables -------------------------------------------------------------------------------------------------------


def plus(a: int, b: int = 1) -> int:
    return a + b


class Adder:
    """Has a callable of each kind."""

    base = 10

    def __init__(self, amount: int = 1) -> None:
        self.amount = amount

    def __call__(self, value: int) -> int:
        return value + self.amount

    def method(self, value: int) -> int:
        return value + self.amount

    @classmethod
    def of_class(cls, value: int) -> int:
        return value + cls.base

    @staticmethod
    def static(value: int) -> int:
        return value + 1


def doubled(function: Callable[..., int]) -> Callable[..., int]:
    """Return a function with ``__wrapped__``."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> int:
        return 2 * function(*args, **kwargs)

    return wrapper


class Wrapping:
    """A callable object with ``__wrapped__``."""

    def __init__(self, function: Callable[..., int]) -> None:
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> int:
        return 3 * self.__wrapped__(*args, **kwargs)  # type: ignore[attr-defined,no-any-return]


def closure(amount: int) -> Callable[[int], int]:
    return lambda value: value + amount


CALLABLES: dict[str, tuple[Any, Any]] = {
    "function": (plus, 6),
    "lambda": (lambda value: value + 2, 7),
    "closure": (closure(3), 8),
    "partial": (functools.partial(plus, b=4), 9),
    "partial of a method": (functools.partial(Adder(5).method), 10),
    "bound method": (Adder(5).method, 10),
    "class method": (Adder.of_class, 15),
    "static method": (Adder.static, 6),
    "instance": (Adder(6), 11),
    "builtin": (abs, 5),
    "builtin of an operator": (operator.neg, -5),
    "method of a builtin": ("abcdef".__getitem__, "f"),
    "class": (float, 5.0),
    "wrapped": (doubled(plus), 12),
    "object with __wrapped__": (Wrapping(plus), 18),
    "cached": (functools.lru_cache(plus), 6),
}


def test_callables_of_every_kind(label: str) -> None:
    plain = {kind: python_app(executors=[label])(function)(5) for kind, (function, _) in CALLABLES.items()}
    cached = {kind: python_app(executors=[label], cache=True)(function)(5) for kind, (function, _) in CALLABLES.items()}
    expected = {kind: value for kind, (_, value) in CALLABLES.items()}
    assert {kind: future.result() for kind, future in plain.items()} == expected
    assert {kind: future.result() for kind, future in cached.items()} == expected


class Says:
    """Bash apps as objects."""

    def __call__(self, word: str) -> str:
        return f"test {word} = x"

    def method(self, word: str) -> str:
        return f"test {word} = x"


def test_bash_apps_of_callables_of_every_kind(label: str) -> None:
    def says(word: str, other: str = "") -> str:
        return f"test {word} = x"

    kinds: list[Any] = [
        lambda word: f"test {word} = x",
        functools.partial(says, other="y"),
        Says(),
        Says().method,
        functools.wraps(says)(lambda word: says(word)),
        "test {} = x".format,
    ]
    assert [bash_app(executors=[label])(kind)("x").result() for kind in kinds] == [0] * len(kinds)


def test_join_apps_of_callables_of_every_kind(label: str) -> None:
    add = python_app(executors=[label])(plus)

    class Joins:
        def __call__(self, value: int) -> Any:
            return add(value)

        def method(self, value: int) -> Any:
            return add(value)

    kinds: list[Any] = [
        lambda value: add(value),
        functools.partial(lambda value, f: f(value), f=add),
        Joins(),
        Joins().method,
        functools.wraps(plus)(lambda a: add(a)),
        add,
    ]
    assert [join_app(kind)(5).result() for kind in kinds] == [6] * len(kinds)


def test_an_app_may_be_a_method_of_a_class(label: str) -> None:
    class Model:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        @python_app(executors=[label])
        def times(self, value: int) -> int:
            return self.factor * value

    assert Model(3).times(5).result() == 15


# --- app objects -----------------------------------------------------------------------------------------------------


def test_app_objects_have_the_attributes_of_parsl_and_of_their_function() -> None:
    def documented(x: int, inputs: Any = (), stdout: str = "log") -> str:
        """Say something."""
        return f"echo {x}"

    app: Any = bash_app(cache=True, executors=["a", "b"], ignore_for_cache=["x"])(documented)
    assert (type(app), type(python_app(documented))) == (BashApp, PythonApp)
    assert (app.func, tuple(app.executors), app.cache, tuple(app.ignore_for_cache)) == (
        documented,
        ("a", "b"),
        True,
        ("x",),
    )
    assert app.kwargs == {"inputs": (), "stdout": "log"}
    assert (app.__name__, app.__doc__, app.__module__) == ("documented", "Say something.", __name__)
    assert app.__qualname__ == documented.__qualname__
    assert app.__wrapped__ is documented
    assert inspect.signature(app) == inspect.signature(documented)
    assert app.__annotations__ == documented.__annotations__


def test_app_objects_can_be_pickled_and_copied(label: str) -> None:
    app = python_app(executors=[label])(plus)
    assert copy.copy(app) is copy.deepcopy(app) is app
    there = pickle.loads(pickle.dumps(app))
    assert isinstance(there, AbsentApp)
    assert there.__name__ == "plus"

    @python_app(executors=[label])
    def name_of(other: Any) -> str:
        return str(other.__name__)

    assert name_of(app).result() == "plus"


def test_apps_are_bound_to_a_run_at_the_call(tmp_path: Path) -> None:
    app = python_app(plus)
    for folder in ("a", "b"):
        with parsl.load(Config(executors=[ThreadPoolExecutor()], run_dir=tmp_path / folder)):
            assert app(1).result() == 2
        parsl.clear()


def test_a_label_that_does_not_exist_is_an_error(run: DataFlowKernel) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        python_app(executors=["nowhere"])(plus)(1)


def test_ignored_parameters_do_not_count(label: str) -> None:
    calls = python_app(executors=[label], cache=True, ignore_for_cache=["verbose"])(
        lambda x, verbose=0: (x, verbose, os.urandom(4))
    )
    first = calls(1, verbose=1).result()
    assert calls(1, verbose=2).result() == first
    assert calls(1).result() == first  # Parsl: KeyError
    assert calls(2).result() != first


# --- arguments -------------------------------------------------------------------------------------------------------


def test_any_future_in_args_kwargs_and_inputs_is_waited_for(label: str) -> None:
    @python_app(executors=[label])
    def total(a: int, *, b: int, inputs: Any = ()) -> int:
        return int(a + b + sum(inputs))

    def future(value: int) -> concurrent.futures.Future[int]:
        made: concurrent.futures.Future[int] = concurrent.futures.Future()
        made.set_result(value)
        return made

    inputs: list[Any] = [future(3), total(1, b=1)]
    assert total(future(1), b=future(2), inputs=inputs).result() == 8
    assert all(isinstance(item, concurrent.futures.Future) for item in inputs)  # Parsl changes the list of the caller


def test_special_keywords_have_the_defaults_of_the_signature(label: str, tmp_path: Path) -> None:
    @bash_app(executors=[label])
    def app(word: str = "w", inputs: Any = ("i",), outputs: Any = (File("o"),), stdout: str = "log") -> str:  # noqa: B008
        return f"echo {word} {inputs[0]} {stdout} > {outputs[0]}; echo logged"

    future = app()
    assert future.result() == 0
    assert (Path("o").read_text(), Path("log").read_text()) == ("w i log\n", "logged\n")
    assert (future.stdout, [made.filepath for made in future.outputs]) == ("log", ["o"])


def test_outputs_of_python_apps_are_not_checked_and_those_of_bash_apps_are(label: str) -> None:
    @python_app(executors=[label])
    def nothing(outputs: Any = ()) -> str:
        return str(outputs[0])

    future = nothing(outputs=[File("absent")])
    assert future.outputs[0].result() == File("absent")
    assert future.result() == "absent"

    bash = bash_app(executors=[label])(lambda outputs=(): "true")
    future = bash(outputs=[File("absent")])
    with pytest.raises(MissingOutputs, match="absent"):
        future.result()
    with pytest.raises(MissingOutputs):
        future.outputs[0].result()


def test_forms_of_stdout_and_stderr(label: str) -> None:
    app = bash_app(executors=[label])(lambda: "echo out; echo err >&2")
    forms = [("log", "a"), (Path("log"), "a"), (("log", "w"), "w"), (("log", "a"), "a"), (("log", "w+"), "w")]
    for given, mode in [*forms, (File("log"), "w")]:
        kept = "old\n" if mode == "a" else ""
        head = "--> executable follows <--\necho out; echo err >&2\n--> end executable <--\n"
        for stream, said in (("stdout", "out\n"), ("stderr", f"{head}err\n")):
            Path("log").write_text("old\n")
            future = app(**{stream: given})
            assert future.result() == 0
            assert Path("log").read_text() == kept + said
            shown = getattr(future, stream)
            if isinstance(given, File):
                assert isinstance(shown, parsl.DataFuture)
                assert (shown.result(), shown.filepath) == (given, "log")
            else:
                assert shown == given


def test_streams_of_python_apps_are_recorded(label: str) -> None:
    future = python_app(executors=[label])(lambda stdout=None, stderr=None: "x")(stdout="a", stderr=("b", "w"))
    assert (future.result(), future.stdout, future.stderr) == ("x", "a", ("b", "w"))


def test_folders_of_streams_are_made_and_unopenable_ones_are_errors(label: str) -> None:
    app = bash_app(executors=[label])(lambda: "echo x")
    assert app(stdout="a/b/c").result() == 0
    assert Path("a/b/c").read_text() == "x\n"
    with pytest.raises(BadStdStreamFile):
        app(stdout="a/b/c/d").result()


def test_automatic_streams(label: str, run: DataFlowKernel) -> None:
    @bash_app(executors=[label])
    def speak(word: str) -> str:
        return f"echo {word}; echo {word} >&2"

    assert speak("first").result() == 0
    future = speak("x", stdout=AUTO_LOGNAME, stderr=AUTO_LOGNAME, label="named")
    assert future.result() == 0
    out, err = Path(future.stdout), Path(future.stderr)
    folder = run.run_dir / "task_logs" / "0000"
    assert (out, err) == (folder / "task_0001_speak_named.stdout", folder / "task_0001_speak_named.stderr")
    assert out.read_text() == "x\n"
    assert future.tid == 1


@pytest.mark.parametrize("executor", ["llex", "threads"])
def test_a_function_of_the_configuration_names_automatic_streams(tmp_path: Path, executor: str) -> None:
    executors = [LowLatencyExecutor(workers=1), ThreadPoolExecutor()]
    with parsl.load(Config(executors=executors, run_dir=tmp_path / "runinfo", std_autopath=automatic)):
        app = bash_app(executors=[executor])(plus_command)
        for name, kind in (("", tuple), ("file", parsl.DataFuture)):
            future = app("x", stdout=AUTO_LOGNAME, label=name)
            assert future.result() == 0
            assert isinstance(future.stdout, kind)
            assert Path("auto/plus_command.stdout").read_text() == "x\n"
    parsl.clear()


def plus_command(word: str) -> str:
    return f"echo {word}"


# --- bash ------------------------------------------------------------------------------------------------------------


def test_a_command_runs_with_bash_and_its_result_is_0(label: str) -> None:
    assert bash_app(executors=[label])(lambda: "[[ $BASH_VERSION ]] && test ${0##*/} = bash")().result() == 0
    with pytest.raises(BashExitFailure) as failed:
        bash_app(executors=[label])(plus_exit)(3).result()
    assert (failed.value.exitcode, failed.value.app_name) == (3, "plus_exit")


def plus_exit(code: int) -> str:
    return f"exit {code}"


def test_a_body_that_returns_no_command_is_an_error(label: str) -> None:
    for returned in (None, 5):
        with pytest.raises(BashAppNoReturn):
            bash_app(executors=[label])(lambda returned=returned: returned)().result()


def test_a_command_that_cannot_be_formatted_is_an_error(label: str) -> None:
    with pytest.raises(AppBadFormatting):
        bash_app(executors=[label])(lambda: "{} {}".format(*"x"))().result()


def test_walltime_is_an_AppTimeout_for_python_and_bash(run: DataFlowKernel) -> None:
    sleeps = python_app(executors=["llex"])(lambda seconds: __import__("time").sleep(seconds) or 1)
    with pytest.raises(AppTimeout):
        sleeps(1000, walltime=0.3).result()
    with pytest.raises(AppTimeout):
        bash_app(executors=["llex"])(lambda: "sleep 1000")(walltime=0.3).result()
    assert sleeps(0, walltime=1000).result() == 1


def test_a_join_returns_a_future_or_a_list_and_nothing_else(label: str) -> None:
    add = python_app(executors=[label])(plus)
    assert join_app(lambda: add(1))().result() == 2
    assert join_app(lambda: [add(1), add(2)])().result() == [2, 3]
    assert join_app(list)().result() == []
    for wrong in ((), 5, None):
        with pytest.raises(TypeError):
            join_app(lambda wrong=wrong: wrong)().result()
    fails = python_app(executors=[label])(lambda: 1 / 0)
    with pytest.raises(JoinError):
        join_app(lambda: [fails(), add(1)])().result()


# --- futures ---------------------------------------------------------------------------------------------------------


def test_an_app_future_is_a_future_of_the_standard_library(label: str) -> None:
    gate = Path("gate").absolute()

    @python_app(executors=[label])
    def waits(path: str) -> dict[str, list[int]]:
        import os
        import time

        while not os.path.exists(path):
            time.sleep(0.01)
        return {"a": [1, 2]}

    future: Any = waits(str(gate))
    called: list[Any] = []
    assert issubclass(type(future), concurrent.futures.Future)
    assert not future.done()
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(timeout=0.01)
    future.add_done_callback(called.append)
    part = future["a"][1]
    gate.touch()
    assert list(concurrent.futures.as_completed([future])) == [future]
    assert future.result() == {"a": [1, 2]}
    assert future.exception() is None
    assert part.result() == 2
    assert called == [future]
    assert future.task_status() == "exec_done"
    with pytest.raises(KeyError):
        future["b"].result()
    with pytest.raises(AttributeError):  # Parsl: submits a task
        future.no_such_attribute  # noqa: B018
    assert not hasattr(future, "_private")


def test_tasks_are_numbered_from_0(run: DataFlowKernel) -> None:
    app = python_app(plus)
    futures = [app(n) for n in range(3)]
    assert [future.tid for future in futures] == [0, 1, 2]
    concurrent.futures.wait(futures)


def test_an_error_keeps_its_type_its_cause_and_the_remote_traceback(label: str) -> None:
    @python_app(executors=[label])
    def fails() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second", 5) from error

    error = fails().exception()
    assert isinstance(error, ValueError)
    assert error.args == ("second", 5)
    chain = []
    cause = error.__cause__
    while cause is not None:
        chain.append(cause)
        cause = cause.__cause__
    assert "in fails" in "".join(map(str, chain))
    assert any("KeyError" in repr(one) or "KeyError" in str(one) for one in chain)


def test_a_data_future_has_the_file_and_the_failure_of_its_task(label: str) -> None:
    app = bash_app(executors=[label])(lambda code, outputs=(): f"touch {outputs[0]}; exit {code}")
    future = app(0, outputs=[File("made")])
    (made,) = future.outputs
    assert isinstance(made, parsl.DataFuture)
    assert (made.result(), made.filepath, made.filename) == (File("made"), "made", "made")
    assert (made.tid, made.parent) == (future.tid, future)
    assert made.file_obj == File("made")
    assert not made.running()
    assert not made.cancelled()
    assert python_app(executors=[label])(os.path.exists)(made).result()
    with pytest.raises(BashExitFailure):
        app(1, outputs=[File("made")]).outputs[0].result()


def test_files_of_a_call_are_copies(label: str) -> None:
    app = bash_app(executors=[label])(lambda outputs=(): f"touch {outputs[0]}")
    given = [File("made")]
    future = app(outputs=given)
    assert future.result() == 0
    assert future.outputs[0].file_obj is not given[0]
    assert len(given) == 1
    assert isinstance(given[0], File)
