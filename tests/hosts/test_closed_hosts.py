"""Hosts that cannot connect to each other, and whose disks are small."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from parslab import File, python_app
from parslab.errors import StagingError
from tests.hosts.conftest import brought_up
from tests.hosts.test_files import PATIENCE, digest, everywhere, examine, result
from tests.process.sandbox import error_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.hosts.cluster import Hosts


@pytest.fixture(scope="module")
def hosts(scratch: Path) -> Iterator[Hosts]:
    # What is forbidden gets no answer, as behind most firewalls: the most expensive case.
    with brought_up(scratch, 3, HOSTS_FW="nopeer", HOSTS_DISK="48m") as hosts:
        yield hosts


def file_of(folder: Path, size: int) -> Path:
    path = folder / f"data-{size}.bin"
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def test_hosts_that_cannot_reach_each_other_get_files_from_the_hub(
    hosts: Hosts, load: Callable[..., Any], tmp_path: Path
) -> None:
    data = file_of(tmp_path, 8_000_000)
    with load(hosts, *hosts.one_each(max_workers_per_node=2)):
        found = everywhere(hosts, 2, data)
    assert set(found) == {(host, digest(data), data.name) for host in hosts.names}


def test_a_full_disk_is_an_error_with_url_host_and_path_and_the_host_works_on(
    hosts: Hosts, load: Callable[..., Any], tmp_path: Path
) -> None:
    large, small = file_of(tmp_path, 80_000_000), file_of(tmp_path, 1_000_000)
    with load(hosts, hosts.executor(names=("h1",))):
        error = error_of(examine(File(large)), PATIENCE)
        assert isinstance(error, StagingError)
        assert error.url == str(large)
        assert error.host == "h1"
        assert "cannot be written: No space left on device" in error.reason
        assert result(examine(File(small)))[1] == digest(small)


def test_a_result_that_fills_the_disk_of_its_host_never_looks_complete(
    hosts: Hosts, load: Callable[..., Any], tmp_path: Path
) -> None:
    @python_app
    def fill(outputs: Any = ()) -> None:
        with open(outputs[0], "wb") as file:
            file.write(bytes(80_000_000))

    target = tmp_path / "results" / "large.bin"
    with load(hosts, hosts.executor(names=("h1",))):
        error = error_of(fill(outputs=[File(target)]), PATIENCE)
        assert "No space left on device" in str(error)
        assert result(examine(File(file_of(tmp_path, 1_000_000))))[0] == "h1"
    assert not target.exists()
