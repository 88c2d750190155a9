"""The examples of the documentation, installed as a package of a third party, pass the suites of their families."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab import data_provider, executors, launchers, providers
from parslab.testing.conformance import LauncherSuite, ProviderSuite, StagingSuite, StrategySuite
from tests.plugin_package import MODULE, install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab.data_provider.staging import Staging
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


class TestStaging(StagingSuite):
    @pytest.fixture(autouse=True)
    def vault(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = tmp_path / "vault"
        self.folder.mkdir()
        monkeypatch.setenv("VAULT", str(self.folder))

    def provider(self) -> Staging:
        made: Staging = data_provider.vault()
        return made

    def put(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return f"vault:/{name}"

    def get(self, url: str) -> bytes:
        return (self.folder / url.removeprefix("vault:/")).read_bytes()

    def test_its_scheme_suffices(self, tmp_path: Path) -> None:
        """An executor without ``storage_access`` finds the provider by the scheme of the URL."""
        file = parslab.File(self.put("a.txt", b"content"))
        config = parslab.Config(
            executors=[parslab.LowLatencyExecutor(workers=1)], run_dir=str(tmp_path / "runinfo"), resume=False
        )
        with parslab.load(config):
            assert parslab.python_app(lambda file: open(file).read())(file).result(60) == "content"  # noqa: SIM115


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
