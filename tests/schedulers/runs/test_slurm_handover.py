"""A notebook's job ends, and its run goes on in the notebook's next job: nothing is computed twice."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.sandbox import until
from tests.schedulers.runs.cluster import no_jobs

if TYPE_CHECKING:
    from tests.process.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("nodes")

TASKS = 150
"""Of 0.1 s each, on two workers."""
PRELUDE = """
    import json, os, sys, time
    import parslab
    from parslab import python_app
    from parslab.clock import steady_time
    from parslab.records.panel import SnapshotRequest
    from tests.schedulers.runs.cluster import htex, slurm_provider

    ROOT = sys.argv[1]

    @python_app
    def step(number, log):
        import os, time
        begun = time.monotonic()
        with open(log, "ab", 0) as file: file.write(b"begin %d %f\\n" % (number, begun))
        time.sleep(0.1)
        with open(log, "ab", 0) as file: file.write(b"end %d %f\\n" % (number, time.monotonic()))
        return number, os.environ["SLURM_JOB_ID"]

    @python_app
    def large(log):
        with open(log, "ab", 0) as file: file.write(b"begin -1 %f\\n" % time.monotonic())
        return bytes(2_000_000)

    def calls():
        log = os.path.join(ROOT, "log")
        return large(log), [step(number, log) for number in range(TASKS)]

    def emit(name, **facts):
        path = os.path.join(ROOT, name)
        with open(path + ".new", "w") as file: json.dump(facts, file)
        os.rename(path + ".new", path)
"""
FIRST = """
    provider = slurm_provider(init_blocks=1, min_blocks=1, max_blocks=1, scheduler_options="-w n3")
    dfk = parslab.load(parslab.Config(
        executors=[htex(provider, max_workers_per_node=2)], run_dir=os.path.join(ROOT, "runs"), linger=120
    ))
    big, steps = calls()
    assert len(big.result()) == 2_000_000 and steps[10].result()[0] == 10
    info = lambda: dfk.ask(SnapshotRequest(subscribe=False)).run
    while not info().job: time.sleep(0.05)
    emit("first", run=dfk.run, host=os.uname().nodename, job=info().job, own=os.environ["SLURM_JOB_ID"],
         left=info().job_ends - steady_time())
    while dfk.state.ended is None: time.sleep(0.05)
    emit("ended", why=str(dfk.state.ended))
"""
SECOND = """
    dfk = parslab.handover(wait=20)
    big, steps = calls()
    results = [step.result() for step in steps]
    emit("second", run=dfk.run, host=os.uname().nodename, notices=dfk.notices, big=len(big.result()),
         numbers=[number for number, _ in results], jobs=sorted({job for _, job in results}))
    dfk.cleanup()
"""


def job(sandbox: Sandbox, node: str, source: str) -> None:
    """Run a kernel of the notebook in a job of its own on a node."""
    path = sandbox.root / f"{node}.py"
    path.write_text(textwrap.dedent(PRELUDE).replace("TASKS", str(TASKS)) + textwrap.dedent(source))
    environment = {
        **os.environ,
        **sandbox.environment(),
        "PARSLAB_NOTEBOOK": "/books/fit.ipynb",
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    output = sandbox.root / f"{node}.out"
    words = [
        "sbatch",
        "-w",
        node,
        "-n1",
        "-t",
        "4",
        "-o",
        str(output),
        "--wrap",
        f"exec {sys.executable} {path} {sandbox.root}",
    ]
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)


def told(sandbox: Sandbox, name: str, node: str) -> dict[str, Any]:
    """What a kernel has written down."""
    path = sandbox.root / name
    try:
        until(path.exists, 90, f"{name} of {node}")
    except pytest.fail.Exception as error:
        output = sandbox.root / f"{node}.out"
        pytest.fail(f"{error}: {output.read_text() if output.exists() else 'its job has not begun'}")
    facts: dict[str, Any] = json.loads(path.read_text())
    return facts


def test_nothing_is_computed_twice_between_two_jobs(sandbox: Sandbox) -> None:
    job(sandbox, "n1", FIRST)
    first = told(sandbox, "first", "n1")
    job(sandbox, "n2", SECOND)
    second = told(sandbox, "second", "n2")
    assert (first["host"], second["host"], second["run"]) == ("n1", "n2", first["run"])
    assert first["job"] == f"Slurm job {first['own']}"
    assert 0 < first["left"] <= 240
    assert "was handed over" in told(sandbox, "ended", "n1")["why"]
    assert any("was handed over by n1 and goes on here" in text for text in second["notices"])
    assert second["numbers"] == list(range(TASKS))
    assert second["big"] == 2_000_000
    assert len(second["jobs"]) == 1  # the same block all the time
    lines = [line.split() for line in (sandbox.root / "log").read_text().splitlines()]
    begun = Counter(int(number) for word, number, _ in lines if word == "begin")
    assert begun == Counter(range(-1, TASKS))
    times = sorted(float(time) for word, number, time in lines if word == "begin" and number != "-1")
    gap = max(later - earlier for earlier, later in itertools.pairwise(times))
    print(f"longest time without the begin of a task: {gap:.2f} s")
    assert gap <= 5.0
    no_jobs()
    sandbox.assert_empty()
