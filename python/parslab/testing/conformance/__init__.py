"""The public test suites that every member of a family passes, both ours and those of plug-ins.

======================== ================================================
family                   suite
======================== ================================================
executors                :class:`ExecutorSuite`
providers                :class:`ProviderSuite`, on real jobs
providers for schedulers :class:`BatchSuite`, on recorded answers
launchers                :class:`LauncherSuite`
staging providers        :class:`StagingSuite`, on real files
strategies               :class:`StrategySuite`
container engines        :class:`ContainerEngineSuite`, on command lines
======================== ================================================

Make a subclass in a test file of your own and name the member to test; pytest finds the rest.  The suites need pytest.
"""

from __future__ import annotations

from parslab.testing.conformance.batch_schedulers import BatchSuite
from parslab.testing.conformance.containers import ContainerEngineSuite
from parslab.testing.conformance.executors import ExecutorSuite
from parslab.testing.conformance.launchers import LauncherSuite
from parslab.testing.conformance.providers import ProviderSuite
from parslab.testing.conformance.staging import StagingSuite
from parslab.testing.conformance.strategies import StrategySuite

__all__ = [
    "BatchSuite",
    "ContainerEngineSuite",
    "ExecutorSuite",
    "LauncherSuite",
    "ProviderSuite",
    "StagingSuite",
    "StrategySuite",
]
