"""Samples of nodes and tasks, read from a made-up /proc and cgroup."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from parslab.errors import ConfigurationError
from parslab.remote.manager.sampling import SHORT, Sampler, usable_memory
from parslab.remote.manager.usage import Processes, PsutilProcesses, Usage
from parslab.wire.messages.manager import NodeSample, TaskSample

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
THERE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
MB = 1 << 20


class FakeProc:
    """A /proc with the processes that a test makes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "proc"

    def process(
        self,
        pid: int,
        group: int,
        ticks: tuple[int, int, int, int] = (0, 0, 0, 0),
        resident: int = 0,
        peak: int = 0,
        io: tuple[int, int] | None = (0, 0),
        children: dict[int, str] | None = None,
    ) -> None:
        """Make a process, or change it; ``children`` by thread."""
        folder = self.path / str(pid)
        for thread, listed in (children or {pid: ""}).items():
            (folder / "task" / str(thread)).mkdir(parents=True, exist_ok=True)
            (folder / "task" / str(thread) / "children").write_text(listed)
        times = " ".join(map(str, ticks))
        (folder / "stat").write_text(f"{pid} (py ) S) S 1 {group} 1 0 -1 0 0 0 0 0 {times} 20 0 1 0 77 0 0\n")
        (folder / "status").write_text(f"Name:\tpy\nVmHWM:\t{peak // 1024} kB\nVmRSS:\t{resident // 1024} kB\n")
        if io is not None:
            (folder / "io").write_text(f"rchar: 9\nwchar: 9\nread_bytes: {io[0]}\nwrite_bytes: {io[1]}\n")

    def file(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def processes(self) -> Processes:
        return Processes(str(self.path))


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path)


# ----- trees of processes


def test_a_worker_counts_with_all_that_descends_from_it(proc: FakeProc) -> None:
    proc.process(10, 10, (TICKS, 0, 0, 2 * TICKS), 100 * MB, 150 * MB, (1, 2), {10: "11 12 ", 19: "13"})
    proc.process(11, 10, (0, TICKS, 0, 0), 10 * MB, 10 * MB, (10, 20), {11: "14"})
    proc.process(12, 12, (0, 0, 0, 0), 1 * MB, 300 * MB, None)
    proc.process(13, 10, (TICKS, 0, 0, 0), 1 * MB, 1 * MB, (100, 200))
    proc.process(14, 10, (TICKS, 0, 0, 0), 1 * MB, 1 * MB, (1000, 2000))
    assert proc.processes().used(10) == Usage(6.0, 113 * MB, 300 * MB, 1111, 2222)


def test_what_has_gone_is_left_out(proc: FakeProc) -> None:
    proc.process(10, 10, (TICKS, 0, 0, 0), MB, MB, (1, 1), {10: "11"})
    assert proc.processes().used(10) == Usage(1.0, MB, MB, 1, 1)
    assert proc.processes().used(11) is None


def test_orphans_belong_to_the_worker_of_their_group(proc: FakeProc) -> None:
    proc.process(os.getpid(), 1, children={os.getpid(): "10 20 31 32", 5: "33"})
    proc.process(10, 10, (TICKS, 0, 0, 0))
    proc.process(20, 20)
    proc.process(31, 10, (TICKS, 0, 0, 0), children={31: "34"})
    proc.process(32, 20)
    proc.process(33, 10, (TICKS, 0, 0, 0))
    proc.process(34, 10, (TICKS, 0, 0, 0))
    processes = proc.processes()
    assert {group: sorted(pids) for group, pids in processes.orphans().items()} == {10: [31, 33], 20: [32]}
    used = processes.used(10, [31, 33])
    assert used is not None
    assert used.cpu == 4.0


def test_peak_is_reset_in_the_kernel(proc: FakeProc) -> None:
    proc.process(10, 10)
    proc.processes().forget_peak(10)
    assert (proc.path / "10" / "clear_refs").read_text() == "5"
    proc.processes().forget_peak(99)  # gone: nothing to do


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="there is no /proc")
def test_both_readers_agree_on_this_process() -> None:
    sum(i * i for i in range(300_000))
    ours, theirs = Processes().used(os.getpid()), PsutilProcesses().used(os.getpid())
    assert ours is not None
    assert theirs is not None
    assert ours.cpu == pytest.approx(theirs.cpu, abs=0.2)
    assert ours.resident == pytest.approx(theirs.resident, rel=0.1)
    assert ours.peak >= ours.resident
    times = os.times()
    assert ours.cpu == pytest.approx(sum(times[:4]), abs=0.2)
    assert PsutilProcesses().used(2**22 + 1) is None
    assert PsutilProcesses().orphans() == {}


# ----- tasks


