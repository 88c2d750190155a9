"""Makes the folders of a new run: its numbered folder, and the one of its sockets."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import tempfile
from pathlib import Path

from parslab.errors import ConfigurationError, UntrustedPathError
from parslab.trust import check_folder

__all__ = ["new_run_dir", "new_socket_folder"]


def new_run_dir(root: Path) -> tuple[Path, list[str]]:
    """Make the next numbered folder below ``root``, as Parsl does.

    Returns
    -------
    tuple of (Path, list of str)
        The folder, and warnings: when ``root`` cannot be written, the folder is a temporary one.
    """
    root = root.expanduser().absolute()
    try:
        made = _numbered(root)
        # A full disk still makes folders: find out now, while another place can be chosen.
        (made / "dfk.log").write_bytes(b"\n" * 4096)
        (made / "dfk.log").write_bytes(b"")
        # Some file systems give every file to one owner, or let everybody write: nothing there can be trusted later.
        check_folder(made)
        return made, []
    except OSError as error:
        other = Path(tempfile.mkdtemp(prefix="parslab-runs-"))
        problem = "is not safe" if isinstance(error, UntrustedPathError) else "cannot be written"
        warning = (
            f"The run folder {root} {problem} ({error.strerror or error}); logs and monitoring of this run "
            f"are in {other} instead. Choose another one with Config(run_dir=...)."
        )
        return _numbered(other), [warning]


def _numbered(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    taken = [int(entry.name) for entry in root.iterdir() if entry.name.isdigit()]
    for number in itertools.count(max(taken, default=-1) + 1):
        # mkdir either makes the folder or fails, also on network file systems: no two runs get the same folder.
        with contextlib.suppress(FileExistsError):
            path = root / f"{number:03d}"
            path.mkdir(mode=0o700)
            return path
    raise AssertionError("unreachable")


def new_socket_folder(tried: list[str]) -> str:
    """Make a folder for the sockets of a run, where paths are short: those of unix sockets end at about 100 bytes.

    Parameters
    ----------
    tried
        Gets each name before the folder is made, so that the caller can remove it after an interrupt.

    Raises
    ------
    ConfigurationError
        No such folder can be made.
    """
    errors: list[OSError] = []
    for base in (os.environ.get("XDG_RUNTIME_DIR", ""), os.environ.get("TMPDIR", ""), tempfile.gettempdir(), "/tmp"):
        if base and len(base) < 60:
            folder = os.path.join(base, f"parslab-{secrets.token_hex(4)}")
            tried.append(folder)
            try:
                os.mkdir(folder, 0o700)
            except OSError as error:
                errors.append(error)
            else:
                return folder
    raise ConfigurationError(
        f"A run needs a folder for its sockets and none can be made ({errors[0]}): set TMPDIR to a folder with a short "
        "path that can be written."
    )
