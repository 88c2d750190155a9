"""The description of a container, and what is mounted in it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from parslab.app.software import software
from parslab.errors import ConfigurationError
from parslab.executors import LowLatencyExecutor
from parslab.executors.containers import Container
from parslab.records.software import ContainerSpec, Software
from parslab.remote.pool import worker_start
from parslab.remote.pool.control_group import worker_mark
from parslab.remote.pool.worker_start import ProcessPlan, WorkerRun, start_command, worker_settings
from parslab.remote.software.engines import ContainerStart, Mount

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "image must be the name"),
        ({"image": "--privileged"}, "image must be the name"),
        ({"image": "a", "engine": "lxc"}, "engine must be"),
        ({"image": "a", "mounts": ["data"]}, "a mount is"),
        ({"image": "a", "mounts": ["/data:/in:rx"]}, "a mount is"),
        ({"image": "a", "mounts": ["/data:in"]}, "a mount is"),
    ],
)
def test_mistakes_are_sentences(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Container(**options)


def test_the_name_of_an_image_is_enough() -> None:
    assert software("App f", None, "a:1") == Software(container=ContainerSpec("a:1"))
    assert LowLatencyExecutor(container="a:1").settings().container == ContainerSpec("a:1")
    assert LowLatencyExecutor().settings().container is None


def test_something_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="App f: container must be a Container"):
        software("App f", None, 3)  # type: ignore[arg-type]


def test_all_options_travel() -> None:
    made = Container("a", engine="docker", mounts=["/data:/in:ro"], engine_options=["--gpus=all"], python="python3")
    assert made.spec() == ContainerSpec("a", "docker", ("/data:/in:ro",), ("--gpus=all",), "python3")


def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str, python: str = "") -> dict[str, Any]:
    """Return the settings of a worker in a container."""
    monkeypatch.setattr(sys, "base_prefix", prefix)
    monkeypatch.setattr(sys, "prefix", prefix)
    container = ContainerStart(
        engine="podman", program="podman", image="a", python=python, mounts=(Mount("/x", "/y"),), folder="/"
    )
    plan = ProcessPlan({"A": "b"}, container=container)
    assert start_command(plan) == [sys.executable, "-c", worker_start._SUPERVISE]
    run = WorkerRun("000-a", package="1", path=[str(tmp_path / "source"), "/nowhere"], cwd=str(tmp_path / "work"))
    return worker_settings("w-0", 0, plan, run)


def mounted(settings: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return [tuple(mount) for mount in settings["container"]["mounts"]]


def test_the_interpreter_of_this_host_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("source", "work", "python"):
        (tmp_path / name).mkdir()
    prefix = str(tmp_path / "python")
    settings = start(tmp_path, monkeypatch, prefix)
    assert settings["container"]["python"] == sys.executable
    assert settings["path"] == [str(tmp_path / "source"), "/nowhere"]
    source, work = str(tmp_path / "source"), str(tmp_path / "work")
    assert set(mounted(settings)) == {
        (source, source, False),
        (work, work, False),
        (prefix, prefix, True),
        ("/x", "/y", False),
    }
    assert settings["environment"] == {"A": "b", "PARSLAB_RUN": "000-a", "PARSLAB_WORKER_OF": worker_mark("w-0")}


@pytest.mark.parametrize(("prefix", "python"), [("/usr", ""), ("/opt/python", "python3")])
def test_an_interpreter_of_the_image_gets_our_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str, python: str
) -> None:
    (tmp_path / "work").mkdir()
    settings = start(tmp_path, monkeypatch, prefix, python)
    assert settings["container"]["python"] == "python3"
    targets = {target for _, target, _ in mounted(settings)}
    assert {f"/parslab-packages/{name}" for name in ("parslab", "msgspec", "cloudpickle", "psutil")} <= targets
    assert settings["packages"] == dict.fromkeys(["parslab", "msgspec", "cloudpickle", "psutil"], "/parslab-packages")
    assert not any(target in ("/usr", prefix) for target in targets)


def test_folders_that_every_image_has_are_not_mounted_over() -> None:
    folders = [Mount(name, name) for name in ("/", "/usr", "/etc", "/usr/share", "/usr/share/doc")]
    assert worker_start._outermost(folders) == [Mount("/usr/share", "/usr/share")]
