"""What a manager says when a signal ends it: at its block's walltime the scheduler has sent it."""

from __future__ import annotations

import pytest

from parslab.remote.manager.leave_reason import leave_reason

BLOCK = {"PARSLAB_WALLTIME": "600", "PARSLAB_JOB_ENDS": "1600"}


@pytest.mark.parametrize(
    ("environment", "now", "reason"),
    [
        (BLOCK, 1600.0, "its block reached its walltime of 600 s (SIGTERM)"),
        (BLOCK, 1597.0, "its block reached its walltime of 600 s (SIGTERM)"),  # clocks of two hosts differ a little
        (BLOCK, 1300.0, "it received SIGTERM"),
        ({}, 1600.0, "it received SIGTERM"),
        ({"PARSLAB_WALLTIME": "long", "PARSLAB_JOB_ENDS": ""}, 1600.0, "it received SIGTERM"),
    ],
)
def test_a_walltime_is_named(environment: dict[str, str], now: float, reason: str) -> None:
    assert leave_reason("SIGTERM", environment, now) == reason
