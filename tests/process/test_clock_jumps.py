"""Real runs whose wall clock is set while they run, by minutes, hours and years: nothing that waits may notice."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.process.sandbox import within

if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.sandbox import Sandbox

SITE = """
import os, time
_wall, _file = time.time, os.environ["FAKE_CLOCK"]
def _time():
    with open(_file) as file:
        return _wall() + float(file.read() or 0)
time.time = _time
"""
"""Every process of the run starts with this: its wall clock is as far off as a file says."""

SOURCE = """
    from parslab import HighThroughputExecutor, LocalProvider
    from parslab.errors import ManagerLost

    def set_clock(seconds):
        with open(os.environ["FAKE_CLOCK"] + ".new", "w") as file: file.write(str(seconds))
        os.replace(file.name, os.environ["FAKE_CLOCK"])

    @python_app(executors=["llex"])
    def held(begun, gate):
        open(begun, "w").close()
        while not os.path.exists(gate): time.sleep(0.01)
        return "value"

    @python_app(executors=["htex"])
    def on_block(begun, gate):
        open(begun, "w").close()
        while not os.path.exists(gate): time.sleep(0.01)
        return "value"

    @python_app(executors=["htex"])
    def manager(): return os.getppid()

    if __name__ == "__main__":
        provider = LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1)
        blocks = HighThroughputExecutor(
            label="htex", provider=provider, max_workers_per_node=1, heartbeat_period=1, heartbeat_threshold=30
        )
        executors = [LowLatencyExecutor(label="llex", workers=1), blocks]
        dfk = parslab.load(Config(executors=executors, run_dir=RUNS, strategy_period=0.2))
        gate = os.path.join(RUNS, "gate")
        begun = [os.path.join(RUNS, name) for name in ("begun-llex", "begun-htex")]
        futures = [held(begun[0], gate, walltime=60), on_block(begun[1], gate)]
        while not all(map(os.path.exists, begun)): time.sleep(0.01)
        emit(pid=dfk.pid)
        set_clock(JUMP)
        # Heartbeats are sent, timers of a second fire, and the loop looks at the clock many times.
        time.sleep(3)
        open(gate, "w").close()
        emit(values=[future.result(20) for future in futures])
        before = manager().result(20)
        os.kill(before, signal.SIGKILL)
        while True:
            try:
                emit(other=manager().result(60) != before)
                break
            except ManagerLost: pass  # it was given to the dead one
        dfk.cleanup()
"""


@pytest.mark.parametrize("jump", [120.0, -3600.0, -400 * 86400.0])
def test_a_wall_clock_that_is_set_disturbs_nothing(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, jump: float
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITE)
    (tmp_path / "offset").write_text("0")
    monkeypatch.setenv("FAKE_CLOCK", str(tmp_path / "offset"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    with sandbox.script(f"    JUMP = {jump}\n{SOURCE}") as script:
        script.read_json(30)
        assert script.read_json(30)["values"] == ["value", "value"]
        with within(60):
            assert script.read_json(60)["other"]
        assert script.wait(20) == 0
