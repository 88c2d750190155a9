"""Strangers in such numbers that they would use up the descriptors of a run: its tasks and its peers go on."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parslab.dataflow.persistence.log_format import CallItem, DamageItem, EndItem, entries, log_folder, segments
from tests.process.connection_storm import storm
from tests.process.sandbox import Sandbox, Script, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUN = """
    local = LowLatencyExecutor(label="local", workers=1)
    blocks = parslab.HighThroughputExecutor(
        label="blocks", address="127.0.0.1", max_workers_per_node=1,
        provider=parslab.LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
    )
    dfk = parslab.load(Config(executors=[local, blocks], run_dir=RUNS, retries=2))

    @python_app(executors=["local"])
    def length(data):
        return len(data)

    @python_app(executors=["local"])
    def end_worker(path):
        import os, signal
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    @python_app(executors=["blocks"])
    def limits():
        import resource
        return resource.getrlimit(resource.RLIMIT_NOFILE)

    @python_app(executors=["local"])
    def local_limits():
        import resource
        return resource.getrlimit(resource.RLIMIT_NOFILE)

    def picture():
        from parslab.records.panel import SnapshotRequest
        return dfk.ask(SnapshotRequest(subscribe=False))

    def managers():
        return [manager.manager for manager in picture().managers if manager.state == "ready"]

    def notices():
        return [notice.text for notice in picture().notices]

    assert length(b"abc").result(60) == 3
    emit(run_dir=str(dfk.run_dir), pid=dfk.pid, limits=[limits().result(60), local_limits().result(60)])
    for line in sys.stdin:
        emit(answer=eval(line))
"""

ROOM = "[text for text in notices() if 'there is room for' in text]"
"""What the panel says about connections that were closed."""


class Run:
    """A run whose processes may open few descriptors."""

    def __init__(self, script: Script) -> None:
        self.script = script
        facts = script.read_json(60)
        self.folder = Path(facts["run_dir"])
        self.pid: int = facts["pid"]
        self.limits: list[list[int]] = facts["limits"]

    def ask(self, expression: str) -> Any:
        """The value of an expression in the script of the run."""
        assert self.script.popen.stdin is not None
        self.script.popen.stdin.write(expression.encode() + b"\n")
        self.script.popen.stdin.flush()
        return self.script.read_json(60)["answer"]

    def invitation(self) -> tuple[Path, tuple[str, int]]:
        """The invitation for a manager of another host, and the place where it connects."""
        settings = json.loads((self.folder / "manager-blocks.json").read_text())
        settings["socket"] = ""
        path = self.folder / "elsewhere.json"
        path.touch(0o600)
        path.write_text(json.dumps(settings))
        host, _, port = settings["addresses"][0].removeprefix("tcp://").rpartition(":")
        return path, (host, int(port))


def limited(soft: int, hard: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(params=[1024, 256])
def run(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Run]:
    limit: int = request.param
    with sandbox.script(RUN, stdin=subprocess.PIPE, preexec_fn=limited(limit, limit)) as script:
        yield Run(script)
        script.popen.stdin.close()  # type: ignore[union-attr]
        script.wait(60)


@pytest.mark.timeout(180)
def test_a_storm_of_strangers_costs_nobody_a_place(run: Run, tmp_path: Path) -> None:
    """Strangers held all descriptors: peers with the key waited 15 s, and the event log was given up."""
    path, place = run.invitation()
    manager = [sys.executable, "-m", "parslab.remote.manager", str(path), "7"]
    with storm(place, 1300, closed=2000):
        # Each large argument needs a file of its own, and so many of them a new segment of the log.
        assert run.ask("[length(bytes([n]) * 4_000_000).result(60) for n in range(20)]") == [4_000_000] * 20
        assert run.ask(f"end_worker({str(tmp_path / 'killed')!r}).result(60)") is True
        with subprocess.Popen(manager) as process:
            try:
                until(lambda: len(run.ask("managers()")) == 2, 30)
                notice = until(lambda: next(iter(run.ask(ROOM)), ""))
                assert "from 127.0.0.1" in notice
                assert run.ask("length(b'abc').result(60)") == 3
            finally:
                process.terminate()
    log = log_folder(run.folder)
    assert not (log / "incomplete").exists()
    assert len(segments(log)) > 1
    items = [item for _, item in entries(log)]
    assert not [item for item in items if isinstance(item, DamageItem)]
    calls = [item.submit.task for item in items if isinstance(item, CallItem)]
    until(lambda: {item.task for _, item in entries(log) if isinstance(item, EndItem)} >= set(calls))


@pytest.mark.timeout(120)
def test_tasks_have_the_limit_of_the_user(sandbox: Sandbox) -> None:
    """The run raises its own limit; programs that use ``select`` break above 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("the system allows no more descriptors")
    with sandbox.script(RUN, stdin=subprocess.PIPE, preexec_fn=limited(500, hard)) as script:
        run = Run(script)
        assert run.limits == [[500, hard], [500, hard]]
        assert int(_soft_limit(run.pid)) > 500
        script.popen.stdin.close()  # type: ignore[union-attr]
        script.wait(60)


def _soft_limit(pid: int) -> str:
    if not os.path.exists(f"/proc/{pid}/limits"):
        pytest.skip("only Linux shows the limits of another process")
    (line,) = [line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "open files" in line]
    return line.split()[3]
