"""Apps with Python environments of their own, made by uv from packages of this test."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import psutil
import pytest

import parslab
from parslab import bash_app, python_app
from parslab.errors import ConfigurationError, SoftwareError, WorkerLost
from parslab.remote.software.cache import EnvironmentCache, cache_folder
from tests.packages import local_index, source_package, wheel
from tests.process.blocks import blocks_run, managers
from tests.process.sandbox import error_of, is_gone, patience, until, workers_of
from tests.process.test_magics import Notebook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytest.importorskip("uv")


@pytest.fixture
def packages(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the packages that uv finds: ``tiny`` 1.0 and 2.0."""
    folder = local_index(monkeypatch, sandbox.root)
    wheel(folder, "tiny", "1.0")
    wheel(folder, "tiny", "2.0")
    return folder


def version_and_pid() -> tuple[str, int]:
    import tiny  # type: ignore[import-not-found]

    return tiny.__version__, os.getpid()


def interval(seconds: float) -> tuple[float, float]:
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def pid() -> int:
    return os.getpid()


def app(function: Callable[..., Any], *requirements: str, **options: Any) -> Any:
    return python_app(function, environment=list(requirements), **options)


def makers(dfk: int) -> list[int]:
    """Return the processes that make environments for a run."""
    children = psutil.Process(dfk).children(recursive=True)
    return [child.pid for child in children if "remote.software.maker" in " ".join(words_of(child))]


def words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


def result(future: Any, seconds: float = 30.0) -> Any:
    return future.result(seconds * patience())


@pytest.mark.parametrize("executor", ["low latency", "high throughput"])
def test_two_versions_of_a_package_in_one_run(sandbox: Sandbox, packages: Path, executor: str) -> None:
    old, new, plain = app(version_and_pid, "tiny<2"), app(version_and_pid, "tiny>=2"), python_app(pid)
    run = sandbox.load(workers=2) if executor == "low latency" else blocks_run(sandbox)
    with run:
        first = [result(call()) for call in (old, new)]
        assert [version for version, _ in first] == ["1.0", "2.0"]
        result(plain())
        # The workers of both stay, although another environment and plain calls came between.
        again = [result(call()) for call in (old, new)]
        assert again == first


def test_plain_tasks_do_not_see_the_packages(sandbox: Sandbox, packages: Path) -> None:
    with sandbox.load():
        assert isinstance(error_of(python_app(version_and_pid)()), ModuleNotFoundError)
        result(app(version_and_pid, "tiny")())
        assert isinstance(error_of(python_app(version_and_pid)()), ModuleNotFoundError)


def test_an_environment_hides_the_packages_of_the_notebook(sandbox: Sandbox, packages: Path) -> None:
    def hypothesis_is_there() -> bool:
        import importlib.util

        return importlib.util.find_spec("hypothesis") is not None

    with sandbox.load():
        assert result(python_app(hypothesis_is_there)())
        assert not result(app(hypothesis_is_there, "tiny")())


def test_commands_of_the_environment_are_on_path(sandbox: Sandbox, packages: Path) -> None:
    @bash_app(environment=["tiny<2"])
    def show(stdout: str) -> str:
        return "tiny-version"

    with sandbox.load():
        out = sandbox.root / "out"
        result(show(stdout=str(out)))
        assert out.read_text() == "1.0\n"


def test_an_executor_has_an_environment_for_all_its_tasks(sandbox: Sandbox, packages: Path) -> None:
    with sandbox.load(requirements=["tiny<2"]):
        assert result(python_app(version_and_pid)())[0] == "1.0"
        assert result(app(version_and_pid, "tiny>=2")())[0] == "2.0"
        # The same environment as that of the executor needs no worker of its own.
        assert result(app(version_and_pid, "tiny<2")()) == result(python_app(version_and_pid)())


def test_an_executor_whose_environment_cannot_be_made_stops_with_the_reason(sandbox: Sandbox, packages: Path) -> None:
    with sandbox.load(requirements=["tiny>=3"]):
        assert "unsatisfiable" in str(error_of(python_app(pid)(), 30))


