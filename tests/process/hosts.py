"""A second host, as the network sees it: a network namespace of Linux, whose cable can be pulled out."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Cable", "second_host"]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=10)


class Cable:
    """Between this host and the other one.

    Attributes
    ----------
    here
        Our address, where the other host reaches us.
    prefix
        Words that run a command on the other host.
    """

    def __init__(self, name: str, here: str) -> None:
        self.here = here
        self.prefix = f"ip netns exec {name}"
        self._name = name

    def cut(self) -> None:
        """Pull it out: packets vanish without an error."""
        _ip("-n", self._name, "link", "set", "eth0", "down")

    def heal(self) -> None:
        """Put it in again."""
        _ip("-n", self._name, "link", "set", "eth0", "up")


@contextlib.contextmanager
def second_host() -> Iterator[Cable]:
    """Make one; without the means (Linux, root, iproute2) the test is skipped."""
    if sys.platform != "linux" or os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root on Linux with iproute2 can make a second host")
    name = f"pl{uuid.uuid4().hex[:6]}"
    # Of the range that is reserved for tests of networks; two runs of the tests at once should not meet.
    net = f"198.19.{os.getpid() % 250 + 1}"
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    try:
        # What is sent to the net while the cable is out must not leave this machine.
        _ip("route", "replace", "unreachable", f"{net}.0/24", "metric", "4294967295")
        _ip("link", "add", f"{name}-p", "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("addr", "add", f"{net}.1/24", "dev", f"{name}-p")
        _ip("link", "set", f"{name}-p", "up")
        _ip("-n", name, "addr", "add", f"{net}.2/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", "eth0", "up")
        yield Cable(name, f"{net}.1")
    finally:
        _ip("netns", "del", name)
        for words in (("link", "del", f"{name}-p"), ("route", "del", "unreachable", f"{net}.0/24")):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(*words)
