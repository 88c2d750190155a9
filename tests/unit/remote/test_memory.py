"""What the kernel's counts say of the out-of-memory killer, in folders that look like /proc and /sys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parslab.remote.pool.memory import OutOfMemory

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def host(root: Path, groups: str, count: int = 0) -> Path:
    write(root / "proc/self/cgroup", groups)
    return write(root / "proc/vmstat", f"nr_free_pages 7\noom_kill {count}\n")


@pytest.mark.parametrize(
    ("groups", "file", "text"),
    [
        ("0::/user.slice/job_7\n", "sys/fs/cgroup/user.slice/job_7/memory.events", "low 0\noom 9\noom_kill {}\n"),
        ("0::/\n", "sys/fs/cgroup/memory.events", "oom_kill {}\noom_group_kill 5\n"),
        ("8:pids:/\n5:memory:/slurm/job_7\n", "sys/fs/cgroup/memory/slurm/job_7/memory.oom_control", "oom_kill {}\n"),
        ("5:cpu,memory:/docker/7\n", "sys/fs/cgroup/memory/memory.oom_control", "under_oom 0\noom_kill {}\n"),
        ("0::/elsewhere\n", "proc/vmstat", "nr_free_pages 7\noom_kill {}\n"),
    ],
)
def test_a_count_that_went_up_is_a_kill(tmp_path: Path, groups: str, file: str, text: str) -> None:
    host(tmp_path, groups)
    write(tmp_path / file, text.format(3))
    memory = OutOfMemory(tmp_path)
    assert not memory.struck(10.0)
    write(tmp_path / file, text.format(4))
    assert memory.struck(20.0)
    assert memory.struck(20.5)  # the next worker that was killed for the same lack
    assert not memory.struck(30.0)


def test_the_own_group_counts_rather_than_the_host(tmp_path: Path) -> None:
    host(tmp_path, "0::/job\n")
    write(tmp_path / "sys/fs/cgroup/job/memory.events", "oom_kill 0\n")
    memory = OutOfMemory(tmp_path)
    host(tmp_path, "0::/job\n", 5)
    assert not memory.struck(1.0)


def test_without_the_files_of_linux_no_kill_is_seen(tmp_path: Path) -> None:
    assert not OutOfMemory(tmp_path).struck(1.0)
    there = write(tmp_path / "proc/vmstat", "oom_kill 1\n")
    memory = OutOfMemory(tmp_path)
    there.unlink()
    assert not memory.struck(1.0)