@pytest.mark.parametrize("workers", [1, 2])
def test_all_environments_share_the_cores_of_the_pool(sandbox: Sandbox, packages: Path, workers: int) -> None:
    apps = [app(interval, "tiny<2"), app(interval, "tiny>=2"), python_app(interval)]
    with sandbox.load(workers=workers):
        ran = [result(future) for future in [call(0.05) for _ in range(4) for call in apps]]
    changes = sorted([(began, 1) for began, _ in ran] + [(ended, -1) for _, ended in ran])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    assert most <= workers


def test_requirements_that_cannot_be_met_fail_their_tasks_with_the_words_of_uv(
    sandbox: Sandbox, packages: Path
) -> None:
    place = source_package(packages, "broken", "1.0", broken="this compiler is missing")
    (place / "go").touch()
    bad = app(pid, "broken")
    with sandbox.load(workers=2):
        futures = [bad() for _ in range(200)]
        errors = [error_of(future, 30) for future in futures]
        assert {type(error) for error in errors} == {SoftwareError}
        assert "environment broken cannot be used" in str(errors[0])
        assert "this compiler is missing" in str(errors[0])
        # Once for all of them, and the pool goes on.
        assert len(list(place.glob("building-*"))) == 1
        assert result(python_app(pid)())
        assert result(app(version_and_pid, "tiny")())


def test_other_tasks_overtake_those_that_wait_for_an_environment(sandbox: Sandbox, packages: Path) -> None:
    place = source_package(packages, "slow", "1.0")
    with sandbox.load():
        waits = app(pid, "slow")()
        until(lambda: list(place.glob("building-*")))
        assert result(python_app(pid)())
        assert not waits.done()
        cancelled = app(pid, "slow")()
        assert cancelled.cancel()
        (place / "go").touch()
        assert result(waits)


def test_a_killed_worker_loses_only_its_task(sandbox: Sandbox, packages: Path) -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with sandbox.load():
        before = result(app(version_and_pid, "tiny<2")())
        assert isinstance(error_of(app(die, "tiny<2")(), 30), WorkerLost)
        after = result(app(version_and_pid, "tiny<2")())
        assert (before[0], after[0]) == ("1.0", "1.0")
        assert before[1] != after[1]


def test_a_damaged_environment_is_made_again(sandbox: Sandbox, packages: Path) -> None:
    call = app(version_and_pid, "tiny<2")
    with sandbox.load():
        result(call())
    cache = EnvironmentCache(cache_folder())
    (one,) = cache.environments()
    next(one.path.rglob("tiny/__init__.py")).unlink()
    assert cache.manifest(one.key) is None
    with sandbox.load():
        assert result(call())[0] == "1.0"
    assert cache.manifest(one.key) is not None


def test_an_environment_in_use_cannot_be_removed(sandbox: Sandbox, packages: Path) -> None:
    cache = EnvironmentCache(cache_folder())
    with sandbox.load():
        result(app(version_and_pid, "tiny<2")())
        (one,) = cache.environments()
        assert one.in_use
        assert not cache.remove(one.key)
    until(lambda: cache.remove(one.key))
    assert cache.environments() == []


def test_the_environment_is_a_part_of_a_memoized_call(sandbox: Sandbox, packages: Path) -> None:
    def version() -> str:
        import tiny

        return str(tiny.__version__)

    old, new = app(version, "tiny<2", cache=True), app(version, "tiny>=2", cache=True)
    with sandbox.load():
        assert [result(call()) for call in (old, new, old, new)] == ["1.0", "2.0", "1.0", "2.0"]


def test_two_makers_of_one_environment_make_it_once(sandbox: Sandbox, packages: Path) -> None:
    place = source_package(packages, "slow", "1.0")
    with blocks_run(sandbox, blocks=2, workers=1) as dfk:
        futures = [app(pid, "slow")() for _ in range(2)]
        until(lambda: list(place.glob("building-*")), 30)
        # Both nodes need it: one maker builds, the other one waits for the lock.
        until(lambda: len(makers(dfk.pid)) == 2, 30)
        (place / "go").touch()
        assert all(result(future) for future in futures)
    assert len(list(place.glob("building-*"))) == 1


