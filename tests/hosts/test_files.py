"""Files of this host on hosts that share no disk with it, through apps."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parslab import File, bash_app, python_app
from parslab.errors import StagingError
from tests.hosts.conftest import brought_up
from tests.process.sandbox import error_of, patience, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts.cluster import Hosts

PATIENCE = 90.0


@pytest.fixture(scope="module")
def hosts(scratch: Path) -> Iterator[Hosts]:
    with brought_up(scratch, 4) as hosts:
        yield hosts


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file in a folder that no host sees."""
    path = tmp_path / "data.bin"
    path.write_bytes(random.Random(7).randbytes(20_000_000))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def examiner(executors: Any = "all") -> Any:
    """Return an app that reads a file; its function is sent by value, because hosts do not have this module."""

    @python_app(executors=executors)
    def examine(file: Any) -> tuple[str, str, str]:
        import hashlib
        import socket
        from pathlib import Path

        content = Path(file).read_bytes()
        return socket.gethostname(), hashlib.sha256(content).hexdigest(), file.filename

    return examine


examine = examiner()


def everywhere(hosts: Hosts, tasks: int, data: Path) -> list[tuple[str, str, str]]:
    """Examine a file with so many tasks on each host at once, in a run with an executor for each."""
    apps = [examiner([name]) for name in hosts.names]
    return [result(future) for future in [app(File(data)) for app in apps for _ in range(tasks)]]


def result(future: Any) -> Any:
    return future.result(PATIENCE * patience())


def test_a_file_comes_to_each_host_and_the_hub_sends_it_once(
    hosts: Hosts, load: Callable[..., Any], data: Path
) -> None:
    with load(hosts, *hosts.one_each(max_workers_per_node=5)) as dfk:
        found = everywhere(hosts, 5, data)
        log = Path(dfk.run_dir)
    assert set(found) == {(host, digest(data), "data.bin") for host in hosts.names}
    sentence = f"this host has sent {data.stat().st_size:,} bytes of files"
    until(lambda: sentence in "".join(path.read_text() for path in log.glob("*.log")), what=sentence)


def test_a_relative_path_means_the_folder_of_the_notebook(
    hosts: Hosts, load: Callable[..., Any], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    with load(hosts):
        assert result(examine(File("data.bin")))[1] == digest(data)


def test_what_a_task_writes_is_here_when_it_is_done_and_the_next_task_reads_it(
    hosts: Hosts, load: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    @bash_app
    def double(inputs: Any = (), outputs: Any = ()) -> str:
        return f"cat {inputs[0]} {inputs[0]} > {outputs[0]}"

    target = tmp_path / "results" / "double.bin"
    with load(hosts):
        made = double(inputs=[File(data)], outputs=[File(target)])
        again = examine(made.outputs[0])
        assert result(made) == 0
        assert target.read_bytes() == data.read_bytes() * 2
        assert result(again)[1] == digest(target)
    assert os.listdir(target.parent) == ["double.bin"]


def test_a_task_that_fails_leaves_nothing_at_the_path_of_its_output(
    hosts: Hosts, load: Callable[..., Any], tmp_path: Path
) -> None:
    @python_app
    def half(outputs: Any = ()) -> None:
        with open(outputs[0], "w") as file:
            file.write("half")
        raise ValueError("half-way")

    target = tmp_path / "results" / "half.txt"
    with load(hosts):
        assert isinstance(error_of(half(outputs=[File(target)]), PATIENCE), ValueError)
    assert not target.exists()


def test_a_missing_file_is_an_error_with_its_url_host_and_path(
    hosts: Hosts, load: Callable[..., Any], tmp_path: Path
) -> None:
    with load(hosts):
        error = error_of(examine(File(tmp_path / "missing.bin")), PATIENCE)
    assert isinstance(error, StagingError)
    assert error.url == str(tmp_path / "missing.bin")
    assert error.host in hosts.names
    assert "No such file or directory" in error.reason


def test_an_output_that_the_task_did_not_write_is_an_error(
    hosts: Hosts, load: Callable[..., Any], tmp_path: Path
) -> None:
    @python_app
    def forgetful(outputs: Any = ()) -> None:
        pass

    with load(hosts):
        error = error_of(forgetful(outputs=[File(tmp_path / "never.txt")]), PATIENCE)
    assert isinstance(error, StagingError)
    assert error.reason == "the task has not written this file"


def test_tasks_leave_nothing_on_the_hosts_but_what_lives_for_ever(
    hosts: Hosts, load: Callable[..., Any], data: Path
) -> None:
    other = data.with_name("other.bin")
    other.write_bytes(b"kept")
    with load(hosts, hosts.executor(names=("h1",))):
        result(examine(File(data)))
        result(examine(File(other, cache="forever")))

    def left() -> list[str]:
        # Not the source tree, which hosts share and which may lie in /tmp, too.
        find = ("find", "/tmp", "-path", "/tmp/parslab*", "-type", "f", "-size", "+0", "-not", "-name", "run-name")
        return hosts.run("h1", *find).split()

    # The manager of the host ends a little later than the run.
    with contextlib.suppress(pytest.fail.Exception):
        until(lambda: len(left()) == 1, 30)
    (kept,) = left()
    assert "/kept/" in kept
    assert kept.endswith("-4")  # its size


def test_a_host_that_dies_during_a_transfer_costs_only_its_own_attempt(
    hosts: Hosts, load: Callable[..., Any], data: Path
) -> None:
    with load(hosts, retries=2):
        first = [examine(File(data)) for _ in range(8)]
        hosts.crash("h2")
        try:
            assert {result(future)[1] for future in first} == {digest(data)}
            assert {result(future)[1] for future in [examine(File(data)) for _ in range(8)]} == {digest(data)}
        finally:
            hosts.boot("h2")


def test_a_host_that_dies_with_temporary_files_costs_exactly_the_calls_whose_files_are_needed(
    hosts: Hosts, load: Callable[..., Any], tmp_path: Path
) -> None:
    """The disk of a host that is down is as good as lost."""
    ran = hosts.shared / "ran"
    ran.mkdir()

    @python_app
    def write(number: int, ran: Path, outputs: Any = ()) -> str:
        import socket
        import uuid
        from pathlib import Path

        Path(outputs[0]).write_text(f"content {number}")
        (ran / f"{number}-{uuid.uuid4()}").touch()
        return socket.gethostname()

    @python_app
    def read(file: Any) -> str:
        from pathlib import Path

        return Path(file).read_text()

    def runs() -> list[int]:
        return sorted(int(path.name.partition("-")[0]) for path in ran.iterdir())

    with load(hosts, retries=2):
        made = [write(n, ran, outputs=[File(tmp_path / str(n), temporary=True)]) for n in range(100)]
        lost = [n for n, future in enumerate(made) if result(future) == "h2"]
        assert runs() == list(range(100))
        hosts.crash("h2")
        try:
            needed = range(0, 100, 2)
            readers = [read(made[n].outputs[0]) for n in needed]
            assert [result(future) for future in readers] == [f"content {n}" for n in needed]
            assert runs() == sorted([*range(100), *(n for n in lost if n in needed)])
        finally:
            hosts.boot("h2")
    assert not any((tmp_path / str(n)).exists() for n in range(100))
