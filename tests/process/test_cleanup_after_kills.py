"""Every way in which a run may lose a part of itself: afterwards no process, job, socket folder or file is left.

One table of ways, each for a script and for a notebook with a short ``linger``, and one check.  Each run has a worker
of this host and a block with another one; both are busy with tasks that have started processes of their own, one in a
session of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import pty
import shutil
import signal
import termios
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from parslab.scaling.block_journal import unfinished_jobs
from tests.process.blocks import block_leaders, managers
from tests.process.sandbox import LEASE, Sandbox, Script, alive, is_gone, until, workers_of
from tests.process.test_magics import Notebook
from tests.process.test_run_folders import filesystem, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINGER = 0.3
"""Seconds that the run of a notebook stays."""
RECONNECT = 0.5
"""Seconds for which managers look for another DataFlowKernel, instead of 30."""

CLIENT = """
    import json, os, signal, subprocess, sys, threading, time
    import msgspec
    import parslab
    from parslab import Config, HighThroughputExecutor, LocalProvider, LowLatencyExecutor, python_app

    def run(folder, linger, resume):
        settings = HighThroughputExecutor.settings
        HighThroughputExecutor.settings = lambda self: msgspec.structs.replace(settings(self), reconnect_for=RECONNECT)
        provider = LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1)
        htex = HighThroughputExecutor(label="htex", provider=provider, max_workers_per_node=1)
        executors = [LowLatencyExecutor(label="llex", workers=1), htex]
        options = dict(linger=linger, resume=resume, strategy_period=0.2, retries=1)
        return parslab.load(Config(executors=executors, run_dir=os.path.join(folder, "runs"), **options))

    def work(folder, label):
        sleep = ["sleep", "600"]
        subprocess.Popen(sleep)
        subprocess.Popen(["sh", "-c", "sleep 600 & wait"])
        subprocess.Popen(sleep, start_new_session=True)
        open(os.path.join(folder, "begun", f"{label}-{os.getpid()}"), "x").close()
        time.sleep(600)

    def busy(folder):
        os.makedirs(os.path.join(folder, "begun"), exist_ok=True)
        return [python_app(executors=[label])(work)(folder, label) for label in ("llex", "htex") for _ in range(3)]
"""
SCRIPT = """
    dfk = run(FOLDER, LINGER, RESUME)
    futures = busy(FOLDER)
    emit(dfk=dfk.pid, run_dir=str(dfk.run_dir))
    for line in sys.stdin: exec(json.loads(line))
"""


class Life:
    """A client whose run has all its workers busy."""

    def __init__(self, sandbox: Sandbox, kind: str, way: Way) -> None:
        self.sandbox, self.kind, self.way = sandbox, kind, way
        self.spared: set[int] = set()
        """Processes that are none of the run's."""
        linger = LINGER if kind == "notebook" else 0
        words = f"    FOLDER, LINGER, RESUME, RECONNECT = {str(sandbox.root)!r}, {linger}, {way.resume}, {RECONNECT}\n"
        environment = {**os.environ, **sandbox.environment()}
        if kind == "notebook":
            environment["PARSLAB_NOTEBOOK"] = "/books/fit.ipynb"
        self.pty = theirs = -1
        options: dict[str, Any] = {"start_new_session": True}
        if way.terminal:
            self.pty, theirs = pty.openpty()
            # The client leads its session, and this is the session's terminal.
            options["preexec_fn"] = functools.partial(fcntl.ioctl, theirs, termios.TIOCSCTTY, 0)
        self.script = Script(sandbox, CLIENT + words + SCRIPT, stdin=-1, env=environment, **options)
        if self.pty >= 0:
            os.close(theirs)
        self.pid = self.script.popen.pid

    def begun(self) -> None:
        """Wait until all its workers are busy."""
        facts = self.script.read_json(30)
        self.dfk, self.run_dir = facts["dfk"], Path(facts["run_dir"])
        self.busy(1)

    def busy(self, times: int, *labels: str) -> None:
        """Wait until each worker of these executors, or of all, has begun so many tasks."""
        begun = self.sandbox.root / "begun"
        for label in labels or ("llex", "htex"):
            until(lambda label=label: len(list(begun.glob(f"{label}-*"))) >= times, 30, f"{label} is busy")  # type: ignore[misc]

    def does(self, source: str) -> None:
        """Let the client run this."""
        assert self.script.popen.stdin is not None
        self.script.popen.stdin.write(json.dumps(source).encode() + b"\n")
        self.script.popen.stdin.flush()

    def part(self, name: str) -> int:
        """The process of a part."""
        if name == "manager":
            return managers(self.dfk)[0]
        if name == "block":
            return block_leaders(self.dfk)[0]
        if name == "worker of the block":
            return workers_of(managers(self.dfk)[0])[0]
        (worker,) = set(workers_of(self.dfk)) - set(block_leaders(self.dfk))
        return worker

    def end(self) -> None:
        """The client falls off its end, where it has not ended yet."""
        assert self.script.popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.script.popen.stdin.close()
        assert self.script.wait(20) == self.way.status
        if self.pty >= 0:
            os.close(self.pty)
            self.pty = -1

    def is_over(self) -> None:
        """Nothing is left of it: far sooner than anybody would look."""
        left = self.sandbox.left
        self.sandbox.left = lambda: [line for line in left() if not self._stranger(line)]  # type: ignore[method-assign]
        self.sandbox.assert_empty(LEASE + LINGER + RECONNECT)
        assert unfinished_jobs(self.run_dir) == {}

    def _stranger(self, line: str) -> bool:
        return any(line.startswith(f"process {pid}:") for pid in self.spared)


