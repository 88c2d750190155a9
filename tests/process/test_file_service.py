"""Files between the DataFlowKernel's host and nodes, over real connections of one run on this host."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import pytest

from parslab.clock import steady_time
from parslab.dataflow.files.service import FileService
from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.graph.values import StoredValue
from parslab.dataflow.host import LoopHost
from parslab.dataflow.network.hub import Hub
from parslab.files.content import content_of
from parslab.files.requests import FileReply, GetFile, NodeConnection, put_file
from parslab.remote.files.service import NodeFileService
from parslab.remote.loop import Loop
from parslab.testing.fakes import call, outcome
from parslab.wire.messages.files import FileHello
from parslab.wire.reachable import reachable
from parslab.wire.run_files import RunSettings
from tests.process.sandbox import patience, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

T = TypeVar("T")

pytestmark = pytest.mark.leaves_behind("pyzmq keeps a thread that frees the memory of sent chunks")


class Run:
    """The hub and the file service of a run, and nodes, all in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = Loop(self._after, self._broke)
        self.table = TaskTable(("htex",))
        self.host = LoopHost(self.loop, self.table.out)
        settings = RunSettings(
            run="000-test",
            run_dir=str(folder / "run"),
            connection="",
            sockets="",
            package="0",
            path=[],
            cwd=str(folder),
            owner_pid=os.getpid(),
            executors=[],
        )
        self.hub = Hub(["127.0.0.1"], 0, run=settings, host=self.host)
        self.files = FileService(self.host, "000-test", settings.run_dir, self.table)
        self.hub.register(FileHello, 0, self.files)
        self.errors: list[Exception] = []
        self.nodes: list[NodeFileService] = []
        self._numbers = itertools.count(1)
        self._thread = threading.Thread(target=self.loop.run, name="parslab-test-loop")
        self._thread.start()

    def _after(self) -> float | None:
        self.host.run_timers(steady_time())
        self.hub.after_round()
        return self.host.next_deadline()

    def _broke(self, error: Exception) -> None:
        self.errors.append(error)

    def node(self, limit: int = 1 << 30, folder: str = "") -> NodeFileService:
        """Start the file service of another node."""
        name = f"htex-{next(self._numbers)}"
        invitation = self.hub.invitation(0, "htex", ["127.0.0.1"])
        node = NodeFileService(invitation, name, self.folder / (folder or name), limit)
        node.start()
        self.nodes.append(node)
        return node

    def here(self, call: Callable[[], T]) -> T:
        """Call something in the loop's thread, which owns the tasks."""
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(call())
            except Exception as error:
                result.set_exception(error)

        self.loop.post(run)
        return result.result(60 * patience())

    def lose(self, node: NodeFileService) -> None:
        """End a node, and wait until the run knows that."""
        before = len(self.files.connected)
        self.nodes.remove(node)
        node.close()
        until(lambda: len(self.files.connected) < before, 30, "the run knows that the node is gone")

    def close(self) -> None:
        for node in self.nodes:
            node.close()
        self.files.close()
        self.loop.post(lambda: setattr(self.loop, "running", False))
        self._thread.join()
        self.hub.close()
        self.loop.close()
        assert self.errors == []


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    (tmp_path / "run").mkdir()
    one = Run(tmp_path)
    yield one
    one.close()


def lease(node: NodeFileService, path: Path, target: Path, lifetime: str = "run") -> tuple[FileReply, NodeConnection]:
    """Get a file, and use it until the connection is closed."""
    connection = NodeConnection(node.socket_path)
    return connection.ask(GetFile(str(path), str(target), lifetime)), connection


def get(node: NodeFileService, path: Path, target: Path, lifetime: str = "run") -> FileReply:
    reply, connection = lease(node, path, target, lifetime)
    connection.close()
    return reply


