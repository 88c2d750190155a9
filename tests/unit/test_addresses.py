"""Addresses of this host: what a user wrote becomes an address that is really there, or a sentence."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from parslab import addresses
from parslab.errors import ConfigurationError

HERE = {
    "lo": [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)],
    "eth0": [("fe80::1%eth0", socket.AF_INET6), ("2001:db8::5", socket.AF_INET6), ("10.1.2.3", socket.AF_INET)],
    "ib0": [("192.168.7.9", socket.AF_INET)],
    "down0": [("02:42:ac:11:00:02", socket.AF_PACKET)] if hasattr(socket, "AF_PACKET") else [],
}
NAMES = {"login1": "10.1.2.3", "elsewhere": "10.9.9.9", "both": "127.0.1.1"}


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with two networks, and a name service that knows three names."""

    def found(name: str, port: object, **_: object) -> list[Any]:
        if name not in NAMES:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (NAMES[name], 0))]

    nets = {name: [SimpleNamespace(address=a, family=f) for a, f in found] for name, found in HERE.items()}
    monkeypatch.setattr("psutil.net_if_addrs", lambda: nets)
    monkeypatch.setattr(socket, "getaddrinfo", found)
    monkeypatch.setattr(socket, "gethostname", lambda: "login1")


def test_interfaces_list_what_can_be_used_ipv4_first() -> None:
    assert addresses.interfaces() == {
        "lo": ["127.0.0.1", "::1"],
        "eth0": ["10.1.2.3", "2001:db8::5"],
        "ib0": ["192.168.7.9"],
    }


@pytest.mark.parametrize(
    ("text", "address"),
    [("eth0", "10.1.2.3"), ("ib0", "192.168.7.9"), ("10.1.2.3", "10.1.2.3"), ("login1", "10.1.2.3"), ("::1", "::1")],
)
def test_what_the_user_wrote_becomes_an_address(text: str, address: str) -> None:
    assert addresses.own_address(text, "X") == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "nowhere",
            "X: address must be an IP address, a host name or one of this host's interfaces (eth0, ib0, lo), not",
        ),
        ("10.9.9.9", "X: address 10.9.9.9 is none of this host's, so nothing can listen there; it has eth0 (10.1.2.3)"),
        ("elsewhere", "X: address elsewhere (which resolves to 10.9.9.9) is none of this host's"),
    ],
)
def test_an_address_of_another_host_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        addresses.own_address(text, "X")
    assert says in str(caught.value)
    assert str(caught.value).endswith(".")


def test_parsls_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert addresses.address_by_hostname() == "10.1.2.3"
    assert addresses.address_by_interface("ib0") == "192.168.7.9"
    with pytest.raises(ConfigurationError, match=r"no network interface 'ib9' with an address: it has eth0"):
        addresses.address_by_interface("ib9")
    monkeypatch.setattr(socket, "gethostname", lambda: "nameless")
    with pytest.raises(ConfigurationError, match=r"The name of this host, nameless, does not resolve to an address"):
        addresses.address_by_hostname()


@pytest.mark.parametrize(
    ("route", "name", "first"),
    [
        ("192.168.7.9", "login1", ["192.168.7.9", "10.1.2.3"]),
        (None, "login1", ["10.1.2.3", "2001:db8::5"]),
        ("172.16.0.1", "elsewhere", ["10.1.2.3", "2001:db8::5"]),  # neither is an address of this host
        (None, "both", ["10.1.2.3", "2001:db8::5"]),
    ],
)
def test_candidates_begin_with_the_likeliest(
    monkeypatch: pytest.MonkeyPatch, route: str | None, name: str, first: list[str]
) -> None:
    def by_route() -> str:
        if route is None:
            raise ConfigurationError("no route")
        return route

    monkeypatch.setattr(addresses, "address_by_route", by_route)
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    found = addresses.candidate_addresses()
    assert found[:2] == first
    assert set(found) == {"127.0.0.1", "::1", "10.1.2.3", "2001:db8::5", "192.168.7.9"}
    assert set(found[-2:]) == {"127.0.0.1", "::1"}
