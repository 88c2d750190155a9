"""How often a manager looks for a DataFlowKernel that it lost."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from parslab.remote.manager import meeting
from parslab.remote.manager.meeting import meet, pauses
from parslab.wire.invitations import RunOver, file_name, read, withdraw, write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def first(count: int, seed: int = 1) -> list[float]:
    return list(itertools.islice(pauses(random.Random(seed)), count))


def test_soon_at_first_and_rarely_later() -> None:
    assert sum(first(4)) < 1.0
    assert all(2.0 < pause < 4.0 for pause in first(30)[15:])


def test_a_thousand_managers_do_not_come_at_the_same_moment() -> None:
    assert len({round(sum(first(10, seed)), 3) for seed in range(100)}) > 90


def test_nobody_is_looked_for_when_the_run_is_over(tmp_path: Path) -> None:
    path = tmp_path / file_name("htex")
    write(path, {"addresses": []})
    withdraw(tmp_path, "it has ended")
    with pytest.raises(RunOver, match="it has ended"):
        meet(str(path), "0", 60.0)


def test_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        meet(str(tmp_path / "gone" / file_name("htex")), "0", 60.0)


class Network:
    """Addresses of which only those in ``opened`` accept connections, and handshakes that end as planned."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path, opened: Sequence[str], ends: list[str]) -> None:
        self.path = path
        self.opened = opened
        self.handshakes: list[str] = []
        self.ends = ends
        self.write()
        monkeypatch.setattr(meeting, "read_invitation", lambda path: SimpleNamespace(**read(path)))
        monkeypatch.setattr(meeting, "connect_locally", lambda invitation: None)
        monkeypatch.setattr(meeting, "reachable", self.reachable)
        monkeypatch.setattr(meeting, "ManagerLink", self.link)
        monkeypatch.setattr("time.sleep", lambda seconds: None)

    def write(self) -> None:
        """Write the invitation (again, as a DataFlowKernel that has just started does)."""
        content = {"label": "htex", "addresses": ["one", "two", "three"], "relays": ["by", "way"]}
        write(self.path, {**content, "written": len(self.handshakes)})

    def reachable(self, addresses: Sequence[str], patience: float) -> tuple[str, dict[str, str]]:
        found = [address for address in addresses if address in self.opened]
        return (found[0], {}) if found else ("", dict.fromkeys(addresses, "connection refused"))

    def link(self, invitation: object, address: str, name: bytes) -> Network:
        self.handshakes.append(address)
        return self

    def handshake(self, until: float, cancelled: Callable[[], bool]) -> str:
        end = self.ends.pop(0)
        if end == "written again":
            self.write()
            assert cancelled()
        return end


@pytest.mark.parametrize("end", ["written again", "no answer to the handshake"])
def test_an_address_is_tried_again_when_no_other_one_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    network = Network(monkeypatch, tmp_path / file_name("htex"), ["one"], [end, ""])
    meet(str(network.path), "0", 5.0)
    assert network.handshakes == ["one", "one"]


def test_an_address_whose_handshake_fails_comes_after_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(monkeypatch, tmp_path / file_name("htex"), ["one", "two"], ["no", "no", "no", ""])
    meet(str(network.path), "0", 5.0)
    assert network.handshakes == ["one", "two", "one", "two"]


def test_a_relay_is_for_managers_that_reach_no_address_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(monkeypatch, tmp_path / file_name("htex"), ["two", "way"], [""])
    meet(str(network.path), "0", 5.0)
    assert network.handshakes == ["two"]
    network = Network(monkeypatch, tmp_path / file_name("htex"), ["way"], [""])
    monkeypatch.setattr("msgspec.structs.replace", lambda invitation, addresses: SimpleNamespace(addresses=addresses))
    # What else this node connects to the run takes the same way.
    assert meet(str(network.path), "0", 5.0).invitation.addresses == ["way"]
    assert network.handshakes == ["way"]
    # An address of the run that is another host's after all has no handshake, and then comes the relay.
    network = Network(monkeypatch, tmp_path / file_name("htex"), ["one", "by"], ["no", ""])
    assert meet(str(network.path), "0", 5.0).invitation.addresses == ["by"]
    assert network.handshakes == ["one", "by"]
