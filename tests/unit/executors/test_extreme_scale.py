"""The description of the extreme-scale executor: what it refuses, and the settings for the DataFlowKernel process."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from parslab import (
    ExtremeScaleExecutor,
    LocalProvider,
    MpiExecLauncher,
    MpiRunLauncher,
    SimpleLauncher,
    SlurmProvider,
    SrunLauncher,
    SSHProvider,
    WrappedLauncher,
)
from parslab.description import decoded
from parslab.errors import ConfigurationError
from parslab.launchers.mpi_pools import MpiPoolsLauncher
from parslab.records.executor_settings import keeps_tasks, runs_mpi


def launcher_of(executor: ExtremeScaleExecutor) -> MpiPoolsLauncher:
    provider: Any = decoded(executor.settings().provider.description)
    assert isinstance(provider.launcher, MpiPoolsLauncher)
    return provider.launcher


def test_the_launcher_of_the_provider_starts_the_ranks() -> None:
    srun = SrunLauncher(overrides="--mpi=pmi2")
    executor = ExtremeScaleExecutor(
        ranks_per_node=33, pools_per_block=2, provider=SlurmProvider(nodes_per_block=4, launcher=srun)
    )
    launcher = launcher_of(executor)
    assert launcher.launcher == srun
    assert (launcher.ranks_per_node, launcher.pools_per_block) == (33, 2)
    # The description of the user is as it was, and can be used again.
    assert executor.provider.launcher == srun
    assert pickle.loads(pickle.dumps(executor)) == executor


@pytest.mark.parametrize("users", [{}, {"launcher": SimpleLauncher(debug=True)}])
def test_programs_for_parsl_need_no_launcher(users: dict[str, Any]) -> None:
    launcher = launcher_of(ExtremeScaleExecutor(provider=LocalProvider(**users)))
    assert launcher.launcher == MpiExecLauncher(debug=bool(users))


def test_its_managers_are_ranks_and_its_tasks_are_no_mpi_programs() -> None:
    settings = ExtremeScaleExecutor().settings()
    assert settings.label == "ExtremeScaleExecutor"
    assert settings.mpi_pools
    assert not runs_mpi(settings)
    assert keeps_tasks(settings)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"ranks_per_node": 1}, "ranks_per_node"),
        ({"max_workers_per_node": 4}, "max_workers_per_node has no place here"),
        ({"cores_per_worker": 2}, "cores_per_worker has no place here"),
        ({"mem_per_worker": 2}, "mem_per_worker has no place here"),
        ({"enable_mpi_mode": True}, "enable_mpi_mode has no place here|launcher=SimpleLauncher"),
        ({"provider": SSHProvider(hosts=["n1"])}, "must see the files of this host"),
        ({"provider": LocalProvider(launcher=WrappedLauncher("nice"))}, "WrappedLauncher starts no MPI job"),
        ({"pools_per_block": 2}, "2 ranks of one node cannot be divided among 2 pools"),
        ({"pools_per_block": 2, "ranks_per_node": 5}, "5 ranks of one node cannot be divided among 2 pools"),
        (
            {"pools_per_block": 2, "provider": SlurmProvider(nodes_per_block=3, launcher=SrunLauncher())},
            "3 nodes cannot be divided among 2 pools by SrunLauncher",
        ),
        (
            {"pools_per_block": 2, "provider": SlurmProvider(nodes_per_block=4, launcher=MpiRunLauncher())},
            "4 nodes cannot be divided among 2 pools by MpiRunLauncher",
        ),
    ],
)
def test_what_cannot_work_is_refused_at_once(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        ExtremeScaleExecutor(**options)
