"""Every staging provider of ours passes the suite of the family, with servers of our own; see also tests/staging."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING, ClassVar

import pytest

from parslab.data_provider.file_noop import NoOpFileStaging
from parslab.data_provider.ftp import FTPInTaskStaging, FTPSeparateTaskStaging
from parslab.data_provider.globus import GlobusStaging
from parslab.data_provider.http import HTTPInTaskStaging, HTTPSeparateTaskStaging
from parslab.data_provider.rsync import RSyncStaging
from parslab.data_provider.zip import ZipFileStaging
from parslab.testing.conformance import StagingSuite
from tests.file_servers import FTPServer, WebServer, serving
from tests.process.test_transfers import RSYNC

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from parslab.data_provider.staging import Staging


class _Web(StagingSuite):
    stores = False
    kind: ClassVar[type[Staging]]

    @pytest.fixture(autouse=True)
    def server(self) -> Iterator[None]:
        with serving(WebServer()) as self.web:
            yield

    def provider(self) -> Staging:
        return self.kind()

    def put(self, name: str, content: bytes) -> str:
        return str(self.web.put(f"/{name}", content)).replace(" ", "%20")


class TestWebSeparate(_Web):
    kind = HTTPSeparateTaskStaging


class TestWebInTask(_Web):
    kind = HTTPInTaskStaging


class _FTP(StagingSuite):
    kind: ClassVar[type[Staging]]

    @pytest.fixture(autouse=True)
    def server(self) -> Iterator[None]:
        with serving(FTPServer()) as self.ftp:
            yield

    def provider(self) -> Staging:
        return self.kind()

    def put(self, name: str, content: bytes) -> str:
        self.ftp.files[name] = content
        return f"{self.ftp.url}/{name}".replace(" ", "%20")

    def get(self, url: str) -> bytes:
        content: bytes = self.ftp.files[url.rpartition("/")[2]]
        return content


class TestFTPSeparate(_FTP):
    kind = FTPSeparateTaskStaging


class TestFTPInTask(_FTP):
    kind = FTPInTaskStaging


class _Folder(StagingSuite):
    @pytest.fixture(autouse=True)
    def there(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "there"
        self.folder.mkdir()

    def put(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    def get(self, url: str) -> bytes:
        with open(url, "rb") as file:
            return file.read()


class TestNoOp(_Folder):
    def provider(self) -> Staging:
        return NoOpFileStaging()

    test_a_missing_file_fails_the_task = None  # type: ignore[assignment]  # the task itself finds that out

    def test_a_failed_task_stores_nothing(self, run: Any) -> None:
        """Nothing is promised: the task itself writes the file."""


class TestRSync(_Folder):
    @pytest.fixture(autouse=True)
    def rsync(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program = tmp_path / "bin" / "rsync"
        program.parent.mkdir()
        program.write_text(RSYNC)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def provider(self) -> Staging:
        return RSyncStaging("login")


class TestZip(StagingSuite):
    @pytest.fixture(autouse=True)
    def archive(self, tmp_path: Path) -> None:
        self.path = tmp_path / "archive.zip"

    def provider(self) -> Staging:
        return ZipFileStaging()

    def put(self, name: str, content: bytes) -> str:
        with zipfile.ZipFile(self.path, "a") as opened:
            opened.writestr(f"in/{name}", content)
        return f"zip:{self.path}/in/{name}"

    def get(self, url: str) -> bytes:
        with zipfile.ZipFile(self.path) as opened:
            return opened.read(url.partition(".zip/")[2])


class Collections:
    """A Globus service of one folder: it copies a file at once, as the recorded answers say."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.status = "SUCCEEDED"

    def __call__(self) -> Collections:
        return self

    def submit_transfer(self, data: Any) -> dict[str, str]:
        (item,) = data["DATA"]
        places = []
        for end, path in (("source", item["source_path"]), ("destination", item["destination_path"])):
            places.append(self.folder + path if data[f"{end}_endpoint"] == "there" else path)
        try:
            with open(places[0], "rb") as source:
                content = source.read()
        except FileNotFoundError:
            self.status = "FAILED"
        else:
            with open(places[1], "wb") as target:
                target.write(content)
        return {"task_id": "1"}

    def task_wait(self, task: str, timeout: int, polling_interval: int) -> bool:
        return True

    def get_task(self, task: str) -> dict[str, str]:
        return {"status": self.status, "nice_status": "file not found"}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Collections) and other.folder == self.folder

    __hash__ = object.__hash__


class TestGlobus(_Folder):
    def provider(self) -> Staging:
        return GlobusStaging("here", client=Collections(str(self.folder)))

    def put(self, name: str, content: bytes) -> str:
        super().put(name, content)
        return f"globus://there/{name}"

    def get(self, url: str) -> bytes:
        return super().get(str(self.folder / url.removeprefix("globus://there/")))
