"""A notebook is run again after its kernel was lost: its calls take over what was there, and nothing runs twice."""

from __future__ import annotations

import json
import signal
import textwrap
from collections import Counter
from typing import Any

import pytest

from tests.process.sandbox import Sandbox, patience, until
from tests.process.test_lease import Kernel

NOTEBOOK = """
    FACTOR = 2

    def scaled(x): return FACTOR * x

    @python_app
    def work(i, gate=None):
        import os, time
        with open(RAN, "a") as file: file.write(f"{i}\\n")
        while gate and not os.path.exists(gate): time.sleep(0.01)
        return scaled(i)

    @python_app
    def add(a, b):
        with open(RAN, "a") as file: file.write("add\\n")
        return a + b

    @join_app
    def pair(i): return [work(i), work(i + 1)]

    @python_app
    def total(values):
        with open(RAN, "a") as file: file.write("total\\n")
        return sum(values)

    @python_app
    def fails(i):
        with open(RAN, "a") as file: file.write("fails\\n")
        if not os.path.exists(GATE): raise ValueError(i)
        return i

    def loaded(workers=2, **options):
        return parslab.load(Config(executors=[LowLatencyExecutor(workers=workers)], run_dir=RUNS, **options))

    def until(true):
        while not true(): time.sleep(0.01)

    def gone(): os.kill(os.getpid(), signal.SIGKILL)
"""


class Book:
    """A notebook whose kernels come and go."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.ran_file = sandbox.root / "ran"

    def kernel(self, cells: str, notebook: str = NOTEBOOK) -> list[dict[str, Any]]:
        """Run cells in a kernel of its own until it ends; return the facts that it printed."""
        parts = (notebook, cells)
        source = f"from parslab import join_app\nRAN = {str(self.ran_file)!r}\n" + "\n".join(
            map(textwrap.dedent, parts)
        )
        with Kernel(self.sandbox, source) as kernel:
            out, _ = kernel.popen.communicate(timeout=30 * patience())
            if kernel.popen.returncode not in (0, -signal.SIGKILL):
                pytest.fail(kernel.errors.read_text())
        return [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]

    def ran(self) -> Counter[str]:
        return Counter(self.ran_file.read_text().split()) if self.ran_file.exists() else Counter()

    def open_gate(self) -> None:
        (self.sandbox.root / "gate").touch()


@pytest.fixture
def book(sandbox: Sandbox) -> Book:
    return Book(sandbox)


CELLS = """
dfk = loaded()
numbers = [work(i) for i in range(20)]
sums = [add(numbers[i], numbers[i + 1]) for i in range(0, 20, 2)]
held = work(100, GATE)
after = add(held, numbers[0])
"""


def test_nothing_runs_twice(book: Book) -> None:
    """Results whose futures were dropped, results that waited, a task that runs, and one that waits for it."""
    book.kernel(CELLS + "assert [f.result() for f in sums] and work(7).result()\nuntil(held.running)\ngone()")
    book.open_gate()
    (facts,) = book.kernel(
        CELLS
        + """
emit(values=[f.result() for f in numbers], sums=[f.result() for f in sums], after=after.result(),
     seven=work(7).result(), ids=[numbers[0].task_id, after.task_id], notices=dfk.notices)
