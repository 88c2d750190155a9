"""What all tests share: rings and their time limits, a run of their own, nothing left behind.

The folder below `tests/` decides the ring.  `unit` and `simulation` are pure: sleeping and connecting are refused
there.  After every test no thread, child process or file descriptor may be left that was not there before, and after
the whole session no process that descends from it, wherever in the process tree it went.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TESTS = Path(__file__).parent
PURE_RINGS = {"unit", "simulation"}
# Seconds for one test. A ring that is not named has the 90 s of pyproject.toml.
RING_TIMEOUTS = {"process": 60, "compat": 120, "lab": 120, "notebooks": 120, "packaging": 300, "bench": 120}
GRACE = 5.0  # seconds in which what a test started may still go away, on a machine that is not busy
TOKEN = "PARSLAB_TEST_SESSION"
LINK_THREAD = "parslab-link"
FD_FOLDER = Path("/proc/self/fd") if sys.platform == "linux" else Path("/dev/fd")

settings.register_profile("parslab", deadline=None, print_blob=True)
settings.register_profile("ci", parent=settings.get_profile("parslab"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "parslab")


def business() -> float:
    """Return how many processes want each core now; 1 on a machine that has cores to spare."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def ring(path: Path) -> str:
    """Return the name of the ring a test file belongs to."""
    return path.relative_to(TESTS).parts[0] if path.is_relative_to(TESTS) else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the slow rings their time limit, unless a test names its own."""
    for item in items:
        limit = RING_TIMEOUTS.get(ring(item.path))
        if limit and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(limit))


def pytest_sessionstart() -> None:
    """Let Ctrl-C interrupt: a shell starts what it runs in the background with SIGINT and SIGQUIT ignored, and that is
    inherited."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)


# --- a run of their own ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def own_jupyter_folders() -> Iterator[None]:
    """Keep the user's Jupyter and IPython settings out of the tests, and the tests out of them.

    The folder's name is short because unix sockets may live in it, and their paths end at 104 characters on macOS.
    """
    root = Path(tempfile.mkdtemp(prefix="pl-"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(root / name.removeprefix("JUPYTER_").lower()))
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")  # the choice is ours: jupyter_core warns where none was made
        yield
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(autouse=True)
def own_folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test outside the checkout, so that run directories do not pile up in it."""
    if ring(request.path) not in PURE_RINGS:
        monkeypatch.chdir(request.getfixturevalue("tmp_path"))


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of a chromium; without one a test is skipped, but never in CI."""
    names = ("chromium", "chromium-browser", "google-chrome")
    app = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
    found = os.environ.get("PARSLAB_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None and app.exists():
        found = str(app)
    if found is None:
        message = "no chromium: sudo apt-get install chromium, or name one in PARSLAB_CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(autouse=True)
def no_files_of_others() -> Iterator[None]:
    """Forget that an earlier test had files to stage: each call of an app looks at this."""
    from parslab.data_provider import files

    files.staging_needed = False
    yield
    files.staging_needed = False


# --- pure rings ------------------------------------------------------------------------------------------------------


def refused(what: str) -> Callable[..., Any]:
    """Return a function that fails the test which calls it."""

    def refuse(*_args: object, **_options: object) -> None:
        pytest.fail(f"a test of a pure ring must not {what}; move it to tests/process")

    return refuse


@pytest.fixture(autouse=True)
def pure_ring(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse sleeping and connecting in the pure rings.

    A socket pair connects to nobody but its maker, and every asyncio loop makes one, so pairs stay allowed.
    """
    if ring(request.path) not in PURE_RINGS:
        return
    monkeypatch.setattr(time, "sleep", refused("sleep"))
    for method in ("bind", "connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, method, refused("use sockets"))
    if "zmq" in sys.modules:
        monkeypatch.setattr(sys.modules["zmq"].Context, "socket", refused("use sockets"))


# --- nothing left behind ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Census:
    """The threads, child processes and descriptors of this process at one moment."""

    threads: frozenset[threading.Thread]
    processes: frozenset[psutil.Process]
    descriptors: frozenset[int]

    @classmethod
    def take(cls, with_processes: bool) -> Census:
        """Count; looking for children means reading the whole process table, so pure rings leave it out."""
        children = psutil.Process().children(recursive=True) if with_processes else []
        return cls(
            threads=frozenset(threading.enumerate()),
            processes=frozenset(child for child in children if not is_tracker(child)),
            descriptors=frozenset(descriptors()),
        )

    def newcomers(self, before: Census) -> list[str]:
        """Name what is here now and was not before."""
        # A link's thread may be replaced by another one, so it is a leak only if there are more than before.
        replaced = [thread.name for thread in before.threads - self.threads if thread.name == LINK_THREAD]
        found = []
        for thread in self.threads - before.threads:
            if thread.name in replaced:
                replaced.remove(thread.name)
            else:
                found.append(f"thread {thread.name}")
        found += [f"process {described(process)}" for process in self.processes - before.processes]
        # Numbers are used again, so one that looks new is a leak only if there are more of them than before.
        if len(self.descriptors) > len(before.descriptors):
            found += [f"descriptor {number}: {target(number)}" for number in self.descriptors - before.descriptors]
        return sorted(found)


def descriptors() -> Iterator[int]:
    """Yield the open descriptors, without the one that reads their folder."""
    for name in os.listdir(FD_FOLDER):
        try:
            os.fstat(int(name))
        except OSError:
            continue
        yield int(name)


def target(number: int) -> str:
    """Say what a descriptor is open on."""
    try:
        return os.readlink(FD_FOLDER / str(number))
    except OSError:
        return "?"


def is_tracker(process: psutil.Process) -> bool:
    """Say whether this is multiprocessing's resource tracker, which lives as long as its parent by design."""
    try:
        return any("resource_tracker" in word for word in process.cmdline())
    except psutil.Error:
        return True


def described(process: psutil.Process) -> str:
    """Return pid and command of a process that may be gone already."""
    try:
        return f"{process.pid} ({process.status()}): {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return str(process.pid)


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread, a child process or an open descriptor."""
    if request.node.get_closest_marker("leaves_behind"):
        yield
        return
    wait = time.sleep  # the real one: the pure rings replace it
    with_processes = ring(request.path) not in PURE_RINGS
    before = Census.take(with_processes)
    yield
    left = Census.take(with_processes).newcomers(before)
    deadline = time.monotonic() + GRACE * business()
    pause = 0.02
    while left and time.monotonic() < deadline:
        gc.collect()  # no other thread runs meanwhile; after thousands of tests that takes long
        wait(pause)
        pause = min(1.5 * pause, 0.5)
        left = Census.take(with_processes).newcomers(before)
    if left:
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def no_orphans() -> Iterator[None]:
    """Fail the session if a process that it started, or one of theirs, outlives it; then end that process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN, token := uuid.uuid4().hex)
        yield
    deadline = time.monotonic() + GRACE * business()
    while (left := descendants(token)) and time.monotonic() < deadline:
        time.sleep(0.1)
    names = [described(process) for process in left]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if names:
        pytest.fail("processes outlived the tests:\n  " + "\n  ".join(names), pytrace=False)


def descendants(token: str) -> list[psutil.Process]:
    """Return the processes that carry the session's token in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(TOKEN) == token and not is_tracker(process):
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone, or somebody else's
    return found
