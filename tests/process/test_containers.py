"""Workers in containers, with an engine that only pretends: how they start, are kept and end, and what fails."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest

from parslab import Container, bash_app, python_app
from parslab.errors import AppTimeout, ConfigurationError, SoftwareError, WorkerLost
from parslab.executors.containers import ENGINES
from tests.process.blocks import blocks_run, managers
from tests.process.fake_engine import commands, make_engine
from tests.process.sandbox import Sandbox, error_of, is_gone, patience, until

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def log(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The commands of the engines ``docker`` and ``apptainer`` that this test has."""
    folder = sandbox.root / "bin"
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return make_engine(folder, *ENGINES)


def inside() -> tuple[str | None, int]:
    return os.environ.get("INSIDE"), os.getpid()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def nap(seconds: float) -> None:
    Path("napping").touch()
    time.sleep(seconds)


def result(future: Any, seconds: float = 30.0) -> Any:
    return future.result(seconds * patience())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_runs_inside_and_is_kept(sandbox: Sandbox, log: Path, engine: str) -> None:
    app = python_app(inside, container=Container("image:1", engine=engine))
    with sandbox.load():
        first = result(app())
        assert first[0] == engine
        assert result(python_app(inside)())[0] is None
        assert result(app()) == first
    assert sum("-c" in words for words in commands(log)) == 1
    until(is_gone(first[1]))


def test_blocks_have_containers_too(sandbox: Sandbox, log: Path) -> None:
    app = python_app(inside, container="image:1")
    with blocks_run(sandbox):
        first = result(app())
        assert first[0] == "podman"  # the first one that the node has
        assert result(app()) == first
    until(is_gone(first[1]))


def test_an_executor_has_a_container_for_all_its_tasks(sandbox: Sandbox, log: Path) -> None:
    with sandbox.load(container="image:1"):
        assert result(python_app(inside)())[0] == "podman"


def test_output_and_commands_of_a_container(sandbox: Sandbox, log: Path) -> None:
    @bash_app(container="image:1")
    def show(stdout: str) -> str:
        return "echo $INSIDE"

    with sandbox.load():
        out = sandbox.root / "out"
        result(show(stdout=str(out)))
        assert out.read_text() == "podman\n"


def test_an_image_that_cannot_be_had_is_one_sentence(sandbox: Sandbox, log: Path) -> None:
    app = python_app(inside, container="missing:1")
    with sandbox.load(workers=2):
        errors = [error_of(future, 30) for future in [app() for _ in range(100)]]
        assert {type(error) for error in errors} == {SoftwareError}
        text = str(errors[0])
        assert "its container missing:1 cannot be used: podman ended with status 1:\nError: manifest unknown" in text
        assert result(python_app(inside)())[0] is None
    assert sum("pull" in words for words in commands(log)) == 1


def test_without_an_engine_a_sentence_says_so(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(sandbox.root))
    with sandbox.load():
        app = python_app(inside, container=Container("image:1", engine="shifter"))
        assert "has no command shifter on PATH" in str(error_of(app()))
        assert "has no container engine on PATH: none of podman, docker" in str(
            error_of(python_app(inside, container="image:1")())
        )


def test_a_container_that_does_not_start_fails_its_tasks_with_the_words_of_the_engine(
    sandbox: Sandbox, log: Path
) -> None:
    program = sandbox.root / "bin" / "podman"
    program.write_text('#!/bin/sh\n[ "$1" = run ] || exit 0\necho "Error: no such network" >&2\nexit 125\n')
    with sandbox.load():
        error = error_of(python_app(inside, container="image:1")(), 30)
        assert isinstance(error, SoftwareError)
        assert "exited with status 125, its last words:\nError: no such network" in str(error)


def test_a_worker_that_is_killed_inside_loses_only_its_task(sandbox: Sandbox, log: Path) -> None:
    with sandbox.load():
        before = result(python_app(inside, container="image:1")())
        error = error_of(python_app(die, container="image:1")(), 30)
        assert isinstance(error, WorkerLost)
        assert "was killed by SIGKILL" in str(error)
        after = result(python_app(inside, container="image:1")())
        assert before[1] != after[1]


def test_a_task_in_a_container_is_stopped_at_its_limit(sandbox: Sandbox, log: Path) -> None:
    app = python_app(nap, container="image:1", resource_specification={"max_run_time": 0.2})
    with sandbox.load():
        assert isinstance(error_of(app(60), 30), AppTimeout)


@pytest.mark.parametrize("victim", ["supervisor", "watcher"])
def test_nothing_is_left_of_a_container_whose_processes_are_killed(sandbox: Sandbox, log: Path, victim: str) -> None:
    with sandbox.load() as dfk:
        worker = psutil.Process(result(python_app(inside, container="image:1")())[1])
        watcher = worker.parent()
        assert watcher is not None
        supervisor = watcher.parent()
        assert supervisor is not None
        assert supervisor.ppid() == dfk.pid
        (supervisor if victim == "supervisor" else watcher).kill()
        for process in (supervisor, watcher, worker):
            until(is_gone(process.pid))
        assert result(python_app(inside, container="image:1")())[1] != worker.pid


def test_nothing_is_left_when_the_dataflowkernel_is_killed(sandbox: Sandbox, log: Path) -> None:
    with sandbox.load(resume=False) as dfk:
        worker = result(python_app(inside, container="image:1")())[1]
        busy = python_app(nap, container="image:1")(60)
        until(lambda: Path("napping").exists())
        os.kill(dfk.pid, signal.SIGKILL)
        until(is_gone(worker))
        busy.cancel()


def test_nothing_is_left_when_a_manager_is_killed(sandbox: Sandbox, log: Path) -> None:
    app = python_app(inside, container="image:1")
    with blocks_run(sandbox, retries=3) as dfk:
        worker = result(app())[1]
        for manager in managers(dfk.pid):
            os.kill(manager, signal.SIGKILL)
        until(is_gone(worker))
        assert result(app(), 40)[1] != worker


def test_an_app_has_an_environment_or_a_container() -> None:
    with pytest.raises(ConfigurationError, match="exclude each other"):
        python_app(inside, environment=["tiny"], container="image:1")
