"""Blocks of memory that processes of one host share by their descriptors (D58).

The sender writes the buffers of a value into a memfd, seals it, and sends the descriptor over a unix socket.  Nobody
can change a sealed block.  A process that only passes a value on holds the descriptor, and never the bytes.  The system
frees a block with the last descriptor and the last mapping, however the processes end: a memfd has no name that could
stay behind.

A block that its holder has moved to a disk is a file without a name.  Whoever maps it cannot tell the difference.

Descriptors and mappings end without a line of Python: an interrupt of the user that arrives in a finalizer is lost, and
with it what the finalizer had to do.
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
import resource
import select
import sys
import weakref
from typing import TYPE_CHECKING, TypeAlias

from parslab.wire.descriptors import using_spare

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Sequence

__all__ = [
    "KEPT_SIZE",
    "SHARED_SIZE",
    "Buffer",
    "PlainBuffer",
    "SharedFrame",
    "allocate",
    "held_frames",
    "holds_blocks",
    "in_memory",
    "most_frames",
    "moved",
    "received",
    "shares_memory",
    "size_of",
    "unnamed_file",
]

SHARED_SIZE = 64 * 1024
"""Bytes of buffers from which on a value is shared: below, the system calls cost more than the copies they save."""
KEPT_SIZE = 1 << 20
"""Bytes of the smallest block that a node of another host keeps: below, that saves too little."""
_ALIGNMENT = 64
"""Each buffer begins at a multiple of this, as numerical libraries want it."""
_PAGE = mmap.PAGESIZE
_MOST_WRITTEN = 1 << 30
"""Bytes of one write; Linux writes at most 2 GiB in one call."""
_SHARE_OF_LIMIT = 4
"""Blocks may occupy one in so many descriptors of this process."""
_IOV = 512
_COMPARED = 1 << 20
"""Bytes that are compared together."""

_SEALS = 0x01 | 0x02 | 0x04 | 0x08
"""``F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE``."""
_F_ADD_SEALS = 1033
_FORGOTTEN = 64
"""How many blocks that are gone may be in the list of those that arrived."""

shares_memory = sys.platform == "linux" and hasattr(os, "memfd_create")
"""Whether this system has blocks of shared memory; elsewhere values travel as bytes."""


class SharedFrame:
    """One block of shared memory: a frame that a unix socket carries as a descriptor.

    Parameters
    ----------
    owner
        Has the descriptor of the memfd or file, and closes it; see :func:`_owner`.
    nbytes
        How many bytes the block has.

    Attributes
    ----------
    on_disk
        Whether the block is a file.
    """

    __slots__ = ("__weakref__", "_owner", "nbytes", "on_disk")

    def __init__(self, owner: select.epoll, nbytes: int) -> None:
        self._owner = owner
        self.nbytes = nbytes
        self.on_disk = False
        _held[weakref.ref(self, _held.pop)] = None

    def __len__(self) -> int:
        return self.nbytes

    @property
    def descriptor(self) -> int:
        """The descriptor of the memfd or file, for as long as the frame lives and does not move."""
        return self._owner.fileno()

    def view(self) -> memoryview:
        """Map the block for reading; the mapping lives as long as its views."""
        return _mapped(self.descriptor, self.nbytes, mmap.PROT_READ, mmap.MAP_SHARED).toreadonly()

    def private_view(self) -> memoryview:
        """Map the block for reading and writing; a page that is written to becomes a private copy."""
        return _mapped(self.descriptor, self.nbytes, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE)

    def equal_at(self, offset: int, address: int, size: int) -> int:
        """Return how many bytes of the block, from an offset on, are those at an address of this process.

        The bytes up to the first one that differs are counted in pieces of ``_COMPARED``.
        """
        import ctypes

        piece = (ctypes.c_char * min(size, _COMPARED))()
        done = 0
        while done < size:
            count = os.preadv(self.descriptor, [memoryview(piece)[: size - done]], offset + done)
            if count <= 0 or _library().memcmp(piece, address + done, count):
                break
            done += count
        return done

    def copy_to(self, descriptor: int) -> None:
        """Append the block to a file, without loading it into the memory of this process."""
        at = 0
        while at < self.nbytes:
            copied = os.sendfile(descriptor, self.descriptor, at, min(self.nbytes - at, _MOST_WRITTEN))
            if not copied:
                raise OSError(errno.EIO, "a block of shared memory is shorter than announced")
            at += copied

    def move_to(self, descriptor: int) -> None:
        """Go on with a file that has the same bytes; the frame closes it in the end."""
        self._owner = _owner(descriptor)
        self.on_disk = True


PlainBuffer: TypeAlias = bytes | bytearray | memoryview
"""A buffer whose bytes are in this process."""
Buffer: TypeAlias = PlainBuffer | SharedFrame
"""The content of a frame."""

_held: dict[weakref.ref[SharedFrame], None] = {}
"""The blocks that this process holds, oldest first."""
_received: dict[tuple[int, ...], weakref.ref[SharedFrame]] = {}
"""The blocks that arrived, by what the system says of their memfds, and some that are gone."""


def _owner(descriptor: int) -> select.epoll:
    """Return an object that has a descriptor of any kind and closes it in the end.

    The standard library has no other class that does so without a line of Python and without a warning.
    """
    return select.epoll.fromfd(descriptor)


def holds_blocks() -> bool:
    """Return whether this process holds a block."""
    return bool(_held)


def held_frames() -> list[SharedFrame]:
    """Return the blocks of this process, the oldest first."""
    return [frame for one in list(_held) if (frame := one()) is not None]


def size_of(buffer: Buffer) -> int:
    """Return how many bytes a buffer has."""
    return buffer.nbytes if isinstance(buffer, (SharedFrame, memoryview)) else len(buffer)


def in_memory(buffer: Buffer) -> PlainBuffer:
    """Return a buffer whose bytes this process can read."""
    return buffer.view() if isinstance(buffer, SharedFrame) else buffer


def most_frames() -> int:
    """Return how many blocks this process may hold; each occupies a descriptor."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (1 << 16 if soft == resource.RLIM_INFINITY else soft) // _SHARE_OF_LIMIT


