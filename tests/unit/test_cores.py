"""Usable cores: affinity, cgroup quotas of both versions, and the override."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from parslab.cores import OVERRIDE, quota, usable_cores
from parslab.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def host(root: Path, cgroup: str, mountinfo: str, files: dict[str, str]) -> Path:
    """Make a file system with these cgroups."""
    for name, text in {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mountinfo, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n"


def test_version_2_takes_the_smallest_quota_on_the_way_up(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
        "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/cpu.max": "400000 100000\n",
    }
    root = host(tmp_path, "0::/a/b\n", V2, files)
    assert quota(root) == 1.5


def test_version_1_reads_quota_and_period(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/cpu,cpuacct/docker/x/"
    files = {folder + "cpu.cfs_quota_us": "200000\n", folder + "cpu.cfs_period_us": "100000\n"}
    root = host(tmp_path, "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/init\n", V1, files)
    assert quota(root) == 2.0


def test_a_path_outside_of_the_mount_means_its_top(tmp_path: Path) -> None:
    mount = "30 20 0:26 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    root = host(tmp_path, "0::/\n", mount, {"sys/fs/cgroup/cpu.max": "50000 100000"})
    assert quota(root) == 0.5


@pytest.mark.parametrize("text", ["max 100000", "", "100000 0", "nonsense", "-1 100000"])
def test_what_is_no_limit_limits_nothing(tmp_path: Path, text: str) -> None:
    assert quota(host(tmp_path, "0::/\n", V2, {"sys/fs/cgroup/cpu.max": text})) is None


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert quota(tmp_path) is None
    assert usable_cores({}, tmp_path) >= 1


def test_a_quota_below_one_core_leaves_one(tmp_path: Path) -> None:
    root = host(tmp_path, "0::/\n", V2, {"sys/fs/cgroup/cpu.max": "20000 100000"})
    assert usable_cores({}, root) == 1


def test_part_of_a_core_counts_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    root = host(tmp_path, "0::/\n", V2, {"sys/fs/cgroup/cpu.max": "250000 100000"})
    assert usable_cores({}, root) == 3


def test_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5}, raising=False)
    assert usable_cores({}, tmp_path) == 2


def test_the_override_wins(tmp_path: Path) -> None:
    assert usable_cores({OVERRIDE: " 7 "}, tmp_path) == 7


@pytest.mark.parametrize("text", ["0", "-2", "two", "1.5", "²"])
def test_wrong_override_is_reported(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=OVERRIDE):
        usable_cores({OVERRIDE: text}, tmp_path)
