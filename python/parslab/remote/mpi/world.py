"""The ranks of a pool, and batches of messages between them [shell]: the only module that calls MPI.

Nothing here waits inside MPI, which would keep a core busy, and would wait for ever for a rank that has died.
Sends and receives are begun, and looked at again later.  One thread makes all calls.

A batch is one message of MPI: lengths, header, frames.  Where it is longer than ``PIECE``, it is cut into several.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias

from parslab.errors import OptionalModuleMissing
from parslab.wire.encoding import encode_messages
from parslab.wire.messages.manager import ManagerMessage
from parslab.wire.messages.ranks import ToRankMessage
from parslab.wire.shared_memory import in_memory
from parslab.wire.stream import decoder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from mpi4py import MPI

    from parslab.wire.messages.base import WireMessage
    from parslab.wire.stream import Batch, Buffer

__all__ = ["End", "World", "join_world", "without_mpi"]

End: TypeAlias = Literal["together", "alone", "job"]
PIECE = 1 << 28
"""Bytes of one message of MPI; most versions count them in 31 bits."""
_MORE, _LAST = 1, 2
"""Tags: whether another piece of the same batch follows."""
_ENTER = 60.0
"""Seconds within which all ranks must have started."""
_LEAVE = 5
"""Seconds that the common end may take; whoever has not ended by then is killed."""
_MOST = 256
"""Messages that one look reads at most, so that tasks are given out meanwhile."""
# Open MPI's own settings stay: a task that starts an MPI program may need them.
_OF_THE_JOB = (
    "PMI_",
    "PMIX_",
    "PALS_",
    "HYDI_",
    "OMPI_",
    "MPI_LOCAL",
    "PRTE_",
    "MPIR_CVAR_CH3_INTERFACE",
    "PARSLAB_POOL_NODES",
)
_OF_THE_USER = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_MCA_", "PMIX_MCA_", "PRTE_MCA_")
_OF_THE_JOB_ALL_THE_SAME = (
    "OMPI_MCA_orte_",
    "OMPI_MCA_ess",
    "OMPI_MCA_pmix",
    "OMPI_MCA_initial_wdir",
    "OMPI_MCA_shmem_RUNTIME",
)


def without_mpi(names: Sequence[str]) -> list[str]:
    """Return those of the environment variables that tell a process which rank of which MPI job it is."""
    return [
        name
        for name in names
        if name.startswith(_OF_THE_JOB_ALL_THE_SAME)
        or (name.startswith(_OF_THE_JOB) and not name.startswith(_OF_THE_USER))
    ]


def join_world() -> World:
    """Join the MPI job that this process is a rank of.

    A worker inherits no trace of the job: the MPI programs of its tasks would take themselves for this rank.

    Raises
    ------
    OptionalModuleMissing
        mpi4py is not installed in this environment.
    ImportError
        The MPI library that mpi4py needs is not there.
    """
    try:
        import mpi4py
    except ImportError as error:
        raise OptionalModuleMissing("mpi4py", "mpi") from error
    mpi4py.rc.thread_level = "funneled"
    mpi4py.rc.finalize = False  # the end has a limit, see ``leave``
    # The start is a call that all ranks make together: one that never comes would keep the others waiting for ever.
    signal.alarm(int(_ENTER))
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    here = world.Split_type(MPI.COMM_TYPE_SHARED, world.rank)
    # Rank 0, which has no worker, is the first one of its host.
    without = here.allreduce(int(world.rank == 0))
    neighbours = (here.rank - without, here.size - without)
    signal.alarm(0)
    for name in without_mpi(list(os.environ)):
        del os.environ[name]
    return World(MPI, world, neighbours, _segments())


def _segments() -> list[str]:
    """Return the shared memory of this host's ranks that MPICH does not remove when they end."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    return sorted({path for line in lines if (path := line.rpartition(" ")[2]).startswith("/dev/shm/mpich_shm_")})


