"""Exchanges of several hosts over a fake network: one chain, firewalls, lost nodes, wrong bytes, full disks."""

from __future__ import annotations

import errno
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from parslab.dataflow.files.locations import HUB, Locations
from parslab.files.cache import ContentCache, PartialContent
from parslab.files.cache_index import Lifetime
from parslab.files.content import content_of, state_of
from parslab.files.exchange import MOST_TRANSFERS, Exchange
from parslab.files.transfer import CHUNK, AskForSource
from parslab.wire.messages.files import Chunk, ContentId
from parslab.wire.shared_memory import in_memory

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.wire.messages.base import WireMessage
    from parslab.wire.stream import Buffer

Step = Callable[[], None]


class Links:
    """What one host sends goes to the queue of the network."""

    def __init__(self, net: Net, name: str) -> None:
        self.net, self.name = net, name

    def send(self, peer: str, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        self.net.steps.append(lambda: self.net.deliver(self.name, peer, messages, frames))

    def seek(self, content: ContentId, failed: AskForSource, unreachable: bool) -> None:
        self.net.steps.append(lambda: self.net.find(self.name, content, failed.failed, unreachable))

    def arrived(self, content: ContentId) -> None:
        self.net.locations.hold(self.name, content)

    def stopped(self, content: ContentId) -> None:
        self.net.locations.stop(self.name, content)

    def dropped(self, contents: Sequence[ContentId]) -> None:
        for content in contents:
            self.net.locations.drop(self.name, content)


class Net:
    def __init__(self, folder: Path, nodes: int) -> None:
        self.now = 0.0
        self.steps: deque[Step] = deque()
        self.locations = Locations()
        self.hosts: dict[str, Exchange] = {}
        self.blocked: set[tuple[str, str]] = set()
        self.sent: Counter[str] = Counter()
        self.spoil: Callable[[str, Chunk, bytes], bytes] = lambda sender, chunk, data: data
        for name in (HUB, *(f"n{number}" for number in range(1, nodes + 1))):
            cache = ContentCache(folder / name, 1 << 30, "run")
            self.hosts[name] = Exchange(cache, Links(self, name), lambda: self.now)
            self.locations.join(name)

    def deliver(self, sender: str, to: str, messages: Sequence[WireMessage], frames: Sequence[Buffer]) -> None:
        if sender not in self.hosts:
            return
        if to not in self.hosts or (sender, to) in self.blocked:
            self.hosts[sender].peer_lost(to, "no connection", unreachable=(sender, to) in self.blocked)
            return
        chunks = [message for message in messages if isinstance(message, Chunk)]
        data = [self.spoil(sender, chunk, bytes(in_memory(frame))) for chunk, frame in zip(chunks, frames, strict=True)]
        self.sent[sender] += sum(map(len, data))
        self.hosts[to].received(sender, messages, data)

    def find(self, reader: str, content: ContentId, failed: str, unreachable: bool) -> None:
        if failed:
            self.locations.fail(reader, content, failed, unreachable)
        source = self.locations.choose(reader, content)
        if reader not in self.hosts:
            return
        if not source:
            self.hosts[reader].no_source(content, "nobody has it")
        else:
            if source == HUB and HUB not in self.locations.holders(content):
                self.hosts[HUB].want(content, Lifetime.run, "relay", lambda error: None, at_once=True)
            self.hosts[reader].sourced(content, source)

    def kill(self, name: str) -> None:
        self.hosts.pop(name).close()
        self.locations.leave(name)
        for host in list(self.hosts.values()):
            host.peer_lost(name, "it was lost")

    def run(self, dice: random.Random | None = None) -> None:
        """Carry out all that happens, messages first, then what time does."""
        for _ in range(100_000):
            if self.steps:
                self.steps.popleft()()
                continue
            dues = [due for host in list(self.hosts.values()) if (due := host.check()) is not None]
            if not self.steps:
                if not dues:
                    return
                self.now = max(self.now, min(dues))
                for host in list(self.hosts.values()):
                    host.check()
        raise AssertionError("it never ends")

    def close(self) -> None:
        for host in self.hosts.values():
            host.close()


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "original"
    path.write_bytes(random.Random(1).randbytes(9 * CHUNK + 17))
    return path


def offered(net: Net, path: Path) -> ContentId:
    content, status = content_of(path)
    net.hosts[HUB].offer(content, path, state_of(status))
    net.locations.hold(HUB, content)
    return content


def wanted(net: Net, content: ContentId, *nodes: str) -> dict[str, str]:
    """Have nodes fetch a content; the answers arrive in the result while the network runs."""
    answers: dict[str, str] = {}
    for node in nodes:
        net.hosts[node].want(content, Lifetime.run, "task", lambda error, node=node: answers.update({node: error}))  # type: ignore[misc]
    return answers


def test_four_nodes_get_it_and_the_hub_sends_it_once(tmp_path: Path, original: Path) -> None:
    net = Net(tmp_path, 4)
    content = offered(net, original)
    answers = wanted(net, content, "n1", "n2", "n3", "n4")
    net.run()
    assert answers == dict.fromkeys(("n1", "n2", "n3", "n4"), "")
    for node in answers:
        path = net.hosts[node].cache.path(content)
        assert path is not None
        assert path.read_bytes() == original.read_bytes()
    assert net.sent[HUB] == content.size
    assert net.hosts[HUB].sent[content] == content.size


def test_many_tasks_of_a_node_share_one_transfer(tmp_path: Path, original: Path) -> None:
    net = Net(tmp_path, 1)
    content = offered(net, original)
    answers: list[str] = []
    for _ in range(20):
        net.hosts["n1"].want(content, Lifetime.run, "task", answers.append)
    net.run()
    net.hosts["n1"].want(content, Lifetime.run, "task", answers.append)
    assert answers == [""] * 21
    assert net.sent[HUB] == content.size


def test_no_more_transfers_at_once_than_memory_allows_and_all_of_them_in_the_end(tmp_path: Path) -> None:
    net = Net(tmp_path, 1)
    answers: dict[int, str] = {}
    most = 0
    for number in range(3 * MOST_TRANSFERS):
        path = tmp_path / f"original-{number}"
        path.write_bytes(b"" if number % 3 == 0 else bytes([number]) * 1000)  # those without bytes end at once
        content = offered(net, path)
        net.hosts["n1"].want(content, Lifetime.run, "task", lambda error, n=number: answers.update({n: error}))  # type: ignore[misc]
        most = max(most, net.hosts["n1"].transfers)
    assert most == MOST_TRANSFERS
    net.run()
    assert answers == dict.fromkeys(range(3 * MOST_TRANSFERS), "")


def test_a_relay_does_not_wait_behind_other_transfers(tmp_path: Path, original: Path) -> None:
    net = Net(tmp_path, 2)
    hub = net.hosts[HUB]
    for number in range(MOST_TRANSFERS):
        hub.want(ContentId(bytes([number]) * 32, 10), Lifetime.run, "store", lambda error: None)
    content, _ = content_of(original)
    net.hosts["n1"].cache.adopt(original, content, Lifetime.run, 0.0)
    net.locations.hold("n1", content)
    net.blocked = {("n2", "n1")}
    answers = wanted(net, content, "n2")
    net.run()
    assert answers == {"n2": ""}


def test_nodes_that_cannot_connect_to_each_other_get_it_from_the_hub(tmp_path: Path, original: Path) -> None:
    net = Net(tmp_path, 4)
    nodes = ("n1", "n2", "n3", "n4")
    net.blocked = {(a, b) for a in nodes for b in nodes}
    content = offered(net, original)
    answers = wanted(net, content, *nodes)
    net.run()
    assert answers == dict.fromkeys(nodes, "")
    assert net.sent[HUB] == 4 * content.size


def test_what_only_a_closed_node_has_is_relayed_by_the_hub(tmp_path: Path, original: Path) -> None:
    net = Net(tmp_path, 3)
    content, _ = content_of(original)
    net.hosts["n1"].cache.adopt(original, content, Lifetime.run, 0.0)
    net.locations.hold("n1", content)
    net.blocked = {("n2", "n1"), ("n3", "n1"), ("n3", "n2")}
    answers = wanted(net, content, "n2", "n3")
    net.run()
    assert answers == {"n2": "", "n3": ""}
    assert net.sent["n1"] == content.size


def test_a_node_that_dies_half_way_is_replaced_and_the_bytes_are_not_sent_again(tmp_path: Path, original: Path) -> None:
    net = Net(tmp_path, 3)
    content = offered(net, original)
    answers = wanted(net, content, "n1", "n2", "n3")
    for _ in range(7):
        net.steps.popleft()()
    net.kill("n1")
    net.run()
    assert answers == {"n2": "", "n3": ""}
    assert net.sent[HUB] < 2 * content.size + CHUNK


def test_bytes_that_one_node_spoils_are_fetched_again(tmp_path: Path, original: Path) -> None:
    net = Net(tmp_path, 2)
    content = offered(net, original)
    spoiled: list[Chunk] = []

    def spoil(sender: str, chunk: Chunk, data: bytes) -> bytes:
        if sender == HUB and chunk.offset == 0 and not spoiled:
            spoiled.append(chunk)
            return b"?" + data[1:]
        return data

    net.spoil = spoil
    answers = wanted(net, content, "n1", "n2")
    net.run()
    assert answers == {"n1": "", "n2": ""}
    for node in answers:
        path = net.hosts[node].cache.path(content)
        assert path is not None
        assert path.read_bytes() == original.read_bytes()


def test_bytes_that_are_always_wrong_end_with_a_reason(tmp_path: Path, original: Path) -> None:
    net = Net(tmp_path, 1)
    content = offered(net, original)
    net.spoil = lambda sender, chunk, data: b"?" + data[1:]
    answers = wanted(net, content, "n1")
    net.run()
    assert answers == {"n1": "its checksum was wrong 3 times"}
    assert net.hosts["n1"].cache.path(content) is None


def test_a_file_that_is_changed_during_its_transfer_ends_with_a_reason(tmp_path: Path, original: Path) -> None:
    net = Net(tmp_path, 1)
    content = offered(net, original)
    original.write_bytes(b"other")
    answers = wanted(net, content, "n1")
    net.run()
    assert answers == {"n1": "nobody has it (hub: the file was changed during its transfer)"}


def test_a_full_disk_ends_with_the_folder_and_the_words_of_the_system(
    tmp_path: Path, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net(tmp_path, 2)
    content = offered(net, original)

    def write(self: PartialContent, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PartialContent, "write", write)
    answers = wanted(net, content, "n1")
    net.run()
    assert answers == {"n1": f"{tmp_path / 'n1'} cannot be written: No space left on device"}
    monkeypatch.undo()
    answers = wanted(net, content, "n1")
    net.run()
    assert answers == {"n1": ""}


def test_a_full_disk_costs_first_what_nobody_uses(
    tmp_path: Path, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk may be smaller than the limit of the cache."""
    net = Net(tmp_path, 1)
    other = tmp_path / "other"
    other.write_bytes(b"unused" * 1000)
    unused, content = offered(net, other), offered(net, original)
    assert wanted(net, unused, "n1") == {}
    net.run()
    net.hosts["n1"].release("task")
    real, cache = PartialContent.write, net.hosts["n1"].cache

    def write(self: PartialContent, data: memoryview) -> None:
        if unused in cache.index:
            real(self, data[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, data)

    monkeypatch.setattr(PartialContent, "write", write)
    answers = wanted(net, content, "n1")
    net.run()
    assert answers == {"n1": ""}
    assert unused not in cache.index
    assert net.locations.holders(unused) == {HUB}


def test_a_full_disk_is_not_kept_full_by_half_a_content(
    tmp_path: Path, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net(tmp_path, 1)
    content = offered(net, original)
    real = PartialContent.write

    def write(self: PartialContent, data: memoryview) -> None:
        if self.written >= 3 * CHUNK:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, data)

    monkeypatch.setattr(PartialContent, "write", write)
    answers = wanted(net, content, "n1")
    net.run()
    assert "No space left" in answers["n1"]
    assert list((tmp_path / "n1" / "partial").iterdir()) == []


def test_a_content_larger_than_the_cache_is_refused_at_once(tmp_path: Path, original: Path) -> None:
    net = Net(tmp_path, 1)
    content = offered(net, original)
    net.hosts["n1"].cache.index.limit = 1000
    answers = wanted(net, content, "n1")
    assert "the cache may hold 1,000" in answers["n1"]
    assert str(tmp_path / "n1") in answers["n1"]


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_losses_and_firewalls_ends_well_for_the_nodes_that_live(tmp_path: Path, seed: int) -> None:
    """Whatever happens to other nodes, each node that lives gets the content, because the hub has it."""
    dice = random.Random(seed)
    original = tmp_path / "original"
    original.write_bytes(dice.randbytes(dice.randint(0, 5 * CHUNK)))
    net = Net(tmp_path, 6)
    nodes = [name for name in net.hosts if name != HUB]
    net.blocked = {(a, b) for a in nodes for b in nodes if dice.random() < 0.3}
    content = offered(net, original)
    answers = wanted(net, content, *nodes)
    for victim in dice.sample(nodes, 2):
        for _ in range(dice.randint(0, 30)):
            if net.steps:
                net.steps.popleft()()
        if victim in net.hosts:
            net.kill(victim)
    net.run()
    for node in nodes:
        if node in net.hosts:
            assert answers.get(node) == "", (node, answers)
    net.close()
