"""Types that messages of several links share: the base class, values, failures, functions and output.

A batch is a list of messages packed as one msgpack header, followed by frames. Frames are large opaque buffers that the
messages announce; they have the order of the messages. ``inline`` bytes are opaque too: only the process that called an
app and the worker that runs it unpickle them. New fields are optional and last in their struct; to remove or retype a
field raises ``PROTOCOL``. Tags are unique over all links, so that an error of a decoder names the message.
"""

from __future__ import annotations

import msgspec

from parslab.records.mpi import MpiSpec
from parslab.records.software import Software

__all__ = [
    "INLINE",
    "PARAMETERS",
    "PROTOCOL",
    "DefineFunction",
    "Failure",
    "ForgetFunctions",
    "OutputPrinted",
    "PackedValue",
    "Refused",
    "TaskKind",
    "TaskSpec",
    "TaskValue",
    "WireMessage",
    "frame_count",
]

PROTOCOL = 1
"""Version of this protocol; peers with another one are refused."""


INLINE = 16 * 1024
"""Pickles up to this many bytes are part of the header; larger ones, and all out-of-band buffers, are frames.

A small pickle is cheaper to copy than to send as a buffer of its own; a frame is never copied between processes.
"""


PARAMETERS = "parameters"
"""Name of the part of a function that holds the names of its positional parameters, with commas between them."""


class WireMessage(msgspec.Struct, array_like=True, gc=False):
    # Arrays, because names of fields would be most of a small message. No garbage collection: messages have no cycles,
    # and to search millions of them for some would cost time.
    pass


class TaskKind:
    """Who executes a task (``SubmitTask.kind``)."""

    remote = 0
    """A worker of an executor."""
    local = 1
    """The client's thread pool, arguments by reference."""
    join = 2
    """The client runs the body, which returns futures to wait for."""
    external = 3
    """A future of another library: the client only reports how it ended."""


class PackedValue(msgspec.Struct, array_like=True):
    """An opaque value: a pickle stream and the number of frames that carry its buffers.

    If ``inline`` is empty, the first frame is the pickle stream.  A join of several futures has ``parts`` instead.
    """

    inline: bytes
    frames: int = 0
    parts: tuple[PackedValue, ...] | None = None


def frame_count(packed: PackedValue) -> int:
    """Return how many frames belong to ``packed``, parts included."""
    return packed.frames if packed.parts is None else sum(map(frame_count, packed.parts))


class Failure(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Why a task failed."""

    error: str
    """``Type: message``, one line."""
    traceback: str = ""
    payload: bytes = b""
    """The exception itself, pickled."""
    roots: tuple[tuple[int, str, str], ...] = ()
    """For dependency and join failures: (task, description, error) of the tasks that really failed."""
    path: tuple[int, ...] = ()
    """The tasks that lead from this task to the first root."""
    reason: str = ""
    """Name of a ``Reason``; empty: the function raised."""


class TaskSpec(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """The resources and limits of one call; most calls have no specification."""

    cores: float = 0.0
    """0: as many as a worker has."""
    memory: int = 0
    """Bytes; 0: as much as a worker has."""
    gpus: int = 0
    priority: float | None = None
    """The smallest number runs first; tasks without a priority run last."""
    max_run_time: float = 0.0
    """Seconds; 0: no limit."""
    retries: int = -1
    """How often the task may be retried; -1: as often as the run allows."""
    software: Software | None = None
    """What the worker needs; None: the software of the executor."""
    staging: bool = False
    """Whether the task only fetches or stores a file."""
    mpi: MpiSpec | None = None
    """The nodes and ranks of an MPI task; None for a task that is one process."""


class Refused(WireMessage, tag=33):
    """The receiver is refused; the reason is a sentence that names the side to fix."""

    reason: str


class DefineFunction(WireMessage, tag=2):
    """Give a pickled function a number, by which later messages name it.  Its pickle is always in ``frames`` frames."""

    fn: int
    digest: bytes
    name: str
    frames: int
    fingerprint: bytes = b""
    """The same in every process for a function with the same body, captured values and helpers (16 bytes)."""
    parts: dict[str, bytes] = {}
    """The parts of the fingerprint by name, so that a message can name what changed."""
    origin: str = ""
    """``module:name`` of the app's function; empty where that does not name exactly one function."""


class ForgetFunctions(WireMessage, tag=65):
    """Forget these functions: no task calls them any more.  The numbers are the sender's."""

    fns: list[int]


class OutputPrinted(WireMessage, tag=39):
    """Output of a task: its worker sends it to the DataFlowKernel, which sends it to clients that follow the task."""

    task: int
    stream: int
    """1 stdout, 2 stderr, 3 rich output (a JSON object: ``data``, a MIME bundle, or ``clear``)."""
    text: bytes


class TaskValue(WireMessage, tag=9):
    """The value of a task: the answer of a client to ``RequestValue``, or of the DataFlowKernel to ``FetchValue``."""

    task: int
    inline: bytes
    frames: int
    parts: tuple[PackedValue, ...] | None = None
