"""Every launcher passes the suite of the family; programs of sites have stand-ins that run the last three words."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from parslab.launchers import (
    AprunLauncher,
    GnuParallelLauncher,
    JsrunLauncher,
    MpiExecLauncher,
    MpiRunLauncher,
    SimpleLauncher,
    SingleNodeLauncher,
    SrunLauncher,
    SrunMPILauncher,
    WrappedLauncher,
)
from parslab.testing.conformance import LauncherSuite

if TYPE_CHECKING:
    from parslab.launchers import Launcher

LAST_THREE_WORDS = 'exec "${@: -3}"'


class TestSingleNodeLauncher(LauncherSuite):
    def launcher(self) -> Launcher:
        return SingleNodeLauncher()


class TestSimpleLauncher(LauncherSuite):
    def launcher(self) -> Launcher:
        return SimpleLauncher()


class TestWrappedLauncher(LauncherSuite):
    def launcher(self) -> Launcher:
        return WrappedLauncher(prepend="nice")


class TestGnuParallelLauncher(LauncherSuite):
    programs: ClassVar = {"parallel": 'exec bash -c "${@: -1}"'}

    def launcher(self) -> Launcher:
        return GnuParallelLauncher()


class TestSrunLauncher(LauncherSuite):
    programs: ClassVar = {"srun": LAST_THREE_WORDS}

    def launcher(self) -> Launcher:
        return SrunLauncher()


class TestSrunMPILauncher(LauncherSuite):
    programs: ClassVar = {"srun": f'[ "$1" = --help ] || {LAST_THREE_WORDS}', "scontrol": "echo localhost"}

    def launcher(self) -> Launcher:
        return SrunMPILauncher()


class TestAprunLauncher(LauncherSuite):
    programs: ClassVar = {"aprun": LAST_THREE_WORDS}

    def launcher(self) -> Launcher:
        return AprunLauncher()


class TestJsrunLauncher(LauncherSuite):
    programs: ClassVar = {"jsrun": LAST_THREE_WORDS}

    def launcher(self) -> Launcher:
        return JsrunLauncher()


class TestMpiExecLauncher(LauncherSuite):
    programs: ClassVar = {"mpiexec": LAST_THREE_WORDS}

    def launcher(self) -> Launcher:
        return MpiExecLauncher()


class TestMpiRunLauncher(LauncherSuite):
    programs: ClassVar = {"mpirun": LAST_THREE_WORDS}

    def launcher(self) -> Launcher:
        return MpiRunLauncher()
