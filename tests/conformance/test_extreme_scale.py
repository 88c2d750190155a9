"""The extreme-scale executor against the suite that all executors must pass, with two implementations of MPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import parslab
from parslab.testing.conformance.executors import ExecutorSuite
from tests.mpi_programs import mpi_lines

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.executors import Executor


class _WithMpi(ExecutorSuite):
    """Two workers, which are ranks of one MPI job."""

    mpi = ""

    @pytest.fixture(autouse=True)
    def _find_mpi(self, tmp_path: Path) -> None:
        self._lines = mpi_lines(self.mpi, tmp_path / "mpi")

    def executor(self) -> Executor:
        return parslab.ExtremeScaleExecutor(
            ranks_per_node=3, provider=parslab.LocalProvider(worker_init=self._lines, init_blocks=1)
        )


class TestWithOpenMpi(_WithMpi):
    mpi = "openmpi"


class TestWithMpich(_WithMpi):
    mpi = "mpich"