def test_a_maker_that_is_killed_is_replaced(sandbox: Sandbox, packages: Path) -> None:
    place = source_package(packages, "slow", "1.0")
    with sandbox.load() as dfk:
        future = app(pid, "slow")()
        until(lambda: list(place.glob("building-*")), 30)
        (maker,) = makers(dfk.pid)
        os.killpg(maker, signal.SIGKILL)
        (place / "go").touch()
        assert result(future)
        assert len(list(place.glob("building-*"))) == 2
    assert not list(cache_folder().glob(".*"))


@pytest.mark.usefixtures("loop")
def test_cells_have_environments(sandbox: Sandbox, packages: Path) -> None:
    notebook = Notebook(sandbox.root)
    try:
        notebook.run("%load_ext parslab\nimport parslab\n%parsl load --workers 1")
        notebook.run("%%parsl --environment 'tiny<2'\nimport tiny\nfound = tiny.__version__")
        assert notebook.run("found.result()").result == "'1.0'"
        notebook.run("%%parsl -w --bash --environment 'tiny>=2'\ntiny-version > version")
        assert (sandbox.root / "version").read_text() == "2.0\n"
    finally:
        notebook.stop()


def test_a_manager_that_is_killed_while_it_makes_an_environment(sandbox: Sandbox, packages: Path) -> None:
    place = source_package(packages, "slow", "1.0")
    with blocks_run(sandbox, retries=3, workers=1) as dfk:
        future = app(pid, "slow")()
        (mark,) = until(lambda: list(place.glob("building-*")), 30)
        builder = int(mark.name.rpartition("-")[2])
        for manager in managers(dfk.pid):
            os.kill(manager, signal.SIGKILL)
        until(is_gone(builder))
        (place / "go").touch()
        assert result(future, 40)
    # The next maker has removed what the killed one left.
    assert not list(cache_folder().glob(".*"))


def test_a_dataflowkernel_that_is_killed_while_it_makes_an_environment(sandbox: Sandbox, packages: Path) -> None:
    place = source_package(packages, "slow", "1.0")
    with sandbox.load() as dfk:
        future = app(pid, "slow")()
        (mark,) = until(lambda: list(place.glob("building-*")), 30)
        builder = int(mark.name.rpartition("-")[2])
        os.kill(dfk.pid, signal.SIGKILL)
        until(is_gone(builder))
        (place / "go").touch()
        assert result(future, 40)


def test_an_environment_that_exists_is_used_by_its_path(sandbox: Sandbox, packages: Path) -> None:
    with sandbox.load():
        result(app(version_and_pid, "tiny<2")())
        (one,) = EnvironmentCache(cache_folder()).environments()
        assert result(python_app(version_and_pid, environment=str(one.path))())[0] == "1.0"


def test_another_version_of_python_is_refused_with_a_sentence(sandbox: Sandbox, packages: Path) -> None:
    python = sandbox.root / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho 2.7\n")
    python.chmod(0o755)
    with sandbox.load():
        error = error_of(python_app(pid, environment=str(python))())
        assert isinstance(error, SoftwareError)
        assert "is Python 2.7, and this run uses Python" in str(error)


def test_threads_refuse_an_environment(sandbox: Sandbox) -> None:
    config = parslab.Config(executors=[parslab.ThreadPoolExecutor()], run_dir=sandbox.runs)
    with parslab.load(config), pytest.raises(ConfigurationError, match="because its threads run in this process"):
        app(pid, "tiny")()
    parslab.clear()


def test_without_uv_a_sentence_names_the_extra(
    sandbox: Sandbox, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = sandbox.root / "hidden" / "uv"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError\n")
    monkeypatch.syspath_prepend(str(hidden.parent))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with sandbox.load():
        assert "pip install 'parslab[environments]'" in str(error_of(app(pid, "tiny")(), 30))


def test_no_worker_is_left_when_the_run_ends(sandbox: Sandbox, packages: Path) -> None:
    with sandbox.load() as dfk:
        worker = result(app(version_and_pid, "tiny<2")())[1]
        assert worker in workers_of(dfk.pid)
        assert psutil.pid_exists(worker)
    until(is_gone(worker))
