"""A node that fails what others do well is held, and says so; a released one works again."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import cloudpickle

from parslab import python_app
from tests.process.blocks import blocks_run, managers
from tests.process.panel import picture
from tests.process.sandbox import until

if TYPE_CHECKING:
    from pathlib import Path

    from parslab import DataFlowKernel
    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@python_app(executors=["htex"])
def works_elsewhere(bad: Path) -> int:
    """Fails at once below the manager whose process number the file holds."""
    import time

    below = os.getppid()
    if bad.exists() and int(bad.read_text()) == below:
        raise ImportError("no module named simulation")
    time.sleep(0.05)
    return below


def held(dfk: DataFlowKernel) -> list[str]:
    return [row.manager for row in picture(dfk).managers if row.state == "held"]


def test_a_node_that_fails_all_it_gets_is_held_until_it_is_released(sandbox: Sandbox) -> None:
    bad = sandbox.root / "bad"
    with blocks_run(sandbox, retries=3, blocks=2, workers=1, hold_after=5) as dfk:
        until(lambda: sum(row.state == "ready" for row in picture(dfk).managers) == 2, 20)
        first, second = managers(dfk.pid)
        bad.write_text(str(first))
        futures = [works_elsewhere(bad) for _ in range(60)]
        assert {future.result(60) for future in futures} == {second}
        (name,) = held(dfk)
        (notice,) = [notice.text for notice in picture(dfk).notices if "gets no new tasks" in notice.text]
        assert notice.startswith(f"Manager {name} (host ")
        assert "tasks in a row failed on it, the last with ImportError: no module named simulation" in notice
        assert f"`%parsl release {name}`" in notice
        history = next(attempts for f in futures if len(attempts := f.history()) > 1)
        assert history[0].worker == name
        assert history[-1].worker != name
        bad.unlink()
        assert "gets tasks again" in dfk.release(name)
        until(lambda: first in {future.result(30) for future in [works_elsewhere(bad) for _ in range(8)]}, 30)
        assert held(dfk) == []


def test_a_function_that_is_broken_everywhere_holds_no_node(sandbox: Sandbox) -> None:
    with blocks_run(sandbox, blocks=2, workers=1, hold_after=3) as dfk:
        until(lambda: sum(row.state == "ready" for row in picture(dfk).managers) == 2, 20)
        broken = python_app(executors=["htex"])(lambda: 1 // 0)
        futures = [broken() for _ in range(60)]
        assert {type(future.exception(60)) for future in futures} == {ZeroDivisionError}
        assert held(dfk) == []
