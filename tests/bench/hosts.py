"""A large file for tasks on hosts that share no disk; nothing where such hosts cannot be made.

Called by ``tests.bench.cases`` in a fresh process; arguments and figures as there.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

__all__ = ["large_file"]

HOSTS, TASKS = 4, 20


def large_file(size: int) -> dict[str, float]:
    """One file of so many bytes for 20 tasks on 4 hosts: with all connections, with a firewall, all from the hub.

    Where the firewall refuses connections at once, nodes go to the hub without a wait.  So that is the time of all
    through the hub.  A firewall that drops packets is the expensive one.
    """
    figures = {}
    ways: tuple[tuple[str, dict[str, str]], ...] = (
        ("open", {}),
        ("dropped", {"HOSTS_FW": "nopeer"}),
        ("refused", {"HOSTS_FW": "nopeer", "HOSTS_FW_ACTION": "reject"}),
    )
    with tempfile.TemporaryDirectory(prefix="plh-bench-", dir="/tmp") as folder:
        data = Path(folder) / "large.bin"
        with data.open("wb") as file:
            for start in range(0, size, 1 << 24):
                file.write(os.urandom(min(1 << 24, size - start)))
        for name, options in ways:
            scratch = Path(folder) / name
            scratch.mkdir()
            try:
                seconds, sent = _one(scratch, data, options)
            except pytest.skip.Exception:
                return {}
            figures[f"{name}.seconds"], figures[f"{name}.sent"] = seconds, sent / size
    figures["firewall"] = figures["dropped.seconds"] / figures["refused.seconds"]
    return figures


def _one(scratch: Path, data: Path, options: dict[str, str]) -> tuple[float, int]:
    """Return how long all tasks took together, and how many bytes the hub has sent."""
    import parslab
    from tests.bench.apps import size_of
    from tests.hosts.conftest import brought_up

    with brought_up(scratch, HOSTS, **options) as hosts:
        executor: Any = hosts.executor(max_workers_per_node=TASKS // HOSTS)
        dfk = parslab.load(parslab.Config(executors=[executor], run_dir=hosts.shared / "runs"))
        try:
            # All workers have come, and have imported what they need.
            for future in [size_of("/etc/hostname", 0.5) for _ in range(TASKS)]:
                future.result()
            begun = time.perf_counter()
            futures = [size_of(parslab.File(data), 0.0) for _ in range(TASKS)]
            assert {future.result() for future in futures} == {data.stat().st_size}
            seconds = time.perf_counter() - begun
        finally:
            dfk.cleanup()
            parslab.clear()
        found = None
        while found is None:
            time.sleep(0.1)  # the process of the run writes its last lines a little later
            found = re.search(r"this host has sent ([\d,]+) bytes", (Path(dfk.run_dir) / "dfk.log").read_text())
    return seconds, int(found[1].replace(",", ""))
