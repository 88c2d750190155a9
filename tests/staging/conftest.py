"""Real file servers on this host: http, https, ftp, ftps, s3, sftp and rsync over ssh, started once for all tests here.

The script that starts them is no part of this project; see ``tests/schedulers/conftest.py`` for where it is looked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.schedulers.conftest import START, brought_up

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the time that the start of the servers may take."""
    for item in items:
        if item.path.parent == Path(__file__).parent and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(START + 80))


@pytest.fixture(scope="package")
def servers() -> Iterator[dict[str, str]]:
    """What the environment of a client of these servers holds."""
    with brought_up("files") as up:
        yield up.variables


@pytest.fixture(autouse=True)
def as_a_client(servers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process and its workers find certificates, keys and commands where users have them."""
    for name, value in servers.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SSL_CERT_FILE", servers["TESTBED_CA"])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
