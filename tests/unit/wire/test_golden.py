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

from parslab.records.states import TaskState
from parslab.wire import messages as m
from parslab.wire.stream import decoder

GOLDEN = Path(__file__).parent / "golden"

PACKED = m.Packed(b"", 0, (m.Packed(b"inline", 0), m.Packed(b"", 2)))
FAILURE = m.Failure("ValueError: no", "Traceback ...", b"pickle", ((3, "task 3 (fit)", "KeyError: k"),), (4, 3))

SAMPLES: tuple[tuple[Any, Any], ...] = (
    (m.ClientMessage, m.Hello(1, "0.1.0", "3.11", 4242, "host")),
    (m.ClientMessage, m.Code(5, b"digest", "fit", 1)),
    (
        m.ClientMessage,
        m.Submit(1 << 40, 5, m.TaskKind.remote, 0, b"args", 2, (1, 2), 12.5, "x=1", "In [3]", "name", True),
    ),
    (
        m.ClientMessage,
        m.Submit(7, 5, 0, 0, b"", 0, (), 12.5, "", "", "", False, m.Spec(2.0, 4 << 30, 1, -3.5, 60.0, 2)),
    ),
    (m.ClientMessage, m.Cancel([1, 2])),
    (m.ClientMessage, m.Release([3])),
    (m.ClientMessage, m.Fetch(4)),
    (m.ClientMessage, m.Finished(4, TaskState.failed, 1.5, 2.5, FAILURE)),
    (m.ClientMessage, m.Joins(4, (5, 6), True, 1.5)),
    (m.ClientMessage, m.Value(4, b"", 3, (PACKED,))),
    (m.ClientMessage, m.Unshippable(4, FAILURE)),
    (m.ClientMessage, m.Asked(7, b"{}")),
    (m.ClientMessage, m.Follow(4)),
    (m.ClientMessage, m.Shutdown("done")),
    (m.ClientMessage, m.Started(4, 1.5)),
    (m.ClientMessage, m.Forget([5])),
    (m.ClientMessage, m.Keep(600.0)),
    (m.ClientMessage, m.Reopen(7, [4, 5], (m.Mended("fit", 6),))),
    (m.ClientMessage, m.Judged(4, 1, 0.5, FAILURE)),
    (m.ClientMessage, m.Judges(True)),
    (m.ClientMessage, m.Resumed([4, 5], 17)),
    (m.KernelMessage, m.Welcome(0, "000-abc", 1, "0.1.0", (("llex", 0), ("threads", 1)))),
    (m.KernelMessage, m.Refused("use the same version")),
    (m.KernelMessage, m.Resolved(4, TaskState.exec_done, b"inline", 17, None)),
    (m.KernelMessage, m.RunLocal(4)),
    (m.KernelMessage, m.Want(4)),
    (m.KernelMessage, m.Answered(7, b"{}")),
    (m.KernelMessage, m.Fed(b"{}")),
    (m.KernelMessage, m.Printed(4, 1, b"text")),
    (m.KernelMessage, m.Acked(17)),
    (m.KernelMessage, m.Reopened([4, 5])),
    (m.KernelMessage, m.Adopted([(5, 4)])),
    (m.KernelMessage, m.Judge(4, 1, FAILURE)),
    (m.KernelMessage, m.Mend(7, [4], ["fit"])),
    (m.WorkerMessage, m.Run(4, 0, 5, b"args", 2, (PACKED,))),
    (m.WorkerMessage, m.Leave()),
    (m.ControlMessage, m.Look()),
    (m.ControlMessage, m.Interrupt(4)),
    (m.WorkerControlMessage, m.WorkerHello("llex-0", 1, "0.1.0", "3.11", 4242, "host", 0, True)),
    (m.WorkerControlMessage, m.Outcome(4, 0, b"inline", 1, 1.5, 2.5, FAILURE, True)),
    (m.WorkerControlMessage, m.Report(4, 1.5, (5, 6))),
    (
        m.ManagerMessage,
        m.ManagerHello("htex-0-n1", 1, "0.1.0", "3.11", 4242, "n1", 1, "0", 4, 2, 8, 1 << 34, 2, "nonce"),
    ),
    (m.ManagerMessage, m.Beat()),
    (m.ManagerMessage, m.Draining("its drain_period is over")),
    (m.ManagerMessage, m.Farewell("it was told to leave")),
    (m.ManagerMessage, m.WorkerTold("htex-0-n1-0", "dead", 4243, "was killed by SIGKILL")),
    (m.ManagerMessage, m.NodeSample(12.5, 1 << 30, 0.5)),
    (m.ManagerMessage, m.TaskSample(4, 1, 1.5, 1 << 30, 5, 6)),
    (m.ManagerMessage, m.Broken("its workers cannot start")),
    (m.ToManagerMessage, m.Accepted()),
)
UNIONS = (
    m.ClientMessage,
    m.KernelMessage,
    m.WorkerMessage,
    m.ControlMessage,
    m.WorkerControlMessage,
    m.ManagerMessage,
    m.ToManagerMessage,
)


def golden() -> dict[str, bytes]:
    path = GOLDEN / f"protocol-{m.PROTOCOL}.txt"
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


def test_a_worker_hears_the_same_code_as_the_kernel() -> None:
    """Code, Forget and Refused travel on more than one link: everywhere they mean the same."""
    for kind in (m.Code, m.Forget, m.Refused):
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
    assert m.frame_count(PACKED) == 2
    assert m.frame_count(m.Packed(b"x")) == 0
    assert m.frame_count(m.Packed(b"", 0, (PACKED, m.Packed(b"", 3)))) == 5


def write() -> None:
    """Add the types that are not there yet."""
    there = golden()
    with (GOLDEN / f"protocol-{m.PROTOCOL}.txt").open("a", encoding="ascii") as file:
        for _, message in SAMPLES:
            if name_of(message) not in there:
                file.write(f"{name_of(message)} {msgspec.msgpack.encode([message]).hex()}\n")


if __name__ == "__main__":
    write()
