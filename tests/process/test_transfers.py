"""Transfers of single files, from and to servers in this process: what is checked, resumed, tried again and refused."""

from __future__ import annotations

import os
import pickle
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from parslab.data_provider.files import File
from parslab.data_provider.filesystems import FsspecStaging
from parslab.data_provider.ftp import FTPSeparateTaskStaging
from parslab.data_provider.globus import GlobusStaging
from parslab.data_provider.http import HTTPSeparateTaskStaging, disconnect
from parslab.data_provider.node_copies import fetch_once
from parslab.data_provider.rsync import RSyncStaging
from parslab.data_provider.transfers import TransferRules
from parslab.data_provider.zip import ZipAuthorityError, ZipFileStaging
from parslab.errors import ConfigurationError, StagingError
from tests.file_servers import FTPServer, WebServer, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from parslab.data_provider.staging import TransferStaging

BIG = bytes(range(256)) * 12_000
QUICK = TransferRules(timeout=10.0, attempts=3, first_pause=0.01, longest_pause=0.05)
WEB = HTTPSeparateTaskStaging(rules=QUICK)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serving(WebServer()) as server:
        yield server
        disconnect()


@pytest.fixture
def ftp() -> Iterator[FTPServer]:
    with serving(FTPServer()) as server:
        yield server


def local(url: str, folder: Path) -> File:
    """A File with a place for its copy."""
    file = File(url)
    file.local_path = str(folder / "copies" / "x.bin")
    return file


def forbidden(request: Any, number: int, content: bytes) -> bool:
    request.answer(403, b"")
    return True


def fetched(provider: TransferStaging, url: str, folder: Path) -> bytes:
    """Fetch a file; nothing but the file may be in its folder."""
    file = local(url, folder)
    provider.fetch(file)
    assert os.listdir(folder / "copies") == ["x.bin"]
    return (folder / "copies" / "x.bin").read_bytes()


def refused(provider: TransferStaging, url: str, folder: Path) -> StagingError:
    """Fail to fetch a file; nothing may be left of it."""
    file = local(url, folder)
    with pytest.raises(StagingError) as caught:
        provider.fetch(file)
    assert os.listdir(folder / "copies") == []
    assert (caught.value.path, caught.value.host) == (file.local_path, socket.gethostname())
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize("content", [b"", b"hello\n", BIG], ids=len)
def test_a_file_arrives_as_it_is(web: WebServer, tmp_path: Path, content: bytes) -> None:
    assert fetched(WEB, web.put("/a b.bin", content).replace(" ", "%20"), tmp_path) == content


def test_a_broken_transfer_continues_where_it_ended(web: WebServer, tmp_path: Path) -> None:
    def cut(request: Any, number: int, content: bytes) -> bool:
        if number == 1:
            request.answer(200, content[:70_000], length=len(content), ETag=etag_of(request, content))
        return number == 1

    def etag_of(request: Any, content: bytes) -> str:
        import hashlib

        return f'"{hashlib.sha256(content).hexdigest()[:16]}"'

    url = web.put("/big.bin", BIG)
    web.faults["/big.bin"] = cut
    assert fetched(WEB, url, tmp_path) == BIG
    assert web.requests[1][1]["Range"] == "bytes=70000-"


def test_a_file_that_has_changed_is_fetched_from_its_beginning(web: WebServer, tmp_path: Path) -> None:
    def cut(request: Any, number: int, content: bytes) -> bool:
        if number == 1:
            request.answer(200, b"old" * 20_000, length=len(content), ETag='"another one"')
        return number == 1

    url = web.put("/big.bin", BIG)
    web.faults["/big.bin"] = cut
    assert fetched(WEB, url, tmp_path) == BIG
    assert web.requests[1][1]["If-Range"] == '"another one"'


