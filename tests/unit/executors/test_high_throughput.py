"""The description of the high-throughput executor: what it refuses, and the settings for the DataFlowKernel process."""

from __future__ import annotations

import json
import pickle
import sys
from typing import Any

import msgspec
import pytest

from parslab import HighThroughputExecutor, LocalProvider, SlurmProvider, SrunLauncher
from parslab.config import Config
from parslab.data_provider import files
from parslab.description import decoded
from parslab.errors import ConfigurationError
from parslab.records.executor_settings import HighThroughputSettings

HERE = {"lo": ["127.0.0.1", "::1"], "eth0": ["10.1.2.3"]}


@pytest.fixture(autouse=True)
def one_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parslab.addresses.interfaces", lambda: HERE)


def test_the_settings_are_what_the_kernel_process_reads() -> None:
    executor = HighThroughputExecutor(
        label="big",
        address="eth0",
        port=5000,
        max_workers_per_node=8,
        cores_per_worker=0.5,
        mem_per_worker=4,
        available_accelerators=2,
        cpu_affinity="list:0,1:2-3:4:5:6:7:8:9",
        prefetch_capacity=3,
        heartbeat_period=1,
        heartbeat_threshold=3,
        drain_period="00:50:00",
        manager_selector="block_id",
        environment={"A": "b"},
        threads_per_worker=2,
        python="/opt/python",
        sample_period=2,
        shared_filesystem=False,
        file_cache_size=0.5,
        provider=SlurmProvider(
            partition="batch",
            walltime="01:00:00",
            nodes_per_block=2,
            init_blocks=0,
            max_blocks=5,
            parallelism=0.5,
            launcher=SrunLauncher(),
        ),
    )
    settings = msgspec.json.decode(msgspec.json.encode(executor.settings()), type=HighThroughputSettings)
    assert decoded(settings.provider.description) == executor.provider
    data = json.loads(msgspec.json.encode(settings))
    del data["provider"]["description"]
    assert data == {
        "kind": "high_throughput",
        "label": "big",
        "address": "10.1.2.3",
        "port": 5000,
        "provider": {
            "local": False,
            "remote": False,
            "tunnelled": False,
            "init_blocks": 0,
            "min_blocks": 0,
            "max_blocks": 5,
            "parallelism": 0.5,
            "nodes_per_block": 2,
            "worker_init": "",
            "cores_per_node": None,
            "mem_per_node": None,
        },
        "manager_selector": "block_id",
        "mpi_pools": False,
        "hold_after": 10,
        "python": "/opt/python",
        "manager": {
            "max_workers_per_node": 8,
            "cores_per_worker": 0.5,
            "mem_per_worker": 4.0,
            "available_accelerators": ["0", "1"],
            "cpu_affinity": "list:0,1:2-3:4:5:6:7:8:9",
            "prefetch_capacity": 3,
            "heartbeat_period": 1.0,
            "heartbeat_threshold": 3.0,
            "drain_period": 3000.0,
            "environment": {"A": "b"},
            "threads_per_worker": 2,
            "sample_period": 2.0,
            "shared_filesystem": False,
            "file_cache": 500_000_000,
            "requirements": [],
            "container": None,
            "mpi_launcher": "",
            "engine": None,
        },
        "reconnect_for": 30.0,
    }


def test_calls_look_for_files_to_move_only_where_nodes_do_not_see_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parslab.data_provider.files.staging_needed", False)
    HighThroughputExecutor()
    assert not files.staging_needed
    HighThroughputExecutor(shared_filesystem=False)
    assert files.staging_needed


def test_left_alone_it_is_one_block_of_this_host() -> None:
    executor = HighThroughputExecutor()
    settings = executor.settings()
    assert executor.provider == LocalProvider()
    assert (settings.provider.local, settings.address, settings.port) == (True, None, 0)
    assert settings.python == sys.executable
    assert settings.manager.max_workers_per_node is None
    assert repr(executor) == "HighThroughputExecutor()"
    assert HighThroughputExecutor(address="127.0.0.1").settings().address == "127.0.0.1"


