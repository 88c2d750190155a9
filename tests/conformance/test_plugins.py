"""The examples of the documentation, installed as a package of a third party, pass the suites of their families."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab import executors, launchers, providers
from parslab.testing.conformance import LauncherSuite, ProviderSuite, StrategySuite
from tests.plugin_package import MODULE, install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab.launchers import Launcher
    from parslab.providers import Provider


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("site")
    install(folder)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop(MODULE, None)


class TestProvider(ProviderSuite):
    def provider(self, **options: Any) -> Provider:
        made: Provider = providers.NiceProvider(**options)
        return made


class TestLauncher(LauncherSuite):
    def launcher(self) -> Launcher:
        made: Launcher = launchers.TimedLauncher()
        return made


class TestStrategy(StrategySuite):
    name = "by_day"


def test_a_run_on_plugins_alone(tmp_path: Path) -> None:
    """The DataFlowKernel process finds the classes too."""
    config = parslab.Config(
        executors=[
            executors.GpuExecutor(workers=1),
            parslab.HighThroughputExecutor(
                max_workers_per_node=1,
                provider=providers.NiceProvider(niceness=7, launcher=launchers.TimedLauncher(), init_blocks=1),
            ),
        ],
        strategy="by_day",
        run_dir=str(tmp_path / "runinfo"),
    )
    assert [executor.label for executor in config.executors] == ["gpus", "htex"]

    def look() -> tuple[int, str | None]:
        import os

        return os.nice(0), os.environ.get("CUDA_DEVICE_ORDER")

    with parslab.load(config):
        for label, expected in (("gpus", (os.nice(0), "PCI_BUS_ID")), ("htex", (os.nice(0) + 7, None))):
            assert parslab.python_app(look, executors=[label])().result(60) == expected
