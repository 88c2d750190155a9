"""Blocks of this host outlive the DataFlowKernel that asked for them: they serve the next one, or they end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import msgspec
import psutil
import pytest

import parslab
from parslab import python_app
from parslab.scaling.block_journal import BlockJournal, unfinished_jobs
from tests.process.blocks import executor
from tests.process.panel import notices, picture
from tests.process.restarted_run import RestartedRun
from tests.process.sandbox import is_gone, until, workers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from parslab import AppFuture
    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def where() -> tuple[str, int]:
    """The block, and the manager, that this runs in."""
    import os

    return os.environ["PARSLAB_WORKER_BLOCK_ID"], os.getppid()


def begin(path: Path) -> None:
    import time

    path.touch()
    time.sleep(60)


@contextlib.contextmanager
def lives(sandbox: Sandbox, blocks: int = 1, **options: Any) -> Iterator[RestartedRun]:
    """A run with so many blocks of one worker each."""
    config = parslab.Config(
        executors=[executor(blocks, workers=1, **options)],
        run_dir=sandbox.runs,
        strategy_period=0.2,
        retries=1,
        resume=False,
    )
    run = RestartedRun(config)
    try:
        yield run
    finally:
        run.end()


def call(run: RestartedRun, function: Callable[..., Any], *args: Any) -> AppFuture:
    """Call it in the present life of the run."""
    return python_app(function, data_flow_kernel=run.dfk, executors=["htex"])(*args)


def managers_here(run: RestartedRun, number: int) -> list[tuple[str, int]]:
    """Block and process of each manager that is connected."""
    dfk = run.dfk
    until(lambda: sum(row.state == "ready" for row in picture(dfk).managers) == number, 20, f"{number} managers")
    return sorted((row.block, row.pid) for row in picture(dfk).managers if row.state == "ready")


def scripts(run: RestartedRun) -> list[str]:
    """What the blocks that have not ended are called."""
    return sorted(job for jobs in unfinished_jobs(run.run_dir).values() for job in jobs.values())


@pytest.mark.parametrize("address", [None, "127.0.0.1"])
def test_the_same_blocks_serve_the_next_dataflowkernel(sandbox: Sandbox, tmp_path: Path, address: str | None) -> None:
    """By the unix socket, and by the port; as often as it is killed."""
    with lives(sandbox, blocks=2, address=address) as run:
        before = managers_here(run, 2)
        jobs = scripts(run)
        for life in range(2):
            path = tmp_path / f"begun-{life}"
            task = call(run, begin, path)
            until(path.exists)
            children = [pid for _, manager in managers_here(run, 2) for pid in workers_of(manager)]
            run.kill()
            assert task.exception(5) is not None
            for pid in children:
                until(is_gone(pid), 10)
            run.revive()
            # The same processes, which began anew under other names.
            assert managers_here(run, 2) == before
            assert {call(run, where).result(20) for _ in range(20)} <= set(before)
            assert scripts(run) == jobs
            assert [(block.block, block.state) for block in picture(run.dfk).blocks if block.job in jobs] == [
                ("0", "running"),
                ("1", "running"),
            ]
            assert any("go on with the DataFlowKernel that was started again" in text for text in notices(run.dfk))
    sandbox.assert_empty()


def test_nobody_takes_its_place(sandbox: Sandbox) -> None:
    """Its blocks end at once, also those whose number nobody had written down."""
    with lives(sandbox, blocks=2) as run:
        managers = [pid for _, pid in managers_here(run, 2)]
        journal = run.run_dir / "blocks.jsonl"
        lines = journal.read_text().splitlines(keepends=True)
        kept = [line for line in lines if not ('"submitted"' in line and '"block": "1"' in line)]
        run.kill()
        journal.write_text("".join(kept))
        assert unfinished_jobs(run.run_dir)["htex"]["1"] == ""
        run.bury()
        for pid in managers:
            until(is_gone(pid), 5)
        assert unfinished_jobs(run.run_dir) == {}
    sandbox.assert_empty()


def test_managers_leave_by_themselves_when_nobody_comes_or_buries(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when everything else of the run was killed, too."""
    settings = parslab.HighThroughputExecutor.settings
    monkeypatch.setattr(
        parslab.HighThroughputExecutor,
        "settings",
        lambda self: msgspec.structs.replace(settings(self), reconnect_for=2.0),
    )
    with lives(sandbox) as run:
        ((_, manager),) = managers_here(run, 1)
        (script,) = scripts(run)
        run.kill()
        assert psutil.Process(manager).is_running()
        until(is_gone(manager), 10)
        until(is_gone(int(script.partition("-")[0])), 5)
        # The next one reports what became of it, and asks for another.
        run.revive()
        until(lambda: len(picture(run.dfk).blocks) == 2 and managers_here(run, 1), 20)
        first, _ = sorted(picture(run.dfk).blocks, key=lambda block: block.block)
        assert first.state == "finished"
        assert first.reason == (
            "its job ended before a manager of it found the DataFlowKernel that was started again (exit status 0)"
        )
        assert call(run, where).result(20)[0] == "1"


