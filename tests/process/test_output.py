"""What tasks print: it belongs to its task, comes while the task runs, and is bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import cloudpickle
import pytest

from parslab import python_app
from tests.process.sandbox import is_gone, rss, until, within

if TYPE_CHECKING:
    from parslab import DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.usefixtures("shared")

MB = 1_000_000
KEPT = 400_000
"""Bytes that may be kept of a stream of a task."""


@python_app
def quiet() -> int:
    return os.getpid()


@python_app
def loud(megabytes: int, stream: str, how: str) -> int:
    line = "x" * 99 + "\n"
    out = getattr(sys, stream)
    print("first", file=out, flush=True)
    if how == "print":
        for _ in range(megabytes * 10_000):
            out.write(line)
        out.flush()
    else:
        number = 1 if stream == "stdout" else 2
        subprocess.run(["sh", "-c", f"yes {'x' * 99} | head -c {megabytes * MB} >&{number}"], check=True)
    print("last", file=out)
    return os.getpid()


@pytest.mark.parametrize(("stream", "how"), [("stdout", "print"), ("stderr", "print"), ("stdout", "child")])
def test_a_hundred_megabytes_are_cut_and_marked(shared: DataFlowKernel, stream: str, how: str) -> None:
    quiet().result()
    base = rss(shared.pid)
    with within(15):
        future = loud(100, stream, how)
        worker = future.result()
        text = future.logs(stream)
    assert text.startswith("first\nxxx")
    assert text.endswith("xxx\nlast\n")
    assert len(text) < KEPT
    marks = [line for line in text.splitlines() if line.startswith("...")]
    assert len(marks) == 1, marks
    assert int("".join(c for c in marks[0] if c.isdigit())) > 99 * MB
    other = "stderr" if stream == "stdout" else "stdout"
    assert future.logs(other) == ""
    assert rss(shared.pid) - base < 20 * MB
    assert rss(worker) < 200 * MB
    size = sum(path.stat().st_size for path in shared.run_dir.rglob("*") if path.is_file())
    assert size < 20 * MB


def test_prints_of_every_kind_keep_their_order() -> None:
    @python_app
    def speak() -> None:
        for n in range(50):
            print(n, "python")
            os.write(1, f"{n} descriptor\n".encode())
            subprocess.run(["echo", f"{n} child"], check=True)
            print(n, "error", file=sys.stderr)

    future = speak()
    future.result()
    expected = [f"{n} {kind}" for n in range(50) for kind in ("python", "descriptor", "child")]
    assert future.logs("stdout").splitlines() == expected
    assert future.logs("stderr").splitlines() == [f"{n} error" for n in range(50)]


def test_output_is_seen_while_the_task_runs() -> None:
    @python_app
    def slow() -> None:
        print("begun")
        print("warned", file=sys.stderr)
        time.sleep(1)
        print("a line without an end", end="", flush=True)
        time.sleep(60)

    future = slow()
    until(future.running)
    until(lambda: future.logs("stdout") == "begun\n", 1)
    assert future.logs("stderr") == "warned\n"
    until(lambda: future.logs("stdout") == "begun\na line without an end", 3)
    assert not future.done()
    future.cancel()
    until(lambda: future.logs("stdout").endswith("without an end"), 1)


def test_output_of_a_c_call_that_holds_the_gil_comes_at_the_end_at_the_latest() -> None:
    @python_app
    def held() -> None:
        import re

        print("before")
        re.findall("(a+)+$", "a" * 23 + "b")
        print("after")

    future = held()
    future.result()
    assert future.logs("stdout") == "before\nafter\n"


def test_output_never_goes_to_the_next_task() -> None:
    @python_app
    def speak(n: int) -> int:
        print(f"I am {n}")
        sys.stderr.write(f"and {n}")
        return n

    futures = [speak(n) for n in range(500)]
    for n, future in enumerate(futures):
        assert future.result() == n
        if n % 20 == 0:
            assert future.logs("stdout") == f"I am {n}\n"
            assert future.logs("stderr") == f"and {n}"


def test_a_task_may_do_what_it_likes_to_its_streams() -> None:
    @python_app
    def close() -> None:
        print("said")
        sys.stdout.close()
        sys.stdout = None

    @python_app
    def replace() -> None:
        import io

        sys.stdout = io.StringIO()
        print("into nothing")

    @python_app
    def shut() -> None:
        os.close(1)
        os.close(2)

    @python_app
    def say() -> None:
        print("hello")

    for first in (close, replace, shut):
        for _ in range(2):
            futures = [first() for _ in range(4)] + [say() for _ in range(4)]
            for future in futures:
                future.exception(10)
            assert [future.logs("stdout") for future in futures[4:]] == ["hello\n"] * 4


def test_bytes_that_are_no_text_are_shown_somehow() -> None:
    @python_app
    def speak() -> None:
        os.write(1, b"Z\xfcrich \xff\n")
        print("Zoë \ud800")

    future = speak()
    future.result()
    text = future.logs("stdout")
    assert text.startswith("Z")
    assert "Zoë" in text


def test_text_is_whole_though_it_came_in_pieces() -> None:
    """A character of several bytes may be split between two looks at the output."""

    @python_app
    def speak() -> None:
        for _ in range(30):
            for byte in "€".encode():
                os.write(1, bytes([byte]))
                time.sleep(0.01)

    future = speak()
    future.result()
    assert future.logs("stdout") == "€" * 30


def test_output_of_a_process_left_in_the_background_disturbs_nobody() -> None:
    @python_app
    def leave() -> int:
        return subprocess.Popen(["sh", "-c", "for i in 1 2 3 4 5; do echo late; sleep 0.1; done"]).pid

    child = leave().result()
    futures = [quiet() for _ in range(50)]
    assert all(future.result() for future in futures)
    until(is_gone(child), 5)
