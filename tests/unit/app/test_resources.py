"""What decorators and calls say of resources and limits, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from parslab import description
from parslab.app.decorators import bash_app, join_app, python_app
from parslab.app.resources import specification
from parslab.errors import ConfigurationError, IgnoredOption
from parslab.wire.messages.base import TaskSpec
from tests.unit.app.fakes import FakeKernel

ALL = {"cores": 2, "memory": 500, "gpus": 1, "priority": -1, "max_run_time": 60, "retries": 3}
KEYWORDS = ("parsl_resource_specification", "parslab_resource_specification")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    fake = FakeKernel()
    monkeypatch.setattr("parslab.app.base.loaded", lambda: fake)
    return fake


def spec_of(kernel: FakeKernel) -> TaskSpec | None:
    """That of the last call."""
    spec: TaskSpec | None = kernel.calls[-1][3]["spec"]
    return spec


def test_every_key_is_read() -> None:
    assert specification("fit", ALL) == TaskSpec(2.0, 500_000_000, 1, -1.0, 60.0, 3)


def test_keys_of_other_executors_of_parsl_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "_warned", set())
    asked = {"cores": 2, "memory": 500, "disk": 1000, "running_time_min": 60}
    with pytest.warns(IgnoredOption) as warned:
        assert specification("fit", asked) == specification("fit", asked) == TaskSpec(2.0, 500_000_000)
    assert [str(each.message).split(":")[1].split()[0] for each in warned] == ["disk", "running_time_min"]
    flux = {"cores_per_task": 2, "gpus_per_task": 1, "num_tasks": 1, "num_nodes": 1}
    assert specification("fit", flux) == TaskSpec(cores=2.0, gpus=1)
    with pytest.raises(ConfigurationError, match="resource_specification has no key 'num_tasks'"):
        specification("fit", {"num_tasks": 2})


def test_asking_for_nothing_costs_nothing() -> None:
    assert specification("fit", {}) is None
    assert specification("fit", {"cores": None}) is None


@pytest.mark.parametrize(
    ("said", "size"),
    [
        (1, 10**6),
        (0.5, 500_000),
        ("4GB", 4 * 10**9),
        ("4 gb", 4 * 10**9),
        ("4G", 4 * 10**9),
        ("1.5GiB", 3 << 29),
        ("512MiB", 512 << 20),
        ("100", 100 * 10**6),
        ("2 TB", 2 * 10**12),
        ("8000 B", 8000),
        ("4 Gi", 4 << 30),
    ],
)
def test_memory_is_a_number_of_megabytes_or_has_a_unit(said: Any, size: int) -> None:
    assert specification("fit", {"memory": said}) == TaskSpec(memory=size)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"cpus": 2}, "has no key 'cpus'; its keys are cores, memory, gpus, priority, max_run_time, retries."),
        ({"cores": 0}, "cores of resource_specification must be a number above 0, not 0."),
        ({"cores": "2"}, "must be a number above 0, not '2'."),
        ({"cores": True}, "must be a number above 0, not True."),
        ({"cores": float("nan")}, "must be a number above 0, not nan."),
        (
            {"memory": "lots"},
            "memory of resource_specification must be a number of megabytes above 0, or a text such as",
        ),
        ({"memory": "-1GB"}, "not '-1GB'."),
        ({"memory": 0}, "not 0."),
        ({"gpus": 0.5}, "gpus of resource_specification must be a whole number of at least 0, not 0.5."),
        ({"gpus": -1}, "not -1."),
        ({"priority": "high"}, "priority of resource_specification must be a number, not 'high'."),
        ({"priority": float("inf")}, "must be a number, not inf."),
        ({"max_run_time": "00:10:00"}, "must be a number of seconds above 0, not '00:10:00'."),
        ({"retries": 1.5}, "must be a whole number of at least 0, not 1.5."),
        ({"retries": float("nan")}, "not nan."),
    ],
)
def test_what_is_wrong_is_one_sentence(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        specification("fit", asked)
    assert str(raised.value).startswith("App fit: ")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_numbers_of_other_types_count() -> None:
    class Numeric:
        """As NumPy's scalars are."""

        def __float__(self) -> float:
            return 2.0

    assert specification("fit", {"cores": Numeric(), "retries": Numeric()}) == TaskSpec(cores=2.0, retries=2)


