"""A run outlives the kernel of its notebook: what goes on meanwhile, who finds it again, and that it ends in the end.

The notebooks here are scripts that say by ``PARSLAB_NOTEBOOK`` whose kernel they are; ``test_lease_kernel`` has real
ones.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from typing import Any

import pytest

import parslab
from parslab.cleanup.dead_runs import remove_dead_runs
from tests.process.blocks import block_leaders
from tests.process.panel import picture
from tests.process.sandbox import Sandbox, Script, alive, is_gone, until

APPS = """
    @python_app(executors=["llex"])
    def plus(x): return x + 1

    @python_app(executors=["llex"])
    def held(gate, after=None):
        import os, time
        while not os.path.exists(gate): time.sleep(0.01)
        return "through"

    @python_app(executors=["llex"])
    def mark(path, after=None): open(path, "x").close()

    def loaded(workers=2, **options):
        return parslab.load(Config(executors=[LowLatencyExecutor(workers=workers)], run_dir=RUNS, **options))
"""
BUSY = (
    APPS
    + """
    dfk = loaded()
    done = [plus(n) for n in range(4)]
    assert [f.result() for f in done] == [1, 2, 3, 4]
    running = held(GATE)
    waiting = mark(MARK, running)
    while not running.running(): time.sleep(0.01)
    emit(run=dfk.run, dfk=dfk.pid, linger=dfk.linger, notices=dfk.notices)
"""
)


class Kernel(Script):
    """A process that is the kernel of a notebook; it reads lines from the test."""

    def __init__(self, sandbox: Sandbox, source: str, notebook: str = "/books/fit.ipynb") -> None:
        variables = f"GATE, MARK = {str(sandbox.root / 'gate')!r}, {str(sandbox.root / 'mark')!r}\n"
        text = variables + textwrap.dedent(source)
        super().__init__(sandbox, text, stdin=subprocess.PIPE, env={**os.environ, "PARSLAB_NOTEBOOK": notebook})

    def __enter__(self) -> Kernel:
        return self

    def go_on(self) -> None:
        """Let it go on: it waits for a line."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(b"\n")
        self.popen.stdin.flush()

    def __exit__(self, *exc: object) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.close()
        super().__exit__(*exc)


def known(sandbox: Sandbox, run: str) -> dict[str, Any]:
    """What the connection file of a run says."""
    return dict(json.loads((sandbox.jupyter / f"parslab-{run}.json").read_text()))


def is_away(sandbox: Sandbox, run: str) -> dict[str, Any]:
    """Wait until nobody is attached to a run; what its connection file says then."""
    until(lambda: known(sandbox, run)["away"] is not None)
    return known(sandbox, run)


def end_lease(facts: dict[str, Any], seconds: float = 0.2) -> None:
    """Attach as a guest, and shorten the lease: what would happen after ten minutes happens now."""
    guest = parslab.attach(facts["run"])
    try:
        guest.keep(seconds)
        guest.leave()
    finally:
        parslab.clear()


def log_of(sandbox: Sandbox, run: str) -> str:
    return (sandbox.runs / run[:3] / "dfk.log").read_text()


def must_end(sandbox: Sandbox, facts: dict[str, Any]) -> None:
    """Nothing of the run is left, and one line says why it ended."""
    until(is_gone(facts["dfk"]))
    sandbox.assert_empty()
    assert re.search(r"run .* is over: nobody came back within 0\.\d+ s \(linger\)", log_of(sandbox, facts["run"]))


# --- never an orphan -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "pass"], ids=["SIGKILL", "end"])
def test_however_a_kernel_ends_its_run_stays_and_then_ends(sandbox: Sandbox, end: str) -> None:
    with Kernel(sandbox, BUSY + f"    {end}\n") as script:
        facts = script.read_json()
        assert facts["linger"] == 600
        script.wait()
        lease = is_away(sandbox, facts["run"])
        assert lease["linger"] == 600
        assert lease["ends"] == pytest.approx(lease["away"] + 600)
        assert alive(facts["dfk"])
        # The graph goes on while nobody is there.
        (sandbox.root / "gate").touch()
        until((sandbox.root / "mark").exists)
    end_lease(facts)
    must_end(sandbox, facts)


