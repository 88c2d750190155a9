"""The cache of Python environments of this node [shell]: their names, their locks, and which of them can be removed.

Each set of requirements has one folder, which all runs and processes of the user share.  A maker builds it under a
temporary name and renames it, so a maker that is killed never leaves half an environment under the real name.  The
operating system releases the locks of a killed process.

::

    KEY/                 an environment; parslab.json in it says what it is
    KEY.lock             locked by the process that makes or removes the environment
    KEY.use              locked, shared, by each process whose workers use the environment
    .KEY.PID.new/        an environment that process PID makes
    .KEY.PID.old/        one that process PID removes
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from parslab.atomic_files import write_atomically
from parslab.errors import ConfigurationError
from parslab.trust import check_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["MAX_AGE", "MAX_SIZE", "Cached", "EnvironmentCache", "Manifest", "cache_folder", "key_of"]

MAX_AGE = 30 * 86400.0
"""Seconds without a use after which an environment is removed."""
MAX_SIZE = 20 * 10**9
"""Bytes of all environments together above which those that were used longest ago are removed."""
_NEW = 3600.0
"""Seconds after its last use within which an environment is not removed, however large all of them are."""
_MANIFEST = "parslab.json"


class Manifest(msgspec.Struct, frozen=True):
    """What an environment is; the maker writes it last."""

    requirements: tuple[str, ...]
    python: str
    """The version of Python."""
    made: float
    files: int
    """Number of its files, by which damage is detected."""
    size: int
    """Their bytes together."""


class Cached(msgspec.Struct, frozen=True):
    """One environment of the cache, for lists."""

    key: str
    path: Path
    manifest: Manifest | None
    """None: it is damaged."""
    used: float
    """When a process used it last."""
    in_use: bool


def cache_folder() -> Path:
    """Return the folder of the cache: ``PARSLAB_ENVIRONMENTS``, or a folder in the user's cache folder."""
    chosen = os.environ.get("PARSLAB_ENVIRONMENTS")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "parslab" / "environments"


