"""Two processes never hold the lock of one run, whoever started them, and it ends with the last holder."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from parslab.cleanup import run_lock
from parslab.cleanup.dead_runs import remove_dead_run
from parslab.cleanup.run_lock import RunLock, RunLockedError
from parslab.wire.run_files import ConnectionInfo, write_connection_info

if TYPE_CHECKING:
    from pathlib import Path


def is_free(run_dir: Path) -> bool:
    try:
        RunLock.acquire(run_dir).close()
    except RunLockedError:
        return False
    return True


def test_only_one_holds_it(tmp_path: Path) -> None:
    with RunLock.acquire(tmp_path):
        assert not is_free(tmp_path)
    assert is_free(tmp_path)


def test_a_child_keeps_it_when_its_starter_has_let_go(tmp_path: Path) -> None:
    """The child inherits it without a moment in between, and its end releases it."""
    with RunLock.acquire(tmp_path) as lock:
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[lock.fd]
        )
    assert not is_free(tmp_path)
    child.communicate()
    assert is_free(tmp_path)


def test_who_inherits_it_says_its_number_and_does_not_pass_it_on(tmp_path: Path) -> None:
    starter = RunLock.acquire(tmp_path)
    inherited = RunLock.inherit(os.dup(starter.fd), tmp_path)
    starter.close()
    assert not os.get_inheritable(inherited.fd)
    with pytest.raises(RunLockedError, match=rf"already has a DataFlowKernel, process {os.getpid()}, or is being"):
        RunLock.acquire(tmp_path)
    inherited.close()


def test_a_second_process_refuses_to_serve(tmp_path: Path) -> None:
    """Somebody starts it by hand, with a descriptor of the right file that is not locked, or of another file."""
    with RunLock.acquire(tmp_path):
        fd = os.open(tmp_path / "dfk.lock", os.O_RDWR)
        with pytest.raises(RunLockedError, match="already has a DataFlowKernel"):
            RunLock.inherit(fd, tmp_path)
        os.close(fd)
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    with pytest.raises(RunLockedError, match="is not the lock of the run"):
        RunLock.inherit(other, tmp_path)
    os.close(other)


def test_the_lock_of_a_folder_that_was_replaced_is_none(tmp_path: Path) -> None:
    run_dir = tmp_path / "000"
    run_dir.mkdir()
    with RunLock.acquire(run_dir) as lock:
        run_dir.rename(tmp_path / "moved")
        run_dir.mkdir()
        with RunLock.acquire(run_dir):  # another run, which has nothing to do with the first
            fd = os.dup(lock.fd)
            with pytest.raises(RunLockedError):
                RunLock.inherit(fd, run_dir)
            os.close(fd)


def test_a_file_system_without_locks_is_replaced_by_this_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, refused = fcntl.flock, []

    def refuse(fd: int, how: int) -> None:
        if os.path.samestat(os.fstat(fd), os.stat(tmp_path / "dfk.lock")):
            refused.append(fd)
            raise OSError(errno.ENOLCK, "No locks available")
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", refuse)
    with RunLock.acquire(tmp_path) as lock:
        assert refused
        assert not is_free(tmp_path)
        RunLock.inherit(os.dup(lock.fd), tmp_path).close()
    os.unlink(run_lock._local_path(tmp_path))


@pytest.mark.parametrize("starts", [True, False])
def test_a_run_that_is_being_started_is_not_removed(tmp_path: Path, starts: bool) -> None:
    """It was: its jobs were cancelled, its workers killed and its sockets deleted under the new DataFlowKernel."""
    facts: dict[str, Any] = {"run": "000-a", "pid": 2**22 + 1, "host": "here", "run_dir": str(tmp_path)}
    info = ConnectionInfo(socket=str(tmp_path / "sockets" / "dfk.sock"), **facts)
    (tmp_path / "sockets").mkdir()
    path = tmp_path / "parslab-000-a.json"
    write_connection_info(path, info)
    if starts:
        with RunLock.acquire(tmp_path):
            remove_dead_run(path, info)
    else:  # it has started since the file was read
        write_connection_info(path, ConnectionInfo(socket=info.socket, **facts | {"pid": os.getpid()}))
        remove_dead_run(path, info)
    assert path.exists()
    assert (tmp_path / "sockets").exists()
