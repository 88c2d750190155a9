"""Options that Parsl has: those with a meaning are translated, the others are ignored with one warning."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

from parslab import description
from parslab.config import Config
from parslab.description import encoded
from parslab.errors import ConfigurationError, IgnoredOption
from parslab.executors import HighThroughputExecutor, LowLatencyExecutor, ThreadPoolExecutor
from parslab.launchers import MpiExecLauncher, SimpleLauncher, SingleNodeLauncher, SrunLauncher, WrappedLauncher
from parslab.parsl.api.memoization import BasicMemoizer, Memoizer
from parslab.parsl.api.monitoring import LEVEL_1, HTEXRadio, MonitoringHub
from parslab.parsl.api.rules import (
    BlockIdManagerSelector,
    ManagerSelector,
    RandomManagerSelector,
)
from parslab.parsl.stand_ins.providers import AzureProvider, LocalChannel, SSHChannel
from parslab.providers import CondorProvider, LocalProvider, SlurmProvider

if TYPE_CHECKING:
    from parslab.description import Description


@pytest.fixture(autouse=True)
def no_warning_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "_warned", set())


@pytest.mark.parametrize(
    ("kind", "options", "means"),
    [
        (HighThroughputExecutor, {"max_workers": 3}, {"max_workers_per_node": 3}),
        (HighThroughputExecutor, {"max_workers": float("inf")}, {}),
        (HighThroughputExecutor, {"worker_port": 5000}, {"port": 5000}),
        (HighThroughputExecutor, {"worker_port": None}, {}),
        (HighThroughputExecutor, {"manager_selector": RandomManagerSelector()}, {}),
        (HighThroughputExecutor, {"manager_selector": BlockIdManagerSelector()}, {"manager_selector": "block_id"}),
        (HighThroughputExecutor, {"encrypted": True, "worker_debug": False, "storage_access": None}, {}),
        (ThreadPoolExecutor, {"thread_name_prefix": "", "managed": True, "working_dir": None}, {}),
        (Config, {"strategy": None}, {"strategy": "none"}),
        (Config, {"executors": None, "checkpoint_period": None, "memoizer": None}, {}),
        (Config, {"memoizer": BasicMemoizer()}, {}),
        (Config, {"memoizer": BasicMemoizer(memoize=False)}, {"app_cache": False}),
        (
            Config,
            {
                "memoizer": BasicMemoizer(
                    checkpoint_mode="periodic", checkpoint_period="00:10:00", checkpoint_files=["a"]
                )
            },
            {"checkpoint_mode": "periodic", "checkpoint_period": 600, "checkpoint_files": ["a"]},
        ),
        (Config, {"usage_tracking": True}, {"usage_tracking": LEVEL_1}),
        (Config, {"usage_tracking": 0, "initialize_logging": True, "monitoring": None}, {}),
        (LocalProvider, {"channel": LocalChannel()}, {}),
        (CondorProvider, {"cmd_chunk_size": 50, "environment": None}, {"status_batch_size": 50}),
    ],
)
def test_an_option_with_a_meaning_is_translated(
    kind: type[Description], options: dict[str, Any], means: dict[str, Any]
) -> None:
    assert kind(**options) == kind(**means)


@pytest.mark.parametrize(
    ("kind", "option", "value", "why"),
    [
        (HighThroughputExecutor, "worker_debug", True, "managers and blocks always log into the run's folder"),
        (HighThroughputExecutor, "encrypted", False, "connections are always encrypted"),
        (HighThroughputExecutor, "worker_port_range", (1, 2), "one port serves all connections"),
        (HighThroughputExecutor, "remote_monitoring_radio", HTEXRadio(), "monitoring needs no settings"),
        (HighThroughputExecutor, "block_error_handler", print, "an executor whose blocks all fail stops"),
        (ThreadPoolExecutor, "thread_name_prefix", "x", "threads have the name of the label"),
        (Config, "monitoring", MonitoringHub(hub_port=1), "every run is monitored"),
        (Config, "initialize_logging", False, "logs are always in the run's folder"),
        (Config, "memoizer", Memoizer(), "the DataFlowKernel memoizes"),
        (LocalProvider, "move_files", False, "nothing is copied"),
        (LocalProvider, "channel", object(), "only the providers of schedulers run their commands elsewhere"),
    ],
)
def test_an_option_without_a_meaning_is_ignored_with_one_warning(
    kind: type[Description], option: str, value: Any, why: str
) -> None:
    with pytest.warns(IgnoredOption) as warned:
        made = kind(**{option: value})
    assert [str(each.message) for each in warned] == [str(warned[0].message)]
    assert str(warned[0].message).startswith(f"{kind.__name__}: {option} has no effect in parslab: {why}")
    assert warned[0].filename == __file__
    assert getattr(made, option) is value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kind(**{option: value}) == made == kind()
        encoded(made)


def test_options_of_parsl_may_be_set_later() -> None:
    config = Config(executors=[HighThroughputExecutor()])
    executor: Any = config.executors[0]
    executor.max_workers = 4
    executor.provider.init_blocks = 0
    with pytest.warns(IgnoredOption, match="worker_debug has no effect"):
        executor.worker_debug = True
    config.strategy = None
    provider = LocalProvider(init_blocks=0)
    same = Config(executors=[HighThroughputExecutor(max_workers_per_node=4, provider=provider)], strategy="none")
    assert config == same


def test_the_first_options_may_be_given_by_position() -> None:
    assert ThreadPoolExecutor("a", 4) == ThreadPoolExecutor(label="a", max_threads=4)
    assert Config([ThreadPoolExecutor()]) == Config(executors=[ThreadPoolExecutor()])
    assert WrappedLauncher("numactl") == WrappedLauncher(prepend="numactl")
    assert SlurmProvider("debug") == SlurmProvider(partition="debug")
    assert SrunLauncher(True, "--mpi=none") == SrunLauncher(debug=True, overrides="--mpi=none")
    assert MpiExecLauncher(False, "", "-v") == MpiExecLauncher(bind_cmd="", overrides="-v")
    assert SingleNodeLauncher(True, False) == SingleNodeLauncher(debug=True, fail_on_any=False)
    assert SimpleLauncher(True).debug
    with pytest.raises(ConfigurationError, match="ThreadPoolExecutor takes 6 options by position, not 7"):
        ThreadPoolExecutor("a", 4, "b", None, None, None, True)
    with pytest.raises(ConfigurationError, match="label is given twice"):
        LowLatencyExecutor("a", label="a")


def test_a_rule_of_the_user_for_managers_is_replaced_with_a_warning() -> None:
    class Mine(ManagerSelector):
        pass

    with pytest.warns(IgnoredOption, match="manager_selector cannot be Mine in parslab"):
        assert HighThroughputExecutor(manager_selector=Mine()).manager_selector == "random"


def test_options_of_config_win_over_those_of_its_memoizer() -> None:
    config = Config(memoizer=BasicMemoizer(checkpoint_mode="task_exit"), checkpoint_mode="manual")
    assert config.checkpoint_mode == "manual"


def test_a_provider_that_parslab_does_not_have_is_described_and_not_loaded() -> None:
    provider = AzureProvider({"vm_size": "small"}, location="x", max_blocks=3)
    assert (provider.location, provider.max_blocks) == ("x", 3)  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="parslab has no AzureProvider yet: use LocalProvider"):
        Config(executors=[HighThroughputExecutor(provider=provider)]).check_parts()


def test_a_channel_to_another_host_is_one_for_schedulers_only() -> None:
    assert SlurmProvider(channel=SSHChannel("login.example")).channel.host == "login.example"
    with pytest.warns(IgnoredOption, match="only the providers of schedulers"):
        LocalProvider(channel=SSHChannel("login.example"))
