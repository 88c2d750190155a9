"""``parslab usage``: prints what usage reports would tell, byte for byte, and sends nothing."""

from __future__ import annotations

import os

from parslab.client.process.usage_report import REFUSAL, level_of, start_report
from parslab.dataflow.usage_sender import end_report
from parslab.records.text import printable
from parslab.sites import default_config, named_config
from parslab.wire.run_files import UsageSettings

__all__ = ["show_usage"]

_ID = "00000000-0000-4000-8000-000000000000"
"""Stands for the random name that each run draws."""


def show_usage(name: str, level: int | None) -> None:
    """Print what a run would send.

    Parameters
    ----------
    name
        A ready configuration or a file; an empty text means the configuration of ``load()``.
    level
        The level to show; None for the one of the configuration.

    Raises
    ------
    ConfigurationError
        There is no such configuration.
    """
    config = named_config(name) if name else default_config()
    asked = level_of(config)
    print(_state(asked, config.usage_address))
    shown = level if level is not None else asked or 3
    if not shown:
        return
    usage = UsageSettings(
        address=config.usage_address or "", start=start_report(config, shown, _ID), run_id=_ID, level=shown
    )
    print(f"At level {shown} a run of this configuration sends these bytes when it begins (each run draws its own id):")
    print(printable(usage.start))
    if shown >= 3:
        print("and these when it ends, with its own numbers:")
        print(printable(end_report(usage, {}, 0.0)))
    else:
        print("and nothing when it ends.")


def _state(level: int, address: str | None) -> str:
    """Return a sentence that says whether something is sent."""
    if os.environ.get(REFUSAL) and not level:
        return f"Nothing is sent: usage reports are off, and {REFUSAL}={os.environ[REFUSAL]} keeps them off."
    if not level:
        return "Nothing is sent: usage reports are off (Config(usage_tracking=0))."
    if address is None:
        return (
            f"Nothing is sent: usage reports are at level {level}, but no address is set (Config(usage_address=...))."
        )
    return printable(f"Each run sends usage reports of level {level} to {address}, by UDP.")
