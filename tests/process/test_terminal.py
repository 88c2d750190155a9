"""The processes of a run have no terminal, although their client may have one."""

from __future__ import annotations

import os
import pty
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.process.sandbox import is_gone, until

if TYPE_CHECKING:
    from tests.process.sandbox import Sandbox

PROGRAM = """
    import fcntl, termios
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.close(os.open("/dev/tty", os.O_RDWR))
    executor = LowLatencyExecutor(workers=1)
    dfk = parslab.load(Config(executors=[executor], run_dir=RUNS, linger=600))

    @python_app
    def ask_the_user():
        try:
            os.close(os.open("/dev/tty", os.O_RDWR))
        except OSError as error:
            return f"no terminal: {error.errno}", os.getpid(), os.getpgrp()
        return "a terminal", os.getpid(), os.getpgrp()

    answer, worker, group = ask_the_user().result()
    emit(answer=answer, pid=dfk.pid, worker=worker, group=group, log=str(dfk.run_dir / "dfk.log"))
    signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="terminals differ")
def test_a_closed_terminal_ends_neither_run_nor_worker(sandbox: Sandbox) -> None:
    """A task that reads from the terminal would be stopped, and a hangup would end the run with the program."""
    ours, terminal = pty.openpty()
    with sandbox.script(PROGRAM, stdin=terminal, start_new_session=True) as script:
        os.close(terminal)
        found = script.read_json(30)
        assert found["answer"].startswith("no terminal")
        for pid in (found["pid"], found["worker"]):
            assert psutil.Process(pid).terminal() is None
            assert os.getpgid(pid) == pid
            # In a session of its own: when a client dies, Linux sends SIGHUP to stopped processes of its session.
            assert os.getsid(pid) == pid
        os.close(ours)
        assert script.popen.wait(10) == -signal.SIGHUP
    os.kill(found["pid"], signal.SIGTERM)
    until(is_gone(found["pid"]), what="the DataFlowKernel is gone")
    assert "it received SIGTERM" in Path(found["log"]).read_text()
    assert "SIGHUP" not in Path(found["log"]).read_text()
