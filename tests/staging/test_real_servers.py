"""Every staging provider passes the suite of its family with a real server, and stands the faults of real servers."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.request import urlopen

import pytest

from parslab.data_provider.files import File
from parslab.data_provider.filesystems import FsspecInTaskStaging, FsspecStaging
from parslab.data_provider.ftp import FTPInTaskStaging, FTPSeparateTaskStaging
from parslab.data_provider.http import HTTPInTaskStaging, HTTPSeparateTaskStaging, disconnect
from parslab.data_provider.rsync import RSyncStaging
from parslab.data_provider.transfers import TransferRules
from parslab.errors import StagingError
from parslab.testing.conformance import StagingSuite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.data_provider.staging import Staging, TransferStaging

QUICK = TransferRules(timeout=20.0, attempts=3, first_pause=0.05, longest_pause=0.1)
BIG = 20_000_000
LOOP = pytest.mark.leaves_behind("fsspec keeps a thread with its event loop, and connections")


class _Served(StagingSuite):
    """All servers serve one folder of this host."""

    @pytest.fixture(autouse=True)
    def folder(self, as_a_client: None) -> None:
        self.name = f"suite-{uuid.uuid4().hex}"
        self.there = Path(os.environ["TESTBED_FILES_DIR"], self.name)
        self.there.mkdir()

    @property
    def base(self) -> str:
        """The URL of the folder that the server serves."""
        raise NotImplementedError

    def put(self, name: str, content: bytes) -> str:
        (self.there / name).write_bytes(content)
        return f"{self.base}/{self.name}/{name}"

    def get(self, url: str) -> bytes:
        return (self.there / url.rpartition("/")[2]).read_bytes()


class TestHTTP(_Served):
    stores = False

    @property
    def base(self) -> str:
        return os.environ["TESTBED_HTTP_URL"]

    def provider(self) -> Staging:
        return HTTPSeparateTaskStaging(rules=QUICK)


class TestHTTPS(TestHTTP):
    @property
    def base(self) -> str:
        return os.environ["TESTBED_HTTPS_URL"]

    def provider(self) -> Staging:
        return HTTPInTaskStaging(rules=QUICK)


class TestFTP(_Served):
    @property
    def base(self) -> str:
        return os.environ["TESTBED_FTP_URL"]

    def provider(self) -> Staging:
        return FTPSeparateTaskStaging(rules=QUICK)


class TestFTPS(TestFTP):
    @property
    def base(self) -> str:
        return os.environ["TESTBED_FTPS_URL"].replace("ftp:", "ftps:")

    def provider(self) -> Staging:
        return FTPInTaskStaging(rules=QUICK)


class TestSFTP(_Served):
    kind: ClassVar[type[FsspecStaging]] = FsspecStaging

    @property
    def base(self) -> str:
        return f"sftp://testbed{os.environ['TESTBED_FILES_DIR']}"

    def provider(self) -> Staging:
        # A user has this in ~/.ssh/config, which is read without being named.
        return self.kind({"config": [os.environ["TESTBED_SSH_CONFIG"]]}, rules=QUICK)


class TestSFTPInTask(TestSFTP):
    kind = FsspecInTaskStaging


class TestRSync(_Served):
    @property
    def base(self) -> str:
        return os.environ["TESTBED_FILES_DIR"]

    def provider(self) -> Staging:
        return RSyncStaging("testbed", rules=QUICK)


@LOOP
class TestS3(StagingSuite):
    @pytest.fixture(autouse=True)
    def bucket(self, as_a_client: None) -> Iterator[None]:
        import s3fs

        self.filesystem = s3fs.S3FileSystem(skip_instance_cache=True)
        self.prefix = f"testbed/suite-{uuid.uuid4().hex}"
        yield
        self.filesystem.rm(self.prefix, recursive=True)

    def provider(self) -> Staging:
        return FsspecStaging(rules=QUICK)

    def put(self, name: str, content: bytes) -> str:
        self.filesystem.pipe_file(f"{self.prefix}/{name}", content)
        return f"s3://{self.prefix}/{name}"

    def get(self, url: str) -> bytes:
        self.filesystem.invalidate_cache()
        content: bytes = self.filesystem.cat_file(url)
        return content


def fetched(provider: TransferStaging, url: str, folder: Path) -> int:
    """Fetch a file; return its size."""
    file = File(url)
    file.local_path = str(folder / "copy")
    try:
        provider.fetch(file)
    finally:
        disconnect()
    assert [name for name in os.listdir(folder) if name != "copy"] == []
    return os.path.getsize(file.local_path)


WEB = HTTPSeparateTaskStaging(rules=QUICK)


@pytest.mark.parametrize(
    "fault", ["cut-once:5000000", "fail:503:2", "slow:40000000", "norange", "redirect", "hang:0.2"]
)
def test_faults_that_pass(fault: str, tmp_path: Path) -> None:
    assert fetched(WEB, f"{os.environ['TESTBED_HTTP_URL']}/{fault}/big.bin?{uuid.uuid4()}", tmp_path) == BIG


def test_a_cut_transfer_is_resumed(tmp_path: Path) -> None:
    url = f"{os.environ['TESTBED_HTTP_URL']}/cut-once:5000000/big.bin?{uuid.uuid4()}"
    assert fetched(WEB, url, tmp_path) == BIG
    with urlopen(f"{os.environ['TESTBED_HTTP_URL']}/_log") as log:
        ranges = [line for line in log.read().decode().splitlines() if url.rpartition("?")[2] in line]
    assert "bytes=5000000-" in ranges[-1]


def test_progress_counts_more_than_attempts(tmp_path: Path) -> None:
    """Each answer has 9 MB of the file: more attempts than two may fail, and yet the file arrives."""
    provider = HTTPSeparateTaskStaging(rules=TransferRules(attempts=2, first_pause=0.01))
    assert fetched(provider, f"{os.environ['TESTBED_HTTP_URL']}/cut:9000000/big.bin", tmp_path) == BIG


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("fail:503:9/small.txt", "503"),
        ("cut:1000/big.bin", "the connection ended after"),
        ("hang:60/small.txt", "the server sent nothing for too long"),
        ("auth/small.txt", "401"),
        ("none", "404"),
    ],
)
def test_faults_that_stay(path: str, reason: str, tmp_path: Path) -> None:
    rules = TransferRules(timeout=1.0, attempts=2, first_pause=0.01, longest_pause=0.05)
    with pytest.raises(StagingError, match=reason):
        fetched(HTTPSeparateTaskStaging(rules=rules), f"{os.environ['TESTBED_HTTP_URL']}/{path}", tmp_path)


def test_a_login_comes_from_the_url_or_from_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = os.environ["TESTBED_HTTP_URL"]
    assert fetched(WEB, f"{base.replace('//', '//user:secret@')}/auth/small.txt", tmp_path) == 6
    netrc = tmp_path.parent / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert fetched(WEB, f"{base}/auth/small.txt", tmp_path) == 6


def test_a_certificate_of_nobody_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    for url in (os.environ["TESTBED_HTTPS_URL"], os.environ["TESTBED_FTPS_URL"].replace("ftp:", "ftps:")):
        provider: TransferStaging = FTPSeparateTaskStaging() if url.startswith("ftps") else HTTPSeparateTaskStaging()
        with pytest.raises(StagingError, match="the certificate of the server is not valid"):
            fetched(provider, f"{url}/small.txt", tmp_path)


def test_a_cut_ftp_transfer_is_given_up(tmp_path: Path) -> None:
    provider = FTPSeparateTaskStaging(rules=QUICK)
    with pytest.raises(StagingError, match="3 attempts"):
        fetched(provider, f"{os.environ['TESTBED_FTP_URL']}/cut/100k.bin", tmp_path)


@LOOP
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sftp://testbed{TESTBED_FILES_DIR}/none", "there is no such file"),
        ("sftp://testbed-badkey{TESTBED_FILES_DIR}/small.txt", "access is denied"),
        ("s3://testbed/none", "there is no such file"),
        ("s3://no-such-bucket/none", "there is no such file|bucket"),
    ],
)
def test_refusals_are_errors_at_once(url: str, reason: str, tmp_path: Path) -> None:
    options = {"config": [os.environ["TESTBED_SSH_CONFIG"]]} if url.startswith("sftp") else {}
    provider = FsspecStaging(options, rules=TransferRules())
    with pytest.raises(StagingError, match=reason) as caught:
        fetched(provider, url.format(**os.environ), tmp_path)
    assert "attempts" not in str(caught.value)
