"""What the settings of another package's executor got wrong is refused in one sentence, before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from parslab.client.process.run_settings import new_settings
from parslab.config import Config
from parslab.errors import ConfigurationError
from parslab.executors.base import Executor, checked_settings
from parslab.executors.high_throughput import HighThroughputExecutor
from parslab.executors.low_latency import LowLatencyExecutor
from parslab.executors.threads import ThreadPoolExecutor
from parslab.records.executor_settings import EncodedDescription, HighThroughputSettings, LowLatencySettings
from parslab.wire.notebooks import NotebookPlace

if TYPE_CHECKING:
    from pathlib import Path


ODD_OPTION = EncodedDescription("x:X", {"day": object})  # type: ignore[dict-item]


class OddWorkers(LowLatencyExecutor):
    """An executor of another package that counts its workers wrongly."""

    def settings(self) -> LowLatencySettings:
        return msgspec.structs.replace(super().settings(), workers="many")


class OddNodes(HighThroughputExecutor):
    """An executor of another package whose settings one test after the other sets."""

    manager: dict[str, Any]
    provider_options: dict[str, Any]

    def settings(self) -> HighThroughputSettings:
        plain = super().settings()
        return msgspec.structs.replace(
            plain,
            manager=msgspec.structs.replace(plain.manager, **self.manager),
            provider=msgspec.structs.replace(plain.provider, **self.provider_options),
        )


class Dictionary(Executor):
    """An executor that returns what executors returned once."""

    def settings(self) -> Any:
        return {"kind": "mine", "label": self.label}


def sentence(executor: Executor) -> str:
    with pytest.raises(ConfigurationError) as caught:
        checked_settings(executor)
    return str(caught.value)


@pytest.mark.parametrize("executor", [ThreadPoolExecutor(), LowLatencyExecutor(), HighThroughputExecutor()])
def test_our_own_settings_are_accepted_as_they_are(executor: Executor) -> None:
    assert checked_settings(executor) == executor.settings()


@pytest.mark.parametrize(
    ("manager", "provider", "says"),
    [
        (
            {"max_workers_per_node": 0},
            {},
            "max_workers_per_node must be a whole number of at least 1 or None, not 0.",
        ),
        ({"mem_per_worker": "4 GB"}, {}, "mem_per_worker must be a number above 0 or None, not '4 GB'."),
        ({"environment": {"A": 1}}, {}, "environment must be a dictionary of texts, not {'A': 1}."),
        ({"available_accelerators": [0]}, {}, "available_accelerators must be a list of texts, not [0]."),
        ({"cpu_affinity": None}, {}, "cpu_affinity must be a text, not None."),
        ({}, {"parallelism": 2}, "parallelism must be a number of at least 0 and of at most 1, not 2."),
        ({}, {"local": "yes"}, "local must be True or False, not 'yes'."),
        ({}, {"description": object}, "description must be of class EncodedDescription, not <class 'object'>."),
        ({}, {"description": ODD_OPTION}, "options must be a dictionary of plain data, not {'day': "),
    ],
)
def test_a_wrong_value_is_refused_with_its_executor_and_option(
    manager: dict[str, Any], provider: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OddNodes, "manager", manager, raising=False)
    monkeypatch.setattr(OddNodes, "provider_options", provider, raising=False)
    assert sentence(OddNodes(label="big")).startswith(f"Executor big: {says}")


def test_settings_that_are_no_struct_of_ours_are_refused() -> None:
    assert sentence(Dictionary(label="odd")) == (
        "Executor odd: Dictionary.settings() must return one of ThreadPoolSettings, LowLatencySettings, "
        "HighThroughputSettings, not {'kind': 'mine', 'label': 'odd'}."
    )


def test_a_run_with_wrong_settings_does_not_begin(tmp_path: Path) -> None:
    config = Config(executors=[OddWorkers(label="small")], run_dir=tmp_path / "runs")
    with pytest.raises(ConfigurationError, match=r"Executor small: workers must be a whole number .* not 'many'\."):
        new_settings(config, "0", "", (), NotebookPlace())
    assert not (tmp_path / "runs").exists()
