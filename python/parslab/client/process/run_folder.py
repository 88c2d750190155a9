"""Make the folders of a new run: a numbered folder for its files, and a folder for its sockets."""

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
        The folder, and warnings.  When ``root`` cannot be written, the folder is a temporary one, so that ``load()``
        succeeds.
    """
    root = root.expanduser().absolute()
    try:
        made = _numbered(root)
        # A full disk or quota still allows a new folder. This write finds out while another place can be chosen.
        (made / "dfk.log").write_bytes(b"\n" * 4096)
        (made / "dfk.log").write_bytes(b"")
        # Some file systems give every file to one owner, or let all users write. A restart could not trust such files.
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
        # mkdir is atomic, also on network file systems, so two runs that start together never get the same folder.
        with contextlib.suppress(FileExistsError):
            path = root / f"{number:03d}"
            path.mkdir(mode=0o700)
            return path
    raise AssertionError("unreachable")


def new_socket_folder(tried: list[str]) -> str:
    """Make a folder with a short path for the sockets of a run, because unix sockets allow about 100 bytes of path.

    Parameters
    ----------
    tried
        A list that gets each path before the folder is made, so that the caller can remove it after an interrupt.

    Raises
    ------
    ConfigurationError
        None of the usual places allows such a folder.
    """
    # The runtime folder first: it belongs to the user alone, and the system empties it at logout. The run folder would
    # not do, because many network file systems have no sockets.
    errors: list[OSError] = []
    for base in (os.environ.get("XDG_RUNTIME_DIR", ""), os.environ.get("TMPDIR", ""), tempfile.gettempdir(), "/tmp"):
        # A socket path has at most 108 bytes on Linux; the names of the folder and of the socket follow this part.
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
