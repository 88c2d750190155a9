"""How long a run stays for clients that may come back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from parslab.dataflow.clients.presence import GONE, Presence
from parslab.testing.fakes import run_settings
from tests.unit.dataflow.fake_host import FakeHost

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.dataflow.clients.connection import ClientConnection


class Run:
    """A run of one client, of a notebook whose kernel takes the run with it."""

    def __init__(self, folder: Path, linger: float) -> None:
        self.host = FakeHost()
        self.sent: list[Any] = []
        self.noted: list[float] = []
        self.presence = Presence(
            self.host,
            run_settings(folder, notebook="/books/fit.ipynb", linger=linger),
            clients=SimpleNamespace(connected={}, send_all=self.sent.append),  # type: ignore[arg-type]
            table=SimpleNamespace(tasks={}),  # type: ignore[arg-type]
            log_service=SimpleNamespace(  # type: ignore[arg-type]
                set_linger=self.noted.append, client_left=lambda number: None
            ),
        )
        client = SimpleNamespace(number=0, pid=1, pid_is_local=True, owner=True, notebook="")
        self.client = cast("ClientConnection", client)
        self.presence.attached(self.client, "/books/fit.ipynb", "n1", owner=True)


def test_a_run_that_is_handed_over_does_not_end_with_its_notebook(tmp_path: Path) -> None:
    run = Run(tmp_path, linger=0.0)
    run.presence.stay(1860.0)
    assert run.sent[-1].seconds == 1860.0  # the client must not end the run when its kernel ends
    assert run.noted == []
    run.presence.left(run.client, GONE)
    assert run.host.end_reason == ""


@pytest.mark.parametrize(("linger", "longest"), [(0.0, 1860.0), (36000.0, 36000.0)])
def test_a_run_that_stays_has_its_linger_again(tmp_path: Path, linger: float, longest: float) -> None:
    run = Run(tmp_path, linger=linger)
    run.presence.stay(60.0)
    run.presence.stay(1860.0)
    assert run.presence.leases.linger == longest
    run.presence.stay(0.0)
    assert run.presence.leases.linger == linger
    assert run.sent[-1].seconds == linger
