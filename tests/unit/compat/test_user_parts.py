"""Launchers and providers that users have written for Parsl, in the forms in which they reach other processes."""

from __future__ import annotations

import base64
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from parslab.description import decoded, encoded
from parslab.errors import ConfigurationError
from parslab.executors import HighThroughputExecutor
from parslab.launchers import Launcher, SrunLauncher
from parslab.launchers.user_launchers import TextLauncher, as_text
from parslab.parsl.api.states import JobState, ParslJobStatus
from parslab.parsl.provider_process import ProviderServer
from parslab.providers import LocalProvider, SlurmProvider
from parslab.providers.base import ExecutionProvider
from parslab.providers.execution_provider import ClusterProvider
from parslab.providers.user_provider import UserProvider, portable
from parslab.testing.conformance.jobs import a_job

if TYPE_CHECKING:
    from pathlib import Path


class Quoting(Launcher):
    def __init__(self, mark: str, debug: bool = True) -> None:
        super().__init__(debug=debug)
        self.mark = mark

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int, script_dir: str = "") -> str:
        return f"mark={self.mark} n={nodes_per_block} bash -c '{command}'"


class Forgetful(Launcher):
    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int, script_dir: str = "") -> str:
        return "true"


class Jobs(ExecutionProvider):
    def __init__(self) -> None:
        super().__init__()
        self.max_blocks = 3

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> object:
        return 0 if command == "refused" else len(job_name)

    def status(self, job_ids: Any) -> Any:
        return [ParslJobStatus(JobState.RUNNING if job == 3 else JobState.FAILED, exit_code=2) for job in job_ids]

    def cancel(self, job_ids: Any) -> list[bool]:
        return [job == 3 for job in job_ids]


def test_a_launcher_is_called_as_parsl_calls_it() -> None:
    launcher = SrunLauncher()
    assert launcher("start", 1, 2) == launcher.script("start", 2, 1)
    assert Quoting("a").script("start", 2) == "mark=a n=2 bash -c 'start'"
    assert Quoting("a").debug


def test_a_launcher_of_a_user_travels_as_the_text_that_it_makes() -> None:
    launcher = as_text(Quoting("a"), 2)
    assert isinstance(launcher, TextLauncher)
    assert decoded(encoded(launcher)) == launcher
    assert launcher.script("python -m it /run/1 0", 2) == "mark=a n=2 bash -c 'python -m it /run/1 0'"
    assert launcher.script("A=${A:-1} it", 2) == "mark=a n=2 bash -c 'env A=${A:-1} it'"
    with pytest.raises(ConfigurationError, match="contains quotes"):
        launcher.script("'/my python' -m it", 2)
    assert as_text(SrunLauncher(), 2) == SrunLauncher()


def test_a_launcher_that_fails_or_forgets_the_command_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Forgetful must return shell text that contains the command"):
        as_text(Forgetful(), 1)

    class Broken(Launcher):
        def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int, script_dir: str = "") -> str:
            raise OSError("no disk")

    with pytest.raises(ConfigurationError, match=r"Broken\(command, .*\) failed: OSError: no disk"):
        as_text(Broken(), 1)


def test_a_provider_with_such_a_launcher_travels() -> None:
    provider = portable(SlurmProvider(launcher=Quoting("a"), nodes_per_block=2))
    assert decoded(encoded(provider)) == provider
    assert "n=2 bash" in provider.launcher.script("start", 2)
    same = LocalProvider()
    assert portable(same) is same


def test_a_provider_of_a_user_travels_as_a_pickle(tmp_path: Path) -> None:
    executor = HighThroughputExecutor(provider=Jobs())
    assert isinstance(executor.provider, Jobs)
    provider = decoded(encoded(portable(executor.provider)))
    assert isinstance(provider, UserProvider)
    assert (provider.name, provider.max_blocks, provider.init_blocks) == ("Jobs", 3, 1)
    assert "start-manager" in provider.script(a_job(tmp_path, command="start-manager"))
    assert isinstance(pickle.loads(base64.b64decode(provider.pickled)), ExecutionProvider)


def test_the_process_of_a_provider_calls_its_methods() -> None:
    server = ProviderServer(Jobs())
    assert server.answer({"method": "submit", "command": "start", "name": "job"}) == "3"
    found = server.answer({"method": "status", "jobs": ["3", "17", "x"]})
    assert found == {
        "3": ["RUNNING", "exit status 2"],
        "17": ["FAILED", "exit status 2"],
        "x": ["FAILED", "exit status 2"],
    }
    assert server.answer({"method": "cancel", "jobs": ["3"]}) is None
    with pytest.raises(RuntimeError, match="returned no id"):
        server.answer({"method": "submit", "command": "refused", "name": "job"})
    with pytest.raises(ValueError, match="no such request"):
        server.answer({"method": "sing"})


def test_a_cluster_provider_takes_its_options_by_position_and_by_name() -> None:
    class Cluster(ClusterProvider):
        submit = Jobs.submit
        status = Jobs.status
        cancel = Jobs.cancel

    made = Cluster("mine", 2, 0, 0, 4, 0.5, walltime="00:10:00", launcher=SrunLauncher())
    assert (made.label, made.nodes_per_block, made.max_blocks, made.walltime) == ("mine", 2, 4, "00:10:00")
