"""Classes that other packages add by entry points are found by their names, and only when somebody asks for them."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from parslab.errors import ConfigurationError
from parslab.plugins import PROVIDERS, STAGING, STRATEGIES, find_plugin, plugin_names
from tests.plugin_package import EXAMPLES, MODULE, example, install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAMILIES = sorted(EXAMPLES.keys() - {"parslab.staging", "parslab.strategies"})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop(MODULE, None)


@pytest.mark.parametrize("group", FAMILIES)
@pytest.mark.usefixtures("package")
def test_a_family_has_the_class_of_a_package(group: str) -> None:
    _, name, _ = EXAMPLES[group]
    found = getattr(import_module(group), name)
    assert (found.__module__, found.__name__) == (MODULE, name)
    assert name in plugin_names(group)
    assert repr(found()) == f"{name}()"


@pytest.mark.usefixtures("package")
def test_a_strategy_of_a_package_is_found_by_its_name() -> None:
    from parslab.scaling.strategies import strategy_named

    assert type(strategy_named("by_day")).__name__ == "ByDay"
    assert plugin_names(STRATEGIES) == ("by_day",)


@pytest.mark.usefixtures("package")
def test_a_staging_provider_of_a_package_is_found_by_its_scheme() -> None:
    from parslab import data_provider

    assert data_provider.vault.__name__ == "VaultStaging"
    assert plugin_names(STAGING) == ("vault",)
    with pytest.raises(AttributeError, match=r"module 'parslab\.data_provider' has no attribute 'Nobody'"):
        data_provider.Nobody  # noqa: B018


@pytest.mark.parametrize("group", sorted(EXAMPLES))
def test_the_example_in_the_documentation_is_short(group: str) -> None:
    assert 3 <= len([line for line in example(group).splitlines() if line.strip()]) <= 10


@pytest.mark.parametrize("group", FAMILIES)
def test_a_name_that_nobody_has(group: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{group}' has no attribute 'Nobody'"):
        getattr(import_module(group), "Nobody")  # noqa: B009


def test_an_entry_point_that_names_something_else(package: Path) -> None:
    entry_points = package / f"{MODULE}-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text(f"[parslab.providers]\nWrong = {MODULE}:TimedLauncher\nGone = no_such_module:X\n")
    from parslab.providers.base import Provider

    with pytest.raises(ConfigurationError, match=r"'Wrong' .* is not a subclass of parslab\.providers\.base\.Provider"):
        find_plugin(PROVIDERS, "Wrong", Provider)
    with pytest.raises(ConfigurationError, match=r"names no_such_module:X, which cannot be imported \(ModuleNotFound"):
        find_plugin(PROVIDERS, "Gone", Provider)


@pytest.mark.usefixtures("package")
def test_nothing_is_read_while_nobody_asks(package: Path) -> None:
    code = (
        "import sys\nimport parslab.providers, parslab.launchers, parslab.executors, parslab.scaling.strategies\n"
        "parslab.providers.LocalProvider, parslab.executors.HighThroughputExecutor\n"
        "hasattr(parslab.launchers, '__path__'), hasattr(parslab.providers, '_private')\n"
        "assert 'importlib.metadata' not in sys.modules, 'entry points were read'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
