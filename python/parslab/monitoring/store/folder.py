"""Chooses the folder of a run's database: the run directory, unless that is on a network filesystem.

The write-ahead log of SQLite needs locks and memory shared between processes, which network filesystems do not provide
reliably.  The store's thread calls this module when it opens the database.  The functions that parse lists of mounts
are pure, so that tests need no mount.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from parslab.errors import UntrustedPathError
from parslab.trust import check_file, open_file

__all__ = ["database_file", "is_network", "left_database", "linux_type", "macos_options"]

log = logging.getLogger(__name__)

# fmt: off
_NETWORK = frozenset((
    "9p", "acfs", "afs", "auristorfs", "beegfs", "ceph", "cifs", "coda", "daos", "dvs", "fhgfs", "gfs", "gfs2",
    "glusterfs", "gpfs", "lustre", "mmfs", "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2",
    "smb", "smb2", "smb3", "smbfs", "webdav", "wekafs",
))
# fmt: on


def linux_type(path: str, mounts: str) -> str:
    """Return the filesystem type of an absolute path, from the text of ``/proc/mounts``.

    Examples
    --------
    >>> linux_type("/home/ada/run", "/dev/sda1 / ext4 rw 0 0\\nserver:/home /home nfs4 rw 0 0\\n")
    'nfs4'
    """
    best, found = "", ""
    for line in mounts.splitlines():
        words = line.split(" ")
        if len(words) < 3:
            continue
        # The kernel writes a space in a path as \040, and other separators likewise.
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), words[1])
        # A later mount on the same point hides the earlier one.
        if _below(path, point) and len(point) >= len(best):
            best, found = point, words[2]
    return found


def macos_options(path: str, mounts: str) -> frozenset[str]:
    """Return the options of the filesystem of an absolute path, from the text that ``mount`` prints on macOS.

    Examples
    --------
    >>> sorted(macos_options("/Volumes/lab/x", "//ada@nas/lab on /Volumes/lab (smbfs, nodev)\\n"))
    ['nodev', 'smbfs']
    """
    best, found = "", frozenset[str]()
    for line in mounts.splitlines():
        head, _, options = line.rpartition(" (")
        point = head.partition(" on ")[2]
        if point and _below(path, point) and len(point) >= len(best):
            best, found = point, frozenset(options.rstrip(")").split(", "))
    return found


def _below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def is_network(path: Path) -> bool:
    """Return whether a directory is on a network filesystem, or on one in user space, which may be one."""
    real = os.path.realpath(path)
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if sys.platform == "darwin":
            listing = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=5, check=True).stdout
            options = macos_options(real, listing)
            return bool(options) and "local" not in options
        kind = linux_type(real, Path("/proc/mounts").read_text(encoding="utf-8", errors="replace"))
        return kind in _NETWORK or kind.startswith("fuse.")
    return False


def database_file(run_dir: Path) -> tuple[Path, str]:
    """Make an empty file for the database of a run, which only its owner can read.

    Returns
    -------
    tuple
        The file, and a sentence for the user when it is not in the run directory.

    Raises
    ------
    OSError
        No local directory can be written.
    """
    if not is_network(run_dir):
        return _new_file(run_dir), ""
    for base in (_cache(), Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            if is_network(base):
                continue
            folder = Path(
                tempfile.mkdtemp(prefix=f"parslab-{run_dir.name}-", dir=base)
            )  # mode 0700, as its documentation promises
            file = _new_file(folder)
            note = f"The run directory {run_dir} is on a network filesystem, so the monitoring database is {file}."
            with contextlib.suppress(OSError):
                (run_dir / "monitoring.txt").write_bytes(os.fsencode(file) + b"\n")
            return file, note
    raise OSError(f"{run_dir} is on a network filesystem and no local directory can be written")


def left_database(run_dir: Path) -> Path | None:
    """Return the newest database of an earlier process of this run on this host; None if there is none."""
    folder = run_dir
    with contextlib.suppress(OSError), open(open_file(run_dir / "monitoring.txt"), "rb") as written:
        folder = Path(os.fsdecode(written.read().strip())).parent
    found = [file for file in folder.glob("monitoring*.db") if _is_ours(file)]
    # By length first: monitoring-10.db is newer than monitoring-9.db.
    return max(found, key=lambda file: (len(file.name), file.name), default=None)


def _is_ours(file: Path) -> bool:
    try:
        check_file(file)
    except UntrustedPathError as error:
        log.warning("%s", error)
        return False
    except OSError:
        return False
    return True


def _cache() -> Path:
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches/parslab"))
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "parslab"


def _new_file(folder: Path) -> Path:
    """Make a file under a new name, so that a run never writes to the database of another run."""
    for number in range(1, 1000):
        file = folder / ("monitoring.db" if number == 1 else f"monitoring-{number}.db")
        with contextlib.suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0), 0o600))
            return file
    raise FileExistsError(f"{folder} is full of monitoring databases")
