"""A second user of the host cannot make us run, delete or connect to anything by a file that it puts in our way."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import Config, LowLatencyExecutor, python_app
from parslab.client.process.connection_file import connect, find_runs
from parslab.errors import ConfigurationError, UntrustedPathError
from parslab.paths import runtime_dir
from parslab.records.panel import Snapshot, SnapshotRequest
from parslab.records.states import TaskState
from parslab.trust import remove_socket_folder
from parslab.wire.run_files import ConnectionInfo
from parslab.wire.unix_sockets import check_peer

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab import DataFlowKernel
    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])

NOBODY = 65534
DONE, MEMOIZED = TaskState.exec_done, TaskState.memo_done
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to another user")


@python_app(cache=True)
def double(x: int) -> int:
    return 2 * x


def load(sandbox: Sandbox, **options: Any) -> DataFlowKernel:
    options = {"run_dir": sandbox.runs, "resume": False, **options}
    return parslab.load(Config(executors=[LowLatencyExecutor(workers=1)], **options))


def notices(dfk: DataFlowKernel) -> list[str]:
    answer = dfk.ask(SnapshotRequest(subscribe=False))
    assert isinstance(answer, Snapshot)
    return [notice.text for notice in answer.notices]


def checkpoint_of_nobody(sandbox: Sandbox, **options: Any) -> Path:
    """A checkpoint that holds double(21), and belongs to another user."""
    with load(sandbox, checkpoint_mode="task_exit", **options) as dfk:
        assert double(21).result() == 42
        folder = Path(dfk.checkpoint())
    parslab.clear()
    (file,) = folder.iterdir()
    os.chown(file, NOBODY, NOBODY)
    return file


# ----- checkpoints


@as_root
def test_a_checkpoint_that_another_user_put_into_a_run_folder_is_left_out(sandbox: Sandbox) -> None:
    file = checkpoint_of_nobody(sandbox)
    with load(sandbox, checkpoint_mode="task_exit") as dfk:
        future = double(21)
        assert future.result() == 42
        assert future.state == DONE  # computed anew, not taken from the file
        (notice,) = [text for text in notices(dfk) if str(file) in text]
        assert f"belongs to user nobody (uid {NOBODY}), not to you" in notice
        assert f"Config(trusted_owners=[{NOBODY}])" in notice


@as_root
@pytest.mark.parametrize("option", ["checkpoint_dir", "checkpoint_files"])
def test_a_checkpoint_of_another_user_that_is_asked_for_is_refused(sandbox: Sandbox, option: str) -> None:
    file = checkpoint_of_nobody(sandbox, checkpoint_dir=sandbox.root / "shared")
    place = file.parent if option == "checkpoint_dir" else [file]
    with pytest.raises(ConfigurationError, match=f"{file} is refused .*uid {NOBODY}"):
        load(sandbox, checkpoint_mode="task_exit", **{option: place})


@as_root
def test_users_share_a_checkpoint_when_each_trusts_the_other(sandbox: Sandbox) -> None:
    shared = sandbox.root / "shared"
    file = checkpoint_of_nobody(sandbox, checkpoint_dir=shared)
    os.chown(shared, NOBODY, NOBODY)
    shared.chmod(0o777)
    with load(sandbox, checkpoint_mode="task_exit", checkpoint_dir=shared, trusted_owners=["nobody"]):
        future = double(21)
        assert future.result() == 42
        assert future.state == MEMOIZED
        assert double(4).result() == 8
    own = shared / f"results-{os.geteuid()}.parslab"
    assert (own.stat().st_uid, stat.S_IMODE(own.stat().st_mode)) == (os.geteuid(), 0o644)
    assert file.stat().st_uid == NOBODY
    parslab.clear()
    with load(sandbox, checkpoint_mode="task_exit", checkpoint_dir=shared, trusted_owners=NOBODY):
        assert double(4).result() == 8
        assert double(4).state == MEMOIZED


def test_a_trusted_owner_must_be_a_user(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigurationError, match="'no-such-user'"):
        load(sandbox, trusted_owners=["no-such-user"])


# ----- connection files


@pytest.fixture
def precious(sandbox: Sandbox) -> Path:
    """A folder of ours that a forged connection file names."""
    folder = sandbox.root / "precious"
    folder.mkdir(0o700)
    (folder / "thesis.txt").write_text("years of work")
    return folder


def forged(sock: Path, run_dir: Path, **more: Any) -> Path:
    """A connection file of a run that is over, as it seems."""
    path = runtime_dir() / "parslab-000-forged.json"
    info = {
        "run": "000-forged",
        "host": socket.gethostname(),
        "pid": 2**22 + 1,
        "socket": str(sock),
        "run_dir": str(run_dir),
    }
    path.write_text(json.dumps(info | more))
    path.chmod(0o600)
    return path


def show_runs(sandbox: Sandbox) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "parslab.cli", "runs"], capture_output=True, text=True, timeout=30, check=True
    )


@as_root
def test_the_connection_file_of_another_user_deletes_nothing(sandbox: Sandbox, precious: Path) -> None:
    path = forged(precious / "dfk.sock", precious)
    os.chown(path, NOBODY, NOBODY)
    listed = show_runs(sandbox)
    assert (precious / "thesis.txt").exists()
    assert path.exists()  # it is not ours to delete
    assert "no live run" in listed.stdout
    assert f"{path} is refused because it belongs to user nobody" in listed.stderr
    path.unlink()


def test_a_damaged_connection_file_of_ours_deletes_nothing_but_sockets(sandbox: Sandbox, precious: Path) -> None:
    path = forged(precious / "dfk.sock", precious)
    show_runs(sandbox)
    assert (precious / "thesis.txt").exists()
    assert not path.exists()


@as_root
def test_a_run_is_not_stopped_by_the_number_in_a_file_of_another_user(sandbox: Sandbox, precious: Path) -> None:
    victim = subprocess.Popen(["sleep", "60"])
    try:
        path = forged(precious / "dfk.sock", precious, pid=victim.pid, started=time.time())
        os.chown(path, NOBODY, NOBODY)
        stopped = subprocess.run(
            [sys.executable, "-m", "parslab.cli", "stop", str(path)], capture_output=True, text=True, timeout=30
        )
        assert stopped.returncode != 0
        assert "belongs to user nobody" in stopped.stderr
        assert victim.poll() is None
        path.unlink()
    finally:
        victim.kill()
        victim.wait()


_LISTEN = """
import os, socket, sys
os.setgroups([]); os.setgid({nobody}); os.setuid({nobody})
sock = socket.socket(socket.AF_UNIX); sock.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o777); sock.listen(1)
print("listening", flush=True)
connection, _ = sock.accept()
print(len(connection.recv(1000)), flush=True)
"""


@as_root
def test_a_client_says_nothing_to_a_process_of_another_user(sandbox: Sandbox) -> None:
    sandbox.root.chmod(0o755)
    folder = sandbox.root / "open"
    folder.mkdir()
    folder.chmod(0o777)
    sock = folder / "dfk.sock"
    listener = subprocess.Popen(
        [sys.executable, "-c", _LISTEN.format(nobody=NOBODY), str(sock)], stdout=subprocess.PIPE, text=True
    )
    assert listener.stdout is not None
    with listener:
        assert listener.stdout.readline() == "listening\n"
        with pytest.raises(UntrustedPathError, match=f"{sock} is refused .*uid {NOBODY}"):
            connect(ConnectionInfo(run="000-forged", pid=1, host="", socket=str(sock), run_dir=""))
        assert listener.stdout.readline() == "0\n"  # it has received nothing


def test_the_listener_of_a_run_of_ours_is_accepted(sandbox: Sandbox) -> None:
    with sandbox.load() as dfk:
        (info,) = [run for run in find_runs() if run.run == dfk.run]
        connect(info).close()


# ----- socket folders


@pytest.fixture
def sockets(sandbox: Sandbox) -> Path:
    folder = sandbox.root / "parslab-0123abcd"
    folder.mkdir(0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "dfk.sock"))
    return folder


def test_a_socket_folder_of_ours_is_deleted(sockets: Path) -> None:
    remove_socket_folder(sockets)
    assert not sockets.exists()
    remove_socket_folder(sockets)  # twice is safe


def _file_in_it(sockets: Path) -> Path:
    (sockets / "thesis.txt").write_text("years of work")
    return sockets


def _another_name(sockets: Path) -> Path:
    return sockets.rename(sockets.parent / "work")


def _link_to_it(sockets: Path) -> Path:
    link = sockets.parent / "parslab-ffffffff"
    link.symlink_to(sockets)
    return link


@pytest.mark.parametrize(
    ("change", "stays"), [(_file_in_it, "thesis.txt"), (_another_name, "dfk.sock"), (_link_to_it, "dfk.sock")]
)
def test_another_folder_is_not_deleted(sockets: Path, change: Callable[[Path], Path], stays: str) -> None:
    folder = change(sockets)
    remove_socket_folder(folder)
    assert (folder / stays).exists()


@as_root
def test_a_socket_folder_of_another_user_is_not_deleted(sockets: Path) -> None:
    os.chown(sockets, NOBODY, NOBODY)
    remove_socket_folder(sockets)
    assert (sockets / "dfk.sock").exists()


@as_root
def test_a_run_that_is_started_again_does_not_listen_in_the_folder_of_another_user(sandbox: Sandbox) -> None:
    with sandbox.load() as dfk:
        (info,) = [run for run in find_runs() if run.run == dfk.run]
        folder = Path(info.socket).parent
        moved = folder.rename(folder.with_name("moved"))
        folder.mkdir()
        os.chown(folder, NOBODY, NOBODY)
        folder.chmod(0o777)
        os.kill(dfk.pid, 9)
        assert double(3).result(30) == 6
        (again,) = [run for run in find_runs() if run.run == dfk.run]
        assert Path(again.socket).parent != folder
        assert list(folder.iterdir()) == []
        shutil.rmtree(folder)
        shutil.rmtree(moved)


def test_a_peer_of_our_own_user_is_accepted() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        check_peer(ours, "/tmp/dfk.sock")


def test_a_process_that_has_the_number_of_a_dead_run_is_not_stopped(sandbox: Sandbox, precious: Path) -> None:
    victim = subprocess.Popen(["sleep", "60"])
    try:
        path = forged(precious / "dfk.sock", precious, pid=victim.pid)
        os.utime(path, (1.0, 1.0))  # the run last lived long before this process began
        subprocess.run([sys.executable, "-m", "parslab.cli", "stop", str(path)], timeout=30, check=True)
        assert victim.poll() is None
        path.unlink()
    finally:
        victim.kill()
        victim.wait()
