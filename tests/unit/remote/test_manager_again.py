"""Whether a manager that lost its DataFlowKernel looks for another one, and until when."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from parslab.remote.manager import main as manager_main

if TYPE_CHECKING:
    from parslab.remote.manager.manager import Manager
    from parslab.wire.invitations import ManagerInvitation

INVITATION = cast("ManagerInvitation", SimpleNamespace(reconnect_for=30.0))
NOW = 1000.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: NOW)


def manager(*, reconnect: bool = False, never_accepted: bool = False, lost_at: float = 0.0) -> Manager:
    found = SimpleNamespace(
        reconnect=reconnect, never_accepted=never_accepted, succession=SimpleNamespace(lost_at=lost_at)
    )
    return cast("Manager", found)


def until(lost: Manager, before: float = 0.0) -> float:
    return manager_main._restart_until(lost, INVITATION, before)


def test_the_dataflowkernel_was_killed_before_it_accepted_the_first_manager() -> None:
    assert until(manager(never_accepted=True)) == NOW + 30


def test_the_dataflowkernel_was_killed_again_before_it_accepted() -> None:
    assert until(manager(never_accepted=True), before=NOW + 7) == NOW + 7


def test_the_dataflowkernel_was_lost_while_it_was_connected() -> None:
    assert until(manager(reconnect=True)) == NOW + 30
    assert until(manager(reconnect=True, lost_at=NOW - 4)) == NOW + 26


def test_a_manager_that_was_told_to_leave_does_not_look() -> None:
    assert until(manager()) == 0
    assert until(manager(), before=NOW + 7) == 0
