"""Files and folders of other users are refused wherever parslab would run, signal or delete what they name."""

from __future__ import annotations

import json
import os
import pickle
import socket
from typing import TYPE_CHECKING

import pytest

from parslab.atomic_files import write_atomically
from parslab.checkpoints import files_in
from parslab.cleanup.dead_runs import find_dead_runs
from parslab.client.process.connection_file import read_connection
from parslab.client.process.restart import restart_kernel
from parslab.dataflow.network import port_state
from parslab.errors import ConfigurationError, UntrustedPathError
from parslab.monitoring.store.folder import left_database
from parslab.scaling.block_journal import cancel_unfinished_jobs
from parslab.trust import check_file, check_folder, open_file, read_text
from parslab.wire import framed, invitations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Disown = Callable[[Path], int]

NOBODY = 65534


@pytest.fixture
def disown(monkeypatch: pytest.MonkeyPatch) -> Disown:
    """Give a path to another user, or, where only root can do that, become another user; returns that user's number."""

    def give(path: Path) -> int:
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
            return NOBODY
        owner = path.stat().st_uid
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        return owner

    return give


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("text")
    path.chmod(0o600)
    return path


def test_a_file_of_ours_is_read(file: Path) -> None:
    assert read_text(file) == "text"


def test_a_file_of_another_user_is_refused_with_its_owner_and_what_to_do(file: Path, disown: Disown) -> None:
    owner = disown(file)
    with pytest.raises(UntrustedPathError) as refused:
        read_text(file)
    assert str(file) in str(refused.value)
    assert f"uid {owner}" in str(refused.value)
    assert "delete it" in str(refused.value)
    assert f"trusted_owners=[{owner}]" in str(refused.value)


def test_a_file_of_a_trusted_owner_is_accepted(file: Path, disown: Disown) -> None:
    check_file(file, {disown(file)})


@pytest.mark.parametrize("mode", [0o602, 0o622, 0o666])
def test_a_file_that_others_can_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(UntrustedPathError, match="chmod go-w"):
        read_text(file)


def test_trusting_an_owner_does_not_trust_everybody_who_can_write(file: Path, disown: Disown) -> None:
    owner = disown(file)
    file.chmod(0o606)
    with pytest.raises(UntrustedPathError, match="chmod go-w"):
        check_file(file, {owner})


def test_the_group_may_write_when_the_owner_is_its_only_member(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import grp
    import pwd

    file.chmod(0o660)
    status = file.stat()
    user = pwd.struct_passwd(("ada", "x", status.st_uid, status.st_gid, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: user)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group(("ada", "x", gid, [])))
    check_file(file)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group(("ada", "x", gid, ["ada", "bob"])))
    with pytest.raises(UntrustedPathError):
        check_file(file)


def test_a_named_pipe_neither_blocks_nor_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(UntrustedPathError, match="regular file"):
        open_file(tmp_path / "pipe")


def test_a_folder_of_another_user_is_refused(tmp_path: Path, disown: Disown) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(0o700)
    check_folder(folder)
    owner = disown(folder)
    with pytest.raises(UntrustedPathError, match=f"uid {owner}"):
        check_folder(folder)
    check_folder(folder, {owner})


def test_a_folder_in_which_others_can_exchange_files_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(UntrustedPathError, match="chmod go-w"):
        check_folder(tmp_path)
    tmp_path.chmod(0o1777)  # there only its owner can rename or delete a file
    check_folder(tmp_path)


def test_the_error_survives_pickling_and_is_caught_as_either_kind() -> None:
    error = pickle.loads(pickle.dumps(UntrustedPathError("a sentence")))
    assert str(error) == "a sentence"
    assert isinstance(error, ConfigurationError)
    assert isinstance(error, OSError)


# ----- who reads what


def test_settings_of_another_user_do_not_start_a_run_again(tmp_path: Path, disown: Disown) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"run": "000-a", "resume": True}))
    owner = disown(tmp_path / "settings.json")
    with pytest.raises(ConfigurationError, match=f"settings.json is refused .*uid {owner}"):
        restart_kernel(tmp_path)


