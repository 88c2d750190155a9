"""A wait inside load() ends at its limit, and is said when it takes long."""

from __future__ import annotations

import time

import pytest

from parslab.client.waiting import BoundedWait


def test_a_long_wait_is_said_once_and_ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    wait = BoundedWait("the DataFlowKernel of run 000-a", 30.0)
    assert wait.step(60.0) == 3.0  # until it is time to say so
    assert capsys.readouterr().err == ""
    now[0] += 3.0
    assert wait.step(60.0) == 27.0
    assert capsys.readouterr().err == "Waiting for the DataFlowKernel of run 000-a (at most 30 s) ...\n"
    now[0] += 26.98
    assert wait.step() == pytest.approx(0.02)
    now[0] += 1.0
    assert wait.step() == 0.0
    assert capsys.readouterr().err == ""