class World:
    """All ranks of this job.

    Parameters
    ----------
    mpi
        The module of mpi4py.
    comm
        The communicator of all ranks.
    neighbours
        The position of this rank among those of its host that have workers, and how many these are.
    segments
        Files that this rank removes when it ends, if they are still there.

    Attributes
    ----------
    rank, size
        The number of this rank, and how many there are.
    """

    def __init__(
        self, mpi: ModuleType, comm: MPI.Comm, neighbours: tuple[int, int], segments: Sequence[str] = ()
    ) -> None:
        self.rank, self.size = comm.rank, comm.size
        self.neighbours = neighbours
        self._segments = segments
        self._mpi = mpi
        self._comm = comm
        self._status = mpi.Status()
        self._decode = decoder(ManagerMessage if self.rank == 0 else ToRankMessage)
        self._sends: list[tuple[MPI.Request, bytes]] = []
        """Requests that are not done, and their memory, which must live as long."""
        self._arriving: deque[tuple[int, int, bytearray, MPI.Request]] = deque()
        self._pieces: dict[int, list[bytearray]] = {}

    def send(self, rank: int, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        """Send a batch; never waits."""
        head = encode_messages(messages)
        if frames:
            views = [memoryview(in_memory(frame)).cast("B") for frame in frames]
            lengths = struct.pack(f"<{2 + len(views)}Q", len(views), len(head), *[view.nbytes for view in views])
            data = b"".join((lengths, head, *views))
        else:
            data = struct.pack("<2Q", 0, len(head)) + head
        for at in range(0, len(data), PIECE):
            piece = data if len(data) <= PIECE else data[at : at + PIECE]
            tag = _LAST if at + PIECE >= len(data) else _MORE
            self._sends.append((self._comm.Isend([piece, self._mpi.BYTE], rank, tag), piece))
        self.progress()

    def progress(self) -> bool:
        """Carry on with what is on its way; return whether something still is."""
        if self._sends:
            self._sends = [(request, data) for request, data in self._sends if not request.Test()]
        return bool(self._sends or self._arriving)

    def receive(self) -> list[tuple[int, Batch]]:
        """Return the batches that have arrived, each with the rank that sent it."""
        comm, status = self._comm, self._status
        for _ in range(_MOST):
            if not comm.Iprobe(self._mpi.ANY_SOURCE, self._mpi.ANY_TAG, status):
                break
            source, tag = status.Get_source(), status.Get_tag()
            data = bytearray(status.Get_count(self._mpi.BYTE))
            self._arriving.append((source, tag, data, comm.Irecv([data, self._mpi.BYTE], source, tag)))
        if not self._arriving:
            return []
        batches: list[tuple[int, Batch]] = []
        waiting: deque[tuple[int, int, bytearray, MPI.Request]] = deque()
        late: set[int] = set()
        for source, tag, data, request in self._arriving:
            # The batches of a rank are read in the order in which it has sent them.
            if source in late or not request.Test():
                late.add(source)
                waiting.append((source, tag, data, request))
            elif (whole := self._whole(source, tag, data)) is not None:
                batches.append((source, self._batch(whole)))
        self._arriving = waiting
        return batches

    def _whole(self, source: int, tag: int, data: bytearray) -> bytearray | None:
        """Return a batch of which this was the last piece."""
        if tag == _MORE:
            self._pieces.setdefault(source, []).append(data)
            return None
        pieces = self._pieces.pop(source, None)
        return data if pieces is None else bytearray().join((*pieces, data))

    def _batch(self, data: bytearray) -> Batch:
        count, head = struct.unpack_from("<2Q", data)
        at = 16 + 8 * count
        view = memoryview(data)
        messages = self._decode(view[at : at + head])
        at += head
        frames: list[Buffer] = []
        for length in struct.unpack_from(f"<{count}Q", data, 16):
            frames.append(view[at : at + length])
            at += length
        return messages, frames

    def flush(self, seconds: float) -> None:
        """Send what is on its way, for so many seconds at most."""
        until = time.monotonic() + seconds
        while self._sends and self.progress() and time.monotonic() < until:
            time.sleep(0.001)

    def leave(self, status: int, how: End) -> NoReturn:
        """End this process.

        Parameters
        ----------
        status
            Its exit status.
        how
            ``together`` with all other ranks in good order; ``alone``, because a signal has ended it, which ends the
            others, too; or with the ``job``: a rank that waits for others which have died would never end.
        """
        # By the system, because Python handles no signal while MPI waits.
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(_LEAVE)
        if how == "together":
            self._mpi.Finalize()
        # Before this process ends, because its end may be the signal to kill the others.
        for path in self._segments:
            with contextlib.suppress(OSError):
                os.unlink(path)
        if how == "job":
            self._comm.Abort(status or 1)
        os._exit(status)
