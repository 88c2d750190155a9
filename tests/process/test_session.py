"""Loading, attaching and ending: twice, by several processes, in any order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import Config, LowLatencyExecutor, ThreadPoolExecutor, join_app, python_app
from parslab.errors import ConfigurationError, DataFlowKernelLost, NoDataFlowKernelError
from tests.process.panel import picture
from tests.process.sandbox import Sandbox, alive, error_of, is_gone, until, within

if TYPE_CHECKING:
    from pathlib import Path

cloudpickle.register_pickle_by_value(sys.modules[__name__])

GUEST = """
    dfk = parslab.attach()
    emit(run=dfk.run)
"""


@python_app(executors=["llex"])
def plus(x: int) -> int:
    return x + 1


@python_app(executors=["llex"])
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def config(sandbox: Sandbox, **options: Any) -> Config:
    return Config(executors=[LowLatencyExecutor(workers=1, **options)], run_dir=sandbox.runs)


def test_load_twice_with_an_equal_config_is_the_same_run(sandbox: Sandbox) -> None:
    with parslab.load(config(sandbox)) as dfk:
        assert parslab.load(config(sandbox)) is dfk
        assert parslab.dfk() is dfk
        assert plus(1).result() == 2


def test_load_with_another_config_says_what_to_do(sandbox: Sandbox) -> None:
    with parslab.load(config(sandbox)) as dfk:
        with pytest.raises(ConfigurationError, match=rf"Run {dfk.run} is loaded with another .*dfk\(\)\.cleanup\(\)"):
            parslab.load(config(sandbox, environment={"A": "1"}))
        assert plus(1).result() == 2


def test_nothing_is_loaded(sandbox: Sandbox) -> None:
    parslab.clear()
    with pytest.raises(NoDataFlowKernelError, match=r"No run is loaded: call parslab\.load\(\)"):
        plus(1)
    with parslab.load(config(sandbox)):
        pass
    with pytest.raises(NoDataFlowKernelError, match=r"is over.*parslab\.load\(\)"):
        plus(1)
    parslab.clear()


def test_with_load_cleans_up_even_by_an_exception(sandbox: Sandbox) -> None:
    class Mine(Exception):
        pass

    dfk = parslab.load(config(sandbox))
    future = nap(60)
    with pytest.raises(Mine), dfk:
        raise Mine
    assert not alive(dfk.pid)
    assert future.done()
    sandbox.assert_empty(1)
    dfk.cleanup()  # twice is safe
    with parslab.load(config(sandbox)) as again:
        assert again.run != dfk.run
        assert plus(1).result() == 2


def test_results_that_have_come_outlive_the_run(sandbox: Sandbox) -> None:
    with parslab.load(config(sandbox)):
        small, large = plus(1), python_app(lambda: bytes(1_000_000), executors=["llex"])()
        assert small.result() == 2
        until(large.done)
    assert small.result() == 2
    assert small.state.name == "exec_done"
    with pytest.raises(Exception, match=r"shut down|is over"):
        large.result()  # it was never asked for, and lay in the DataFlowKernel


def test_cleanup_from_a_callback_and_from_another_thread(sandbox: Sandbox) -> None:
    import threading

    dfk = parslab.load(config(sandbox))
    done = threading.Event()

    def end(_: object) -> None:
        dfk.cleanup()
        done.set()

    plus(1).add_done_callback(end)
    assert done.wait(15)
    until(is_gone(dfk.pid))
    dfk = parslab.load(config(sandbox))
    thread = threading.Thread(target=dfk.cleanup)
    thread.start()
    thread.join(10)
    assert not alive(dfk.pid)
    parslab.clear()


# --- guests ----------------------------------------------------------------------------------------------------------


def test_a_guest_submits_and_sees_results(sandbox: Sandbox) -> None:
    source = (
        GUEST
        + """
    @python_app
    def double(x): return 2 * x
    import numpy as np
    emit(results=[f.result() for f in [double(n) for n in range(50)]], chain=double(double(4)).result(),
         large=float(double(np.ones(1_000_000)).result().sum()))
    @python_app
    def fail(): raise ValueError("here")
    try: fail().result()
    except ValueError as error: emit(error=str(error))
    sys.stdin.readline()
    dfk.cleanup()
    emit(over=True)
    """
    )
    with parslab.load(config(sandbox)) as dfk:
        until(lambda: list(sandbox.jupyter.glob("parslab-*.json")))
        with sandbox.script(source, stdin=subprocess.PIPE) as guest:
            assert guest.read_json()["run"] == dfk.run
            assert guest.read_json() == {"results": [2 * n for n in range(50)], "chain": 16, "large": 2_000_000.0}
            assert guest.read_json()["error"] == "here"
            assert picture(dfk).overview.clients == 2
            assert guest.popen.stdin is not None
            guest.popen.stdin.close()
            assert guest.read_json()["over"]
            assert guest.wait() == 0
        until(lambda: picture(dfk).overview.clients == 1)
        assert plus(1).result() == 2


@pytest.mark.parametrize("large", [False, True])
def test_a_guest_that_is_killed_costs_the_run_nothing(sandbox: Sandbox, large: bool) -> None:
    source = (
        GUEST
        + f"""
    @python_app
    def made(n): time.sleep(0.05); return bytes({100_000_000 if large else 10})
    futures = [made(n) for n in range({4 if large else 50})]
    emit(going=True)
    print([f.result() for f in futures][0][:1], file=sys.stderr)
    time.sleep(60)
    """
    )
    with parslab.load(config(sandbox)) as dfk:
        until(lambda: list(sandbox.jupyter.glob("parslab-*.json")))
        with sandbox.script(source) as guest:
            guest.read_json()
            assert guest.read_json()["going"]
            until(lambda: picture(dfk).overview.counts.get("exec_done"))  # some are done, others are not
            guest.signal(signal.SIGKILL)
            guest.wait()
        with within(10):  # what it called is run all the same
            assert plus(1).result() == 2
        until(lambda: picture(dfk).overview.clients == 1)


@pytest.mark.parametrize("how", ["cleanup", "killed"])
def test_guest_is_notified_when_the_owner_leaves(sandbox: Sandbox, how: str) -> None:
    owner = f"""
        dfk = load(1)
        emit(run=dfk.run, pid=dfk.pid)
        sys.stdin.readline()
        {"dfk.cleanup()" if how == "cleanup" else "os.kill(os.getpid(), signal.SIGKILL)"}
    """
    import subprocess

    with sandbox.script(owner, stdin=subprocess.PIPE) as script:
        facts = script.read_json()
        until(lambda: list(sandbox.jupyter.glob("parslab-*.json")))
        dfk = parslab.attach(facts["run"])
        try:
            done, running, waiting = plus(1), nap(60), plus(nap(60))
            assert done.result(10) == 2
            until(running.running)
            assert script.popen.stdin is not None
            script.popen.stdin.write(b"\n")
            script.popen.stdin.flush()
            for future in (running, waiting):
                error = error_of(future, 5)
                assert isinstance(error, DataFlowKernelLost)
                why = "it was shut down by its owner" if how == "cleanup" else f"its owner, process {script.popen.pid}"
                assert why in str(error)
                assert "dfk.log" in str(error)
            with pytest.raises(NoDataFlowKernelError):
                plus(2)
            assert done.result() == 2
        finally:
            dfk.cleanup()
            parslab.clear()
            script.popen.stdin.close()  # type: ignore[union-attr]


def test_a_guest_that_stops_reading_holds_up_nobody(sandbox: Sandbox) -> None:
    source = (
        GUEST
        + """
    @python_app
    def made(n): return bytes(15_000)
    futures = [made(n) for n in range(3000)]
    os.kill(os.getpid(), signal.SIGSTOP)
    emit(total=sum(len(f.result()) for f in futures))
    """
    )
    with parslab.load(config(sandbox)):
        until(lambda: list(sandbox.jupyter.glob("parslab-*.json")))
        with sandbox.script(source) as guest:
            guest.read_json()
            import psutil

            until(lambda: psutil.Process(guest.popen.pid).status() == psutil.STATUS_STOPPED)
            for n in range(200):
                assert plus(n).result(10) == n + 1
            guest.signal(signal.SIGCONT)
            assert guest.read_json(15)["total"] == 45_000_000
            guest.wait()


def test_attaching_where_nothing_runs_says_so(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigurationError, match=r"There is no live run .*there are: none"):
        parslab.attach()
    with pytest.raises(ConfigurationError, match=r"There is no live run 007-abc of yours"):
        parslab.attach("007-abc")


def test_attaching_with_a_file_that_is_none(sandbox: Sandbox, tmp_path: Path) -> None:
    for content in ("no json", "{}", "[]", '{"run": "x", "socket": "/nonexistent", "pid": 1, "run_dir": "/"}'):
        path = tmp_path / "connection.json"
        path.write_text(content)
        with pytest.raises(ConfigurationError, match=r"connection\.json|cannot be reached"):
            parslab.attach(str(path))


def test_attaching_to_ones_own_run_says_so(sandbox: Sandbox) -> None:
    with (
        parslab.load(config(sandbox)) as dfk,
        pytest.raises(ConfigurationError, match=rf"Run {dfk.run} is loaded here"),
    ):
        parslab.attach()


def test_stale_connection_files_are_swept(sandbox: Sandbox) -> None:
    import socket
    import subprocess

    from parslab.client.process.connection_file import find_runs

    child = subprocess.Popen(["true"])
    child.wait()
    folder = sandbox.runtime / "parslab-00c0ffee"
    folder.mkdir()
    facts = {"run": "000-stale", "host": socket.gethostname(), "socket": str(folder / "dfk.sock"), "run_dir": "/x"}
    stale = sandbox.jupyter / "parslab-000-stale.json"
    stale.write_text(json.dumps({**facts, "pid": child.pid}))
    again = sandbox.jupyter / "parslab-000-again.json"  # its number was given to somebody else since
    again.write_text(json.dumps({**facts, "run": "000-again", "pid": os.getpid()}))
    os.utime(again, (0, 0))
    broken = sandbox.jupyter / "parslab-000-broken.json"
    broken.write_text("{")
    far = sandbox.jupyter / "parslab-000-far.json"
    far.write_text(json.dumps({**facts, "run": "000-far", "host": "elsewhere", "pid": child.pid}))
    assert [run.run for run in find_runs()] == ["000-far"]  # whether it lives cannot be known here
    assert not stale.exists()
    assert not again.exists()
    assert not folder.exists()
    broken.unlink()
    far.unlink()


def test_a_run_with_threads_only_needs_no_worker(sandbox: Sandbox) -> None:
    @python_app
    def here() -> int:
        return os.getpid()

    with parslab.load(Config(executors=[ThreadPoolExecutor()], run_dir=sandbox.runs)):
        assert here().result(10) == os.getpid()


def test_an_app_for_an_executor_that_is_not_there_says_which_are(sandbox: Sandbox) -> None:
    with parslab.load(config(sandbox)):
        lost = python_app(lambda: 1, executors=["gpu"])
        with pytest.raises(ConfigurationError, match=r"There is no executor 'gpu'; this run has llex\."):
            lost()


# --- what tasks may do -----------------------------------------------------------------------------------------------


def test_tasks_may_fork_and_use_multiprocessing(sandbox: Sandbox) -> None:
    @python_app
    def fork() -> tuple[int, int]:
        child = os.fork()
        if not child:
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), os.getpid()

    @python_app
    def pool(kind: str) -> list[int]:
        import multiprocessing

        with multiprocessing.get_context(kind).Pool(2) as workers:
            return workers.map(abs, [-1, -2, -3])

    @python_app
    def executor() -> list[int]:
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(2) as workers:
            return list(workers.map(abs, [-4, -5]))

    with parslab.load(config(sandbox)):
        status, worker = fork().result(10)
        assert status == 7
        assert pool("fork").result(10) == [1, 2, 3]
        assert pool("spawn").result(15) == [1, 2, 3]
        assert executor().result(10) == [4, 5]
        assert fork().result(10)[1] == worker


def test_a_forked_child_that_comes_back_as_the_worker_is_ended(sandbox: Sandbox) -> None:
    """A task that forks and forgets to leave in the child: its outcome comes once, the worker lives on."""

    @python_app
    def fork() -> tuple[int, int]:
        parent = os.getpid()
        return os.fork(), parent

    with parslab.load(config(sandbox)) as dfk:
        for n in range(5):
            child, parent = fork().result(10)
            assert child
            assert plus(n).result(10) == n + 1
            until(is_gone(child))
            assert alive(parent)
        assert not picture(dfk).overview.counts.get("failed")


def test_join_apps_wait_for_many(sandbox: Sandbox) -> None:
    @join_app
    def fan(n: int) -> Any:
        return [plus(k) for k in range(n)]

    with parslab.load(config(sandbox)):
        assert fan(200).result(10) == list(range(1, 201))


def test_threads_that_load_at_once_get_one_run(sandbox: Sandbox) -> None:
    """Six threads started six runs."""
    with sandbox.script("""
        import concurrent.futures
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            runs = list(pool.map(lambda _: load(1), range(6)))
        emit(runs=len({id(run) for run in runs}))
        runs[0].cleanup()
    """) as script:
        assert script.read_json(20) == {"runs": 1}
        assert script.wait() == 0


@pytest.mark.parametrize("closed", ["0<&-", "0<&- 2>&-", "2>&-"])
def test_a_program_without_standard_streams_runs_tasks(sandbox: Sandbox, closed: str) -> None:
    """Daemons and cron start such programs: sockets got the numbers of the closed streams."""
    path = sandbox.root / "closed.py"
    path.write_text(
        "import parslab\n"
        "from parslab import Config, LowLatencyExecutor\n"
        "@parslab.python_app\n"
        "def plus(x): return x + 1\n"
        f"config = Config(executors=[LowLatencyExecutor(workers=1)], run_dir={str(sandbox.runs)!r})\n"
        "with parslab.load(config):\n"
        "    print(plus(1).result(), flush=True)\n"
    )
    command = f"{sys.executable} {path} {closed}"
    done = subprocess.run(["/bin/bash", "-c", command], stdout=subprocess.PIPE, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, "2\n")


def test_load_at_the_top_of_a_module_loads_nothing_in_workers(sandbox: Sandbox) -> None:
    """Each worker that imported the module for its apps started a run."""
    (sandbox.root / "topload.py").write_text(
        "import parslab\n"
        "from parslab import Config, LowLatencyExecutor\n"
        f"config = Config(executors=[LowLatencyExecutor(workers=1)], run_dir={str(sandbox.runs)!r})\n"
        "dfk = parslab.load(config)\n"
        "def helper(x): return x + 1\n"
        "def name(): return dfk.run\n"
        "@parslab.python_app\n"
        "def plus(x): return helper(x)\n"
        "@parslab.python_app\n"
        "def asks(): return name()\n"
    )
    with sandbox.script("""
        sys.path.insert(0, os.getcwd())
        import topload
        first = topload.plus(1)
        value = first.result(20)
        error = topload.asks().exception(20)
        failure = f"{type(error).__name__}: {error}"
        emit(value=value, said=first.logs("stderr"), error=failure, runs=sorted(os.listdir(RUNS)))
        topload.dfk.cleanup()
    """) as script:
        facts = script.read_json(20)
        assert facts["value"] == 2
        assert "parslab.load() in topload does nothing in a worker" in facts["said"]
        assert facts["error"].startswith("NoDataFlowKernelError: A worker imports topload, where parslab.load() does")
        assert facts["runs"] == ["000"]
        assert script.wait() == 0


def test_an_async_function_on_the_thread_pool_is_awaited(sandbox: Sandbox) -> None:
    with parslab.load(Config(executors=[ThreadPoolExecutor(label="threads")], run_dir=sandbox.runs)):

        @python_app(executors=["threads"])
        async def later(x: int) -> int:
            import asyncio

            await asyncio.sleep(0)
            return x + 1

        assert later(1).result() == 2
