"""Virtual hosts with a disk, a network and processes of their own, started once for the tests of a module.

The scripts that make them are no part of this project.  They are looked for where those of the schedulers are; where
they are not, or namespaces cannot be made, these tests are skipped and say so.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab.client import session
from tests.hosts.cluster import Hosts
from tests.process.sandbox import Sandbox
from tests.schedulers.conftest import TESTBED, variables_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parslab import DataFlowKernel

ROOT = Path(__file__).parents[2]
START = 240
"""Seconds that packages and a start may take."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the time that the start of the hosts may take."""
    for item in items:
        if item.path.parent == Path(__file__).parent and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(START + 120))


@contextlib.contextmanager
def brought_up(scratch: Path, number: int, **options: str) -> Iterator[Hosts]:
    """Hosts, for as long as they are needed."""
    script = TESTBED / "hosts-up.sh"
    if not script.exists():
        pytest.skip(f"no {script}: name the folder of the testbed in PARSLAB_TESTBED")
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("virtual hosts are made by root on Linux only")
    shared = scratch / "shared"
    shared.mkdir()
    environment = {
        # A folder of our own: hosts that somebody else has started are not touched, and ours fail to start then.
        "TESTBED_ROOT": str(scratch / "testbed"),
        "HOSTS_N": str(number),
        "HOSTS_SSH": "0",
        "HOSTS_SHARE": str(ROOT),
        "HOSTS_SHARE_RW": str(shared),
        "HOSTS_PYTHON": sys.executable,
        **options,
    }
    try:
        done = subprocess.run(
            ["bash", script],
            env={**os.environ, **environment},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=START,
            start_new_session=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(
                f"virtual hosts cannot be made here; {script} ended with {done.returncode}: {done.stderr[-600:]}"
            )
        variables = variables_of(done.stdout.strip().splitlines()[-1])
        names = tuple(variables["TESTBED_HOST_NAMES"].split())
        yield Hosts(names, variables["TESTBED_GW"], TESTBED, environment, shared)
    finally:
        subprocess.run(
            ["bash", TESTBED / "hosts-down.sh"],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder with a short path: those of sockets and namespaces have limits."""
    with tempfile.TemporaryDirectory(prefix="plh-hosts-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def nothing_loaded() -> Iterator[None]:
    """A run that a failed test leaves loaded must not make those behind it fail, too."""
    yield
    left = session.current_run()
    if left is not None:
        left.cleanup()
        session.clear()


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A place for the runs of one test; no process of them may be left."""
    tmp_path_factory.getbasetemp()  # not in the sandbox, where temporary files go from now on
    with Sandbox().entered() as sandbox:
        yield sandbox


@pytest.fixture
def load(sandbox: Sandbox) -> Callable[..., contextlib.AbstractContextManager[DataFlowKernel]]:
    """Load a run on hosts, and clean it up whatever becomes of it."""

    @contextlib.contextmanager
    def loaded(hosts: Hosts, *executors: Any, **options: Any) -> Iterator[DataFlowKernel]:
        # In the folder that the hosts share, because managers read there how they find the run.
        config = parslab.Config(executors=executors or (hosts.executor(),), run_dir=hosts.shared / "runs", **options)
        dfk = parslab.load(config)
        try:
            yield dfk
        finally:
            dfk.cleanup()
            parslab.clear()

    return loaded
