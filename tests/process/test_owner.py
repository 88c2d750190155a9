"""The owner of a run goes away at a bad moment: within five seconds nothing is left but the run directory.

The plain ways to go are in ``test_cleanup_after_kills``.
"""

from __future__ import annotations

import os
import signal

import psutil

import parslab
from tests.process.panel import picture
from tests.process.sandbox import Sandbox, is_gone, until

WORK = """
    @python_app
    def work():
        import subprocess, os, time
        children = [subprocess.Popen(["sleep", "600"]).pid,
                    subprocess.Popen(["sh", "-c", "sleep 600 & wait"]).pid]
        print(*children, flush=True)
        time.sleep(600)

    @python_app
    def quick(x):
        return x + 1
"""
BUSY = (
    WORK
    + """
    dfk = load(2)
    futures = [work() for _ in range(6)]
    while not all(f.state.name == "running" for f in futures[:2]): time.sleep(0.01)
    while not all(f.logs().strip() for f in futures[:2]): time.sleep(0.05)
    emit(dfk=dfk.pid, children=[int(w) for f in futures[:2] for w in f.logs().split()])
"""
)


def leaves_nothing(sandbox: Sandbox, facts: dict[str, object]) -> None:
    """Everything is gone in time, and of the files only the run directory is there."""
    children = facts["children"]
    assert isinstance(children, list)
    sandbox.assert_empty()
    for pid in [*children, facts["dfk"]]:
        until(is_gone(pid), 1)
    assert [path.name for path in sandbox.runs.iterdir()] == ["000"]


def test_a_killed_owner_with_a_value_under_way(sandbox: Sandbox) -> None:
    source = """
        @python_app
        def large(): return bytes(200_000_000)
        dfk = load(2)
        futures = [large() for _ in range(4)]
        emit(dfk=dfk.pid, children=[])
        [f.result() for f in futures]
        time.sleep(600)
    """
    with sandbox.script(source) as script:
        facts = script.read_json()
        script.signal(signal.SIGKILL)
        script.wait()
        leaves_nothing(sandbox, facts)


def test_a_killed_owner_in_the_middle_of_load(sandbox: Sandbox) -> None:
    for delay in (0.02, 0.08, 0.15, 0.25):
        source = f"""
            threading.Timer({delay}, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
            load(2)
            time.sleep(60)
        """
        with sandbox.script(source) as script:
            script.wait()
        for folder in sandbox.runtime.iterdir():
            # Killed before the process was there: an empty folder is what the system cleans up at log-out.
            if not any(folder.iterdir()):
                folder.rmdir()
        sandbox.assert_empty()


def test_forked_child_without_a_run_gets_an_error(sandbox: Sandbox) -> None:
    source = (
        WORK
        + """
    dfk = load(2)
    bound = python_app(lambda: 1, data_flow_kernel=dfk)
    mine = work()
    done = quick(1)
    assert done.result() == 2

    def said(call):
        try:
            return f"no error: {call()!r}"
        except BaseException as error:
            return f"{type(error).__name__}: {error}"

    if not os.fork():
        try:
            emit(app=said(lambda: quick(1)), bound=said(bound), result=said(mine.result), known=done.result(),
                 logs=said(mine.logs), cancel=said(mine.cancel), cleanup=said(dfk.cleanup))
            with load(1):
                emit(own=quick(41).result())
        finally:
            os._exit(0)
    os.wait()
    emit(parent=quick(2).result(), state=mine.state.name)
"""
    )
    with sandbox.script(source) as script:
        facts = script.read_json()
        for what in ("app", "bound", "result", "logs"):
            assert "NoDataFlowKernelError" in facts[what], (what, facts)
            assert "fork" in facts[what], (what, facts)
            assert "parslab.load()" in facts[what], (what, facts)
        assert facts["known"] == 2
        assert facts["cleanup"] == "no error: None"
        assert script.read_json()["own"] == 42
        assert script.read_json() == {"parent": 3, "state": "running"}
        assert script.wait() == 0


def test_a_child_that_is_started_by_exec_does_not_keep_the_run(sandbox: Sandbox) -> None:
    source = BUSY + "\n    emit(child=subprocess.Popen(['sleep', '60'], close_fds=False).pid)\n    time.sleep(600)\n"
    with sandbox.script(source) as script:
        facts = script.read_json()
        child = script.read_json()["child"]
        script.signal(signal.SIGKILL)
        script.wait()
        until(is_gone(facts["dfk"]), 5)
        os.kill(child, signal.SIGKILL)
        leaves_nothing(sandbox, facts)


def test_an_owner_that_is_stopped_for_a_while_loses_nothing(sandbox: Sandbox) -> None:
    source = (
        WORK
        + """
    dfk = load(2)
    futures = [quick(n) for n in range(1000)]
    emit(dfk=dfk.pid)
    print(sum(f.result() for f in futures), file=sys.stderr)
    emit(total=sum(f.result() for f in futures))
"""
    )
    with sandbox.script(source) as script:
        script.read_json()
        script.signal(signal.SIGSTOP)
        until(lambda: psutil.Process(script.popen.pid).status() == psutil.STATUS_STOPPED)
        with parslab.attach() as guest:  # all that has been sent is done, and the owner does not hear of it
            until(lambda: not any(n for state, n in picture(guest).overview.counts.items() if state != "exec_done"))
        script.signal(signal.SIGCONT)
        assert script.read_json()["total"] == 500500


def test_cleanup_returns_soon_whatever_is_under_way(sandbox: Sandbox) -> None:
    source = (
        WORK
        + """
    dfk = load(2)
    futures = [work() for _ in range(1000)]
    while futures[0].state.name != "running": time.sleep(0.01)
    began = time.monotonic()
    dfk.cleanup()
    took = time.monotonic() - began
    emit(took=took, dfk=dfk.pid, children=[], done=all(f.done() for f in futures), state=futures[-1].state.name)
"""
    )
    with sandbox.script(source) as script:
        facts = script.read_json()
        assert facts["took"] <= 2
        assert facts["done"]
        assert facts["state"] == "cancelled"
        assert script.wait() == 0
        leaves_nothing(sandbox, facts)


def test_a_daemon_thread_that_submits_while_the_interpreter_ends(sandbox: Sandbox) -> None:
    source = (
        WORK
        + """
    dfk = load(1)
    called = threading.Event()
    def on():
        for n in range(100): quick(1)
        called.set()
        while True: quick(1)
    threading.Thread(target=on, daemon=True).start()
    called.wait()
    emit(dfk=dfk.pid, children=[])
"""
    )
    with sandbox.script(source) as script:
        facts = script.read_json()
        assert script.wait() == 0
        leaves_nothing(sandbox, facts)
        errors = [line for line in script.errors.read_text().splitlines() if "Error" in line]
        assert all("NoDataFlowKernelError: Run 000" in line for line in errors), errors  # the thread's own
