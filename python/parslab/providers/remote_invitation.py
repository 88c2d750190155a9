"""Reads the invitation of a run for machines that share no disk with the notebook's host [shell]."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from parslab.addresses import is_loopback
from parslab.trust import read_text
from parslab.wire import invitations

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["is_loopback_address", "remote_invitation", "run_is_over", "run_target"]


def remote_invitation(path: str, address: str | None, *, relays: Sequence[str] = (), directly: bool = True) -> str:
    """Return the invitation in a file, on one line, as managers of other hosts need it.

    Parameters
    ----------
    path
        The file; an empty path gives an empty text, where no manager runs.
    address
        Replaces the addresses of this host; ports stay the same.
    relays
        Addresses that lead here by way of another host.
    directly
        Whether managers may connect to this host itself.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if not path:
        return ""
    content = json.loads(read_text(path))
    content["socket"] = ""  # of this host
    if address is not None:
        ports: Iterable[str] = dict.fromkeys(one.rpartition(":")[2] for one in content["addresses"])
        content["addresses"] = [f"tcp://{f'[{address}]' if ':' in address else address}:{port}" for port in ports]
    if not directly:
        content["addresses"] = []
    if relays:
        content["relays"] = list(relays)
    return json.dumps(content)


def run_is_over(paths: Iterable[str]) -> bool:
    """Return whether the run has ended that has written these invitations."""
    for path in paths:
        try:
            invitations.read(path)
        except (invitations.RunOver, FileNotFoundError):
            continue
        except (OSError, ValueError):
            return False
        return False
    return True


def is_loopback_address(address: str) -> bool:
    """Return whether only this host can connect to an address ``tcp://HOST:PORT``."""
    return is_loopback(address.removeprefix("tcp://").rpartition(":")[0].strip("[]"))


def run_target(addresses: Sequence[str]) -> tuple[str, int]:
    """Return where on this host the run accepts connections, of its addresses ``tcp://HOST:PORT``."""
    chosen = next((one for one in addresses if is_loopback_address(one)), addresses[0])
    host, _, port = chosen.removeprefix("tcp://").rpartition(":")
    return host.strip("[]"), int(port)