@pytest.mark.parametrize("decorator", [python_app, bash_app, join_app])
def test_a_decorator_says_it_for_every_call(kernel: FakeKernel, decorator: Any) -> None:
    @decorator(resource_specification={"retries": 2})  # type: ignore[untyped-decorator]
    def fit(x: int) -> str:
        return f"echo {x}"

    fit(1)
    assert spec_of(kernel) == TaskSpec(retries=2)
    assert kernel.last == ((1,), {})


def test_wrong_decorator_is_refused_at_its_line() -> None:
    with pytest.raises(ConfigurationError, match="App fit: cores of resource_specification must be"):

        @python_app(resource_specification={"cores": "many"})
        def fit() -> None: ...

    with pytest.raises(ConfigurationError, match="is a dictionary such as"):
        python_app(resource_specification=[("cores", 2)])(fit_anything)  # type: ignore[call-overload]


def fit_anything(*args: Any, **kwargs: Any) -> None:
    """Takes what comes."""


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_a_call_says_it_for_itself(kernel: FakeKernel, keyword: str) -> None:
    app = python_app(resource_specification={"cores": 1, "gpus": 1})(abs)
    app(-3, **{keyword: {"cores": 4}})
    assert spec_of(kernel) == TaskSpec(cores=4.0, gpus=1)
    assert kernel.last == ((-3,), {})
    app(-3)
    assert spec_of(kernel) == TaskSpec(cores=1.0, gpus=1)
    app(-3, **{keyword: {"gpus": None}})
    assert spec_of(kernel) == TaskSpec(cores=1.0)
    app(-3, **{keyword: None})
    assert spec_of(kernel) == TaskSpec(cores=1.0, gpus=1)
    with pytest.raises(ConfigurationError, match="App abs: resource_specification has no key 'cpus'"):
        app(-3, **{keyword: {"cpus": 4}})
    with pytest.raises(ConfigurationError, match="App abs: a resource specification is a dictionary"):
        app(-3, **{keyword: 4})


def test_of_both_keywords_ours_counts(kernel: FakeKernel) -> None:
    python_app(abs)(
        -3, parsl_resource_specification={"cores": 1, "gpus": 1}, parslab_resource_specification={"cores": 2}
    )
    assert spec_of(kernel) == TaskSpec(cores=2.0, gpus=1)


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_it_does_not_reach_functions_that_take_anything(kernel: FakeKernel, keyword: str) -> None:
    for decorator in (python_app, bash_app, join_app):
        decorator(fit_anything)(1, other=2, **{keyword: {"retries": 1}})
        assert kernel.last == ((1,), {"other": 2})
        assert spec_of(kernel) == TaskSpec(retries=1)


def test_a_function_may_have_its_own_default(kernel: FakeKernel) -> None:
    @python_app
    def fit(x: int, parsl_resource_specification: Any = {"priority": 3}) -> None: ...  # noqa: B006

    fit(1)
    assert spec_of(kernel) == TaskSpec(priority=3.0)
    fit(1, parsl_resource_specification={"priority": 4})
    assert spec_of(kernel) == TaskSpec(priority=4.0)
    assert kernel.last == ((1,), {"parsl_resource_specification": {"priority": 4}})


@pytest.mark.parametrize("decorator", [python_app, bash_app])
def test_walltime_is_a_limit(kernel: FakeKernel, decorator: Any) -> None:
    def fit(x: int) -> str:
        return f"echo {x}"

    def timed(x: int, walltime: float = 5) -> str:
        return f"echo {x} {walltime}"

    app = decorator(fit)
    app(1, walltime=30)
    assert spec_of(kernel) == TaskSpec(max_run_time=30.0)
    assert kernel.last == ((1,), {})
    app(1, walltime=None)
    assert spec_of(kernel) is None
    decorator(timed)(1)
    assert spec_of(kernel) == TaskSpec(max_run_time=5.0)
    decorator(timed)(1, walltime=7)
    assert spec_of(kernel) == TaskSpec(max_run_time=7.0)
    assert kernel.last == ((1,), {"walltime": 7})
    for wrong in (0, -1, "00:10:00", True):
        with pytest.raises(ConfigurationError, match=r"App fit: walltime must be a number of seconds above 0, not "):
            app(1, walltime=wrong)


def test_of_two_limits_the_shorter_one_counts(kernel: FakeKernel) -> None:
    app = python_app(resource_specification={"max_run_time": 10})(abs)
    app(-1, walltime=5)
    assert spec_of(kernel) == TaskSpec(max_run_time=5.0)
    app(-1, walltime=50)
    assert spec_of(kernel) == TaskSpec(max_run_time=10.0)
