"""Places for whole runs on real schedulers: nothing of a run may stay, neither processes nor jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from parslab.client import session
from tests.process.sandbox import Sandbox
from tests.schedulers.conftest import START, TESTBED
from tests.schedulers.runs.cluster import Nodes, no_jobs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.schedulers.conftest import Scheduler

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the time that the start of its scheduler may take."""
    for item in items:
        if item.path.parent == HERE and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(START + 100))


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
    """A place for the runs of one test; no process of them may be left on any node."""
    tmp_path_factory.getbasetemp()  # not in the sandbox, where temporary files go from now on
    with Sandbox().entered() as sandbox:
        yield sandbox


@pytest.fixture
def nodes(slurm: Scheduler) -> Iterator[Nodes]:
    """The nodes of Slurm, for tests that hurt them; afterwards they are whole and no job of ours is in the queue."""
    nodes = Nodes(slurm, TESTBED)
    try:
        yield nodes
        no_jobs()
    finally:
        nodes.mend()