class FakeProcesses:
    """Processes whose usage a test sets."""

    def __init__(self) -> None:
        self.uses: dict[int, Usage] = {}
        self.forgotten: list[int] = []
        self.adopted: dict[int, list[int]] = {}
        self.asked: list[tuple[int, list[int]]] = []
        self.now = 100.0
        """What the sampler's clock shows."""

    def used(self, worker: int, orphans: Iterable[int] = ()) -> Usage | None:
        self.asked.append((worker, list(orphans)))
        return self.uses.get(worker)

    def orphans(self) -> dict[int, list[int]]:
        return self.adopted

    def forget_peak(self, pid: int) -> None:
        self.forgotten.append(pid)


def tasks_of(samples: list[NodeSample | TaskSample]) -> list[TaskSample]:
    return [sample for sample in samples if isinstance(sample, TaskSample)]


@pytest.fixture
def there(proc: FakeProc) -> FakeProc:
    proc.file("proc/stat", "cpu  0 0 0 0\n")
    return proc


def test_what_a_worker_used_before_a_task_is_not_the_tasks(there: FakeProc) -> None:
    fake = FakeProcesses()
    sampler = Sampler(there.root, fake, lambda: fake.now)
    fake.uses[10] = Usage(5.0, 50 * MB, 50 * MB, 100, 100)
    sampler.begun(10, 7, 1)
    assert fake.forgotten == [10]
    fake.uses[10] = Usage(8.0, 60 * MB, 90 * MB, 300, 150)
    assert tasks_of(sampler.sample({10: (7, 1)})) == [TaskSample(7, 1, 3.0, 90 * MB, 200, 50)]
    fake.uses[10] = Usage(9.0, 40 * MB, 90 * MB, 300, 160)
    fake.now += SHORT
    assert sampler.ended(7) == TaskSample(7, 1, 4.0, 90 * MB, 200, 60)
    assert sampler.ended(7) is None
    assert tasks_of(sampler.sample({})) == []


def test_a_peak_older_than_the_task_does_not_count(there: FakeProc) -> None:
    fake = FakeProcesses()
    sampler = Sampler(there.root, fake)
    fake.uses[10] = Usage(0.0, 50 * MB, 500 * MB, 0, 0)  # the kernel did not forget
    sampler.begun(10, 7, 0)
    fake.uses[10] = Usage(0.0, 60 * MB, 500 * MB, 0, 0)
    assert [s.memory for s in tasks_of(sampler.sample({10: (7, 0)}))] == [60 * MB]
    fake.uses[10] = Usage(0.0, 30 * MB, 510 * MB, 0, 0)
    assert [s.memory for s in tasks_of(sampler.sample({10: (7, 0)}))] == [510 * MB]


def test_a_task_never_gives_back_what_it_used(there: FakeProc) -> None:
    fake = FakeProcesses()
    sampler = Sampler(there.root, fake, lambda: fake.now)
    fake.uses[10] = Usage(1.0, MB, MB, 0, 0)
    sampler.begun(10, 7, 0)
    fake.now += SHORT
    fake.uses[10] = Usage(4.0, MB, MB, 50, 60)
    before = tasks_of(sampler.sample({10: (7, 0)}))
    fake.uses[10] = Usage(2.0, MB, MB, 10, 10)  # an orphan has ended
    assert tasks_of(sampler.sample({10: (7, 0)})) == before
    del fake.uses[10]  # its worker has died
    assert [sampler.ended(7)] == before


def test_a_task_that_nobody_announced_counts_from_its_first_sample(there: FakeProc) -> None:
    fake = FakeProcesses()
    sampler = Sampler(there.root, fake)
    fake.uses[10] = Usage(1.0, MB, MB, 0, 0)
    assert tasks_of(sampler.sample({10: (7, 0)})) == []
    fake.uses[10] = Usage(1.5, MB, MB, 0, 0)
    assert [s.cpu for s in tasks_of(sampler.sample({10: (7, 0)}))] == [0.5]
    assert tasks_of(sampler.sample({10: (7, 1)})) == []  # another attempt begins from here
    assert tasks_of(sampler.sample({10: (8, 0)})) == []
    assert sampler.ended(7) is None


def test_a_short_task_is_not_looked_at_again(there: FakeProc) -> None:
    fake = FakeProcesses()
    sampler = Sampler(there.root, fake, lambda: fake.now)
    fake.uses[10] = Usage(1.0, MB, MB, 0, 0)
    sampler.begun(10, 7, 0)
    fake.now += SHORT / 2
    assert sampler.ended(7) is None
    assert len(fake.asked) == 1


def test_orphans_count_with_the_task_of_their_worker(there: FakeProc) -> None:
    fake = FakeProcesses()
    fake.adopted = {10: [31], 20: [32]}
    fake.uses[10] = Usage(1.0, MB, MB, 0, 0)
    sampler = Sampler(there.root, fake, lambda: fake.now)
    sampler.begun(10, 7, 0)
    sampler.sample({10: (7, 0)})
    fake.now += SHORT
    sampler.ended(7)
    assert fake.asked == [(10, []), (10, [31]), (10, [31])]


# ----- nodes


