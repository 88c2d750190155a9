"""Every option of every class of Parsl that configures something is accepted: none is an error."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor as Threads
from typing import TYPE_CHECKING, Any

import pytest

from parslab import description
from parslab.compat.modules import look_up
from parslab.data_provider.file_noop import NoOpFileStaging
from parslab.errors import ConfigurationError, IgnoredOption
from parslab.parsl.api.memoization import BasicMemoizer
from parslab.parsl.api.monitoring import HTEXRadio, MonitoringHub
from parslab.parsl.api.rules import BlockIdManagerSelector
from parslab.serialize.dependency_resolvers import SHALLOW_DEPENDENCY_RESOLVER

if TYPE_CHECKING:
    from parslab.description import Description


def _launcher() -> Any:
    from parslab.launchers import SrunLauncher

    return SrunLauncher()


def _provider() -> Any:
    from parslab.providers import LocalProvider

    return LocalProvider(init_blocks=0)


BLOCKS: dict[str, Any] = {
    "nodes_per_block": 1,
    "init_blocks": 2,
    "min_blocks": 2,
    "max_blocks": 0,
    "parallelism": 0.5,
    "worker_init": "module load python",
    "launcher": _launcher(),
}
"""Options of all providers; Parsl accepts each of these values alone."""
BATCH: dict[str, Any] = {**BLOCKS, "walltime": "01:00:00", "cmd_timeout": 60, "scheduler_options": "#X -y"}
HTEX: dict[str, Any] = {
    "label": "a",
    "provider": _provider(),
    "launch_cmd": "process_worker_pool.py",
    "interchange_launch_cmd": ["interchange.py"],
    "address": "127.0.0.1",
    "loopback_address": "::1",
    "worker_port": 54321,
    "worker_port_range": (54000, 55000),
    "interchange_port_range": (55000, 56000),
    "storage_access": [NoOpFileStaging()],
    "working_dir": "work",
    "worker_debug": True,
    "prefetch_capacity": 2,
    "heartbeat_threshold": 120,
    "heartbeat_period": 10,
    "drain_period": 600,
    "poll_period": 10,
    "address_probe_timeout": 30,
    "worker_logdir_root": "logs",
    "block_error_handler": False,
    "encrypted": False,
    "remote_monitoring_radio": HTEXRadio(),
}
WORKERS: dict[str, Any] = {
    "cores_per_worker": 0.5,
    "mem_per_worker": 2.0,
    "max_workers_per_node": 4,
    "cpu_affinity": "block",
    "available_accelerators": 2,
    "manager_selector": BlockIdManagerSelector(),
}
OLD_HTEX: dict[str, Any] = {
    "enable_mpi_mode": True,
    "managed": False,
    "max_workers": 3,
    "mpi_launcher": "srun",
    "start_method": "spawn",
    "suppress_failure": True,
    "worker_ports": (54000, 54001),
}

OPTIONS: dict[str, dict[str, Any]] = {
    "config.Config": {
        "executors": None,
        "memoizer": BasicMemoizer(checkpoint_mode="manual"),
        "dependency_resolver": SHALLOW_DEPENDENCY_RESOLVER,
        "exit_mode": "wait",
        "garbage_collect": False,
        "internal_tasks_max_threads": 4,
        "retries": 2,
        "retry_handler": lambda error, task: 1.0,
        "run_dir": "runs",
        "std_autopath": lambda task, kind: "out.txt",
        "strategy": None,
        "strategy_period": 1,
        "max_idletime": 60.0,
        "monitoring": MonitoringHub(hub_address="localhost", resource_monitoring_interval=10),
        "usage_tracking": 3,
        "project_name": "mine",
        "initialize_logging": False,
    },
    "executors.ThreadPoolExecutor": {
        "label": "a",
        "max_threads": 4,
        "thread_name_prefix": "mine",
        "storage_access": [],
        "working_dir": "work",
        "remote_monitoring_radio": HTEXRadio(),
    },
    "executors.HighThroughputExecutor": {**HTEX, **WORKERS, **OLD_HTEX},
    "executors.MPIExecutor": {**HTEX, "max_workers_per_block": 2, "mpi_launcher": "srun"},
    "executors.ExtremeScaleExecutor": {
        "label": "a",
        "provider": _provider(),
        "launch_cmd": "mpiexec -np {ranks} mpi_worker_pool.py",
        "address": "127.0.0.1",
        "worker_ports": (54001, 54002),
        "worker_port_range": (54000, 55000),
        "interchange_port_range": (55000, 56000),
        "storage_access": [],
        "working_dir": "work",
        "worker_debug": True,
        "ranks_per_node": 4,
        "heartbeat_threshold": 120,
        "heartbeat_period": 10,
        "managed": True,
    },
    "executors.WorkQueueExecutor": {
        "label": "a",
        "provider": _provider(),
        "working_dir": "work",
        "project_name": "mine",
        "project_password_file": "secret",
        "address": "localhost",
        "port": 9123,
        "env": {"A": "b"},
        "shared_fs": True,
        "storage_access": [],
        "use_cache": True,
        "source": True,
        "pack": True,
        "extra_pkgs": ["numpy"],
        "autolabel": True,
        "autolabel_window": 2,
        "autocategory": False,
        "max_retries": 3,
        "init_command": "true",
        "worker_options": "--cores=2",
        "full_debug": False,
        "worker_executable": "work_queue_worker",
        "function_dir": "functions",
        "coprocess": True,
        "scaling_cores_per_worker": 2,
        "remote_monitoring_radio": HTEXRadio(),
    },
    "executors.taskvine.TaskVineExecutor": {
        "label": "a",
        "worker_launch_method": "manual",
        "function_exec_mode": "serverless",
        "manager_config": look_up("executors.taskvine", "TaskVineManagerConfig")(port=0, shared_fs=True),
        "factory_config": look_up("executors.taskvine", "TaskVineFactoryConfig")(min_workers=1),
        "provider": None,
        "storage_access": [],
        "remote_monitoring_radio": HTEXRadio(),
    },
    "executors.FluxExecutor": {
        "provider": None,
        "working_dir": "work",
        "label": "a",
        "flux_executor_kwargs": {},
        "flux_path": "/usr/bin/flux",
        "launch_cmd": "srun",
    },
    "executors.GlobusComputeExecutor": {
        "executor": Threads,
        "label": "a",
        "storage_access": [],
        "working_dir": "work",
    },
    "executors.radical.RadicalPilotExecutor": {
        "resource": "local.localhost",
        "label": "a",
        "bulk_mode": True,
        "working_dir": "work",
        "rpex_cfg": look_up("executors.radical", "ResourceConfig")(),
    },
    "providers.LocalProvider": {**BLOCKS, "cmd_timeout": 30, "channel": object(), "move_files": True},
    "providers.SlurmProvider": {
        **BATCH,
        "partition": "debug",
        "account": "mine",
        "qos": "low",
        "constraint": "cpu",
        "clusters": "one",
        "cores_per_node": 4,
        "mem_per_node": 16,
        "gpus_per_node": 1,
        "gres": "gpu:1",
        "regex_job_id": r"(?P<id>\d+)",
        "status_batch_size": 50,
        "exclusive": False,
    },
    "providers.PBSProProvider": {
        **BATCH,
        "account": "a",
        "queue": "q",
        "select_options": "ngpus=4",
        "cpus_per_node": 4,
    },
    "providers.TorqueProvider": {**BATCH, "account": "a", "queue": "q"},
    "providers.LSFProvider": {
        **BATCH,
        "cores_per_block": 4,
        "cores_per_node": 4,
        "project": "mine",
        "queue": "q",
        "bsub_redirection": True,
        "request_by_nodes": False,
    },
    "providers.GridEngineProvider": {**BATCH, "queue": "q"},
    "providers.CondorProvider": {
        **BATCH,
        "cores_per_slot": 2,
        "mem_per_slot": 2.0,
        "environment": {"A": "b"},
        "project": "mine",
        "transfer_input_files": ["a.txt"],
        "requirements": "Memory > 1",
        "cmd_chunk_size": 100,
    },
    "providers.KubernetesProvider": {
        **BLOCKS,
        "image": "mine:1",
        "namespace": "default",
        "max_cpu": 2,
        "max_mem": "500Mi",
        "init_cpu": 1,
        "init_mem": "250Mi",
        "extra_requests": {},
        "extra_limits": {},
        "pod_name": "pod",
        "user_id": "1000",
        "group_id": "1000",
        "run_as_non_root": True,
        "secret": "s",
        "persistent_volumes": [("a", "/b")],
        "service_account_name": "me",
        "annotations": {"a": "b"},
    },
    "providers.AWSProvider": {
        **BLOCKS,
        "image_id": "ami-1",
        "key_name": "key",
        "instance_type": "t2.small",
        "region": "us-east-2",
        "spot_max_bid": 0,
        "key_file": "k.json",
        "profile": "p",
        "iam_instance_profile_arn": "",
        "state_file": "s.json",
        "walltime": "01:00:00",
        "linger": False,
    },
    "providers.AzureProvider": {
        **BLOCKS,
        "vm_reference": {"vm_size": "small"},
        "location": "westus",
        "group_name": "g",
        "key_name": "k",
        "key_file": "k.json",
        "vnet_name": "v",
        "linger": True,
    },
    "providers.GoogleCloudProvider": {
        **BLOCKS,
        "project_id": "p",
        "key_file": "k.json",
        "region": "r",
        "os_project": "debian-cloud",
        "os_family": "debian-11",
        "google_version": "v1",
        "instance_type": "n1-standard-1",
    },
    "launchers.SimpleLauncher": {"debug": True},
    "launchers.WrappedLauncher": {"prepend": "time", "debug": True},
    "launchers.SingleNodeLauncher": {"debug": True, "fail_on_any": True},
    "launchers.GnuParallelLauncher": {"debug": True},
    "launchers.SrunLauncher": {"debug": True, "overrides": "-v"},
    "launchers.SrunMPILauncher": {"debug": True, "overrides": "-v"},
    "launchers.AprunLauncher": {"debug": True, "overrides": "-v"},
    "launchers.JsrunLauncher": {"debug": True, "overrides": "-v"},
    "launchers.MpiExecLauncher": {"debug": True, "bind_cmd": "--bind-to", "overrides": "-v"},
    "launchers.MpiRunLauncher": {"debug": True, "bash_location": "/bin/bash", "overrides": "-v"},
}
"""For each class of Parsl: a value for each of its options, as its reference documents them."""
NEEDED: dict[str, dict[str, Any]] = {
    "launchers.WrappedLauncher": {"prepend": "time"},
    "providers.LSFProvider": {"cores_per_node": 4},
}
"""Options without which Parsl refuses others, too."""


def class_of(full: str) -> type[Description]:
    module, _, name = full.rpartition(".")
    found: type[Description] = look_up(module, name)
    return found


@pytest.fixture(autouse=True)
def no_warning_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "_warned", set())


@pytest.mark.parametrize(
    ("full", "option"), [(full, option) for full, options in OPTIONS.items() for option in options]
)
def test_each_option_is_accepted_with_one_warning_at_most(full: str, option: str) -> None:
    kind = class_of(full)
    options = {**NEEDED.get(full, {}), option: OPTIONS[full][option]}
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        kind(**options)
        kind(**options)
    assert len(given) <= 1
    for each in given:
        assert each.category is IgnoredOption
        text = str(each.message)
        assert option in text
        assert text.endswith(".")


@pytest.mark.parametrize("full", OPTIONS)
@pytest.mark.filterwarnings("ignore::parslab.errors.IgnoredOption")
def test_none_is_accepted_where_it_is_the_default_of_parsl(full: str) -> None:
    kind = class_of(full)
    for option in kind.positional:
        parameter = OPTIONS[full].get(option)
        if option in kind.option_names() and parameter is not None:
            continue  # a value of its own
        kind(**{**NEEDED.get(full, {}), option: None})


@pytest.mark.parametrize(
    "full",
    [
        "executors.GlobusComputeExecutor",
        "executors.radical.RadicalPilotExecutor",
        "providers.AzureProvider",
    ],
)
def test_what_parslab_lacks_is_refused_when_it_is_loaded(full: str) -> None:
    from parslab.config import Config
    from parslab.executors import HighThroughputExecutor

    described: Any = class_of(full)()
    name = type(described).__name__
    executor = HighThroughputExecutor(provider=described) if full.startswith("providers") else described
    with pytest.raises(ConfigurationError, match=f"parslab has no {name} yet: use "):
        Config(executors=[executor]).check_parts()


def test_the_numbers_of_blocks_need_not_be_given_together() -> None:
    provider: Any = class_of("providers.LocalProvider")
    assert (made := provider(init_blocks=3)).max_blocks == made.init_blocks == 3
    assert provider(min_blocks=2).max_blocks == 2
    assert (made := provider(max_blocks=0)).init_blocks == made.max_blocks == 0
    assert provider(max_blocks=5).init_blocks == 1