# --- the ways --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """How a run loses a part of itself; what is left of it then ends in order."""

    act: Callable[[Life], None]
    status: int = 0
    """With which the client ends."""
    resume: bool = True
    terminal: bool = False
    """The client has one."""
    small: bool = False
    """Run folders lie on a small disk."""


def inside(source: str, **options: Any) -> Way:
    """The client does it itself."""
    return Way(lambda life: life.does(source), **options)


def signalled(number: signal.Signals) -> Way:
    return Way(lambda life: os.kill(life.pid, number), -number)


def group(number: signal.Signals) -> Way:
    """As servers end a kernel, and shells their jobs."""
    return Way(lambda life: os.killpg(life.pid, number), -number)


def hang_up(life: Life) -> None:
    """The terminal is closed: the session is over."""
    os.close(life.pty)
    life.pty = -1
    life.script.wait()


def below(pid: int) -> list[int]:
    """A process, and all that it has started."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def parts(*names: str) -> Way:
    """Parts of the run are killed, and the run goes on."""

    def act(life: Life) -> None:
        pids = [life.part(name) for name in names]
        lost = [pid for first in pids for pid in below(first)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in lost:
            until(is_gone(pid), 5)
        assert alive(life.pid)
        assert alive(life.dfk)

    return Way(act)


def kernel_alone(life: Life) -> None:
    """The client lives, and nothing else is left."""
    os.kill(life.dfk, signal.SIGKILL)
    life.spared.add(life.pid)
    life.is_over()
    life.spared.clear()


def kernel_again(life: Life) -> None:
    """It is started again once, and the tasks of its own workers with it; those of its block go on."""
    lost = below(life.dfk)
    stay = [life.part("block"), life.part("manager")]
    may_stay = {*stay, *below(life.part("manager"))}
    os.kill(life.dfk, signal.SIGKILL)
    for pid in set(lost) - may_stay:
        until(is_gone(pid), 10)
    life.busy(2, "llex")
    life.does("emit(dfk=dfk.pid)")
    life.dfk = life.script.read_json()["dfk"]
    assert life.dfk not in lost
    assert all(map(alive, stay))


def together(*names: str) -> Callable[[Life], None]:
    """All at once: nobody sees another one die."""

    def act(life: Life) -> None:
        pids = [life.part(name) for name in names if name not in ("client", "kernel")]
        pids += [pid for name, pid in (("client", life.pid), ("kernel", life.dfk)) if name in names]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        if "client" in names and "kernel" in names:
            cannot_come_back(life)

    return act


def cannot_come_back(life: Life) -> None:
    """Nobody knows when a notebook died that died with its run, so it has longer: let that time be over."""
    (path,) = life.sandbox.jupyter.glob("parslab-*.json")
    info = json.loads(path.read_text())
    path.with_suffix(".new").write_text(json.dumps({**info, "heartbeat_period": 0}))
    path.with_suffix(".new").rename(path)


def forked(life: Life) -> None:
    """The client is killed, and a child of it lives on, with copies of all that it had open."""
    life.spared.add(life.script.read_json()["child"])
    os.kill(life.pid, signal.SIGKILL)


MULTIPROCESSING = """
import multiprocessing
process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
process.start()
emit(child=process.pid)
"""
FORK = "child = os.fork()\nif child: emit(child=child)\ntime.sleep(600)"


def after_doing(source: str, act: Callable[[Life], None], status: int = 0) -> Way:
    def both(life: Life) -> None:
        life.does(source)
        act(life)

    return Way(both, status)


def killed(life: Life) -> None:
    os.kill(life.pid, signal.SIGKILL)


def on_a_full_disk(act: Callable[[Life], None], status: int = 0) -> Way:
    def both(life: Life) -> None:
        fill(life.sandbox.runs)
        life.does("futures += busy(FOLDER); python_app(executors=['llex'])(print)(1)")
        act(life)

    return Way(both, status, small=True)


def without_its_folder(act: Callable[[Life], None], status: int = 0) -> Way:
    """Somebody deletes the folder of the run beforehand."""

    def both(life: Life) -> None:
        shutil.rmtree(life.sandbox.runs)
        act(life)

    return Way(both, status)


WAYS: dict[str, Way] = {
    # The client ends by itself.
    "falls off its end": Way(lambda life: None),
    "cleans up": inside("dfk.cleanup()"),
    "sys.exit": inside("sys.exit(3)", status=3),
    "an exception": inside("raise ValueError('no')", status=1),
    "an exit that runs no handlers": inside("os._exit(4)", status=4),
    "a crash in C": inside("os.abort()", status=-signal.SIGABRT),
    "becomes another program": inside("os.execve(sys.executable, [sys.executable, '-c', 'input()'], {})", status=1),
    # It is ended.
    **{number.name: signalled(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)},
    "SIGKILL": signalled(signal.SIGKILL),
    "SIGTERM of its group": group(signal.SIGTERM),
    "SIGKILL of its group": group(signal.SIGKILL),
    "logout": Way(hang_up, -signal.SIGHUP, terminal=True),
    "killed while it cleans up": inside(
        "threading.Thread(target=dfk.cleanup).start(); time.sleep(0.05); os.kill(os.getpid(), signal.SIGKILL)",
        status=-signal.SIGKILL,
    ),
    "killed, and a fork of it lives": after_doing(FORK, forked, -signal.SIGKILL),
    "killed, and a child of multiprocessing lives": after_doing(MULTIPROCESSING, forked, -signal.SIGKILL),
    # Other parts are killed, or several together.
    "worker": parts("worker"),
    "worker of the block": parts("worker of the block"),
    "manager": parts("manager"),
    "block": parts("block"),
    "worker and manager": parts("worker", "manager"),
    "DataFlowKernel, without a record": Way(kernel_alone, resume=False),
    "DataFlowKernel": Way(kernel_again),
    "DataFlowKernel and manager": Way(together("kernel", "manager")),
    "DataFlowKernel and manager, without a record": Way(together("kernel", "manager"), resume=False),
    "client and manager": Way(together("client", "manager"), -signal.SIGKILL),
    "client and DataFlowKernel": Way(together("client", "kernel"), -signal.SIGKILL),
    "client, DataFlowKernel and manager": Way(together("client", "kernel", "manager"), -signal.SIGKILL),
    "client, DataFlowKernel and both workers": Way(
        together("client", "kernel", "worker", "worker of the block"), -signal.SIGKILL
    ),
    # There is no room to write anything down.
    "falls off its end, and the disk is full": on_a_full_disk(lambda life: None),
    "SIGKILL, and the disk is full": on_a_full_disk(killed, -signal.SIGKILL),
    "DataFlowKernel, and the disk is full": on_a_full_disk(kernel_alone),
    "client and DataFlowKernel, and the disk is full": on_a_full_disk(together("client", "kernel"), -signal.SIGKILL),
    # The folder of the run is gone, and with it the settings, the event log and the journal of blocks.
    "falls off its end, and the run folder is gone": without_its_folder(lambda life: None),
    "SIGKILL, and the run folder is gone": without_its_folder(killed, -signal.SIGKILL),
    "DataFlowKernel, and the run folder is gone": without_its_folder(kernel_alone),
    "client and DataFlowKernel, and the run folder is gone": without_its_folder(
        together("client", "kernel"), -signal.SIGKILL
    ),
}


@contextlib.contextmanager
def lives(way: Way, *kinds: str) -> Iterator[list[Life]]:
    """Clients of these kinds, beside each other, each in a sandbox of its own."""
    with contextlib.ExitStack() as stack:
        sandboxes = [stack.enter_context(Sandbox().checked_at_end()) for _ in kinds]
        if way.small:
            for sandbox in sandboxes:
                stack.enter_context(filesystem(sandbox.runs, "size=3m"))
        found = [Life(sandbox, kind, way) for sandbox, kind in zip(sandboxes, kinds, strict=True)]
        for life in found:
            stack.enter_context(life.script)
        for life in found:
            life.begun()
        yield found


@pytest.mark.parametrize("name", WAYS)
def test_nothing_is_left(name: str) -> None:
    """Neither of a script nor of a notebook that nobody comes back to."""
    way = WAYS[name]
    with lives(way, "script", "notebook") as found:
        for life in found:
            way.act(life)
        for life in found:
            life.end()
        for life in found:
            life.is_over()
            for pid in life.spared:
                assert alive(pid)
                os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize("how", ["restarted", "killed and restarted", "shut down", "culled"])
def test_nothing_is_left_of_a_real_kernel(sandbox: Sandbox, how: str) -> None:
    """Jupyter's server ends a kernel, and nobody loads the run in the next one."""
    book = Notebook(sandbox.root, JPY_SESSION_NAME=str(sandbox.root / "fit.ipynb"))
    try:
        assert not book.run(f"RECONNECT = {RECONNECT}\n" + textwrap.dedent(CLIENT)).error
        folder = str(sandbox.root)
        said = book.run(
            f"dfk = run({folder!r}, {LINGER}, True); futures = busy({folder!r}); print(dfk.pid, dfk.linger)"
        )
        pid, linger = said.stdout.split()
        assert float(linger) == LINGER
        until(lambda: len(list((sandbox.root / "begun").iterdir())) >= 2, 20, "both workers are busy")
        if how.endswith("restarted"):
            book.restart(how.startswith("killed"))
            assert not book.run("import parslab").error
        elif how == "culled":
            os.killpg(psutil.Process(int(pid)).ppid(), signal.SIGKILL)
        else:
            book.stop()
        until(is_gone(int(pid)))
    finally:
        book.stop()
    sandbox.assert_empty()
