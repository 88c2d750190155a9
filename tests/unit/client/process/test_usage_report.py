"""What usage reports tell at each level, and that nobody who has not asked for them sends any."""

from __future__ import annotations

import getpass
import json
import os
import socket
from typing import Any

import pytest

from parslab import Config, HighThroughputExecutor, LowLatencyExecutor, SlurmProvider
from parslab.client.process.usage_report import start_report, usage_settings
from parslab.dataflow.usage_sender import end_report
from parslab.errors import ConfigurationError

ID = "00000000-0000-4000-8000-000000000000"
PLACE = {"usage_address": "usage.example.org:50077"}


class SecretExecutor(LowLatencyExecutor):
    """An executor of the user, whose name is nobody's business."""


def report(level: int, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(start_report(Config(**options), level, ID))
    return found


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)


def test_nothing_is_sent_unless_level_and_address_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usage_settings(Config()) is None
    assert usage_settings(Config(usage_tracking=3)) is None
    assert usage_settings(Config(**PLACE)) is None
    asked = Config(usage_tracking=True, **PLACE)
    found = usage_settings(asked)
    assert found is not None
    assert (found.address, found.level) == ("usage.example.org:50077", 1)
    again = usage_settings(asked)
    assert again is not None
    assert again.run_id != found.run_id
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    assert usage_settings(asked) is None


def test_variables_ask_for_reports_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSLAB_USAGE_TRACKING", "2")
    monkeypatch.setenv("PARSLAB_USAGE_ADDRESS", "localhost:9")
    found = usage_settings(Config())
    assert found is not None
    assert (found.address, found.level) == ("localhost:9", 2)
    assert usage_settings(Config(usage_tracking=0)) is None


def test_each_level_tells_more() -> None:
    first = report(1)
    assert set(first) == {"format", "event", "id", "level", "parslab", "python", "system"}
    assert report(1, project_name="p" * 500)["project"] == "p" * 100
    executors = [
        HighThroughputExecutor(provider=SlurmProvider(partition="secret", account="secret", worker_init="secret")),
        SecretExecutor(label="secret"),
    ]
    second = report(2, executors=executors, run_dir="/secret", checkpoint_files=["/secret"])
    assert second["components"] == ["HighThroughputExecutor", "SingleNodeLauncher", "SlurmProvider", "other"]
    assert "secret" not in json.dumps(second).lower()
    usage = usage_settings(Config(usage_tracking=3, **PLACE))
    assert usage is not None
    last = json.loads(end_report(usage, {"exec_done": 5, "failed": 2, "dep_fail": 1}, 12.4))
    assert {key: last[key] for key in ("event", "id", "seconds", "tasks", "failed")} == {
        "event": "end",
        "id": usage.run_id,
        "seconds": 12,
        "tasks": 8,
        "failed": 3,
    }


def test_no_level_names_places_or_people() -> None:
    text = start_report(Config(), 3, ID)
    for secret in (socket.gethostname(), getpass.getuser(), os.getcwd(), os.path.expanduser("~")):
        assert f'"{secret}' not in text.replace(": ", ":")
    assert "/" not in text.replace("parslab-usage/1", "")


@pytest.mark.parametrize("address", ["usage.example.org", ":50077", "host:0", "host:99999", "a b:1", "http://x:1", 7])
def test_an_address_is_a_host_and_a_port(address: object) -> None:
    with pytest.raises(ConfigurationError, match="usage_address must be a host and a port, such as"):
        Config(usage_address=address)


@pytest.mark.parametrize("level", [4, -1, "high", 1.5])
def test_levels_are_those_of_parsl(level: object) -> None:
    with pytest.raises(ConfigurationError, match=r"usage_tracking must be a level from 0 \(nothing is sent\) to 3"):
        Config(usage_tracking=level)
