"""Messages as they were encoded when this protocol was fixed must still decode to what they meant.

`golden/protocol-N.txt` holds one message of each type a line: its name and its bytes in hexadecimal.  A new type is
added by `python -m tests.unit.wire.test_golden`, which never changes a line that is there.  When a line cannot be read
any more, `PROTOCOL` must be raised.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from parslab.records.states import TaskState, WorkerState
from parslab.wire.messages.base import (
    PROTOCOL,
    DefineFunction,
    Failure,
    ForgetFunctions,
    OutputPrinted,
    PackedValue,
    Refused,
    TaskKind,
    TaskSpec,
    TaskValue,
    frame_count,
)
from parslab.wire.messages.client import (
    BatchesAcknowledged,
    CallsMatched,
    CancelTasks,
    ClientHello,
    ClientMessage,
    ClientResumed,
    FetchValue,
    FollowOutput,
    JoinBodyReturned,
    KernelMessage,
    LocalTaskFinished,
    LocalTaskStarted,
    PanelReply,
    PanelRequest,
    PanelUpdate,
    RedefinedApp,
    ReleaseTasks,
    ReproducerWritten,
    RequestDefinitions,
    RequestReproducer,
    RequestRetryCost,
    RequestValue,
    RetryCost,
    RetryHandlerChanged,
    RetryTasks,
    RunLocalTask,
    SetLinger,
    ShutDownRun,
    SubmitTask,
    TaskResolved,
    TasksReopened,
    ValueNotPicklable,
    Welcome,
)
from parslab.wire.messages.files import (
    Chunk,
    ChunkRefused,
    ContentDropped,
    ContentHeld,
    ContentId,
    FetchContent,
    FetchFrom,
    FetchStopped,
    FileHello,
    FileLocated,
    FileStored,
    GetChunks,
    KeepFile,
    LocateFile,
    NodeFileMessage,
    StoreFile,
    ToNodeFileMessage,
)
from parslab.wire.messages.manager import (
    BlocksMade,
    BlocksSent,
    KeepTasks,
    LinkHeartbeat,
    ManagerAccepted,
    ManagerBroken,
    ManagerDraining,
    ManagerGivenUp,
    ManagerHello,
    ManagerLeft,
    ManagerMessage,
    NodeSample,
    TaskSample,
    ToManagerMessage,
    WorkerStateChanged,
)
from parslab.wire.messages.ranks import RankSetup, ToRankMessage
from parslab.wire.messages.worker import (
    ControlMessage,
    InterruptTask,
    LeaveWhenDone,
    Outcome,
    ProbeWorker,
    RunTask,
    WorkerControlMessage,
    WorkerHello,
    WorkerMessage,
    WorkerReport,
)
from parslab.wire.stream import decoder

GOLDEN = Path(__file__).parent / "golden"

PACKED = PackedValue(b"", 0, (PackedValue(b"inline", 0), PackedValue(b"", 2)))
CONTENT = ContentId(b"digest", 1 << 30)
FAILURE = Failure("ValueError: no", "Traceback ...", b"pickle", ((3, "task 3 (fit)", "KeyError: k"),), (4, 3))

SAMPLES: tuple[tuple[Any, Any], ...] = (
    (ClientMessage, ClientHello(1, "0.1.0", "3.11", 4242, "host")),
    (ClientMessage, DefineFunction(5, b"digest", "fit", 1)),
    (
        ClientMessage,
        SubmitTask(1 << 40, 5, TaskKind.remote, 0, b"args", 2, (1, 2), 12.5, "x=1", "In [3]", "name", True),
    ),
    (
        ClientMessage,
        SubmitTask(7, 5, 0, 0, b"", 0, (), 12.5, "", "", "", False, TaskSpec(2.0, 4 << 30, 1, -3.5, 60.0, 2)),
    ),
    (ClientMessage, CancelTasks([1, 2])),
    (ClientMessage, ReleaseTasks([3])),
    (ClientMessage, FetchValue(4)),
    (ClientMessage, LocalTaskFinished(4, TaskState.failed, 1.5, 2.5, FAILURE)),
    (ClientMessage, JoinBodyReturned(4, (5, 6), True, 1.5)),
    (ClientMessage, TaskValue(4, b"", 3, (PACKED,))),
    (ClientMessage, ValueNotPicklable(4, FAILURE)),
    (ClientMessage, PanelRequest(7, b"{}")),
    (ClientMessage, FollowOutput(4)),
    (ClientMessage, ShutDownRun("done")),
    (ClientMessage, LocalTaskStarted(4, 1.5)),
    (ClientMessage, ForgetFunctions([5])),
    (ClientMessage, SetLinger(600.0)),
    (ClientMessage, RetryTasks(7, [4, 5], (RedefinedApp("fit", 6),))),
    (ClientMessage, ReproducerWritten(7, "fit(1)", "why not")),
    (ClientMessage, RetryCost(4, 1, 0.5, FAILURE)),
    (ClientMessage, RetryHandlerChanged(True)),
    (ClientMessage, ClientResumed([4, 5], 17)),
    (KernelMessage, Welcome(0, "000-abc", 1, "0.1.0", (("llex", 0), ("threads", 1)))),
    (KernelMessage, Refused("use the same version")),
    (KernelMessage, TaskResolved(4, TaskState.exec_done, b"inline", 17, None)),
    (KernelMessage, RunLocalTask(4)),
    (KernelMessage, RequestValue(4)),
    (KernelMessage, PanelReply(7, b"{}")),
    (KernelMessage, PanelUpdate(b"{}")),
    (KernelMessage, OutputPrinted(4, 1, b"text")),
    (KernelMessage, BatchesAcknowledged(17)),
    (KernelMessage, TasksReopened([4, 5])),
    (KernelMessage, CallsMatched([(5, 4)])),
    (KernelMessage, RequestRetryCost(4, 1, FAILURE)),
    (KernelMessage, RequestDefinitions(7, [4], ["fit"])),
    (KernelMessage, RequestReproducer(7, 4, "fit", "ValueError: no", b"f", b"a", (b"b",), (3,), (b"v",))),
    (WorkerMessage, RunTask(4, 0, 5, b"args", 2, (PACKED,))),
    (WorkerMessage, LeaveWhenDone()),
    (ControlMessage, ProbeWorker()),
    (ControlMessage, InterruptTask(4)),
    (WorkerControlMessage, WorkerHello("llex-0", 1, "0.1.0", "3.11", 4242, "host", 0, True)),
    (WorkerControlMessage, Outcome(4, 0, b"inline", 1, 1.5, 2.5, FAILURE, True)),
    (WorkerControlMessage, WorkerReport(4, 1.5, (5, 6))),
    (
        ManagerMessage,
        ManagerHello("htex-0-n1", 1, "0.1.0", "3.11", 4242, "n1", 1, "0", 4, 2, 8, 1 << 34, 2, "nonce"),
    ),
    (ManagerMessage, LinkHeartbeat()),
    (ManagerMessage, ManagerDraining("its drain_period is over")),
    (ManagerMessage, ManagerLeft("it was told to leave")),
    (ManagerMessage, WorkerStateChanged("htex-0-n1-0", WorkerState.dead, 4243, "was killed by SIGKILL")),
    (ManagerMessage, NodeSample(12.5, 1 << 30, 0.5)),
    (ManagerMessage, TaskSample(4, 1, 1.5, 1 << 30, 5, 6)),
    (ManagerMessage, ManagerBroken("its workers cannot start")),
    (ManagerMessage, BlocksMade(((1, -7),))),
    (ToManagerMessage, ManagerAccepted()),
    (ToManagerMessage, ManagerGivenUp("it was silent for 20 s")),
    (ToManagerMessage, KeepTasks(1860.0)),
    (ToManagerMessage, BlocksSent(((1, 7),), ((2, 6),), (3,))),
    (NodeFileMessage, FileHello("htex-0-n1", 1, 1, "0.1.0", "n1", ("tcp://198.18.77.11:40000",), "key")),
    (NodeFileMessage, LocateFile(1, "/data/a.csv", (7, 8, 9))),
    (NodeFileMessage, FetchContent(CONTENT, "htex-0-n2", "it is gone", True)),
    (NodeFileMessage, FetchStopped(CONTENT)),
    (NodeFileMessage, ContentHeld([CONTENT])),
    (ToRankMessage, RankSetup("exex-0-n1-b2", "0", '{"label": "exex"}', True)),
    (NodeFileMessage, ContentDropped([CONTENT])),
    (NodeFileMessage, StoreFile(2, "/data/out.csv", CONTENT, 0o600)),
    (NodeFileMessage, KeepFile(2, "/data/temporary.csv", CONTENT, 0o600, 7)),
    (NodeFileMessage, GetChunks(3, CONTENT, 1 << 18, 1 << 20)),
    (NodeFileMessage, Chunk(3, 1 << 18, 1 << 18)),
    (NodeFileMessage, ChunkRefused(3, "it is gone")),
    (ToNodeFileMessage, FileLocated(1, CONTENT, 0o600, True, "")),
    (ToNodeFileMessage, FetchFrom(CONTENT, "htex-0-n2", ("tcp://198.18.77.12:40000",), "key", "")),
    (ToNodeFileMessage, FileStored(2, "No space left on device")),
)
UNIONS = (
    ClientMessage,
    KernelMessage,
    WorkerMessage,
    ControlMessage,
    WorkerControlMessage,
    ManagerMessage,
    ToManagerMessage,
    ToRankMessage,
    NodeFileMessage,
    ToNodeFileMessage,
)


def golden() -> dict[str, bytes]:
    path = GOLDEN / f"protocol-{PROTOCOL}.txt"
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return {name: bytes.fromhex(text) for name, text in (line.split() for line in lines)}


def name_of(message: Any) -> str:
    """The name of its type; that of a part, too, which most messages of this type do not have."""
    kind = type(message).__name__
    return f"{kind}.spec" if getattr(message, "spec", None) is not None else kind


def test_every_message_has_a_sample() -> None:
    types = {kind for union in UNIONS for kind in get_args(union)}
    assert {type(message) for _, message in SAMPLES} == types


def test_every_message_of_a_link_has_a_tag_of_its_own() -> None:
    for union in UNIONS:
        tags = [kind.__struct_config__.tag for kind in get_args(union)]
        assert len(tags) == len(set(tags))


def test_worker_gets_the_same_code_as_the_kernel() -> None:
    """Code, Forget and Refused travel on more than one link: everywhere they mean the same."""
    for kind in (DefineFunction, ForgetFunctions, Refused):
        unions = [union for union in UNIONS if kind in get_args(union)]
        assert len(unions) > 1
        sample = next(message for _, message in SAMPLES if type(message) is kind)
        data = msgspec.msgpack.encode([sample])
        assert all(decoder(union)(data) == [sample] for union in unions)


@pytest.mark.parametrize(("union", "message"), SAMPLES, ids=[name_of(message) for _, message in SAMPLES])
def test_what_was_encoded_then_means_the_same_now(union: Any, message: Any) -> None:
    data = golden()[name_of(message)]
    assert decoder(union)(data) == [message]


@pytest.mark.parametrize(("union", "message"), SAMPLES, ids=[name_of(message) for _, message in SAMPLES])
def test_fields_of_a_newer_peer_are_ignored(union: Any, message: Any) -> None:
    # As this version encodes it: what was encoded then may have fewer fields.
    (fields,) = msgspec.msgpack.decode(msgspec.msgpack.encode([message]))
    data = msgspec.msgpack.encode([[*fields, "a field of a later version", 7]])
    assert decoder(union)(data) == [message]


def test_frames_are_counted_depth_first() -> None:
    assert frame_count(PACKED) == 2
    assert frame_count(PackedValue(b"x")) == 0
    assert frame_count(PackedValue(b"", 0, (PACKED, PackedValue(b"", 3)))) == 5


def write() -> None:
    """Add the types that are not there yet."""
    there = golden()
    with (GOLDEN / f"protocol-{PROTOCOL}.txt").open("a", encoding="ascii") as file:
        for _, message in SAMPLES:
            if name_of(message) not in there:
                file.write(f"{name_of(message)} {msgspec.msgpack.encode([message]).hex()}\n")


if __name__ == "__main__":
    write()
