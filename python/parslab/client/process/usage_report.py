"""Writes the usage report with which a run begins, if its user has asked for one.  [core]

A report holds only what :func:`start_report` puts into it: versions, the kind of system, and names of classes of
parslab.  Classes of the user count as ``other``, because their names may tell what the user works on.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from parslab.version import version
from parslab.wire.run_files import UsageSettings

if TYPE_CHECKING:
    from parslab.config import Config

__all__ = ["FORMAT", "REFUSAL", "level_of", "start_report", "usage_settings"]

FORMAT = "parslab-usage/1"

REFUSAL = "DO_NOT_TRACK"
"""A variable by which users tell all programs to report nothing (consoledonottrack.com)."""

_NAME = 100
"""Longest project name that is sent, in characters."""


def level_of(config: Config) -> int:
    """Return the level of the reports of a configuration, 0 where the user refuses all reports."""
    refused = os.environ.get(REFUSAL, "").strip().lower() not in ("", "0", "false")
    return 0 if refused else config.usage_tracking


def usage_settings(config: Config) -> UsageSettings | None:
    """Return the reports of a new run; None if nothing is to be sent."""
    level = level_of(config)
    if not level or config.usage_address is None:
        return None
    # Imported here and below, because nearly every run reports nothing, and need not wait for these modules.
    import uuid

    run_id = str(uuid.uuid4())
    return UsageSettings(
        address=config.usage_address, start=start_report(config, level, run_id), run_id=run_id, level=level
    )


def start_report(config: Config, level: int, run_id: str) -> str:
    """Return the report with which a run begins.

    Parameters
    ----------
    config
        The configuration of the run.
    level
        How much it tells: 1, 2 or 3.
    run_id
        A random name of the run.
    """
    import platform

    report: dict[str, object] = {
        "format": FORMAT,
        "event": "start",
        "id": run_id,
        "level": level,
        "parslab": version(),
        "python": platform.python_version(),
        "system": platform.system(),
    }
    if config.project_name:
        report["project"] = config.project_name[:_NAME]
    if level >= 2:
        report["components"] = _components(config)
    return msgspec.json.encode(report).decode()


def _components(config: Config) -> list[str]:
    """Return the classes of executors, providers and launchers, each once."""
    # An executor that was written for Parsl is no description, and so not among the parts.
    parts = [part for part in (*config.parts(), *config.executors) if part is not config]
    ours = {type(part).__name__ for part in parts if type(part).__module__.startswith("parslab.")}
    foreign = any(not type(part).__module__.startswith("parslab.") for part in parts)
    return [*sorted(ours), *(["other"] if foreign else [])]