def test_a_transfer_that_always_breaks_is_given_up(web: WebServer, tmp_path: Path) -> None:
    def cut(request: Any, number: int, content: bytes) -> bool:
        request.answer(200, content[:10], length=len(content))
        return True

    url = web.put("/big.bin", BIG)
    web.faults["/big.bin"] = cut
    error = refused(WEB, url, tmp_path)
    assert error.reason == f"the connection ended after 10 of {len(BIG)} bytes (3 attempts)"
    assert str(error).startswith(f"{url} could not be fetched to ")
    assert web.asked("/big.bin") == 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(web: WebServer, tmp_path: Path, status: int) -> None:
    def busy(request: Any, number: int, content: bytes) -> bool:
        if number < 3:
            request.answer(status, b"", Retry_After="0")
        return number < 3

    url = web.put("/a", b"at last")
    web.faults["/a"] = busy
    assert fetched(WEB, url, tmp_path) == b"at last"
    assert web.asked("/a") == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_does_not_pass_is_an_error_at_once(web: WebServer, tmp_path: Path, status: int) -> None:
    def never(request: Any, number: int, content: bytes) -> bool:
        request.answer(status, b"")
        return True

    web.faults["/a"] = never
    error = refused(WEB, web.url + "/a", tmp_path)
    assert error.reason.startswith(str(status))
    assert web.asked("/a") == 1


def test_a_server_that_sends_nothing_is_given_up(web: WebServer, tmp_path: Path) -> None:
    def hang(request: Any, number: int, content: bytes) -> bool:
        web.closing.wait()
        return True

    web.faults["/a"] = hang
    rules = TransferRules(timeout=0.2, attempts=2, first_pause=0.01)
    error = refused(HTTPSeparateTaskStaging(rules=rules), web.url + "/a", tmp_path)
    assert error.reason == "the server sent nothing for too long (2 attempts)"


def test_a_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        error = refused(WEB, f"http://127.0.0.1:{port}/a", tmp_path)
    assert "refused" in error.reason


def test_a_wrong_checksum_is_never_a_file(web: WebServer, tmp_path: Path) -> None:
    def corrupt(request: Any, number: int, content: bytes) -> bool:
        import base64
        import hashlib

        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        request.answer(200, b"X" + content[1:], Repr_Digest=f"sha-256=:{digest}:")
        return True

    url = web.put("/a", b"the right content")
    web.faults["/a"] = corrupt
    assert "sha-256 checksum" in refused(WEB, url, tmp_path).reason


def test_a_password_is_sent_to_its_host_only_and_never_shown(web: WebServer, tmp_path: Path) -> None:
    with serving(WebServer()) as other:
        target = other.put("/b", b"there")

        def redirect(request: Any, number: int, content: bytes) -> bool:
            request.answer(302, b"", Location=target.replace("127.0.0.1", "localhost"))
            return True

        web.faults["/a"] = redirect
        url = web.url.replace("//", "//me:se%20same@") + "/a?signature=abc"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("no_proxy", "127.0.0.1,localhost")
            assert fetched(WEB, url, tmp_path) == b"there"
            disconnect()
        assert "Authorization" in web.requests[0][1]
        assert "Authorization" not in other.requests[0][1]
        web.faults["/a"] = forbidden
        (tmp_path / "copies" / "x.bin").unlink()
        shown = str(refused(WEB, url, tmp_path)) + repr(File(url))
        assert "same" not in shown
        assert "abc" not in shown


def test_one_connection_serves_many_files(web: WebServer, tmp_path: Path) -> None:
    ports = set()

    def note(request: Any, number: int, content: bytes) -> bool:
        ports.add(request.client_address[1])
        return False

    for number in range(5):
        url = web.put(f"/{number}", b"x")
        web.faults[f"/{number}"] = note
        fetched(WEB, url, tmp_path)
    assert len(ports) == 1