def received(descriptor: int, nbytes: int) -> Buffer:
    """Return the frame of a descriptor that arrived; copy the block if this process holds too many descriptors.

    A block that arrives again, with another task that needs it, is the frame that is already here.

    Raises
    ------
    OSError
        The block is shorter than announced, or cannot be read.
    """
    owner = _owner(descriptor)
    status = os.fstat(descriptor)
    if status.st_size < nbytes:
        # A mapping beyond the end would kill this process when it reads there.
        raise OSError(errno.EIO, "a block of shared memory is shorter than announced")
    # With the time: a block that has moved to the disk has given its inode back.
    identity = status.st_dev, status.st_ino, status.st_ctime_ns, nbytes
    reference = _received.get(identity)
    known = None if reference is None else reference()
    if known is not None:
        return known
    frame = SharedFrame(owner, nbytes)
    if len(_held) <= most_frames():
        if len(_received) > 2 * len(_held) + _FORGOTTEN:
            _forget()
        _received[identity] = weakref.ref(frame)
        return frame
    return bytearray(frame.view())


def moved(buffer: Buffer) -> Buffer:
    """Return a large buffer as a block of shared memory, if the system has memory for it."""
    if type(buffer) is SharedFrame or size_of(buffer) < SHARED_SIZE:
        return buffer
    made = allocate([in_memory(buffer)])
    return buffer if made is None else made[0]


def _forget() -> None:
    """Forget the blocks that arrived and are gone; they have no callbacks, because nothing of Python may run there."""
    for identity, reference in list(_received.items()):
        if reference() is None:
            _received.pop(identity, None)  # the thread of another run may do the same


def unnamed_file(folder: str) -> int:
    """Return the descriptor of a new file without a name, which the system deletes with its last holder."""
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        return using_spare(lambda: os.open(folder, flags | os.O_TMPFILE, 0o600))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    # Network file systems have no files without a name from the beginning.
    path = os.path.join(folder, f"value-{os.getpid()}-{os.urandom(8).hex()}")
    descriptor = using_spare(lambda: os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)
    return descriptor


def allocate(buffers: Sequence[PlainBuffer]) -> tuple[SharedFrame, list[int]] | None:
    """Copy buffers into one new block.

    Returns
    -------
    tuple or None
        The block, and the offset of each buffer in it.  None if the system has no memory or no descriptor for it.
    """
    if not shares_memory or len(_held) > most_frames():
        return None
    offsets: list[int] = []
    pieces: list[PlainBuffer] = []
    at = 0
    for buffer in buffers:
        size = size_of(buffer)
        # Large buffers begin at a page, so that pages which a task has changed belong to one buffer.
        gap = -at % (_PAGE if size >= SHARED_SIZE else _ALIGNMENT)
        if gap:
            pieces.append(_ZEROS[:gap])
        offsets.append(at + gap)
        pieces.append(buffer)
        at += gap + size
    try:
        frame = SharedFrame(using_spare(_memfd), at)
        _write(frame.descriptor, pieces)
        _seal(frame.descriptor)
    except OSError:
        return None
    return frame, offsets


def _memfd() -> select.epoll:
    """Return the owner of a new memfd, made in one call of C functions: an interrupt between two would leak it."""
    made = map(os.memfd_create, ("parslab-value",), (os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING,))
    return next(map(select.epoll.fromfd, made))


_ZEROS = memoryview(bytes(_PAGE))


def _write(descriptor: int, pieces: list[PlainBuffer]) -> None:
    # Not into a mapping: the page faults would take as long as the copy.
    for start in range(0, len(pieces), _IOV):
        left = [memoryview(piece).cast("B") for piece in pieces[start : start + _IOV] if size_of(piece)]
        while left:
            written = os.writev(descriptor, left)
            while left and written >= left[0].nbytes:
                written -= left.pop(0).nbytes
            if written:
                left[0] = left[0][written:]


def _seal(descriptor: int) -> None:
    import fcntl

    fcntl.fcntl(descriptor, _F_ADD_SEALS, _SEALS)


def _mapped(descriptor: int, nbytes: int, protection: int, flags: int) -> memoryview:
    """Map a descriptor; the mapping ends with the last view of it."""
    # Imported here: only processes that see large values need it.
    import ctypes

    # ``mmap`` unmaps its memory when nobody uses it.  It would keep a descriptor of its own for a file, so it gets
    # memory without one, and the block is mapped in its place.
    memory = mmap.mmap(
        -1, nbytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
    )
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if _library().mmap(address, nbytes, protection, flags | _MAP_NORESERVE | _MAP_FIXED, descriptor, 0) != address:
        number = ctypes.get_errno()
        raise OSError(number, f"{nbytes} bytes of shared memory cannot be mapped: {os.strerror(number)}")
    return memoryview(memory)


@functools.cache
def _library() -> ctypes.CDLL:
    """Return the C library, with the types of the functions that this module calls."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *([ctypes.c_int] * 3), ctypes.c_long]
    library.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    return library


_MAP_FIXED = 0x10
_MAP_NORESERVE = 0x4000