def test_it_is_compared_shown_and_copied_with_all_that_is_inside() -> None:
    def made(nodes: int) -> Config:
        provider = SlurmProvider(nodes_per_block=nodes, launcher=SrunLauncher())
        return Config(executors=[HighThroughputExecutor(provider=provider, available_accelerators=["a", "b"])])

    assert made(2) == made(2)
    assert made(2) != made(3)
    assert hash(made(2)) == hash(made(2))
    assert pickle.loads(pickle.dumps(made(2))) == made(2)
    assert "provider=SlurmProvider(" in repr(made(2))
    names = {kind.__name__: kind for kind in (Config, HighThroughputExecutor, SlurmProvider, SrunLauncher)}
    assert eval(repr(made(2)), names) == made(2)


@pytest.mark.parametrize(
    ("given", "names"),
    [(3, ("0", "1", "2")), (0, ()), (["GPU-ab", "GPU-ab"], ("GPU-ab", "GPU-ab")), ((4, 6), ("4", "6"))],
)
def test_accelerators_are_a_number_or_names(given: Any, names: tuple[str, ...]) -> None:
    assert HighThroughputExecutor(available_accelerators=given).available_accelerators == names


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"heartbeat_period": 20}, "heartbeat_threshold (20 s) must be longer than heartbeat_period (20 s)"),
        (
            {"cpu_affinity": "list:"},
            "cpu_affinity must be 'none', 'block', 'alternating', 'block-reverse', or",
        ),
        ({"cpu_affinity": "list:0,,1"}, "cpu_affinity must be"),
        ({"cpu_affinity": "close"}, "cpu_affinity must be"),
        (
            {"cpu_affinity": "list:0:1", "max_workers_per_node": 3},
            "lists cores for 2 workers, but max_workers_per",
        ),
        (
            {"available_accelerators": -1},
            "available_accelerators must be how many accelerators each node has, or",
        ),
        ({"available_accelerators": "0,1"}, "available_accelerators must be"),
        ({"available_accelerators": True}, "available_accelerators must be"),
        ({"available_accelerators": [""]}, "available_accelerators must be"),
        ({"available_accelerators": 2.5}, "available_accelerators must be"),
        ({"cores_per_worker": 0}, "cores_per_worker must be a number above 0, not 0."),
        ({"mem_per_worker": "8GB"}, "mem_per_worker must be a number above 0"),
        ({"max_workers_per_node": 0}, "max_workers_per_node must be a whole number of at least 1"),
        (
            {"manager_selector": "best"},
            "must be one of 'random', 'block_id', 'round_robin', not 'best'.",
        ),
        ({"provider": None}, "provider must be a Provider, such as LocalProvider(), not None."),
        ({"provider": SlurmProvider}, "provider must be a Provider, such as LocalProvider()"),
        ({"max_blocks": 3}, "give it to the provider: LocalProvider(max_blocks=...)."),
        ({"colour": 3}, "has no option 'colour'; its options are label, provider, address, port,"),
        (
            {"drain_period": 3600, "provider": SlurmProvider(walltime="01:00:00")},
            "drain_period (3600 s) must be shorter than the walltime of the provider's blocks (3600 s)",
        ),
    ],
)
def test_mistakes_are_reported_in_one_sentence(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HighThroughputExecutor(**options)
    text = str(caught.value)
    assert says in text
    assert text.startswith("HighThroughputExecutor")
    assert text.endswith(".")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("10.9.9.9", "address 10.9.9.9 is none of this host's"),
        (
            "127.0.0.1",
            "can be reached from this host only, but the blocks of SlurmProvider run on others",
        ),
        ("lo", "address lo can be reached from this host only"),
    ],
)
def test_an_address_that_nodes_cannot_reach_is_refused_before_anything_is_submitted(address: str, says: str) -> None:
    executor = HighThroughputExecutor(address=address, provider=SlurmProvider())
    with pytest.raises(ConfigurationError) as caught:
        executor.settings()
    assert says in str(caught.value)


def test_executors_of_a_run_share_one_port() -> None:
    def with_ports(*ports: int) -> Config:
        return Config(executors=[HighThroughputExecutor(label=f"x{i}", port=port) for i, port in enumerate(ports)])

    assert len(with_ports(0, 5000, 5000).executors) == 3
    with pytest.raises(ConfigurationError, match=r"x0 wants port 5000 and x2 port 5001, but one port serves all"):
        with_ports(5000, 0, 5001)
