"""Takes files out of zip archives and adds files to them: ``zip:/data/archive.zip/inner/path``."""

from __future__ import annotations

import os
import shutil
import warnings
import zipfile
from typing import TYPE_CHECKING, ClassVar

from parslab.data_provider.node_copies import locked
from parslab.data_provider.staging import INTERNAL, TransferStaging
from parslab.data_provider.transfers import CHUNK, Reply, TransferFailed, fetch_to, store_from, temporary_name
from parslab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from parslab.data_provider.files import File

__all__ = ["ZipAuthorityError", "ZipFileStaging", "zip_path_split"]


class ZipAuthorityError(ConfigurationError, ValueError):
    """A ``zip:`` URL names a host (Parsl: same name)."""


class ZipFileStaging(TransferStaging):
    """Members of zip archives, which the process of the notebook reads and writes (Parsl: same name).

    One process does all of it, because an archive can have one writer at a time.
    """

    schemes_in: ClassVar[frozenset[str]] = frozenset({"zip"})
    schemes_out: ClassVar[frozenset[str]] = schemes_in
    runs_on: ClassVar[str] = INTERNAL

    def can_stage_in(self, file: File) -> bool:
        if file.scheme != "zip":
            return False
        if file.netloc:
            raise ZipAuthorityError(f"{file!r}: a zip: URL has no host; write zip:/folder/archive.zip/member.")
        zip_path_split(file)
        return True

    can_stage_out = can_stage_in

    def fetch(self, file: File) -> None:
        archive, member = zip_path_split(file)
        fetch_to(file.url, file.filepath, lambda offset, version: _member(archive, member))

    def store(self, file: File) -> None:
        archive, member = zip_path_split(file)
        store_from(file.url, file.filepath, lambda: _add(archive, member, file.filepath))


def zip_path_split(file: File) -> tuple[str, str]:
    """Return the path of the archive and the name of the member.

    Raises
    ------
    ConfigurationError
        The path has no archive or no member, or the member's name leads out of the archive.
    """
    parts = file.path.split("/")
    at = next((n for n, part in enumerate(parts) if part.endswith(".zip")), None)
    if at is None or not any(parts[at + 1 :]):
        raise ConfigurationError(f"{file!r}: a zip: URL names an archive and a member: zip:/folder/archive.zip/member.")
    inner = parts[at + 1 :]
    if not inner[0] or ".." in inner:
        raise ConfigurationError(f"{file!r}: the name of the member must not begin with '/' or have '..' in it.")
    return "/".join(parts[: at + 1]), "/".join(inner)


def _member(archive: str, member: str) -> AbstractContextManager[Reply]:
    from contextlib import contextmanager

    @contextmanager
    def read() -> Iterator[Reply]:
        try:
            with zipfile.ZipFile(archive) as opened:
                size = opened.getinfo(member).file_size
                with opened.open(member) as inside:  # checks the CRC at its end
                    yield Reply(iter(lambda: inside.read(CHUNK), b""), 0, size)
        except KeyError:
            raise TransferFailed(f"{archive} has no member {member!r}", False) from None
        except zipfile.BadZipFile as error:
            raise TransferFailed(f"{archive} is damaged ({error})", False) from None

    return read()


def _add(archive: str, member: str, path: str) -> None:
    """Add a member to a copy of the archive, which then takes its place: a crash leaves the old archive."""
    folder = os.path.dirname(archive)
    os.makedirs(folder or ".", exist_ok=True)
    with locked(os.path.join(folder, f".{os.path.basename(archive)}.lock")):
        temporary = temporary_name(archive)
        try:
            if os.path.exists(archive):
                shutil.copy2(archive, temporary)
            with zipfile.ZipFile(temporary, "a", zipfile.ZIP_DEFLATED) as opened, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a member of the same name: readers take the last one
                opened.write(path, member)
            os.replace(temporary, archive)
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