def test_one_task_of_many_fetches(web: WebServer, tmp_path: Path) -> None:
    url = web.put("/a", BIG)

    def task() -> None:
        file = local(url, tmp_path)
        file.staged_by = "run-1"
        fetch_once(WEB.fetch, file)
        assert os.path.getsize(file.filepath) == len(BIG)

    threads = [threading.Thread(target=task) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert web.asked("/a") == 1
    file = local(url, tmp_path)
    file.staged_by = "run-2"  # another run must not trust the copy
    fetch_once(WEB.fetch, file)
    assert web.asked("/a") == 2


def test_ftp_fetches_and_resumes(ftp: FTPServer, tmp_path: Path) -> None:
    ftp.files["in/a b.bin"] = BIG
    ftp.cut.add("in/a b.bin")
    provider = FTPSeparateTaskStaging(rules=QUICK)
    assert fetched(provider, ftp.url + "/in/a%20b.bin", tmp_path) == BIG
    assert f"REST {len(BIG) // 2}" in ftp.commands


def test_ftp_stores_under_a_temporary_name(ftp: FTPServer, tmp_path: Path) -> None:
    file = File(ftp.url + "/out/made/b.txt")
    file.local_path = str(tmp_path / "b.txt")
    provider = FTPSeparateTaskStaging(rules=QUICK)
    with pytest.raises(StagingError, match="the task has not written this file"):
        provider.store(file)
    (tmp_path / "b.txt").write_bytes(b"made")
    provider.store(file)
    assert ftp.files == {"out/made/b.txt": b"made"}
    assert "STOR out/made/.b.txt.part" in ftp.commands


@pytest.mark.parametrize(("path", "login", "reason"), [("none", "user:secret", "550"), ("a", "user:guess", "530")])
def test_ftp_refusals_are_errors_at_once(ftp: FTPServer, tmp_path: Path, path: str, login: str, reason: str) -> None:
    ftp.files["a"] = b"x"
    url = ftp.url.replace("user:secret", login) + f"/{path}"
    error = refused(FTPSeparateTaskStaging(rules=QUICK), url, tmp_path)
    assert error.reason.startswith(reason)
    assert "guess" not in str(error)
    assert [command.split()[0] for command in ftp.commands].count("USER") == 1


def test_a_file_system_of_fsspec(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/a.bin", BIG)
    provider = FsspecStaging(schemes=("memory",), rules=QUICK)
    assert provider.can_stage_in(File("memory://bucket/a.bin"))
    assert fetched(provider, "memory://bucket/a.bin", tmp_path) == BIG
    file = local("memory://bucket/made/b.bin", tmp_path)
    provider.store(file)
    assert memory.cat_file("/bucket/made/b.bin") == BIG
    assert [path for path in memory.find("/bucket") if "part" in path] == []
    (tmp_path / "copies" / "x.bin").unlink()
    assert refused(provider, "memory://bucket/none", tmp_path).reason == "there is no such file"
    memory.rm("/bucket", recursive=True)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ConfigurationError, match=r"gcsfs is not installed: pip install 'parslab\[staging\]'"):
        FsspecStaging().fetch(local("gs://bucket/a", tmp_path))


def test_zip_members_go_out_and_in(tmp_path: Path) -> None:
    archive = tmp_path / "data" / "a.zip"
    provider = ZipFileStaging()
    for name, content in (("one/a.txt", b"first"), ("two.txt", b"second"), ("one/a.txt", b"again")):
        file = local(f"zip:{archive}/{name}", tmp_path)
        os.makedirs(tmp_path / "copies", exist_ok=True)
        (tmp_path / "copies" / "x.bin").write_bytes(content)
        provider.store(file)
    assert fetched(provider, f"zip:{archive}/one/a.txt", tmp_path) == b"again"
    assert fetched(provider, f"zip:{archive}/two.txt", tmp_path) == b"second"
    assert sorted(os.listdir(archive.parent)) == [".a.zip.lock", "a.zip"]
    (tmp_path / "copies" / "x.bin").unlink()
    assert "no member 'three'" in refused(provider, f"zip:{archive}/three", tmp_path).reason


def test_a_damaged_archive_is_never_a_file(tmp_path: Path) -> None:
    import zipfile

    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a.txt", b"content" * 100)
    data = bytearray(archive.read_bytes())
    data[50] ^= 1
    archive.write_bytes(data)
    assert "damaged" in refused(ZipFileStaging(), f"zip:{archive}/a.txt", tmp_path).reason


@pytest.mark.parametrize(
    "url", ["zip:/a.zip/../b", "zip:/a.zip//etc/passwd", "zip:/a.zip", "zip:/a/b", "zip:/a.zip/x/.."]
)
def test_names_that_lead_out_of_an_archive_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        ZipFileStaging().can_stage_in(File(url))


def test_an_archive_has_no_host() -> None:
    with pytest.raises(ZipAuthorityError):
        ZipFileStaging().can_stage_in(File("zip://host/a.zip/b"))


RSYNC = """#!/bin/sh
echo "$@" >> "$0.log"
for last; do source=$target; target=$last; done
cp "${source#*:}" "${target#*:}"
"""


@pytest.fixture
def rsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command rsync that copies on this host."""
    program = tmp_path / "bin" / "rsync"
    program.parent.mkdir()
    program.write_text(RSYNC)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def test_rsync_copies_both_ways(rsync: Path, tmp_path: Path) -> None:
    provider = RSyncStaging("me@login", rules=QUICK)
    (tmp_path / "a b").write_bytes(b"content")
    assert fetched(provider, str(tmp_path / "a b"), tmp_path) == b"content"
    file = local(str(tmp_path / "back"), tmp_path)
    provider.store(file)
    assert (tmp_path / "back").read_bytes() == b"content"
    lines = (rsync.parent / "rsync.log").read_text().splitlines()
    assert lines[0].endswith(f"-- me@login:{tmp_path}/a b {tmp_path}/copies/x.bin")


@pytest.mark.parametrize(("status", "attempts"), [(23, 1), (255, 3)])
def test_rsync_says_why_it_failed(rsync: Path, tmp_path: Path, status: int, attempts: int) -> None:
    rsync.write_text(f'#!/bin/sh\necho "$@" >> "$0.log"\necho "no such thing" >&2\nexit {status}\n')
    error = refused(RSyncStaging("login", rules=QUICK), "/nowhere/a", tmp_path)
    assert error.reason.startswith("no such thing")
    assert len((rsync.parent / "rsync.log").read_text().splitlines()) == attempts


class Globus:
    """Answers of the Globus service, as recorded."""

    def __init__(self, *states: dict[str, str]) -> None:
        self.states = list(states)
        self.submitted: list[Any] = []
        self.cancelled: list[str] = []

    def submit_transfer(self, data: Any) -> dict[str, str]:
        self.submitted.append(data)
        return {"code": "Accepted", "task_id": "0f1a", "DATA_TYPE": "transfer_result"}

    def task_wait(self, task: str, timeout: int, polling_interval: int) -> bool:
        return len(self.states) == 1

    def get_task(self, task: str) -> dict[str, str]:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def cancel_task(self, task: str) -> None:
        self.cancelled.append(task)


def test_globus_moves_files_between_collections(tmp_path: Path) -> None:
    service = Globus({"status": "ACTIVE"}, {"status": "SUCCEEDED"})
    provider = GlobusStaging("here", "/collection/work", str(tmp_path), client=lambda: service)
    provider.fetch(local("globus://there/data/a.h5", tmp_path))
    (wanted,) = service.submitted
    assert (wanted["source_endpoint"], wanted["destination_endpoint"]) == ("there", "here")
    assert wanted["verify_checksum"]
    (item,) = wanted["DATA"]
    assert (item["source_path"], item["destination_path"]) == ("/data/a.h5", "/collection/work/copies/x.bin")
    (tmp_path / "copies" / "x.bin").write_bytes(b"made")
    provider.store(local("globus://there/out/b.h5", tmp_path))
    assert service.submitted[1]["DATA"][0]["destination_path"] == "/out/b.h5"


@pytest.mark.parametrize("status", ["FAILED", "INACTIVE"])
def test_globus_says_why_a_transfer_failed(tmp_path: Path, status: str) -> None:
    states = [{"status": status, "nice_status_short_description": "permission denied"}] * (1 + (status == "INACTIVE"))
    service = Globus(*states)
    provider = GlobusStaging("here", client=lambda: service)
    assert refused(provider, "globus://there/a", tmp_path).reason.endswith("permission denied")
    assert service.cancelled == (["0f1a"] if status == "INACTIVE" else [])


def test_globus_needs_an_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOBUS_CLIENT_ID", raising=False)
    with pytest.raises(ConfigurationError, match="GLOBUS_CLIENT_ID"):
        GlobusStaging("here").fetch(local("globus://there/a", tmp_path))


@pytest.mark.parametrize(
    "provider", [WEB, FTPSeparateTaskStaging(), ZipFileStaging(), RSyncStaging("h"), FsspecStaging()]
)
def test_providers_travel_and_are_equal_by_their_options(provider: TransferStaging) -> None:
    assert pickle.loads(pickle.dumps(provider)) == provider
    assert hash(provider) == hash(pickle.loads(pickle.dumps(provider)))
    assert provider != GlobusStaging("here")


def test_options_of_a_file_system_are_not_shown() -> None:
    assert "sesame" not in repr(FsspecStaging({"secret": "sesame"}))
