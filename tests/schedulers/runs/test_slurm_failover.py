"""Jobs of Slurm outlive the DataFlowKernel that asked for them: they serve the next one, or are cancelled.

First without the tasks (another one is started by hand on a run without a record), then as users have it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import python_app
from parslab.cleanup.dead_runs import cancel_jobs_of_dead_run
from tests.process.blocks import attempts, managers_here, written
from tests.process.panel import picture
from tests.process.restarted_run import RestartedRun
from tests.process.sandbox import until
from tests.schedulers.runs.cluster import htex, loaded, no_jobs, slurm_jobs, slurm_provider

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.process.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("nodes")
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def where() -> tuple[str, str]:
    """The block, and the job, that this runs in."""
    import os

    return os.environ["PARSLAB_WORKER_BLOCK_ID"], os.environ["SLURM_JOB_ID"]


@contextlib.contextmanager
def crowded(sandbox: Sandbox, **options: Any) -> Iterator[RestartedRun]:
    """Three blocks, each of a whole node, of which two are given to us: one has to wait."""
    provider = slurm_provider(
        init_blocks=3,
        min_blocks=3,
        max_blocks=3,
        exclusive=True,
        scheduler_options="--exclude=n3,n4",
    )
    run = RestartedRun(
        parslab.Config(executors=[htex(provider)], run_dir=sandbox.runs, strategy_period=0.5, resume=False, **options)
    )
    try:
        yield run
    finally:
        run.end()


def two_run_and_one_waits(run: RestartedRun) -> dict[str, str]:
    """The jobs of the run, and their states."""
    until(lambda: ready(run) == 2 and sorted(slurm_jobs(run.dfk.run).values()) == ["PENDING", "RUNNING", "RUNNING"], 40)
    return slurm_jobs(run.dfk.run)


def ready(run: RestartedRun) -> int:
    """Managers that are connected."""
    return sum(row.state == "ready" for row in picture(run.dfk).managers)


def served(run: RestartedRun) -> set[tuple[str, str]]:
    """Blocks and jobs in which tasks run now."""
    app = python_app(where, data_flow_kernel=run.dfk)
    return {future.result(30) for future in [app() for _ in range(40)]}


def test_running_and_queued_jobs_serve_the_next_dataflowkernel(sandbox: Sandbox) -> None:
    with crowded(sandbox) as run:
        before = two_run_and_one_waits(run)
        known = served(run)
        run.kill()
        run.revive()
        assert two_run_and_one_waits(run) == before
        assert served(run) <= known
        # The one that waits comes to the process that did not ask for it, under the number that it had.
        (waits,) = (job for job, state in before.items() if state == "PENDING")
        (block,) = (row.block for row in picture(run.dfk).blocks if row.job == waits)
        subprocess.run(["scancel", next(job for job in before if job != waits)], check=True)
        until(lambda: block in {row.block for row in picture(run.dfk).managers if row.state == "ready"}, 40, "it runs")
        until(lambda: (block, waits) in served(run), 40, "it serves")
        until(lambda: len(picture(run.dfk).blocks) == 4, 20, "another one is asked for in place of the cancelled")
        assert waits in slurm_jobs(run.dfk.run)
    no_jobs(lambda: slurm_jobs(run.dfk.run))
    sandbox.assert_empty()


def test_a_submission_in_flight_is_found_by_its_name(sandbox: Sandbox) -> None:
    """By the next one, which goes on with it."""
    with crowded(sandbox) as run:
        before = two_run_and_one_waits(run)
        run.kill()
        forget_numbers(run)
        run.revive()
        assert two_run_and_one_waits(run) == before
        until(lambda: {row.job for row in picture(run.dfk).blocks} == set(before), 20)
    no_jobs(lambda: slurm_jobs(run.dfk.run))
    sandbox.assert_empty()


def test_when_nobody_takes_its_place_all_jobs_are_cancelled(sandbox: Sandbox) -> None:
    """Also the one in the queue, and those whose numbers nobody had written down."""
    with crowded(sandbox) as run:
        jobs = two_run_and_one_waits(run)
        run.kill()
        forget_numbers(run)
        (said,) = cancel_jobs_of_dead_run(run.run_dir)
        assert said.startswith("The run was killed, so its jobs ")
        assert all(job in said for job in jobs)
        no_jobs(lambda: slurm_jobs(run.dfk.run))
    sandbox.assert_empty()


def forget_numbers(run: RestartedRun) -> None:
    """As if it had been killed before Slurm answered."""
    journal = run.run_dir / "blocks.jsonl"
    journal.write_text("".join(line for line in journal.read_text().splitlines(True) if '"submitted"' not in line))


@python_app
def begin(log: Path, number: int, gate: Path) -> tuple[int, str]:
    """Write down that the task is begun, and run until the gate is open."""
    import os
    import time

    with open(log, "a") as file:
        file.write(f"{number}\n")
    while not gate.exists():
        time.sleep(0.05)
    return number, os.environ["SLURM_JOB_ID"]


def test_results_go_on_under_the_same_jobs(sandbox: Sandbox, tmp_path: Path) -> None:
    """As a user has it: the notebook starts the killed DataFlowKernel again, and the futures stay as they are."""
    log, gates = tmp_path / "log", [tmp_path / name for name in ("open", "gate", "late")]
    gates[0].touch()
    provider = slurm_provider(init_blocks=2, min_blocks=2, max_blocks=2, exclusive=True, scheduler_options="-w n1")
    with loaded(sandbox, htex(provider)) as dfk:
        done = [begin(log, number, gates[0]) for number in range(5)]
        (job,) = {future.result(40)[1] for future in done}
        until(lambda: sorted(slurm_jobs(dfk.run).values()) == ["PENDING", "RUNNING"], 20, "one runs and one waits")
        jobs = slurm_jobs(dfk.run)
        going = begin(log, 5, gates[1])
        until(lambda: attempts(log)[5] == 1 and written(dfk, going), 20)
        after = begin(log, 6, gates[2])
        before = dfk.pid
        os.kill(before, signal.SIGKILL)
        until(lambda: dfk.pid != before and managers_here(dfk), 60, "it is started again, and its manager is back")
        for gate in gates[1:]:
            gate.touch()
        assert [future.result(40) for future in (going, after)] == [(5, job), (6, job)]
        # The task that a worker had goes on there.
        assert attempts(log) == dict.fromkeys(range(7), 1)
        assert slurm_jobs(dfk.run) == jobs
    no_jobs(lambda: slurm_jobs(dfk.run))
    sandbox.assert_empty()
