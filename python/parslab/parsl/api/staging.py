"""Parsl's staging providers, which parslab accepts; nodes must share the files' folder, and nothing is fetched yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.data_provider.files import File

__all__ = [
    "DataManager",
    "FTPInTaskStaging",
    "FTPSeparateTaskStaging",
    "GlobusStaging",
    "HTTPInTaskStaging",
    "HTTPSeparateTaskStaging",
    "NoOpFileStaging",
    "RSyncStaging",
    "Staging",
    "ZipFileStaging",
    "default_staging",
]


class Staging:
    """Base of Parsl's ways to bring files to where tasks run and back."""

    def __init__(self, *values: Any, **options: Any) -> None:
        self.options = options

    def can_stage_in(self, file: File) -> bool:
        """Return whether it brings this file to tasks."""
        return False

    def can_stage_out(self, file: File) -> bool:
        """Return whether it brings this file back."""
        return False


class NoOpFileStaging(Staging):
    """Files of a folder that all nodes share, as parslab expects them."""

    def can_stage_in(self, file: File) -> bool:
        return file.scheme == "file"

    can_stage_out = can_stage_in


class HTTPSeparateTaskStaging(Staging):
    """Parsl: files of a web server, fetched in a task of their own."""


class HTTPInTaskStaging(Staging):
    """Parsl: files of a web server, fetched in the task."""


class FTPSeparateTaskStaging(Staging):
    """Parsl: files of an FTP server, fetched in a task of their own."""


class FTPInTaskStaging(Staging):
    """Parsl: files of an FTP server, fetched in the task."""


class ZipFileStaging(Staging):
    """Parsl: files in an archive."""


class RSyncStaging(Staging):
    """Parsl: files copied by rsync."""


class GlobusStaging(Staging):
    """Parsl: files of Globus endpoints."""


default_staging: list[Staging] = [NoOpFileStaging()]


class DataManager:
    """Parsl: chooses the staging provider of each file; parslab stages nothing yet.

    Parameters
    ----------
    dfk
        The run.
    """

    def __init__(self, dfk: DataFlowKernel) -> None:
        self.dfk = dfk
