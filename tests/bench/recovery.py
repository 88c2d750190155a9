"""What a run keeps when one of its processes is killed: how many tasks run twice, and how soon cells go on.

Cases of ``cases``.  The notebook is a script that says whose kernel it is (``PARSLAB_NOTEBOOK``).  Every task writes
its number into a file when it begins: what ran is counted by what ran.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from pathlib import Path

__all__ = ["kernel_killed", "kernel_process_killed"]

NOTEBOOK = """
    import json, os, signal, sys, time
    begun = time.perf_counter()
    import parslab
    from parslab import Config, HighThroughputExecutor, LocalProvider, LowLatencyExecutor, python_app

    TASKS, EXECUTOR, WHAT = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    FACTOR = 2

    def scaled(x):
        return FACTOR * x

    @python_app
    def work(i):
        import os, time
        fd = os.open("ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, b"%d\\n" % i)
        os.close(fd)
        time.sleep(0.001)
        return scaled(i)

    executor = LowLatencyExecutor(workers=2)
    if EXECUTOR == "high_throughput":
        executor = HighThroughputExecutor(max_workers_per_node=2, provider=LocalProvider(init_blocks=1, max_blocks=1))
    dfk = parslab.load(Config(executors=[executor], linger=60))
    there = time.perf_counter()
    futures = [work(i) for i in range(TASKS)]
    if WHAT != "finish":
        while sum(future.done() for future in futures) < TASKS // 2:
            time.sleep(0.005)
        if WHAT == "kernel":
            os.kill(os.getpid(), signal.SIGKILL)
        begun, pid = time.perf_counter(), dfk.pid
        done = [i for i, future in enumerate(futures) if future.done()]
        os.kill(pid, signal.SIGKILL)
        while dfk.pid == pid:
            time.sleep(0.001)
        there = time.perf_counter()
        next(future for future in futures if not future.done()).result()
        with open("done", "w") as file:
            json.dump(done, file)
    futures[0].result()
    first = time.perf_counter()
    assert [future.result() for future in futures] == [2 * i for i in range(TASKS)]
    ended = time.perf_counter()
    dfk.cleanup()
    print(json.dumps({"load": there - begun, "first": first - begun, "all": ended - begun}))
"""


def _notebook(folder: Path, tasks: int, executor: str, what: str) -> dict[str, float]:
    script = folder / "notebook.py"
    script.write_text(textwrap.dedent(NOTEBOOK), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), str(tasks), executor, what],
        stdout=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, "PARSLAB_NOTEBOOK": str(folder / "notebook.ipynb")},
        timeout=300,
        check=False,
    )
    if done.returncode != (-signal.SIGKILL if what == "kernel" else 0):
        raise RuntimeError(f"the notebook ended with exit status {done.returncode}")
    return dict(json.loads(done.stdout.splitlines()[-1])) if what != "kernel" else {}


def _counted(folder: Path, tasks: int) -> dict[str, float]:
    """How many tasks ran twice, how many of those whose result was there already, how many never."""
    ran = Counter(map(int, (folder / "ran").read_text().split()))
    done = folder / "done"
    again = sum(ran[i] > 1 for i in json.loads(done.read_text())) if done.exists() else 0
    return {"twice": float(sum(ran.values()) - len(ran)), "again": float(again), "missing": float(tasks - len(ran))}


def kernel_killed(tasks: int, executor: str) -> dict[str, float]:
    """The kernel is killed when half of the tasks have ended; another one runs the notebook again."""
    with tempfile.TemporaryDirectory(prefix="lasting-") as name:
        folder = Path(name)
        _notebook(folder, tasks, executor, "kernel")
        time.sleep(0.5)  # as long as a restart takes at least
        figures = _notebook(folder, tasks, executor, "finish")
        return figures | _counted(folder, tasks)


def kernel_process_killed(tasks: int, executor: str) -> dict[str, float]:
    """The DataFlowKernel process is killed when half of the tasks have ended; the notebook waits on."""
    with tempfile.TemporaryDirectory(prefix="lasting-") as name:
        folder = Path(name)
        figures = _notebook(folder, tasks, executor, "dataflowkernel")
        return figures | _counted(folder, tasks)