def test_blocks_that_run_and_blocks_that_wait_end_with_the_lease(sandbox: Sandbox) -> None:
    queue = sandbox.root / "bin"
    queue.mkdir()
    cancelled = sandbox.root / "cancelled"
    # A scheduler that takes jobs and never starts them.
    for name, text in {
        "sbatch": "echo 'Submitted batch job 77'",
        "squeue": f"test -e {cancelled} || echo '77 PD (Resources)'",
        "sacct": "true",
        "scancel": f'echo "$@" >> {cancelled}',
    }.items():
        (queue / name).write_text(f"#!/bin/sh\n{text}\n")
        (queue / name).chmod(0o700)
    source = (
        APPS
        + """
    from parslab import HighThroughputExecutor, LocalProvider, SlurmProvider
    here = LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1)
    far = SlurmProvider(partition="batch", init_blocks=1, min_blocks=1, max_blocks=1)
    config = Config(
        executors=[
            HighThroughputExecutor(label="here", provider=here, max_workers_per_node=1),
            HighThroughputExecutor(label="far", provider=far),
        ],
        run_dir=RUNS,
    )
    dfk = parslab.load(config)
    running = python_app(lambda: __import__("time").sleep(600), executors=["here"])()
    while not running.running(): time.sleep(0.01)
    while not any(row.job and row.executor == "far" for row in dfk.blocks()): time.sleep(0.01)
    emit(run=dfk.run, dfk=dfk.pid, blocks=[[row.executor, row.state, row.job] for row in dfk.blocks()])
    os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    old = os.environ["PATH"]
    os.environ["PATH"] = f"{queue}:{old}"
    try:
        with Kernel(sandbox, source) as script:
            facts = script.read_json(30)
            script.wait()
    finally:
        os.environ["PATH"] = old
    assert facts["blocks"][0][:2] == ["here", "running"]
    is_away(sandbox, facts["run"])
    leaders = block_leaders(facts["dfk"])
    assert leaders
    assert not cancelled.exists()
    end_lease(facts)
    must_end(sandbox, facts)
    assert cancelled.read_text().split() == ["77"]
    for pid in leaders:
        until(is_gone(pid))


def test_a_dataflowkernel_that_is_killed_while_it_waits_leaves_nothing(sandbox: Sandbox) -> None:
    """Its notebook may start it again; when its time is over, whoever looks for runs removes what is left."""
    with Kernel(sandbox, BUSY) as script:
        facts = script.read_json()
        script.wait()
    lease = is_away(sandbox, facts["run"])
    os.kill(facts["dfk"], signal.SIGKILL)
    until(is_gone(facts["dfk"]))
    with sandbox.script("import parslab.client.process.connection_file as s; emit(runs=s.find_runs())\n") as looks:
        assert looks.read_json()["runs"] == []
    remove_dead_runs(sandbox.jupyter, lease["ends"] - 1)
    assert known(sandbox, facts["run"])["ends"] == lease["ends"]
    remove_dead_runs(sandbox.jupyter, lease["ends"] + 1)
    sandbox.assert_empty()


def test_a_script_has_no_lease_unless_it_asks_for_one(sandbox: Sandbox) -> None:
    with sandbox.script(APPS + "    emit(linger=loaded(1).linger)\n") as script:
        assert script.read_json() == {"linger": 0}
        script.wait()
        sandbox.assert_empty()
    source = APPS + "    dfk = loaded(1, linger=300)\n    emit(run=dfk.run, dfk=dfk.pid, linger=dfk.linger)\n"
    with sandbox.script(source) as script:
        facts = script.read_json()
        assert facts["linger"] == 300
        assert script.wait() == 0
    is_away(sandbox, facts["run"])
    end_lease(facts)
    must_end(sandbox, facts)


@pytest.mark.parametrize("how", ["cleanup", "shutdown", "release"])
def test_what_the_user_ends_is_over_at_once(sandbox: Sandbox, how: str) -> None:
    ends = {
        "cleanup": "dfk.cleanup()",
        "shutdown": "from parslab.jupyter.commands import run_command; run_command('shutdown', {})",
        "release": "from parslab.jupyter.commands import run_command; run_command('release', {}); sys.exit()",
    }[how]
    with Kernel(sandbox, BUSY + f"    {ends}\n") as script:
        facts = script.read_json()
        assert script.wait() == 0
        until(is_gone(facts["dfk"]))
        sandbox.assert_empty()


# --- coming back -----------------------------------------------------------------------------------------------------


def test_a_new_kernel_finds_what_is_still_there(sandbox: Sandbox) -> None:
    with Kernel(sandbox, BUSY + "    time.sleep(600)\n") as script:
        first = script.read_json()
        assert first["notices"] == []
        script.signal(signal.SIGKILL)
        script.wait()
    again = (
        APPS
        + """
    dfk = parslab.load()
    emit(run=dfk.run, dfk=dfk.pid, notices=dfk.notices, same=parslab.load() is dfk, config=repr(dfk.config),
         equal=loaded() is dfk, linger=dfk.linger)
    sys.stdin.readline()
    emit(new=plus(41).result())
    dfk.cleanup()
    emit(over=not os.path.exists(f"/proc/{dfk.pid}/exe"))
"""
    )
    with Kernel(sandbox, again) as script:
        said = script.line()
        second = script.read_json()
        assert (second["run"], second["dfk"]) == (first["run"], first["dfk"])
        (text,) = second["notices"]
        assert said == text
        start = f"Run {first['run']} of this notebook is still here: 4 results waiting, 1 running, 1 to run"
        assert text.startswith(start)
        assert second["same"]
        assert second["equal"]
        assert "LowLatencyExecutor(workers=2)" in second["config"]
        assert second["linger"] == 600
        assert known(sandbox, first["run"])["away"] is None
        script.go_on()
        (sandbox.root / "gate").touch()
        assert script.read_json() == {"new": 42}
        assert script.read_json()["over"]
        assert script.wait() == 0
    sandbox.assert_empty()
    assert "is over: it was shut down by its owner" in log_of(sandbox, first["run"])


@pytest.mark.parametrize("same", [True, False])
def test_a_run_that_was_killed_with_its_kernel_is_started_again(sandbox: Sandbox, same: bool) -> None:
    with Kernel(sandbox, BUSY + "    time.sleep(600)\n") as script:
        first = script.read_json()
        os.kill(first["dfk"], signal.SIGSTOP)  # it shall not see that its client has gone
        script.signal(signal.SIGKILL)
        script.wait()
        os.kill(first["dfk"], signal.SIGKILL)
    until(is_gone(first["dfk"]))
    call = "parslab.load()" if same else "loaded(1)"
    source = (
        APPS
        + f"    dfk = {call}\n    emit(run=dfk.run, notices=dfk.notices, five=plus(4).result())\n    dfk.cleanup()\n"
    )
    with Kernel(sandbox, APPS + source) as script:
        script.line()
        second = script.read_json()
        (text,) = second["notices"]
        assert second["five"] == 5
        if same:
            assert second["run"] == first["run"]
            assert text.startswith(
                f"Run {first['run']} of this notebook was killed and is started again: 4 results waiting"
            )
        else:
            assert text == (
                f"Run {first['run']} of this notebook was killed, and had another configuration: a new run goes on "
                "with its results."
            )
            settings = json.loads((sandbox.runs / second["run"][:3] / "settings.json").read_text())
            assert settings["inherits"] == [str(sandbox.runs / first["run"][:3])]
        script.wait()


@pytest.mark.parametrize("kills", [1, 2, 3])
def test_a_run_whose_next_process_is_killed_at_once_is_started_once_more(sandbox: Sandbox, kills: int) -> None:
    """And when all of them are, a new run goes on with its results."""
    with Kernel(sandbox, BUSY + "    time.sleep(600)\n") as script:
        first = script.read_json()
        os.kill(first["dfk"], signal.SIGSTOP)
        script.signal(signal.SIGKILL)
        script.wait()
        os.kill(first["dfk"], signal.SIGKILL)
    until(is_gone(first["dfk"]))
    source = f"""
    import parslab.client.reattach as reattach
    start, kills = reattach.restart_kernel, [0] * {kills}
    def restart_kernel(*words, **options):
        started = start(*words, **options)
        if kills: os.kill(started.pid, signal.SIGKILL + kills.pop())
        return started
    reattach.restart_kernel = restart_kernel
    dfk = loaded()
    emit(run=dfk.run, notices=dfk.notices)
    dfk.cleanup()
"""
    with Kernel(sandbox, APPS + source) as script:
        script.line()
        second = script.read_json()
        (text,) = second["notices"]
        if kills < 3:
            assert second["run"] == first["run"]
            assert text.startswith(
                f"Run {first['run']} of this notebook was killed and is started again: 4 results waiting"
            )
        else:
            assert f"The DataFlowKernel of run {first['run']} cannot be used" in text
            assert text.endswith("A new run goes on with its results.")
            settings = json.loads((sandbox.runs / second["run"][:3] / "settings.json").read_text())
            assert settings["inherits"] == [str(sandbox.runs / first["run"][:3])]
        script.wait()
    sandbox.assert_empty()


def test_a_killed_run_without_a_record_is_replaced(sandbox: Sandbox) -> None:
    with Kernel(sandbox, BUSY + "    time.sleep(600)\n") as script:
        first = script.read_json()
        os.kill(first["dfk"], signal.SIGSTOP)
        script.signal(signal.SIGKILL)
        script.wait()
        os.kill(first["dfk"], signal.SIGKILL)
    until(is_gone(first["dfk"]))
    shutil.rmtree(sandbox.runs / first["run"][:3] / "event_log")
    source = APPS + "    dfk = loaded()\n    emit(run=dfk.run, notices=dfk.notices)\n    dfk.cleanup()\n"
    with Kernel(sandbox, source) as script:
        script.line()
        second = script.read_json()
        assert second["run"] != first["run"]
        assert re.fullmatch(
            r"Run .* has no complete event log in .*, so it cannot be started again\. A new .*", second["notices"][0]
        )
        script.wait()


def test_thread_pools_are_those_of_the_configuration(sandbox: Sandbox) -> None:
    source = (
        APPS
        + """
    from parslab import ThreadPoolExecutor
    dfk = parslab.load(Config(executors=[ThreadPoolExecutor(max_threads=3)], run_dir=RUNS)) if FIRST else parslab.load()
    here = python_app(lambda: threading.current_thread().name)()
    emit(run=dfk.run, dfk=dfk.pid, thread=here.result(), config=repr(dfk.config))
    FIRST or dfk.cleanup()
"""
    )
    with Kernel(sandbox, "    FIRST = True\n" + source) as script:
        first = script.read_json()
        script.wait()
    with Kernel(sandbox, "    FIRST = False\n" + source) as script:
        script.line()
        second = script.read_json()
        assert second["run"] == first["run"]
        assert second["thread"].startswith("parslab-threads-")
        assert "max_threads=3" in second["config"]
        script.wait()


@pytest.mark.parametrize("resume", [True, False])
def test_another_configuration_replaces_the_run_and_says_so(sandbox: Sandbox, resume: bool) -> None:
    with Kernel(sandbox, BUSY) as script:
        first = script.read_json()
        script.wait()
    is_away(sandbox, first["run"])
    options = "workers=1" if resume else "resume=False"
    source = (
        APPS
        + f"    dfk = loaded({options})\n    emit(run=dfk.run, dfk=dfk.pid, notices=dfk.notices)\n    dfk.cleanup()\n"
    )
    with Kernel(sandbox, source) as script:
        script.line()
        second = script.read_json()
        script.wait()
    assert second["run"] != first["run"]
    assert not alive(first["dfk"])
    settings = json.loads((sandbox.runs / second["run"][:3] / "settings.json").read_text())
    (text,) = second["notices"]
    if resume:
        assert settings["inherits"] == [str(sandbox.runs / first["run"][:3])]
        assert text == (
            f"Run {first['run']} of this notebook had another configuration: it was ended, and a new run goes on "
            "with its results."
        )
    else:
        assert settings["inherits"] == []
        assert text == f"Run {first['run']} of this notebook was ended, and a new run started (resume=False)."


def test_only_how_long_it_stays_is_changed_in_place(sandbox: Sandbox) -> None:
    with Kernel(sandbox, BUSY) as script:
        first = script.read_json()
        script.wait()
    is_away(sandbox, first["run"])
    source = (
        APPS + "    dfk = loaded(linger=60)\n    emit(run=dfk.run)\n    loaded(linger=0)\n    emit(linger=dfk.linger)\n"
    )
    with Kernel(sandbox, source) as script:
        script.line()
        assert script.read_json()["run"] == first["run"]
        assert script.read_json() == {"linger": 0}
        script.wait()
    until(is_gone(first["dfk"]))


def test_two_kernels_of_one_notebook_share_its_run(sandbox: Sandbox) -> None:
    with Kernel(sandbox, BUSY + "    sys.stdin.readline()\n") as script:
        first = script.read_json()
        source = APPS + (
            "    dfk = parslab.load()\n    emit(run=dfk.run, notices=dfk.notices, five=plus(4).result())\n"
            "    sys.stdin.readline()\n    emit(six=plus(5).result())\n    dfk.cleanup()\n"
        )
        with Kernel(sandbox, source) as other:
            other.line()
            second = other.read_json()
            assert (second["run"], second["five"]) == (first["run"], 5)
            (text,) = second["notices"]
            assert f"is still here: no tasks; process {script.popen.pid} of the same notebook shares it." in text
            # A third one that wants something else must not take it from them.
            with Kernel(
                sandbox, APPS + "    dfk = loaded(1)\n    emit(run=dfk.run, notices=dfk.notices)\n    dfk.cleanup()\n"
            ) as third:
                third.line()
                beside = third.read_json()
                assert beside["run"] != first["run"]
                assert "it stays as it is, and a new run was started" in beside["notices"][0]
                third.wait()
            script.go_on()
            script.wait()
            other.go_on()
            assert other.read_json() == {"six": 6}
            other.wait()
    until(is_gone(first["dfk"]))


def test_a_run_on_another_host_is_named(sandbox: Sandbox) -> None:
    file = sandbox.jupyter / "parslab-007-far.json"
    facts = {
        "run": "007-far",
        "pid": 1,
        "socket": "/x",
        "run_dir": "/x",
        "notebook": "/books/fit.ipynb",
        "digest": "",
    }
    file.write_text(json.dumps({**facts, "host": "elsewhere"}))
    source = APPS + "    dfk = loaded(1)\n    emit(notices=dfk.notices)\n    dfk.cleanup()\n"
    try:
        with Kernel(sandbox, source) as script:
            script.line()
            (text,) = script.read_json()["notices"]
            assert text.startswith("Run 007-far of this notebook is on host elsewhere and cannot be reached from here")
            script.wait()
        os.utime(file, (0, 0))  # it has sent no heartbeat for long
        with Kernel(sandbox, source) as script:
            assert script.read_json()["notices"] == []
            script.wait()
    finally:
        file.unlink()


# --- what ran in the kernel that was lost ---------------------------------------------------------------------------


BODIES = (
    APPS
    + """
    from parslab import ThreadPoolExecutor, join_app

    @python_app(executors=["threads"])
    def here(path):
        open(path, "x").close()
        time.sleep(600)

    @join_app
    def joined(gate): return [plus(1), held(gate)]

    def under_way(dfk):
        body = here(MARK + "-begun")
        waiting = mark(MARK, body)
        join = joined(GATE)
        snapshot = parslab.records.panel.SnapshotRequest(subscribe=False)
        while dfk.ask(snapshot).overview.counts.get("joining") != 1: time.sleep(0.01)
        while not os.path.exists(MARK + "-begun"): time.sleep(0.01)
        return body, waiting, join
"""
)


def test_bodies_of_a_lost_kernel_wait_and_joins_that_have_returned_go_on(sandbox: Sandbox) -> None:
    source = (
        BODIES
        + """
    import parslab.records.panel
    executors = [LowLatencyExecutor(workers=2), ThreadPoolExecutor()]
    dfk = parslab.load(Config(executors=executors, run_dir=RUNS))
    kept = under_way(dfk)
    emit(run=dfk.run, dfk=dfk.pid)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    with Kernel(sandbox, source) as script:
        facts = script.read_json()
        script.wait()
    is_away(sandbox, facts["run"])
    (sandbox.root / "gate").touch()
    guest = parslab.attach(facts["run"])
    try:
        until(lambda: picture(guest).overview.counts == {"exec_done": 3, "running": 1, "pending": 1})
        guest.keep(0.2)
        guest.leave()
    finally:
        guest.cleanup()
        parslab.clear()
    must_end(sandbox, facts)
    assert not (sandbox.root / "mark").exists()


def test_bodies_of_a_guest_are_cancelled_when_its_lease_ends(sandbox: Sandbox) -> None:
    source = (
        BODIES
        + """
    import parslab.records.panel
    dfk = parslab.attach()
    kept = under_way(dfk)
    emit(attached=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    executors = [parslab.LowLatencyExecutor(workers=2), parslab.ThreadPoolExecutor()]
    with parslab.load(parslab.Config(executors=executors, run_dir=sandbox.runs, linger=600)) as dfk:
        with Kernel(sandbox, source) as script:
            assert script.read_json()["attached"]
            script.wait()
        until(lambda: picture(dfk).overview.clients == 1)
        (sandbox.root / "gate").touch()
        until(lambda: picture(dfk).overview.counts == {"exec_done": 3, "running": 1, "pending": 1})
        dfk.keep(0.2)
        until(lambda: picture(dfk).overview.counts == {"exec_done": 3, "cancelled": 1, "dep_fail": 1})
    parslab.clear()


# --- guests ----------------------------------------------------------------------------------------------------------


def test_a_guest_of_another_notebook_finds_its_calls_until_its_own_lease_ends(sandbox: Sandbox) -> None:
    guest = APPS + (
        "    dfk = parslab.attach(sys.argv[1] if sys.argv[1:] else None)\n"
        "    still = dfk.prior_tasks\n"
        "    emit(run=dfk.run, results=still and still.results)\n"
        "    if not still:\n"
        "        kept = [plus(n) for n in range(3)]\n"
        "        [f.result() for f in kept]\n"
        "    emit(done=True)\n"
    )
    with Kernel(sandbox, BUSY + "    for line in sys.stdin: dfk.keep(0.2); emit(kept=True)\n") as owner:
        facts = owner.read_json()
        with Kernel(sandbox, guest, "/books/plot.ipynb") as script:
            assert script.read_json() == {"run": facts["run"], "results": None}
            assert script.read_json()["done"]
            script.wait()
        until(lambda: known(sandbox, facts["run"])["clients"] == 1)
        with Kernel(sandbox, guest, "/books/plot.ipynb") as script:
            assert script.read_json()["results"] == 3
            script.wait()
        until(lambda: known(sandbox, facts["run"])["clients"] == 1)
        owner.go_on()
        assert owner.read_json()["kept"]
        until(lambda: "the tasks of client 1 are not kept any longer" in log_of(sandbox, facts["run"]))
        with Kernel(sandbox, guest, "/books/plot.ipynb") as script:
            assert script.read_json()["results"] is None
            script.wait()
        owner.popen.stdin.close()  # type: ignore[union-attr]
        owner.wait()
    must_end(sandbox, facts)


def test_a_guest_keeps_the_run_while_it_is_attached(sandbox: Sandbox) -> None:
    with Kernel(sandbox, BUSY) as script:
        facts = script.read_json()
        guest = parslab.attach(facts["run"][:5])  # the beginning of its name is enough
        try:
            script.wait()
            until(lambda: picture(guest).overview.clients == 1)
            info = picture(guest).run
            assert (info.linger, info.away, info.notebook) == (600, None, "/books/fit.ipynb")
            assert [(row.pid, row.owner, row.notebook) for row in info.clients] == [(os.getpid(), False, "")]
            assert guest.keep(0.2) == "The run stays for 0.2 s after the last notebook or script has left it."
            guest.leave()
            with pytest.raises(parslab.errors.NoDataFlowKernelError, match=r"has left run .* finds or starts a run"):
                parslab.dfk()
        finally:
            guest.cleanup()
            parslab.clear()
    must_end(sandbox, facts)


# --- the command line ------------------------------------------------------------------------------------------------


def command(sandbox: Sandbox, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "parslab.cli", *words], capture_output=True, text=True, cwd=sandbox.root, check=True
    )
    return done.stdout


def test_the_command_lists_watches_and_stops_a_run_that_waits(sandbox: Sandbox) -> None:
    with Kernel(sandbox, BUSY) as script:
        facts = script.read_json()
        script.wait()
    is_away(sandbox, facts["run"])
    listed = command(sandbox, "runs").splitlines()
    assert re.search(r", away for .* s, ends in 10 min, files in ", listed[0])
    assert listed[1].strip() == "of /books/fit.ipynb"
    watcher = subprocess.Popen(
        [sys.executable, "-m", "parslab.cli", "attach", facts["run"][:4]], stdout=subprocess.PIPE, text=True
    )
    try:
        assert watcher.stdout is not None
        assert watcher.stdout.readline().startswith(f"Attached to run {facts['run']} (interrupt to leave it)")
        assert watcher.stdout.readline().strip().endswith("4 exec_done, 1 pending, 1 running; 1 client")
        assert known(sandbox, facts["run"])["away"] is None
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(20) == 0
        left = watcher.stdout.read()
        assert f"Run {facts['run']} goes on; it stays for 10 min after the last one has left it." in left
    finally:
        watcher.kill()
        watcher.wait()
        watcher.stdout.close()  # type: ignore[union-attr]
    is_away(sandbox, facts["run"])
    assert f"Run {facts['run']} is over" in command(sandbox, "stop", facts["run"])
    until(is_gone(facts["dfk"]))


def test_watcher_of_a_run_is_notified_of_its_end(sandbox: Sandbox) -> None:
    with sandbox.load() as dfk:
        watcher = subprocess.Popen(
            [sys.executable, "-m", "parslab.cli", "attach"], stdout=subprocess.PIPE, text=True, cwd=sandbox.root
        )
        assert watcher.stdout is not None
        assert watcher.stdout.readline().startswith(f"Attached to run {dfk.run}")
        assert watcher.stdout.readline()
    output = watcher.stdout.read()
    assert "it was shut down by its owner" in output
    assert watcher.wait(20) == 0
    watcher.stdout.close()