def test_a_submission_in_flight_is_found_by_its_name(sandbox: Sandbox) -> None:
    """Its number was not written down when the process was killed."""
    with lives(sandbox) as run:
        before = managers_here(run, 1)
        (script,) = scripts(run)
        journal = run.run_dir / "blocks.jsonl"
        run.kill()
        journal.write_text("".join(line for line in journal.read_text().splitlines(True) if '"submitted"' not in line))
        assert scripts(run) == [""]
        run.revive()
        assert managers_here(run, 1) == before
        until(lambda: scripts(run) == [script])
        assert [block.job for block in picture(run.dfk).blocks] == [script]


def test_a_number_that_came_again_is_not_touched(sandbox: Sandbox) -> None:
    """A process that has the number of a block which has ended is none of ours."""
    with lives(sandbox) as run:
        managers_here(run, 1)
        stranger = psutil.Popen(["sleep", "60"], start_new_session=True)
        try:
            journal = BlockJournal(run.run_dir, "htex")
            run.kill()
            journal.requested("7", f"parslab.{run.settings.run}.htex.7")
            journal.submitted("7", f"{stranger.pid}-0123abcd")
            run.revive()
            until(lambda: [block.state for block in picture(run.dfk).blocks if block.block == "7"] == ["failed"])
            run.kill()
            journal.requested("8", f"parslab.{run.settings.run}.htex.8")
            journal.submitted("8", f"{stranger.pid}-0123abcd")
            run.bury()
            assert stranger.is_running()
            assert stranger.status() != psutil.STATUS_ZOMBIE
        finally:
            stranger.kill()
            stranger.wait()


def test_a_port_that_was_taken_meanwhile(sandbox: Sandbox) -> None:
    """It listens at another one, and managers read in the run's folder where that is."""
    with lives(sandbox, address="127.0.0.1") as run:
        before = managers_here(run, 1)
        (connection,) = [
            c for c in psutil.Process(run.dfk.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN
        ]
        run.kill()
        with socket.create_server(("127.0.0.1", connection.laddr.port)):
            run.revive()
            assert managers_here(run, 1) == before
            assert call(run, where).result(20) == before[0]
            said = f"Port {connection.laddr.port} of the run was taken by another program"
            assert any(said in text for text in notices(run.dfk))
    sandbox.assert_empty()


def test_manager_gets_a_signal_while_it_looks_for_the_run(sandbox: Sandbox) -> None:
    """As a scheduler does at the end of the walltime."""
    with lives(sandbox) as run:
        ((_, manager),) = managers_here(run, 1)
        run.kill()
        os.kill(manager, signal.SIGTERM)
        until(is_gone(manager), 5)


def test_a_block_that_was_never_started_is_replaced_soon(sandbox: Sandbox) -> None:
    """The DataFlowKernel is killed between its decision and the start of the block, which nobody else can start."""
    with lives(sandbox) as run:
        ((block, manager),) = managers_here(run, 1)
        run.kill()
        os.kill(manager, signal.SIGKILL)
        until(is_gone(manager), 5)
        journal = BlockJournal(run.run_dir, "htex")
        journal.ended(block, "failed")
        journal.requested("1", f"parslab.{run.settings.run}.htex.1")
        run.revive()
        assert call(run, where).result(15)[0] == "2"
    sandbox.assert_empty()