def elsewhere(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nodes see none of the files of this host, as on another host."""
    monkeypatch.setattr("parslab.remote.files.service.state_of", lambda status: (0, 0, 0))


@pytest.fixture
def far(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    elsewhere(run, monkeypatch)
    return run


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "original"
    path.write_bytes(random.Random(3).randbytes(20_000_000))
    return path


def same(a: Path, b: Path) -> bool:
    return hashlib.sha256(a.read_bytes()).digest() == hashlib.sha256(b.read_bytes()).digest()


def test_a_file_comes_to_four_nodes_and_the_hub_sends_it_once(far: Run, original: Path, tmp_path: Path) -> None:
    nodes = [far.node() for _ in range(4)]
    with ThreadPoolExecutor(20) as pool:
        asked = [
            pool.submit(get, nodes[number % 4], original, tmp_path / f"copy-{number}" / "input.bin")
            for number in range(20)
        ]
        assert [one.result(60 * patience()) for one in asked] == [FileReply()] * 20
    for number in range(20):
        assert same(original, tmp_path / f"copy-{number}" / "input.bin")
    content, _ = content_of(original)
    assert far.files.sent(content) == content.size


def test_a_node_that_sees_the_file_uses_it_in_place(run: Run, original: Path, tmp_path: Path) -> None:
    assert get(run.node(), original, tmp_path / "input") == FileReply()
    assert (tmp_path / "input").samefile(original)
    assert run.files.sent(content_of(original)[0]) == 0


def test_what_a_task_writes_comes_back_whole_and_with_its_mode(far: Run, tmp_path: Path) -> None:
    written = tmp_path / "node" / "result.bin"
    written.parent.mkdir()
    written.write_bytes(random.Random(4).randbytes(5_000_000))
    os.chmod(written, 0o750)
    target = tmp_path / "home" / "new folder" / "result.bin"
    assert put_file(str(written), str(target), service=far.node().socket_path) == FileReply()
    assert same(written, target)
    assert target.stat().st_mode & 0o777 == 0o750
    assert [path.name for path in target.parent.iterdir()] == ["result.bin"]


def test_the_next_task_gets_what_another_node_wrote_from_that_node(far: Run, tmp_path: Path) -> None:
    first, second = far.node(), far.node()
    written, target = tmp_path / "result.bin", tmp_path / "home" / "result.bin"
    written.write_bytes(random.Random(5).randbytes(5_000_000))
    assert put_file(str(written), str(target), service=first.socket_path) == FileReply()
    assert get(second, target, tmp_path / "input") == FileReply()
    assert same(written, tmp_path / "input")
    assert far.files.sent(content_of(written)[0]) == 0


def test_a_missing_file_is_an_error_that_names_path_and_host(far: Run, tmp_path: Path) -> None:
    reply = get(far.node(), tmp_path / "run" / "missing", tmp_path / "input")
    assert "missing on host" in reply.error
    assert "No such file or directory" in reply.error


def test_a_folder_is_refused_in_words(far: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "it is not a regular file" in get(far.node(), tmp_path / "folder", tmp_path / "input").error


def test_a_target_that_cannot_be_written_is_an_error(far: Run, original: Path, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file, not a folder")
    reply = get(far.node(), original, tmp_path / "blocked" / "input")
    assert reply.error
    assert reply.path == str(tmp_path / "blocked" / "input")


def test_a_result_that_cannot_be_stored_is_an_error_of_the_home_host(far: Run, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file, not a folder")
    written = tmp_path / "result"
    written.write_text("x")
    reply = put_file(str(written), str(tmp_path / "blocked" / "result"), service=far.node().socket_path)
    assert "blocked/result on host" in reply.error


def test_a_cache_that_is_too_small_is_an_error_with_both_sizes(far: Run, original: Path, tmp_path: Path) -> None:
    reply = get(far.node(limit=1000), original, tmp_path / "input")
    assert "it has 20,000,000 bytes, and the cache may hold 1,000" in reply.error


def test_a_file_that_changed_between_two_tasks_is_fetched_anew(far: Run, original: Path, tmp_path: Path) -> None:
    node = far.node()
    assert get(node, original, tmp_path / "one") == FileReply()
    original.write_bytes(b"new")
    assert get(node, original, tmp_path / "two") == FileReply()
    assert (tmp_path / "two").read_bytes() == b"new"


def test_a_content_for_one_task_is_shared_while_that_runs_and_then_removed(
    far: Run, original: Path, tmp_path: Path
) -> None:
    node, cached = far.node(), tmp_path / "htex-1" / "cache-0" / "run"
    reply, first = lease(node, original, tmp_path / "one", "task")
    assert reply == FileReply()
    reply, second = lease(node, original, tmp_path / "two", "task")
    assert reply == FileReply()
    assert far.files.sent(content_of(original)[0]) == original.stat().st_size
    first.close()
    assert len(list(cached.iterdir())) == 1
    second.close()
    until(lambda: not list(cached.iterdir()))
    assert same(original, tmp_path / "two")


def test_a_node_that_ends_leaves_no_gap(far: Run, original: Path, tmp_path: Path) -> None:
    """The next node is sent to the one that ended, or to the hub; both ways it gets the file."""
    first = far.node()
    assert get(first, original, tmp_path / "one") == FileReply()
    far.nodes.remove(first)
    first.close()
    assert get(far.node(), original, tmp_path / "two") == FileReply()
    assert same(original, tmp_path / "two")


def test_a_broken_connection_to_the_hub_is_made_again(far: Run, original: Path, tmp_path: Path) -> None:
    node = far.node()
    assert get(node, original, tmp_path / "one") == FileReply()
    content, _ = content_of(original)
    far.loop.post(lambda: far.hub.refuse(b"htex-1/files-1", "a test breaks the connection"))
    original.write_bytes(b"later")
    assert get(node, original, tmp_path / "two") == FileReply()
    # The node says again what it has, so that others can still fetch it there.
    assert "htex-1" in far.files.locations.holders(content)


def test_the_process_that_replaces_a_manager_finds_the_contents_of_the_run(
    far: Run, original: Path, tmp_path: Path
) -> None:
    first = far.node()
    assert get(first, original, tmp_path / "one") == FileReply()
    far.nodes.remove(first)
    first.close(run_goes_on=True)
    assert get(far.node(folder="htex-1"), original, tmp_path / "two") == FileReply()
    assert same(original, tmp_path / "two")
    assert far.files.sent(content_of(original)[0]) == original.stat().st_size


def test_the_end_removes_the_cache(far: Run, original: Path, tmp_path: Path) -> None:
    node = far.node()
    assert get(node, original, tmp_path / "one", lifetime="forever") == FileReply()
    assert get(node, original, tmp_path / "two") == FileReply()
    far.nodes.remove(node)
    node.close()
    kept = tmp_path / "htex-1" / "cache-0" / "kept"
    # A busy service may need longer than ``close`` waits for it.
    until(lambda: not list((tmp_path / "htex-1" / "cache-0" / "run").iterdir()))
    until(lambda: not os.path.exists(node.socket_path))
    assert [path.name for path in kept.iterdir()] == [content_of(original)[0].hex]
    until(lambda: not any(thread.name.startswith("parslab-files-") for thread in threading.enumerate()))


# --- temporary files, which stay on the nodes ------------------------------------------------------------------------


class Writing:
    """A call that writes a temporary file on a node, without a worker."""

    def __init__(self, run: Run, path: Path) -> None:
        self.run = run
        self.path = path
        self.content = random.Random(5).randbytes(3_000_000)

    def begin(self, number: int, *deps: int) -> None:
        """Have a call in the table, whose body runs."""

        def submit() -> None:
            self.run.table.submit(0, call(number, *deps), [], "app")
            self.run.table.sent(self.run.table.tasks[number], 1.0, "w")

        self.run.here(submit)

    def write(self, number: int, node: NodeFileService) -> FileReply:
        """The body of a call writes the file, and the call ends."""
        source = self.run.folder / f"written-{number}"
        source.write_bytes(self.content)
        reply = put_file(str(source), str(self.path), service=node.socket_path, keeps=True, task=number)
        source.unlink()

        def end() -> None:
            task = self.run.table.tasks[number]
            self.run.table.attempt_ended(task, outcome(task, 1.5, 2.0), StoredValue(b"", []), "w")

        self.run.here(end)
        return reply

    def read(self, number: int, node: NodeFileService) -> FileReply:
        """The body of another call reads the file."""
        connection = NodeConnection(node.socket_path)
        target = self.run.folder / f"read-{number}"
        reply = connection.ask(GetFile(str(self.path), str(target), "run", number))
        connection.close()
        if not reply.error:
            assert target.read_bytes() == self.content
        return reply

    def recovery(self) -> int:
        """The number of the last recovery task, whose body runs."""

        def sent() -> int:
            (again,) = self.run.table.out.ready[-1:]
            self.run.table.sent(again, 3.0, "w")
            return again.id

        return self.run.here(sent)


@pytest.fixture
def writing(far: Run, tmp_path: Path) -> Writing:
    return Writing(far, tmp_path / "never-here" / "temporary.bin")


def test_a_temporary_file_goes_from_node_to_node_and_never_comes_here(far: Run, writing: Writing) -> None:
    first, second = far.node(), far.node()
    writing.begin(1)
    assert writing.write(1, first) == FileReply()
    writing.begin(2, 1)
    assert writing.read(2, second) == FileReply()
    assert not writing.path.parent.exists()
    assert far.files.sent(content_of(far.folder / "read-2")[0]) == 0


def test_the_loss_of_the_only_node_is_a_recovery_task_and_the_file_is_there_again(far: Run, writing: Writing) -> None:
    first, second = far.node(), far.node()
    writing.begin(1)
    writing.write(1, first)
    far.lose(first)
    writing.begin(2, 1)
    reply = writing.read(2, second)
    assert reply.recovers
    assert "task 1 (app), which wrote it, runs again" in reply.error
    assert "was lost with host" in reply.error
    assert writing.read(2, second).recovers  # the same one
    assert far.table.recovery.count == 1
    assert writing.write(writing.recovery(), second) == FileReply()
    assert writing.read(2, far.node()) == FileReply()


def test_an_empty_temporary_file_cannot_be_lost(far: Run, writing: Writing) -> None:
    writing.content = b""
    first = far.node()
    writing.begin(1)
    writing.write(1, first)
    far.lose(first)
    writing.begin(2, 1)
    assert writing.read(2, far.node()) == FileReply()
    assert far.table.recovery.count == 0


def test_a_second_copy_makes_the_loss_of_a_node_harmless(far: Run, writing: Writing) -> None:
    first, second = far.node(), far.node()
    writing.begin(1)
    writing.write(1, first)
    writing.begin(2, 1)
    writing.read(2, second)
    far.lose(first)
    assert writing.read(2, far.node()) == FileReply()
    assert far.table.recovery.count == 0


def test_a_damaged_only_copy_is_found_and_made_again(far: Run, writing: Writing) -> None:
    node = far.node()
    writing.begin(1)
    writing.write(1, node)
    (cached,) = (node.folder / "run").iterdir()
    cached.chmod(0o600)
    cached.write_bytes(b"damaged")
    writing.begin(2, 1)
    assert writing.read(2, node).recovers
    writing.write(writing.recovery(), node)
    assert writing.read(2, node) == FileReply()


def test_a_copy_that_made_room_for_others_is_made_again(far: Run, writing: Writing) -> None:
    node, other = far.node(limit=5_000_000), far.node()
    writing.begin(1)
    writing.write(1, node)
    large = far.folder / "large"
    large.write_bytes(random.Random(6).randbytes(4_000_000))
    assert get(node, large, far.folder / "copy") == FileReply()
    writing.begin(2, 1)
    reply = writing.read(2, other)
    assert reply.recovers
    assert "was removed from the cache of host" in reply.error


def test_a_temporary_file_for_which_the_node_has_no_room_comes_here(run: Run, tmp_path: Path) -> None:
    writing = Writing(run, tmp_path / "here" / "temporary.bin")
    node = run.node(limit=1_000_000)
    writing.begin(1)
    assert writing.write(1, node) == FileReply()
    assert writing.path.read_bytes() == writing.content


@pytest.mark.parametrize("lifetime", ["run", "task"])
def test_what_a_task_stores_before_the_node_has_reached_the_hub_arrives(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lifetime: str
) -> None:
    """Also a file for which the node has no room, and which is not among the contents of its cache."""
    go_on = threading.Event()

    def late(addresses: Sequence[str], patience: float) -> tuple[str, dict[str, str]]:
        go_on.wait()
        return reachable(addresses, patience)

    monkeypatch.setattr("parslab.remote.files.service.reachable", late)
    node = run.node(limit=1_000_000)
    written, target = tmp_path / "result.bin", tmp_path / "home" / "result.bin"
    written.write_bytes(random.Random(5).randbytes(3_000_000))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(put_file, str(written), str(target), lifetime, service=node.socket_path)
        until(lambda: bool(node._questions), 30, "the node has the question")
        go_on.set()
        assert asked.result(60 * patience()) == FileReply()
    assert same(written, target)


def test_a_broken_connection_to_the_hub_loses_no_temporary_file(far: Run, writing: Writing) -> None:
    first = far.node()
    writing.begin(1)
    writing.write(1, first)
    far.loop.post(lambda: far.hub.refuse(b"htex-1/files-1", "a test breaks the connection"))
    until(lambda: b"htex-1/files-2" in far.files.connected, 30, "the node has connected again")
    writing.begin(2, 1)
    assert writing.read(2, far.node()) == FileReply()
    assert far.table.recovery.count == 0


def test_a_node_whose_manager_was_lost_is_no_source_until_it_connects_again(far: Run, writing: Writing) -> None:
    """TCP may need minutes to find that the network of a node was cut; heartbeats of managers need seconds."""
    first, second = far.node(), far.node()
    writing.begin(1)
    writing.write(1, first)
    far.here(lambda: far.files.node_lost("htex-1"))
    writing.begin(2, 1)
    assert writing.read(2, second).recovers
    writing.write(writing.recovery(), second)
    # It was only slow: what it asks next is refused, and it connects again.
    assert writing.read(2, first) == FileReply()
    assert b"htex-1/files-2" in far.files.connected
