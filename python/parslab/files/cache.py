"""The folder in which a node keeps contents [shell]: temporary names, hashes, scans after a crash.

A content arrives under a temporary name, and gets its final name when its hash is right: so a process that was killed
never leaves half a content that looks whole.  ``CacheIndex`` decides what is kept.  One thread uses a cache.

Each process of a host takes a folder of its own, which it locks.  A later process takes the folder of one that has
ended, and finds what that one kept.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.files.cache_index import CacheIndex, FoundContent, Lifetime
from parslab.files.content import content_of, new_hash, state_of
from parslab.wire.messages.files import ContentId

if TYPE_CHECKING:
    from hashlib import blake2b

    from parslab.files.content import FileState

__all__ = [
    "SOCKET_PREFIX",
    "ContentCache",
    "PartialContent",
    "default_folder",
    "lock_folder",
    "note_socket",
    "remove_run",
    "remove_run_of_killed",
    "remove_socket",
    "unlock_folder",
]

_KEPT, _RUN, _PARTIAL = "kept", "run", "partial"
"""Folders of contents that live for ever, of those of this run, and of those that are arriving."""
_RUN_NAME = "run-name"
SOCKET_PREFIX = "parslab-files-"
"""How the folders of sockets begin."""
_SOCKET = "socket-folder"
"""Names the folder of the process's socket, which has a short path elsewhere."""
_MOST_FOLDERS = 256
"""Processes of one host and user that may have a cache at the same time."""


def default_folder() -> Path:
    """Return where the caches of this user are on this node."""
    chosen = os.environ.get("PARSLAB_FILE_CACHE")
    return Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"parslab-files-{os.getuid()}"


def lock_folder(base: Path) -> tuple[Path, int]:
    """Return a folder below ``base`` that no other process uses, and the descriptor that locks it.

    Raises
    ------
    OSError
        The folder cannot be made, or belongs to another user.
    """
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = base.lstat()
    # In a folder for all users, somebody may have made this one to read or exchange our files.
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or base.is_symlink():
        raise OSError(errno.EPERM, "the cache must be a folder that only its owner can use", str(base))
    number = 0
    while number < _MOST_FOLDERS:
        folder = base / f"cache-{number}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # a process that ended has removed the folder at this moment
            base.mkdir(mode=0o700, exist_ok=True)
            continue
        if not _locked(descriptor):
            number += 1
        elif _still_named(descriptor, folder / "lock"):
            return folder, descriptor
        os.close(descriptor)
    raise OSError(errno.EBUSY, "too many processes have a cache here", str(base))


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _still_named(descriptor: int, path: Path) -> bool:
    """Return whether a lock file has not been removed by the process that had the lock before."""
    try:
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except OSError:
        return False


