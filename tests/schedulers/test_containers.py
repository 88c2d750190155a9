"""Workers in containers of Podman, whose image comes from a registry of this host.

The image holds the C libraries that Python needs, and a shell; the interpreter is that of the tests, mounted.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import psutil
import pytest

from parslab import Container, python_app
from parslab.errors import SoftwareError, WorkerLost
from parslab.remote.software.engines import NAME_PREFIX
from tests.process.blocks import blocks_run, managers
from tests.process.sandbox import Sandbox, error_of, is_gone, patience, until
from tests.schedulers.conftest import brought_up, entered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.schedulers.conftest import Scheduler

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def registry_up() -> Iterator[Scheduler]:
    if sys.base_prefix in ("/usr", "/usr/local"):
        pytest.skip(
            f"the interpreter of these tests is in {sys.base_prefix}, which cannot be mounted over that of an image"
        )
    with brought_up("registry") as registry:
        yield registry


@pytest.fixture(scope="module")
def image(registry_up: Scheduler) -> str:
    """The name of an image that only the registry has."""
    with pytest.MonkeyPatch.context() as patch:
        entered(registry_up, patch)
        name = f"{os.environ['TESTBED_REGISTRY']}/parslab/libraries:1"
        with tempfile.TemporaryDirectory() as folder:
            _fill(Path(folder))
            archive = subprocess.run(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE, check=True).stdout
        podman("import", "--change=ENV MARK=inside", "--change=ENV PATH=/bin", "-", name, input=archive)
        podman("push", "--quiet", name)
        podman("rmi", "--force", name)
        return name


@pytest.fixture
def podman_here(image: str, registry_up: Scheduler, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the image, for commands of this test; no container may be left afterwards."""
    entered(registry_up, monkeypatch)
    yield image
    until(lambda: not containers(), what="containers are removed")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox().entered() as sandbox:
        yield sandbox


def podman(*words: str, **options: Any) -> str:
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        ["podman", *words], capture_output=True, check=False, **options
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def containers() -> list[str]:
    """The names of our containers, whatever their state."""
    return [name for name in podman("ps", "--all", "--format", "{{.Names}}").split() if name.startswith(NAME_PREFIX)]


def _fill(root: Path) -> None:
    for name in ("bin", "tmp", "etc", "proc", "sys", "dev"):
        (root / name).mkdir()
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, root / "bin" / "sh")
    packages = [importlib.util.find_spec(name) for name in ("msgspec", "psutil")]
    folders = [Path(spec.origin).parent for spec in packages if spec is not None and spec.origin is not None]
    modules = [
        str(path) for folder in (*folders, Path(sysconfig.get_path("platstdlib"))) for path in folder.rglob("*.so")
    ]
    listed = subprocess.run(
        ["ldd", os.path.realpath(sys.executable), *modules], capture_output=True, text=True, check=False
    )
    for library in set(re.findall(r"(/\S+) \(0x", listed.stdout)):
        if not library.startswith(sys.base_prefix):
            target = root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)


def inside() -> tuple[str | None, int]:
    return os.environ.get("MARK"), os.getpid()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def nap() -> None:
    import time

    Path("napping").touch()
    time.sleep(120)


def write() -> str:
    Path("written").write_text("here")
    return os.getcwd()


def result(future: Any, seconds: float = 60.0) -> Any:
    return future.result(seconds * patience())


def supervisors(dfk: int) -> list[psutil.Process]:
    """The processes on this host that stand for workers in containers."""
    return [one for one in psutil.Process(dfk).children(recursive=True) if "supervise(s)" in " ".join(one.cmdline())]


@pytest.mark.parametrize("executor", ["low latency", "high throughput"])
def test_the_image_is_pulled_and_its_worker_stays(sandbox: Sandbox, podman_here: str, executor: str) -> None:
    container = Container(podman_here, engine="podman")
    app = python_app(inside, container=container)
    run = sandbox.load(workers=2) if executor == "low latency" else blocks_run(sandbox)
    with run:
        first = result(app())
        assert first[0] == "inside"
        assert result(python_app(inside)())[0] is None
        assert [result(app()) for _ in range(5)] == [first] * 5
        (name,) = containers()
        folder = result(python_app(write, container=container)())
        assert Path(folder, "written").read_text() == "here"
        assert containers() == [name]
    podman("rmi", "--force", podman_here)


def test_an_interpreter_of_the_image_gets_our_packages_only(sandbox: Sandbox, podman_here: str) -> None:
    def origins() -> list[str]:
        import cloudpickle
        import msgspec

        import parslab

        return [module.__file__ or "" for module in (parslab, cloudpickle, msgspec)]

    # As if the image had it: our own interpreter, but not our environment.
    python = os.path.realpath(sys.executable)
    container = Container(podman_here, python=python, mounts=[f"{sys.base_prefix}:{sys.base_prefix}:ro"])
    with sandbox.load():
        ours, pickles, messages = result(python_app(origins, container=container)())
    assert ours == "/parslab-packages/parslab/__init__.py"
    assert pickles.startswith("/parslab-packages/cloudpickle/")
    # Where the image has no version of its own.
    assert messages.startswith(("/parslab-packages/msgspec/", sys.base_prefix))


def test_an_unknown_image_is_one_sentence(sandbox: Sandbox, podman_here: str) -> None:
    app = python_app(inside, container=podman_here.replace("libraries", "nothing"))
    with sandbox.load():
        error = error_of(app(), 60)
        assert isinstance(error, SoftwareError)
        assert "podman ended with status 125" in str(error)
        assert "unknown" in str(error)


@pytest.mark.parametrize("victim", ["worker", "supervisor", "engine"])
def test_a_killed_process_leaves_no_container(sandbox: Sandbox, podman_here: str, victim: str) -> None:
    app = python_app(inside, container=podman_here)
    with sandbox.load() as dfk:
        result(app())
        (name,) = containers()
        (supervisor,) = supervisors(dfk.pid)
        if victim == "worker":
            error = error_of(python_app(die, container=podman_here)(), 60)
            assert isinstance(error, WorkerLost)
            assert "was killed by SIGKILL" in str(error)
        else:
            (engine,) = supervisor.children()
            (supervisor if victim == "supervisor" else engine).kill()
            if victim == "engine":  # the container goes on without its command
                assert result(app())[0] == "inside"
                supervisor.kill()
        until(lambda: name not in containers(), 30, "the container is removed")
        assert result(app())[0] == "inside"


def test_a_killed_dataflowkernel_leaves_no_container(sandbox: Sandbox, podman_here: str) -> None:
    with sandbox.load(resume=False) as dfk:
        busy = python_app(nap, container=podman_here)()
        until(lambda: Path("napping").exists(), 60)
        (supervisor,) = supervisors(dfk.pid)
        os.kill(dfk.pid, signal.SIGKILL)
        until(is_gone(supervisor.pid))
        until(lambda: not containers(), 30, "the container is removed")
        busy.cancel()


def test_a_killed_manager_leaves_no_container(sandbox: Sandbox, podman_here: str) -> None:
    app = python_app(inside, container=podman_here)
    with blocks_run(sandbox, retries=3) as dfk:
        result(app())
        (name,) = containers()
        for manager in managers(dfk.pid):
            os.kill(manager, signal.SIGKILL)
        until(lambda: name not in containers(), 30, "the container is removed")
        assert result(app())[0] == "inside"