def key_of(requirements: Sequence[str], index: Mapping[str, str]) -> str:
    """Return the name of the environment for these requirements, this Python, this machine and this package index.

    Parameters
    ----------
    requirements
        The requirements.
    index
        The variables that tell uv where packages come from.
    """
    parts = [*sorted(requirements), "", sys.version, sysconfig.get_platform(), os.path.realpath(sys.executable)]
    parts += [f"{name}={value}" for name, value in sorted(index.items())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


class EnvironmentCache:
    """The environments of one folder.

    Parameters
    ----------
    folder
        The folder; it is made when it is needed.

    Raises
    ------
    ConfigurationError
        The folder cannot be made.
    UntrustedPathError
        It belongs to another user, or others can write to it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Workers run what is in there.
            check_folder(folder)
        except PermissionError:
            raise
        except OSError as error:
            raise ConfigurationError(
                f"The folder for Python environments, {folder}, cannot be made ({error.strerror or error}): choose "
                "another one with the variable PARSLAB_ENVIRONMENTS."
            ) from error

    def path(self, key: str) -> Path:
        """Return the folder of an environment, whether or not it is there."""
        return self.folder / key

    # ----- locks

    @contextlib.contextmanager
    def making(self, key: str) -> Iterator[None]:
        """Hold the lock of an environment; wait until no other process makes or removes it."""
        fd = self._open(f"{key}.lock")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)  # releases the lock

    def use(self, key: str) -> int:
        """Note that this process uses an environment; return the descriptor that keeps it from being removed."""
        fd = self._open(f"{key}.use")
        fcntl.flock(fd, fcntl.LOCK_SH)
        os.utime(fd)
        return fd

    def in_use(self, key: str) -> bool:
        """Return whether a process uses the environment."""
        try:
            fd = os.open(self.folder / f"{key}.use", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def _open(self, name: str) -> int:
        return os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    # ----- one environment

    def manifest(self, key: str) -> Manifest | None:
        """Return what an environment is; None if it is not there or damaged."""
        path, manifest = self.path(key), self._read(key)
        if manifest is None or not os.access(path / "bin" / "python", os.X_OK):
            return None  # also when the Python that it was made with was removed
        return manifest if _measure(path) == (manifest.files, manifest.size) else None

    def _read(self, key: str) -> Manifest | None:
        try:
            return msgspec.json.decode((self.path(key) / _MANIFEST).read_bytes(), type=Manifest)
        except (OSError, msgspec.MsgspecError):
            return None

    def write_manifest(self, path: Path, requirements: Sequence[str], python: str) -> None:
        """Complete an environment that is still under its temporary name."""
        files, size = _measure(path)
        made = Manifest(tuple(requirements), python, time.time(), files, size)
        write_atomically(path / _MANIFEST, msgspec.json.encode(made).decode())

    def publish(self, new: Path, key: str) -> None:
        """Give a complete environment its real name; a damaged one of that name is removed.  Hold the lock."""
        self._set_aside(key)
        os.rename(new, self.path(key))

    def new_folder(self, key: str) -> Path:
        """Return the temporary folder of this process, and remove those of makers that were killed.  Hold the lock."""
        # Nobody else makes this environment, because this process holds the lock.
        for left in (*self.folder.glob(f".{key}.*.new"), *self.folder.glob(f".{key}.*.old")):
            shutil.rmtree(left, ignore_errors=True)
        return self.folder / f".{key}.{os.getpid()}.new"

    def _set_aside(self, key: str) -> None:
        """Remove an environment in one step: a reader finds all of it or nothing."""
        old = self.folder / f".{key}.{os.getpid()}.old"
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path(key), old)
            shutil.rmtree(old, ignore_errors=True)

    # ----- all environments

    def environments(self) -> list[Cached]:
        """Return all environments, the one that was used last first."""
        found = []
        for path in self.folder.iterdir():
            if path.name.startswith(".") or not path.is_dir():
                continue
            use = self.folder / f"{path.name}.use"
            try:
                used = max(path.stat().st_mtime, use.stat().st_mtime if use.exists() else 0.0)
            except FileNotFoundError:
                continue  # another process has just removed it
            # Not ``manifest``, which looks at every file.
            found.append(Cached(path.name, path, self._read(path.name), used, self.in_use(path.name)))
        return sorted(found, key=lambda one: (-one.used, one.key))

    def remove(self, key: str) -> bool:
        """Remove an environment, unless a process uses it; return whether it is gone."""
        with self.making(key):
            use = self._open(f"{key}.use")
            try:
                # Held until the end: a process that wants to use the environment waits, and then finds that it is gone.
                fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.new_folder(key)
                self._set_aside(key)
            except BlockingIOError:
                return False
            finally:
                os.close(use)
        # The lock files stay: another process may wait for one of them, and would lock a file that nobody else sees.
        return True

    def prune(self, max_age: float = MAX_AGE, max_size: float = MAX_SIZE) -> list[str]:
        """Remove environments that nobody has used for ``max_age`` seconds, and the oldest while all are too large.

        Returns
        -------
        list of str
            The environments that were removed.
        """
        self._remove_leftovers()
        now, kept, removed = time.time(), 0, []
        for one in self.environments():
            size = one.manifest.size if one.manifest is not None else 0
            idle = now - one.used
            if (idle > max_age or (kept + size > max_size and idle > _NEW)) and self.remove(one.key):
                removed.append(one.key)
                continue
            kept += size
        return removed

    def _remove_leftovers(self) -> None:
        """Remove the temporary folders of makers that were killed."""
        for path in (*self.folder.glob(".*.new"), *self.folder.glob(".*.old")):
            key, _, pid = path.name[1:].rpartition(".")[0].rpartition(".")
            # A maker of another host may share this folder, so only a lock shows that nobody works there.
            fd = self._open(f"{key}.lock")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if pid != str(os.getpid()):
                    shutil.rmtree(path, ignore_errors=True)
            except BlockingIOError:
                continue
            finally:
                os.close(fd)


def _measure(folder: Path) -> tuple[int, int]:
    """Return the number of files and their bytes, without the manifest and without what Python compiles later."""
    files = size = 0
    waiting = [os.fspath(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != "__pycache__":
                        waiting.append(entry.path)
                elif entry.name != _MANIFEST:
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_size
    return files, size