def unlock_folder(folder: Path, descriptor: int) -> None:
    """Give up the folder of this process, and remove it unless it holds something for later runs."""
    if not (folder / _KEPT).is_dir() or not any((folder / _KEPT).iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # other processes have theirs in it
            folder.parent.rmdir()
    # Last: nobody may take the folder while it is removed.
    os.close(descriptor)


def remove_run(folder: Path, run: str = "") -> None:
    """Remove what the run of an ended process has left in its folder, unless another process uses the folder.

    Parameters
    ----------
    folder
        The folder of the process.
    run
        Do nothing if the folder belongs to another run than this; "" for any.
    """
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # it is gone, with its contents
        return
    # A folder without the name of its run is that of a process that was killed while it began.
    if not _locked(descriptor) or (run and _run_of(folder) not in ("", run)):
        os.close(descriptor)
        return
    for name in (_RUN, _PARTIAL):
        shutil.rmtree(folder / name, ignore_errors=True)
    remove_socket(folder)
    unlock_folder(folder, descriptor)


def note_socket(folder: Path, socket: Path) -> None:
    """Write down where the process of a folder has its socket, for the case that it is killed."""
    (folder / _SOCKET).write_text(str(socket.parent), encoding="utf-8")


def remove_socket(folder: Path) -> None:
    """Remove the folder of the socket that a process has left which had this folder before."""
    with contextlib.suppress(OSError, ValueError):
        left = Path((folder / _SOCKET).read_text(encoding="utf-8"))
        # A crash of the host may have left a part of the text.
        if left.name.startswith(SOCKET_PREFIX):
            shutil.rmtree(left, ignore_errors=True)
        (folder / _SOCKET).unlink()


def remove_run_of_killed(run: str) -> None:
    """Remove what killed processes of this host have kept for a run that is over."""
    for folder in default_folder().glob("cache-*"):
        remove_run(folder, run)


def _run_of(folder: Path) -> str:
    try:
        return (folder / _RUN_NAME).read_text(encoding="utf-8")
    except OSError:
        return ""


class PartialContent:
    """A content that is arriving: its file under a temporary name, and the hash of the bytes so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest: blake2b = new_hash()
        self.written = 0
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._read_back()

    def _read_back(self) -> None:
        """Take in the bytes that an earlier transfer has left."""
        while block := os.pread(self._descriptor, 1 << 20, self.written):
            self.digest.update(block)
            self.written += len(block)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self._descriptor, view, self.written)
            self.digest.update(view[:count])
            self.written += count
            view = view[count:]

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes that are here already."""
        return os.pread(self._descriptor, min(length, self.written - offset), offset)

    def start_again(self) -> None:
        """Drop all bytes."""
        os.ftruncate(self._descriptor, 0)
        self.digest, self.written = new_hash(), 0

    def close(self) -> None:
        """Close the file; its bytes stay for a later attempt."""
        os.close(self._descriptor)


class ContentCache:
    """The contents of one process on this host.

    Parameters
    ----------
    folder
        A folder that no other process uses.
    limit
        The most bytes to keep.
    run
        The run: contents of another run that do not live for ever are removed.
    """

    def __init__(self, folder: Path, limit: int, run: str) -> None:
        self.folder = folder
        self.index = CacheIndex(limit)
        self._states: dict[ContentId, FileState] = {}
        """The state of each file when it was whole, which shows whether a task has written into it."""
        self._unchecked: set[ContentId] = set()
        """Contents of an earlier process, whose hash is compared at the first use: the host may have crashed."""
        for name in (_KEPT, _RUN, _PARTIAL):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._begin_run(run)
        self._scan()

    def _begin_run(self, run: str) -> None:
        if _run_of(self.folder) == run:
            return
        for name in (_RUN, _PARTIAL):
            for path in (self.folder / name).iterdir():
                path.unlink()
        (self.folder / _RUN_NAME).write_text(run, encoding="utf-8")

    def _scan(self) -> None:
        found: dict[ContentId, float] = {}
        for name in (_KEPT, _RUN):
            for path in (self.folder / name).iterdir():
                content, status = _named(path.name), path.stat()
                if content is None or status.st_size != content.size or content in found:
                    path.unlink()
                    continue
                found[content] = status.st_mtime
                self._states[content] = state_of(status)
        for content in self.index.restore(FoundContent(one, used) for one, used in found.items()):
            self._unlink(content)
        for content in self.index.complete:
            if not (self.folder / _KEPT / content.hex).exists():
                entry = self.index.entry(content)
                assert entry is not None
                entry.lifetime = Lifetime.run
            self._unchecked.add(content)

    # ----- contents that are here

    def path(self, content: ContentId) -> Path | None:
        """Return the file of a content; None if it is not here, or somebody has changed it."""
        if content not in self.index:
            return None
        path = self._place(content)
        try:
            intact = state_of(path.stat()) == self._states[content]
            if intact and content in self._unchecked:
                intact = content_of(path)[0] == content
                self._unchecked.discard(content)
        except OSError:
            intact = False
        if not intact:
            self.discard(content)
            return None
        return path

    def _place(self, content: ContentId) -> Path:
        entry = self.index.entry(content)
        lives_on = entry is not None and entry.lifetime is Lifetime.forever
        for name in (_KEPT, _RUN) if lives_on else (_RUN, _KEPT):
            path = self.folder / name / content.hex
            if path.exists():
                return path
        return self.folder / (_KEPT if lives_on else _RUN) / content.hex

    def lend(self, content: ContentId, target: Path, mode: int = 0) -> None:
        """Give a task a file with this content: a second name of the cached file, or a copy on another file system.

        Only the rights to execute count of ``mode``.  A file that has this path already is replaced.

        Raises
        ------
        FileNotFoundError
            The content is not here.
        OSError
            The file cannot be made.
        """
        path = self.path(content)
        if path is None:
            raise FileNotFoundError(errno.ENOENT, "the content is not in the cache", content.hex)
        if mode & 0o111:
            os.chmod(path, 0o555)
        # First under another name: whoever opens the target finds the old or the new file, never a part.
        fresh = target.with_name(f".{target.name[:200]}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        try:
            os.link(path, fresh)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
            try:
                shutil.copy(path, fresh)
            except OSError:
                fresh.unlink(missing_ok=True)
                raise
        os.replace(fresh, target)
        # To rename one name of a file to another one of it does nothing, and says so to nobody.
        fresh.unlink(missing_ok=True)

    # ----- contents come in

    def reserve(self, content: ContentId, lifetime: Lifetime, now: float) -> list[ContentId]:
        """Make room for a content; return the contents that were removed for it.

        Raises
        ------
        CacheFull
            There is no room.
        """
        dropped = self.index.reserve(content, lifetime, now)
        for victim in dropped:
            self._unlink(victim)
        if lifetime is Lifetime.forever and content in self.index:
            # It came for this run only: the next run must find it.
            with contextlib.suppress(FileNotFoundError):
                os.rename(self.folder / _RUN / content.hex, self.folder / _KEPT / content.hex)
        return dropped

    def shed(self, size: int) -> list[ContentId]:
        """Remove contents that nobody uses, of at least ``size`` bytes if there are so many: the disk is full."""
        dropped = self.index.shed(size)
        for victim in dropped:
            self._unlink(victim)
        return dropped

    def partial(self, content: ContentId) -> PartialContent:
        """Open the file of a content that arrives.

        Raises
        ------
        OSError
            The file cannot be made.
        """
        path = self.folder / _PARTIAL / content.hex
        with contextlib.suppress(OSError):
            if path.stat().st_size > content.size:
                path.unlink()
        return PartialContent(path)

    def finish(self, content: ContentId, partial: PartialContent) -> None:
        """Give a content whose hash is right its final name.

        Raises
        ------
        OSError
            The file cannot be renamed.
        """
        # Readable only: tasks get this very file, and must not change it for each other.
        os.chmod(partial.path, 0o444)
        target = self._place(content)
        os.replace(partial.path, target)
        self._states[content] = state_of(target.stat())
        self.index.finish(content)

    def adopt(self, path: Path, content: ContentId, lifetime: Lifetime, now: float) -> list[ContentId]:
        """Take a file of this host, whose content is known, into the cache; return what was removed for it.

        Raises
        ------
        CacheFull
            There is no room.
        OSError
            The file cannot be linked or copied.
        """
        dropped = self.reserve(content, lifetime, now)
        if content in self.index:
            return dropped
        arriving = self.folder / _PARTIAL / f"{content.hex}-adopted"
        try:
            arriving.unlink(missing_ok=True)
            try:
                os.link(path, arriving)
            except OSError:
                shutil.copyfile(path, arriving)
            os.chmod(arriving, 0o444)
            target = self._place(content)
            os.replace(arriving, target)
        except OSError:
            arriving.unlink(missing_ok=True)
            self.index.discard(content)
            raise
        self._states[content] = state_of(target.stat())
        self.index.finish(content)
        return dropped

    # ----- contents go

    def discard(self, content: ContentId) -> None:
        """Remove a content."""
        self.index.discard(content)
        self._unlink(content)

    def release(self, holder: str) -> list[ContentId]:
        """End the uses of a task or transfer; return the contents that were removed."""
        ended = self.index.release(holder)
        for content in ended:
            self._unlink(content)
        return ended

    def end_run(self) -> None:
        """Remove what does not outlive the run."""
        for content in self.index.end_run():
            self._unlink(content)
        with contextlib.suppress(OSError):
            for path in (self.folder / _PARTIAL).iterdir():
                path.unlink()

    def _unlink(self, content: ContentId) -> None:
        self._states.pop(content, None)
        self._unchecked.discard(content)
        for name in (_KEPT, _RUN):
            with contextlib.suppress(OSError):
                (self.folder / name / content.hex).unlink()


def _named(name: str) -> ContentId | None:
    digest, _, size = name.partition("-")
    try:
        return ContentId(bytes.fromhex(digest), int(size))
    except ValueError:
        return None
