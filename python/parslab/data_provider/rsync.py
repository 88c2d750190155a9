"""Copies files between the host of the notebook and nodes without its disks, with the command ``rsync``."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, ClassVar

from parslab.data_provider.staging import TransferStaging
from parslab.data_provider.transfers import RULES, TransferFailed, TransferRules, store_from

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from parslab.data_provider.files import File
    from parslab.data_provider.staging import DataMover

__all__ = ["RSyncStaging"]

_TRANSIENT = frozenset({10, 12, 30, 35, 255})
"""Exit statuses of rsync for connections that broke or took too long; 255 is that of ssh."""


class RSyncStaging(TransferStaging):
    """Files of the notebook's host, copied by the task with rsync before and after its function (Parsl: same name).

    Parameters
    ----------
    hostname
        The host of the notebook as the nodes reach it with ssh: ``me@login.example.org``.
    rules
        Time limit and attempts.
    """

    schemes_in: ClassVar[frozenset[str]] = frozenset({"file"})
    schemes_out: ClassVar[frozenset[str]] = schemes_in
    in_task: ClassVar[bool] = True

    def __init__(self, hostname: str, *, rules: TransferRules = RULES) -> None:
        self.hostname = hostname
        self.rules = rules

    def __repr__(self) -> str:
        return f"RSyncStaging({self.hostname!r})"

    def replace_task(self, dm: DataMover, executor: str, file: File, f: Callable[..., Any]) -> Any:
        file.path = os.path.abspath(file.path)  # in the notebook's folder, which the node may not have
        return super().replace_task(dm, executor, file, f)

    def replace_task_stage_out(self, dm: DataMover, executor: str, file: File, f: Callable[..., Any]) -> Any:
        file.path = os.path.abspath(file.path)
        return super().replace_task_stage_out(dm, executor, file, f)

    def fetch(self, file: File) -> None:
        path = file.filepath
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        url = f"{self.hostname}:{file.path}"
        store_from(url, path, lambda: self._copy(url, path), self.rules, action="fetched to")

    def store(self, file: File) -> None:
        path = file.filepath
        url = f"{self.hostname}:{file.path}"
        store_from(url, path, lambda: self._copy(path, url), self.rules)

    def _copy(self, source: str, target: str) -> None:
        """Copy a file; rsync itself writes under a temporary name and checks what it has written."""
        command = ["rsync", "--times", "--protect-args", f"--timeout={max(1, round(self.rules.timeout))}"]
        try:
            done = subprocess.run(
                [*command, "--", source, target], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            raise TransferFailed("the command rsync is not installed here", False) from None
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            reason = lines[0] if lines else f"rsync ended with {done.returncode}"
            raise TransferFailed(reason[:300], done.returncode in _TRANSIENT and "denied" not in done.stderr)
