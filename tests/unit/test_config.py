"""Descriptions: checked when made or changed, equal by value, and shown as the call that makes them."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parslab.config import Config
from parslab.errors import ConfigurationError
from parslab.executors import Executor, LowLatencyExecutor, ThreadPoolExecutor
from parslab.records.executor_settings import ThreadPoolSettings

if TYPE_CHECKING:
    from parslab.description import Description

SAMPLES = [
    Config(),
    Config(executors=[ThreadPoolExecutor(max_threads=3), LowLatencyExecutor()], run_dir=Path("runs")),
    Config(exit_mode="wait"),
    Config(retries=2, strategy="none", strategy_period=0.5, max_idletime="00:05:00"),
    LowLatencyExecutor(workers=4, environment={"A": "b c"}, threads_per_worker=2, address="127.0.0.1", port=5000),
    LowLatencyExecutor(label="fast"),
    ThreadPoolExecutor(),
]


@pytest.mark.parametrize("made", SAMPLES, ids=repr)
def test_repr_is_the_call_that_makes_it(made: Description) -> None:
    again = eval(repr(made), {kind.__name__: kind for kind in (Config, LowLatencyExecutor, ThreadPoolExecutor)})
    assert again == made
    assert hash(again) == hash(made)


@pytest.mark.parametrize("made", SAMPLES, ids=repr)
def test_copies_are_equal(made: Description) -> None:
    assert pickle.loads(pickle.dumps(made)) == made
    for made_again in (copy.copy(made), copy.deepcopy(made)):
        assert made_again == made
        assert made_again is not made


def test_a_default_given_is_a_default() -> None:
    assert LowLatencyExecutor(workers=None, port=0) == LowLatencyExecutor()
    assert Config(executors=(LowLatencyExecutor(),)) == Config()


def test_different_kinds_are_different() -> None:
    assert LowLatencyExecutor(label="x") != ThreadPoolExecutor(label="x")
    assert ThreadPoolExecutor(max_threads=1) != ThreadPoolExecutor()


def test_the_default_runs_on_workers_only() -> None:
    assert [executor.label for executor in Config().executors] == ["llex"]


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (
            LowLatencyExecutor,
            {"workers": 0},
            "Executor: workers must be a whole number of at least 1, not 0.",
        ),
        (LowLatencyExecutor, {"workers": True}, "workers must be a whole number"),
        (LowLatencyExecutor, {"workers": 2.0}, "workers must be a whole number"),
        (LowLatencyExecutor, {"worker": 2}, "has no option 'worker'; its options are label, workers"),
        (LowLatencyExecutor, {"port": 70000, "address": "::1"}, "port must be a whole number from 0 to 65535"),
        (LowLatencyExecutor, {"port": 70}, "port 70 means nothing without address"),
        (LowLatencyExecutor, {"address": " "}, "address must be a text that is not empty"),
        (LowLatencyExecutor, {"environment": {"A": 1}}, "environment must be a dictionary of texts"),
        (LowLatencyExecutor, {"environment": {"A=": "1"}}, "environment must be a dictionary of texts"),
        (LowLatencyExecutor, {"label": "all"}, "label must be a name"),
        (LowLatencyExecutor, {"label": "a/b"}, "label must be a name"),
        (ThreadPoolExecutor, {"max_threads": None}, "max_threads must be a whole number of at least 1, not None."),
        (Config, {"executors": []}, "executors must be a list of at least one executor"),
        (Config, {"executors": ThreadPoolExecutor()}, "executors must be a list of at least one executor"),
        (Config, {"executors": ["llex"]}, "executors must be a list of at least one executor"),
        (Config, {"executors": [ThreadPoolExecutor()] * 2}, "the label 'threads' names more than one executor"),
        (Config, {"run_dir": 3}, "run_dir must be a path"),
        (Config, {"retries": -1}, "retries must be a whole number of at least 0, not -1."),
        (Config, {"strategy": ""}, "strategy must be a text that is not empty"),
        (Config, {"strategy_period": 0}, "strategy_period must be a time of at least 0.1 s"),
        (Config, {"max_idletime": "soon"}, "max_idletime must be a time"),
        (Config, {"retrys": 3}, "Config has no option 'retrys'; its options are executors, run_dir, retries"),
    ],
)
def test_mistakes_are_reported_in_one_sentence(kind: type[Description], options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        kind(**options)
    text = str(caught.value)
    assert says in text
    assert text.endswith(".")
    assert "\n" not in text


def test_options_can_be_changed_until_a_run_uses_them() -> None:
    config = Config(executors=[LowLatencyExecutor(), ThreadPoolExecutor()])
    config.run_dir = "elsewhere"
    config.executors[0].label = "quick"
    assert config == Config(
        executors=[LowLatencyExecutor(label="quick"), ThreadPoolExecutor()], run_dir=Path("elsewhere")
    )
    with pytest.raises(ConfigurationError, match="retries must be a whole number"):
        config.retries = -1
    with pytest.raises(ConfigurationError, match="no option 'retrys'"):
        config.retrys = 1
    config.freeze()
    config.run_dir = "elsewhere"  # a cell that runs again
    with pytest.raises(AttributeError, match=r"belongs to a run that is loaded.*replaced\(run_dir="):
        config.run_dir = "here"
    with pytest.raises(AttributeError, match=r"replaced\(label="):
        config.executors[0].label = "again"
    copied = copy.deepcopy(config)
    copied.executors[0].label = "again"
    assert config.executors[0].label == "quick"
    assert config.replaced(run_dir="here").run_dir == "here"


def test_changed_options_are_checked_together_at_the_load() -> None:
    config = Config(executors=[LowLatencyExecutor(), ThreadPoolExecutor()])
    config.executors[0].label = "threads"
    with pytest.raises(ConfigurationError, match="'threads' names more than one executor"):
        config.check_parts()


def test_the_default_of_one_configuration_is_not_that_of_another() -> None:
    Config().executors[0].label = "mine"
    Config.bare().executors[0].label = "mine"
    assert Config().executors[0].label == Config.bare().executors[0].label == "llex"


def test_a_dictionary_that_is_given_is_copied() -> None:
    given = {"A": "b"}
    executor = LowLatencyExecutor(environment=given)
    given["A"] = "changed"
    assert executor.settings().environment == {"A": "b"}


def test_settings_fill_in_what_depends_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSLAB_CORES", "8")
    assert LowLatencyExecutor().settings().workers == 8
    settings = LowLatencyExecutor(workers=3).settings()
    assert (settings.label, settings.threads_per_worker) == ("llex", 2)
    assert LowLatencyExecutor(workers=20).settings().threads_per_worker == 1
    assert ThreadPoolExecutor().settings() == ThreadPoolSettings(label="threads", max_threads=2)


def test_an_address_may_be_an_interface() -> None:
    import psutil

    loopback = next(
        name
        for name, addresses in psutil.net_if_addrs().items()
        if any(address.address == "127.0.0.1" for address in addresses)
    )
    assert LowLatencyExecutor(address=loopback).settings().address == "127.0.0.1"
    assert LowLatencyExecutor(address="::1").settings().address == "::1"
    with pytest.raises(ConfigurationError, match="one of this host's interfaces"):
        LowLatencyExecutor(address="no-such-interface").settings()


def test_an_executor_says_what_it_needs() -> None:
    with pytest.raises(NotImplementedError):
        Executor().settings()