@pytest.mark.parametrize("name", ["", "event_log", "event_log/values"])
def test_a_run_folder_that_others_can_change_is_not_gone_on_with(tmp_path: Path, name: str) -> None:
    run_dir = tmp_path / "000"
    for folder in ("event_log", "event_log/values"):
        (run_dir / folder).mkdir(parents=True)
    (run_dir / "event_log" / "000001.log").write_bytes(b"")
    write_atomically(run_dir / "settings.json", json.dumps({"run": "000-a", "resume": True}))
    (run_dir / name).chmod(0o777)
    with pytest.raises(ConfigurationError, match="others than its owner"):
        restart_kernel(run_dir)


def test_a_connection_file_of_another_user_is_refused(tmp_path: Path, disown: Disown) -> None:
    path = tmp_path / "parslab-000-a.json"
    info = {"run": "000-a", "host": socket.gethostname(), "pid": 2**22 + 1, "socket": "/x/dfk.sock", "run_dir": "/x"}
    write_atomically(path, json.dumps(info))
    assert [found for found, _ in find_dead_runs(tmp_path)] == [path]
    assert read_connection(path).run == "000-a"
    disown(path)
    assert list(find_dead_runs(tmp_path)) == []
    with pytest.raises(UntrustedPathError):
        read_connection(path)


def test_the_provider_in_the_block_journal_of_another_user_is_not_made(tmp_path: Path, disown: Disown) -> None:
    lines = [
        {"event": "provider", "executor": "htex", "provider": {"class": "os:system"}},
        {"event": "requested", "executor": "htex", "block": "0", "name": "job", "time": 1.0},
    ]
    journal = tmp_path / "blocks.jsonl"
    write_atomically(journal, "".join(json.dumps(line) + "\n" for line in lines))
    disown(journal)
    with pytest.raises(UntrustedPathError):
        cancel_unfinished_jobs(tmp_path)


def test_a_manager_does_not_follow_the_invitation_of_another_user(tmp_path: Path, disown: Disown) -> None:
    path = tmp_path / invitations.file_name("htex")
    invitations.write(path, {"addresses": []})
    assert invitations.read(path) == {"addresses": []}
    disown(path)
    with pytest.raises(UntrustedPathError):
        invitations.read(path)


def test_keys_of_another_user_are_not_used_after_a_failover(tmp_path: Path, disown: Disown) -> None:
    import zmq

    secrets = [zmq.curve_keypair()[1].decode() for _ in range(2)]
    invitations.write(tmp_path / "hub.json", {"server": secrets[0], "client": secrets[1], "port": 1})
    assert port_state.read(tmp_path) is not None
    disown(tmp_path / "hub.json")
    assert port_state.read(tmp_path) is None


def test_entries_of_another_user_are_neither_read_nor_added_to(tmp_path: Path, disown: Disown) -> None:
    path = tmp_path / "results.parslab"
    file = framed.FrameAppender(path)
    file.append([framed.encode(b"one")])
    file.close()
    owner = disown(path)
    with pytest.raises(UntrustedPathError):
        list(framed.read(path))
    with pytest.raises(UntrustedPathError):
        framed.read_at(path, 0)
    with pytest.raises(UntrustedPathError):
        framed.FrameAppender(path)
    assert list(framed.read(path, owners={owner})) == [(0, b"one")]
    assert framed.read_at(path, 0, {owner}) == b"one"


def test_a_database_of_another_user_is_not_written_on(tmp_path: Path, disown: Disown) -> None:
    database = tmp_path / "monitoring.db"
    write_atomically(database, "")
    assert left_database(tmp_path) == database
    disown(database)
    assert left_database(tmp_path) is None


def test_a_file_is_not_written_through_a_link_of_another_user(tmp_path: Path) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "folder"
    mine.write_text("precious")
    folder.mkdir()
    (folder / f".settings.json.{os.getpid()}").symlink_to(mine)
    write_atomically(folder / "settings.json", "settings")
    assert mine.read_text() == "precious"
    assert (folder / "settings.json").read_text() == "settings"


def test_each_user_of_a_shared_checkpoint_has_a_file_of_its_own(tmp_path: Path) -> None:
    for name in ("results.parslab", "results-1003.parslab", "tasks.pkl", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [path.name for path in files_in(tmp_path)] == ["tasks.pkl", "results-1003.parslab", "results.parslab"]
