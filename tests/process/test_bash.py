"""The body of a bash app, run in a process of its own as a worker runs it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from parslab.bodies import command as commands
from parslab.bodies.bash import run
from parslab.bodies.command import TAIL_BYTES, TAIL_LINES
from parslab.data_provider.files import File
from parslab.errors import (
    AppBadFormatting,
    BadStdStreamFile,
    BashAppNoReturn,
    BashExitFailure,
    MissingOutputs,
)


def command(text: Any) -> Any:
    """Return a bash app's function that takes nothing and returns ``text``."""

    def app() -> Any:
        return text

    return app


@pytest.fixture(params=["file", "pipe"])
def stderr(request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands with the kind of stderr that a worker has, or with another one."""
    assert commands._stderr_is_readable()  # pytest captures in a file
    if request.param == "pipe":
        monkeypatch.setattr(commands, "_stderr_is_readable", lambda: False)


def test_which_stderr_is_readable(tmp_path: Path) -> None:
    kept, path = os.dup(2), tmp_path / "err"
    reader, writer = os.pipe()
    found = []
    try:
        for fd in (
            os.open(path, os.O_CREAT | os.O_RDWR),
            os.open(path, os.O_WRONLY),
            os.open(os.devnull, os.O_RDWR),
            writer,
        ):
            os.dup2(fd, 2)
            os.close(fd)
            found.append(commands._stderr_is_readable())
        os.close(2)
        found.append(commands._stderr_is_readable())
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(reader)
    assert found == [True, False, False, False, False]


@pytest.mark.usefixtures("stderr")
def test_a_command_that_ends_well_is_zero(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(lambda word: f"echo {word}; echo err >&2", "out") == 0
    assert capfd.readouterr() == ("out\n", "err\n")


def test_streams_go_to_files_whose_folders_are_made(tmp_path: Path) -> None:
    out, err = tmp_path / "a" / "out", tmp_path / "b" / "err"
    for _ in range(2):
        run(command("echo out; echo err >&2"), stdout=str(out), stderr=(str(err), "w"))
    assert out.read_text() == "out\nout\n"
    assert err.read_text().count("err\n") == 1
    assert "--> executable follows <--\necho out; echo err >&2\n--> end executable <--\n" in err.read_text()


def test_both_streams_may_share_a_file(tmp_path: Path) -> None:
    both = str(tmp_path / "both")
    run(command("echo one; echo two >&2; echo three"), stdout=both, stderr=(both, "w"))
    assert Path(both).read_text().splitlines()[-3:] == ["one", "two", "three"]


def test_special_parameters_are_given_to_functions_that_take_them(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def takes(outputs: Any = (), stdout: str = str(tmp_path / "default")) -> str:
        seen.update(outputs=outputs, stdout=stdout)
        return f"echo x | tee {outputs[0]}"

    run(takes, outputs=[File(str(tmp_path / "made"))], label="dropped")
    assert seen["stdout"] == str(tmp_path / "default")
    assert (tmp_path / "default").read_text() == (tmp_path / "made").read_text() == "x\n"


@pytest.mark.usefixtures("stderr")
def test_a_failure_carries_the_last_lines_of_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BashExitFailure) as caught:
        run(command("for i in $(seq 100); do echo line $i >&2; done; exit 7"))
    assert caught.value.exitcode == 7
    assert caught.value.stderr_tail.splitlines() == [f"line {i}" for i in range(101 - TAIL_LINES, 101)]
    assert capfd.readouterr().err.count("\n") == 100


@pytest.mark.usefixtures("stderr")
def test_the_tail_is_bounded(tmp_path: Path) -> None:
    for options in ({}, {"stderr": str(tmp_path / "err")}):
        with pytest.raises(BashExitFailure) as caught:
            run(command("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1"), **options)
        assert len(caught.value.stderr_tail) == TAIL_BYTES


@pytest.mark.usefixtures("stderr")
def test_the_tail_is_that_of_this_command() -> None:
    run(command("echo earlier >&2"))
    print("function", file=sys.stderr)
    with pytest.raises(BashExitFailure) as caught:
        run(command("echo mine >&2; false"))
    assert caught.value.stderr_tail == "mine"
    with pytest.raises(BashExitFailure) as caught:
        run(command("false"))
    assert caught.value.stderr_tail == ""


def test_a_function_that_is_called_wrongly_says_so() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        run(lambda word: word)


def test_the_tail_of_a_file_is_that_of_this_command(tmp_path: Path) -> None:
    err = tmp_path / "err"
    err.write_text("of an earlier one\n")
    with pytest.raises(BashExitFailure) as caught:
        run(command("echo mine >&2; false"), stderr=str(err))
    assert caught.value.stderr_tail == "mine"


@pytest.mark.usefixtures("stderr")
def test_signals_are_named() -> None:
    with pytest.raises(BashExitFailure, match=r"was killed by SIGKILL \(9\)") as caught:
        run(command("kill -9 $$"))
    assert caught.value.exitcode == -9
    with pytest.raises(BashExitFailure, match=r"exit status 143 \(its command was killed by SIGTERM\)"):
        run(command("sh -c 'kill $$'; exit $?"))


@pytest.mark.usefixtures("stderr")
def test_missing_outputs_are_named(tmp_path: Path) -> None:
    there = tmp_path / "there"
    with pytest.raises(MissingOutputs) as caught:
        run(command(f"touch {there}; echo why >&2"), outputs=[File(str(there)), str(tmp_path / "not")])
    assert caught.value.outputs == [str(tmp_path / "not")]
    assert caught.value.stderr_tail == "why"


@pytest.mark.parametrize(("returned", "said"), [(None, "None"), (3, "a value of type int")])
def test_what_is_no_command_line_is_refused(returned: object, said: str) -> None:
    with pytest.raises(BashAppNoReturn, match=f"it returned {said}"):
        run(command(returned))


def test_bad_formatting_is_distinguished_from_other_mistakes() -> None:
    with pytest.raises(AppBadFormatting, match="Replacement index 1"):
        run(lambda: "{} {}".format(*"x"))
    with pytest.raises(AppBadFormatting, match="not enough arguments"):
        run(lambda: "%s %s" % tuple("x"))  # noqa: UP031
    with pytest.raises(IndexError):
        run(lambda: [][0])


def test_files_that_cannot_be_opened_are_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadStdStreamFile, match="stdout file"):
        run(command("true"), stdout=str(tmp_path / "file" / "below"))
    with pytest.raises(BadStdStreamFile, match="does not write"):
        run(command("true"), stderr=(str(tmp_path / "x"), "r"))


@pytest.mark.usefixtures("stderr")
def test_a_process_left_in_the_background_holds_nobody_up(tmp_path: Path) -> None:
    begun = time.monotonic()
    run(command(f"sleep 30 & echo $! > {tmp_path}/pid; echo started >&2"))
    assert time.monotonic() - begun < 10
    psutil.Process(int((tmp_path / "pid").read_text())).kill()


@pytest.mark.usefixtures("stderr")
def test_an_interrupt_ends_the_command_and_all_below_it(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    threading.Thread(target=interrupt_when, args=(ready,), name="parslab-test").start()
    with pytest.raises(KeyboardInterrupt):
        run(command(f"sleep 1000 & echo $! > {ready}.tmp; mv {ready}.tmp {ready}; sleep 1000"))
    pid = int(ready.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def waits_for_a_command(thread: threading.Thread) -> bool:
    """Return whether a thread is in one of the functions that wait for a process."""
    frame = sys._current_frames().get(thread.ident or 0)
    names = set()
    while frame is not None:
        names.add((Path(frame.f_code.co_filename).name, frame.f_code.co_name))
        frame = frame.f_back
    return not names.isdisjoint({("processes.py", "wait"), ("processes.py", "until_exit")})


@pytest.mark.parametrize("options", [{}, {"stderr": "err"}], ids=["plain", "redirected"])
@pytest.mark.usefixtures("stderr")
def test_an_error_that_is_raised_in_the_thread_of_a_command_ends_it(tmp_path: Path, options: dict[str, Any]) -> None:
    """The time limit of a thread: the thread waited in C until the command had ended."""
    pids, errors = tmp_path / "pids", []

    def runs() -> None:
        try:
            run(command(f"sleep 1000 & echo $! $$ > {pids}.part; mv {pids}.part {pids}; sleep 1000"), **options)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=runs, name="parslab-test")
    thread.start()
    while not (pids.exists() and waits_for_a_command(thread)):
        time.sleep(0.01)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(ZeroDivisionError))
    thread.join()
    assert [type(error) for error in errors] == [ZeroDivisionError]
    for pid in map(int, pids.read_text().split()):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_an_interrupt_while_the_command_is_started_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command went on, because nobody had its process yet."""
    pids: list[int] = []
    original = subprocess.Popen._execute_child  # type: ignore[attr-defined]

    def interrupted(self: Any, *args: Any) -> None:
        original(self, *args)
        pids.append(self.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "_execute_child", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(command("sleep 1000"))
    assert not psutil.pid_exists(pids[0])


def interrupt_when(ready: Path) -> None:
    while not ready.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_worker_needs_little_to_run_it() -> None:
    code = "import sys, parslab.bodies.bash; print(*sorted(m for m in sys.modules if m.startswith('parslab')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    bodies = ["bash", "command", "processes"]
    assert done.stdout.split() == [
        "parslab",
        "parslab.bodies",
        *(f"parslab.bodies.{one}" for one in bodies),
        "parslab.errors",
    ]


@pytest.mark.parametrize("size", [100_000, 131_072, 300_000, 3_000_000])
def test_a_command_of_any_length_runs(size: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Linux refuses an argument of 128 KiB: bash was not even started."""
    comment = "# " + "x" * (size // 2)
    assert run(command(f"{comment}\n{comment}\necho ${{0##*/}} is done; exit 0\nfalse")) == 0
    assert capfd.readouterr().out.endswith(" is done\n")
    with pytest.raises(BashExitFailure) as raised:
        run(command(f"{comment}\n{comment}\nexit 7"))
    assert raised.value.exitcode == 7


def test_a_command_with_a_null_character_is_refused_in_a_sentence() -> None:
    with pytest.raises(AppBadFormatting, match="null character"):
        run(command("echo a\0b"))