def cpu_lines(busy: int, idle: int) -> str:
    """``stat`` of a machine whose cores, ours and another one, did this."""
    ours = sorted(os.sched_getaffinity(0))
    lines = [f"cpu{core} {busy} 0 0 {idle} 0 0 0 0 0 0\n" for core in ours]
    return "".join(["cpu  1 2 3 4\n", *lines, "cpu9999 7777777 0 0 0 0 0 0 0 0 0\n", "intr 5\n"])


needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="there is no affinity")


def node_of(samples: list[NodeSample | TaskSample]) -> NodeSample:
    (sample,) = samples
    assert isinstance(sample, NodeSample)
    return sample


@needs_affinity
def test_a_node_is_the_cores_that_we_may_use(proc: FakeProc) -> None:
    proc.file("proc/meminfo", "MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable: 400 kB\n")
    proc.file("proc/stat", cpu_lines(100, 900))
    sampler = Sampler(proc.root, FakeProcesses())
    proc.file("proc/stat", cpu_lines(175, 925))
    first = node_of(sampler.sample({}))
    assert (first.cpu, first.memory) == (75.0, 600 * 1024)
    assert first.load >= 0
    assert node_of(sampler.sample({})).cpu == 0.0  # nothing has passed


V2 = "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


def test_a_node_is_the_share_that_a_cgroup_allows(proc: FakeProc) -> None:
    group = "sys/fs/cgroup/job/"
    proc.file("proc/self/cgroup", "0::/job\n")
    proc.file("proc/self/mountinfo", V2)
    proc.file("proc/stat", "cpu0 1 1 1 1\n")
    proc.file(group + "cpu.max", "200000 100000\n")
    proc.file(group + "cpu.stat", "usage_usec 5000000\nuser_usec 1\n")
    proc.file(group + "memory.max", str(500 * MB))
    proc.file(group + "memory.current", str(300 * MB))
    proc.file(group + "memory.stat", f"anon 5\ninactive_file {100 * MB}\n")
    now = iter([100.0, 110.0])
    sampler = Sampler(proc.root, FakeProcesses(), lambda: next(now))
    proc.file(group + "cpu.stat", "usage_usec 15000000\n")
    sample = node_of(sampler.sample({}))
    # 10 s of CPU in 10 s with 2 cores' worth allowed
    assert sample.cpu == pytest.approx(50.0)
    assert sample.memory == 200 * MB
    assert usable_memory({}, proc.root) == 500 * MB


def test_version_1_of_cgroups(proc: FakeProc) -> None:
    cpu, memory = "sys/fs/cgroup/cpu/job/", "sys/fs/cgroup/memory/job/"
    proc.file("proc/self/cgroup", "5:memory:/job\n4:cpu,cpuacct:/job\n0::/\n")
    mounts = "33 30 0:29 / /sys/fs/cgroup/{} rw shared:10 - cgroup cgroup rw,{}\n"
    proc.file("proc/self/mountinfo", mounts.format("cpu", "cpu,cpuacct") + mounts.format("memory", "memory"))
    proc.file("proc/stat", "cpu0 1 1 1 1\n")
    proc.file(cpu + "cpu.cfs_quota_us", "50000")
    proc.file(cpu + "cpu.cfs_period_us", "100000")
    proc.file(cpu + "cpuacct.usage", str(10**9))
    proc.file(memory + "memory.limit_in_bytes", str(64 * MB))
    proc.file(memory + "../memory.limit_in_bytes", str(1 << 62))
    proc.file(memory + "memory.usage_in_bytes", str(20 * MB))
    proc.file(memory + "memory.stat", f"total_inactive_file {5 * MB}\n")
    now = iter([100.0, 104.0])
    sampler = Sampler(proc.root, FakeProcesses(), lambda: next(now))
    proc.file(cpu + "cpuacct.usage", str(2 * 10**9))
    sample = node_of(sampler.sample({}))
    assert sample.cpu == pytest.approx(50.0)
    assert sample.memory == 15 * MB
    assert usable_memory({}, proc.root) == 64 * MB


def test_without_proc_psutil_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler(tmp_path)
    node, *_ = sampler.sample({os.getpid(): (7, 0)})
    assert isinstance(node, NodeSample)
    assert 0 < node.memory < THERE
    (task,) = tasks_of(sampler.sample({os.getpid(): (7, 0)}))
    assert task.memory > MB
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert sampler.sample({}) == []


def test_memory_without_limits_is_that_of_the_machine(tmp_path: Path) -> None:
    assert usable_memory({}, tmp_path) == THERE


def test_memory_may_be_overridden(tmp_path: Path) -> None:
    assert usable_memory({"PARSL_MEMORY_GB": "1.5"}, tmp_path) == 1_500_000_000
    assert usable_memory({"PARSL_MEMORY_GB": "1.5", "PARSLAB_MEMORY_GB": "2"}, tmp_path) == 2 * 10**9
    for wrong in ("much", "0", "-1", "nan", "inf"):
        with pytest.raises(ConfigurationError, match="PARSLAB_MEMORY_GB must be a number of GB above 0, not "):
            usable_memory({"PARSLAB_MEMORY_GB": wrong}, tmp_path)
