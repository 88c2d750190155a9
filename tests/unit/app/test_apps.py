"""Decorators and what a call of an app hands to the run."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import PurePath
from typing import Any

import pytest

from parslab.app.base import App
from parslab.app.decorators import bash_app, join_app, python_app
from parslab.app.special import AUTO_LOGNAME
from parslab.client.futures.app_future import DataFuture
from parslab.config import Config
from parslab.data_provider.files import File
from parslab.errors import BadStdStreamFile, ConfigurationError, NoDataFlowKernelError
from tests.unit.app.fakes import FakeKernel


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    fake = FakeKernel()
    monkeypatch.setattr("parslab.app.base.loaded", lambda: fake)
    return fake


def add(a: int, b: int = 2) -> int:
    """Add."""
    return a + b


def test_an_app_looks_like_its_function() -> None:
    app = python_app(add)
    assert (app.__name__, app.__doc__, app.__module__) == ("add", "Add.", __name__)
    assert inspect.signature(app) == inspect.signature(add)
    assert app.func is add
    assert repr(app) == "<python_app add>"


@pytest.mark.parametrize("decorator", [python_app, bash_app, join_app])
def test_decorators_may_be_bare_or_called(decorator: Any) -> None:
    assert isinstance(decorator(add), App)
    assert isinstance(decorator()(add), App)
    assert decorator(ignore_for_cache=["a"])(add).ignore_for_cache == ("a",)


def test_a_plain_call_goes_through_as_it_is(kernel: FakeKernel) -> None:
    things = [1, 2]
    future = python_app(add)(things, b=3)
    function, args, kwargs, options = kernel.calls[0]
    assert args == (things,)
    assert args[0] is things
    assert kwargs == {"b": 3}
    assert options == {"executors": "all", "cell": "", "spec": None, "calls": None}
    assert (function.function, function.runner, future.app_name) == (add, None, "add")


def test_executors_are_labels() -> None:
    assert python_app(add).executors == "all"
    assert python_app(executors="threads")(add).executors == ("threads",)
    assert python_app(executors=["a", "b"])(add).executors == ("a", "b")
    for wrong in ([], [1], 3):
        with pytest.raises(ConfigurationError, match="executors must be 'all' or a list of labels"):
            python_app(executors=wrong)(add)  # type: ignore[arg-type]


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match="python_app is made from a function"):
        python_app(3)  # type: ignore[call-overload]


def test_async_functions_are_python_apps_only() -> None:
    async def later() -> None: ...

    assert python_app(later).__name__ == "later"
    with pytest.raises(TypeError, match="later is an async one"):
        bash_app(later)


def test_app_with_cache_sends_its_rules_for_identities(kernel: FakeKernel) -> None:
    app = python_app(cache=True, ignore_for_cache=["b"])(add)
    assert app.cache
    app(1, b=2)
    calls = kernel.calls[-1][-1]["calls"]
    assert (calls.memo, calls.ignored) == (True, {"b"})
    assert calls.parameters.identify((1,), {"b": 2}) == calls.parameters.identify((), {"a": 1, "b": 3})


def test_missing_run_fails_the_call_not_the_decorator() -> None:
    app = python_app(add)
    with pytest.raises(NoDataFlowKernelError, match="load"):
        app(1)


def test_an_app_may_be_bound_to_a_run() -> None:
    own = FakeKernel()
    python_app(data_flow_kernel=own.itself)(add)(1)
    assert own.last == ((1,), {})


def test_on_a_worker_an_app_says_why_it_cannot_be_called() -> None:
    absent = pickle.loads(pickle.dumps(python_app(add)))
    assert absent.__name__ == "add"
    with pytest.raises(NoDataFlowKernelError, match=r"called inside a task.*join_app"):
        absent(1)


def test_copies_of_an_app_are_the_app() -> None:
    app = python_app(add)
    assert copy.deepcopy([app])[0] is app


def test_a_method_gets_its_instance(kernel: FakeKernel) -> None:
    class Model:
        @python_app
        def fit(self, rounds: int) -> None: ...

    model = Model()
    model.fit(3)
    assert kernel.last == ((model, 3), {})
    assert isinstance(Model.fit, App)


# --- special keywords ------------------------------------------------------------------------------------------------


@bash_app
def sort(inputs: Any = (), outputs: Any = (), stdout: Any = None) -> str:
    return f"sort {inputs[0]} > {outputs[0]}"


@bash_app
def echo(word: str) -> str:
    return f"echo {word}"


def test_the_callers_lists_are_left_alone(kernel: FakeKernel) -> None:
    inputs, outputs = ["a"], [File("b"), "c", PurePath("d")]
    future = sort(inputs=inputs, outputs=outputs)
    _, kwargs = kernel.last
    assert kwargs["inputs"] == ["a"]
    assert kwargs["inputs"] is not inputs
    assert outputs == [File("b"), "c", PurePath("d")]
    assert kwargs["outputs"] == [File("b"), File("c"), File("d")]
    assert [type(output) for output in future.outputs] == [DataFuture] * 3
    assert [output.filepath for output in future.outputs] == ["b", "c", "d"]


def test_special_parameters_may_be_positional(kernel: FakeKernel) -> None:
    future = sort(["a"], ["b"])
    assert kernel.last == ((), {"inputs": ["a"], "outputs": [File("b")], "stdout": None})
    assert len(future.outputs) == 1


def test_defaults_of_special_parameters_count(kernel: FakeKernel) -> None:
    @bash_app
    def logged(word: str, stdout: Any = AUTO_LOGNAME, *, loud: bool = False) -> str:
        return f"echo {word}"

    first, second = logged("x"), logged("y", loud=True)
    assert first.stdout == "/runs/000/task_logs/0000/task_0000_logged.stdout"
    assert second.stdout == "/runs/000/task_logs/0000/task_0001_logged.stdout"
    assert kernel.last == (("y",), {"stdout": second.stdout, "loud": True})


def test_both_automatic_streams_of_a_call_belong_together(kernel: FakeKernel) -> None:
    future = echo("x", stdout=AUTO_LOGNAME, stderr=AUTO_LOGNAME, label="my run/7")
    assert future.stdout == "/runs/000/task_logs/0000/task_0000_echo_myrun7.stdout"
    assert future.stderr == "/runs/000/task_logs/0000/task_0000_echo_myrun7.stderr"


def test_a_function_of_the_configuration_may_choose_automatic_files(kernel: FakeKernel) -> None:
    calls: list[dict[str, Any]] = []

    def choose(call: dict[str, Any], stream: str) -> Any:
        calls.append(call)
        return File("chosen.out") if stream == "stdout" else (PurePath("chosen.err"), "w")

    kernel.config = Config(std_autopath=choose)
    future = echo("x", stdout=AUTO_LOGNAME, stderr=AUTO_LOGNAME, label="mine")
    assert isinstance(future.stdout, DataFuture)
    assert future.stderr == (PurePath("chosen.err"), "w")
    assert kernel.last[1]["stdout"] == ("chosen.out", "w")
    assert [(call["func_name"], call["args"], call["label"], call["id"]) for call in calls] == [
        ("echo", ("x",), "mine", 0)
    ] * 2
    kernel.config = Config(std_autopath=lambda call, stream: PurePath(stream))
    assert echo("x", stdout=AUTO_LOGNAME).stdout == PurePath("stdout")
    assert kernel.last[1]["stdout"] == "stdout"


def test_options_of_parsl_may_be_given_by_position() -> None:
    app = python_app(add, None, True, ["threads"], ["b"])
    assert isinstance(app, App)
    assert (app.cache, app.executors, app.ignore_for_cache) == (True, ("threads",), ("b",))
    assert join_app(add, None, True).cache


def test_streams_are_shown_as_given(kernel: FakeKernel) -> None:
    future = echo("x", stdout=PurePath("out"), stderr=("err", "w"))
    assert (future.stdout, future.stderr) == (PurePath("out"), ("err", "w"))
    assert kernel.last == (("x",), {"stdout": "out", "stderr": ("err", "w")})


def test_a_file_as_stream_is_an_output(kernel: FakeKernel) -> None:
    future = echo("x", stdout=File("out"))
    assert isinstance(future.stdout, DataFuture)
    assert kernel.last[1]["stdout"] == ("out", "w")


@pytest.mark.parametrize("wrong", [3, ("out", "r"), ("out", 3), ("a", "w", "x")])
def test_wrong_streams_are_refused_at_the_call(kernel: FakeKernel, wrong: Any) -> None:
    with pytest.raises(BadStdStreamFile, match="stdout"):
        echo("x", stdout=wrong)
    assert not kernel.calls


def test_wrong_file_lists_are_refused_at_the_call(kernel: FakeKernel) -> None:
    with pytest.raises(TypeError, match="outputs must be a list, not 'b'"):
        sort(inputs=["a"], outputs="b")
    with pytest.raises(TypeError, match="outputs must be a list of File objects or paths, it has 3"):
        sort(inputs=["a"], outputs=[3])


def test_a_python_app_gets_only_what_it_takes(kernel: FakeKernel) -> None:
    with pytest.raises(TypeError, match=r"add\(\) got an unexpected keyword argument 'outputs'"):
        python_app(add)(1, outputs=[])

    @python_app
    def write(text: str, outputs: Any = ()) -> None: ...

    future = write("x", outputs=[File("a")])
    assert kernel.last == (("x",), {"outputs": [File("a")]})
    assert future.outputs[0].file_obj == File("a")


def test_a_python_app_may_use_special_names_for_itself(kernel: FakeKernel) -> None:
    @python_app
    def loss(inputs: Any, outputs: Any, stdout: Any = None, label: Any = None) -> None: ...

    stream, future = object(), kernel.submit(python_app(add).code, (), {})
    for outputs in ({"a": 1}, ["names"], 7, (), future):
        assert loss({"x": 1}, outputs, stdout=stream, label=3).outputs == []
        _, kwargs = kernel.last
        assert kwargs["inputs"] == {"x": 1}
        assert kwargs["outputs"] is outputs
        assert (kwargs["stdout"], kwargs["label"]) == (stream, 3)


def test_any_keyword_function_gets_all(kernel: FakeKernel) -> None:
    @python_app
    def free(*args: Any, **kwargs: Any) -> None: ...

    free(1, 2, inputs=[3], other=4)
    assert kernel.last == ((1, 2), {"inputs": [3], "other": 4})


def test_join_apps_hand_over_their_function(kernel: FakeKernel) -> None:
    future = join_app(add)(1, b=2)
    function, args, kwargs, options = kernel.calls[0]
    assert (function.function, args, kwargs, options) == (
        add,
        (1,),
        {"b": 2},
        {"name": "add", "cell": "", "spec": None, "calls": None},
    )
    assert future.app_name == "add"
