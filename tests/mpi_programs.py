"""Open MPI and MPICH of this host for tests: the packages of Debian, and the mpi4py of this environment."""

from __future__ import annotations

import glob
import importlib.util
import shlex
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KINDS", "mpi_lines"]

KINDS = ("openmpi", "mpich")
_PACKAGES = {"openmpi": "openmpi-bin", "mpich": "mpich"}
_ROOT = "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"


def mpi_lines(kind: str, folder: Path) -> str:
    """Return shell text that makes this MPI the one of a block; skip the test where the MPI is missing.

    Parameters
    ----------
    kind
        One of ``KINDS``.
    folder
        A folder for its ``mpiexec``.
    """
    program = shutil.which(f"mpiexec.{kind}")
    if program is None:
        pytest.skip(f"no mpiexec.{kind}: install the package {_PACKAGES[kind]}")
    if importlib.util.find_spec("mpi4py") is None:
        pytest.skip("no mpi4py: install parslab[mpi]")
    folder.mkdir(parents=True, exist_ok=True)
    # Not a link: it looks for its other programs beside itself.
    (folder / "mpiexec").write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    (folder / "mpiexec").chmod(0o755)
    lines = [f"export PATH={shlex.quote(str(folder))}:$PATH MPI4PY_MPIABI={kind}", _ROOT]
    if kind == "mpich":
        # Debian names the library otherwise than every other MPI with the same binary interface.
        (library,) = glob.glob("/usr/lib/*/libmpich.so.12")[:1]
        if not (folder / "libmpi.so.12").is_symlink():
            (folder / "libmpi.so.12").symlink_to(library)
        lines.append(f"export LD_LIBRARY_PATH={shlex.quote(str(folder))}")
    return "\n".join(lines)
