"""The descriptions of executors that run tasks on those of other libraries."""

from __future__ import annotations

import importlib.util
import pickle
from base64 import b64decode
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from parslab.errors import ConfigurationError, OptionalModuleMissing
from parslab.executors import DaskExecutor, Executor, PoolExecutor
from parslab.executors.base import checked_settings
from parslab.providers.local import LocalProvider


def settings_of(executor: Executor) -> Any:
    return checked_settings(executor)


def factory_of(executor: Executor) -> Any:
    return pickle.loads(b64decode(settings_of(executor).manager.engine.factory))


def test_a_factory_travels() -> None:
    executor = PoolExecutor(lambda: 5, workers=3)
    assert factory_of(executor)() == 5
    settings = settings_of(executor)
    assert settings.manager.engine.workers == 3
    assert (settings.provider.init_blocks, settings.provider.min_blocks, settings.provider.max_blocks) == (1, 1, 1)


def test_a_provider_of_the_user_is_taken_as_it_is() -> None:
    settings = PoolExecutor(ProcessPoolExecutor, provider=LocalProvider(max_blocks=3), address="127.0.0.1").settings()
    assert (settings.provider.min_blocks, settings.provider.max_blocks) == (0, 3)
    assert settings.address == "127.0.0.1"


@pytest.mark.parametrize("options", [{}, {"factory": 5}, {"factory": None}])
def test_a_factory_is_needed(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="factory must be a function without arguments"):
        PoolExecutor(**options)


def test_descriptions_of_the_same_executor_are_equal() -> None:
    assert PoolExecutor(ProcessPoolExecutor, "mine") == PoolExecutor(ProcessPoolExecutor, label="mine")
    assert repr(DaskExecutor("tcp://node1:8786")) == "DaskExecutor(address='tcp://node1:8786')"


def test_a_cluster_is_known_by_its_scheduler() -> None:
    cluster = SimpleNamespace(scheduler_address="tcp://10.0.0.1:8786")
    client = SimpleNamespace(scheduler=SimpleNamespace(address="tls://10.0.0.1:8786"))
    assert DaskExecutor(cluster).address == "tcp://10.0.0.1:8786"
    assert DaskExecutor(client).address == "tls://10.0.0.1:8786"
    assert factory_of(DaskExecutor(cluster)).args == ("tcp://10.0.0.1:8786", None, None)


@pytest.mark.parametrize("address", [5, "node1", "inproc://10.0.0.1/1", SimpleNamespace(scheduler_address=None)])
def test_what_other_processes_cannot_reach_is_refused(address: Any) -> None:
    with pytest.raises(ConfigurationError, match="address must be the address of a Dask scheduler"):
        DaskExecutor(address)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptionalModuleMissing, match=r"pip install 'parslab\[dask\]'"):
        DaskExecutor().settings()