dfk.cleanup()"""
    )
    assert facts["values"] == [2 * i for i in range(20)]
    assert facts["sums"] == [2 * (2 * i + 1) for i in range(0, 20, 2)]
    assert (facts["after"], facts["seven"]) == (200, 14)
    assert facts["ids"] == [0, 31], "they keep their numbers"
    assert "still here" in facts["notices"][0]
    expected = Counter({str(i): 1 for i in range(20)}) + Counter({"100": 1, "7": 1, "add": 11})
    assert book.ran() == expected


def test_redefined_function_runs_again_and_explains_why(book: Book) -> None:
    cells = "dfk = loaded(); a = work(1); b = add(a, 1); c = add(1, 1); got = [b.result(), c.result()]\n"
    book.kernel(cells + "gone()")
    mended = NOTEBOOK.replace("FACTOR = 2", "FACTOR = 3")
    (facts,) = book.kernel(cells + "emit(got=got, why=[f.explain() for f in (a, b, c)]); dfk.cleanup()", mended)
    assert facts["got"] == [4, 2]
    assert "global FACTOR changed" in facts["why"][0]
    assert "runs anew: its input, task" in facts["why"][1]
    assert "it ran once" in facts["why"][2]
    assert book.ran() == Counter({"1": 2, "add": 3})


def test_a_join_runs_its_body_again_and_its_calls_do_not(book: Book) -> None:
    cells = "dfk = loaded(); t = total(pair(3)); got = t.result()\n"
    book.kernel(cells + "gone()")
    (facts,) = book.kernel(cells + "emit(got=got); dfk.cleanup()")
    assert facts["got"] == 14
    assert book.ran() == Counter({"3": 1, "4": 1, "total": 1})


def test_failed_calls_are_made_again(book: Book) -> None:
    cells = "dfk = loaded(); bad = fails(1); tail = add(bad, 1)\n"
    book.kernel(cells + "assert tail.exception()\ngone()")
    book.open_gate()
    (facts,) = book.kernel(cells + "emit(got=tail.result()); dfk.cleanup()")
    assert facts["got"] == 2
    assert book.ran() == Counter({"fails": 2, "add": 1})


def test_kernels_may_be_lost_again_and_again(book: Book) -> None:
    first, second = "a = work(1); a.result()\n", "b = add(a, 1); b.result()\n"
    book.kernel("dfk = loaded()\n" + first + "gone()")
    book.kernel("dfk = loaded()\n" + first + second + "gone()")
    (facts,) = book.kernel("dfk = loaded()\n" + first + second + "emit(got=b.result()); dfk.cleanup()")
    assert facts["got"] == 3
    assert book.ran() == Counter({"1": 1, "add": 1})


def test_another_configuration_goes_on_with_the_results(book: Book) -> None:
    book.kernel(
        "dfk = loaded(keep_large_results=True); got = add(work(1), work(2)).result(); "
        "big = work(bytes(3_000_000)).result()\ngone()"
    )
    (facts,) = book.kernel(
        """
    dfk = loaded(workers=1); f = add(work(1), work(2)); big = work(bytes(3_000_000))
    emit(got=f.result(), size=len(big.result()), run=dfk.run, notices=dfk.notices, state=f.task_status())
    dfk.cleanup()"""
    )
    assert (facts["got"], facts["size"], facts["run"][:3]) == (6, 6_000_000, "001")
    assert "goes on with its results" in facts["notices"][0]
    assert sum(book.ran().values()) == 4


def test_another_configuration_makes_large_results_again(book: Book) -> None:
    book.kernel("dfk = loaded(); got = add(work(1), work(2)).result(); big = work(bytes(3_000_000)).result()\ngone()")
    (facts,) = book.kernel(
        """
    dfk = loaded(workers=1); f = add(work(1), work(2)); big = work(bytes(3_000_000))
    emit(got=f.result(), size=len(big.result()), run=dfk.run, notices=dfk.notices, state=f.task_status())
    dfk.cleanup()"""
    )
    assert (facts["got"], facts["size"], facts["run"][:3]) == (6, 6_000_000, "001")
    assert "goes on with its results" in facts["notices"][0]
    assert sum(book.ran().values()) == 5


def test_a_result_that_only_the_lost_kernel_knew_is_made_again(book: Book) -> None:
    """The result arrived just before the DataFlowKernel was killed, and was not written; then the kernel was killed."""
    book.kernel(
        """
    dfk = loaded(); mine = work(1, GATE); until(mine.running)
    (segment,) = (dfk.run_dir / "event_log").glob("*.log"); size = segment.stat().st_size
    open(GATE, "x").close(); assert mine.result() == 2
    lost = dfk.pid; os.kill(lost, signal.SIGSTOP); os.truncate(segment, size); os.kill(lost, signal.SIGKILL)
    assert work(2).result() == 4 and dfk.pid != lost
    gone()"""
    )
    assert book.ran() == Counter({"1": 1, "2": 1}), "as long as somebody knows it"
    (facts,) = book.kernel("dfk = loaded(); emit(got=[work(1, GATE).result(), work(2).result()]); dfk.cleanup()")
    assert facts["got"] == [2, 4]
    assert book.ran() == Counter({"1": 2, "2": 1})


def test_without_resume_everything_runs_again(book: Book) -> None:
    cells = "dfk = loaded(resume=False); got = work(1).result()\n"
    book.kernel(cells + "gone()")
    (facts,) = book.kernel(cells + "emit(run=dfk.run); dfk.cleanup()")
    assert facts["run"][:3] == "001"
    assert book.ran() == Counter({"1": 2})


def test_what_the_next_kernel_does_not_call_goes_on_by_itself(book: Book) -> None:
    book.kernel("dfk = loaded(); held = work(1, GATE); after = add(held, 1); until(held.running)\ngone()")
    book.open_gate()
    until(lambda: book.ran()["add"] == 1)
    (facts,) = book.kernel(
        """
    dfk = loaded(); first = work(50); got = first.result(); after = add(work(1, GATE), 1)
    emit(got=[got, after.result()], why=first.explain()); dfk.cleanup()"""
    )
    assert facts["got"] == [100, 3]
    assert "not called with these arguments" in facts["why"]
    assert book.ran() == Counter({"1": 1, "add": 1, "50": 1})
