"""Fixtures of the tests with real processes: sandboxes for their runs, which must be empty afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from parslab.client import session
from tests.process.sandbox import Sandbox, until, workers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab import DataFlowKernel


@pytest.fixture(autouse=True)
def nothing_loaded() -> Iterator[None]:
    """A run that a failed test leaves loaded must not make those behind it fail, too."""
    before = session.current_run()
    yield
    left = session.current_run()
    if left is not None and left is not before:
        left.cleanup()
        session.clear()


@pytest.fixture(scope="session")
def loop() -> None:
    """Jupyter makes an event loop at its first use and keeps it: no test shall be taken for who left it behind."""
    from jupyter_core.utils import run_sync

    run_sync(asyncio.sleep)(0)


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A place for the runs of one test."""
    tmp_path_factory.getbasetemp()  # outside of the sandbox, where temporary files are from now on
    with Sandbox().entered() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataFlowKernel]:
    """One run with two workers for all tests of a module that do not hurt it."""
    tmp_path_factory.getbasetemp()
    with Sandbox().entered() as sandbox, sandbox.load(workers=2) as dfk:
        # A worker that begins later would count as left behind by the first test.
        until(lambda: len(workers_of(dfk.pid)) == 2, 60, "both workers have begun")
        yield dfk
