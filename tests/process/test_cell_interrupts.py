"""A cell is interrupted in a real kernel: the cell stops, its tasks go on, unless the user wants them cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.process.test_magics import Notebook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEFINE = """
import asyncio, concurrent.futures, os, pathlib, time
import parslab
from parslab import Config, LowLatencyExecutor, ThreadPoolExecutor, bash_app, join_app, python_app

@python_app(executors=["llex"])
def waits(gate, value=7):
    while not os.path.exists(gate):
        time.sleep(0.01)
    return value

@python_app(executors=["threads"])
def in_thread(gate):
    while not os.path.exists(gate):
        time.sleep(0.01)
    return "done"

@join_app
def fans(gate):
    before = waits(gate, 1)  # not returned, and called by the body all the same
    return [waits(gate, n) for n in range(2)]
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    notebook = Notebook(tmp_path_factory.mktemp("k"))
    try:
        assert not notebook.run("%load_ext parslab\n" + DEFINE).error
        config = "Config(executors=[LowLatencyExecutor(workers=2), ThreadPoolExecutor()])"
        assert "Run 000-" in notebook.run(f"%parsl load {config}").stdout
        yield notebook
    finally:
        notebook.stop()


@pytest.fixture
def gate(book: Notebook, tmp_path: Path) -> Iterator[Path]:
    """Tasks that wait for it end when it is there."""
    path = tmp_path / "gate"
    assert not book.run(f"gate = {str(path)!r}").error
    yield path
    path.touch()
    assert not book.run("%parsl wait").error


WAITS = {
    "result": "tasks[0].result()",
    "exception": "tasks[0].exception()",
    "wait": "concurrent.futures.wait(tasks)",
    "as_completed": "for one in concurrent.futures.as_completed(tasks): one.result()",
    "await": "await tasks[0]",
    "gather": "await asyncio.gather(*tasks)",
    "wait_for_current_tasks": "parslab.wait_for_current_tasks()",
    "part": "tasks[0][0].result()",
}


@pytest.mark.parametrize("how", WAITS)
def test_an_interrupt_stops_the_cell_and_no_task(book: Notebook, gate: Path, how: str) -> None:
    pids = book.run("import psutil\nsorted(p.pid for p in psutil.Process().children(recursive=True))").result
    cell = book.start(f"tasks = [waits(gate, [n]) for n in range(3)]\nprint('waiting', flush=True)\n{WAITS[how]}")
    book.until(lambda: "waiting" in cell.stdout)
    book.manager.interrupt_kernel()
    book.finish(cell)
    assert cell.error.partition(":")[0] in ("KeyboardInterrupt", "CancelledError")
    said = f"In [{cell.number}] was interrupted; its 3 unfinished tasks go on (%parsl cancel --cell would end them)."
    assert said in cell.stdout
    assert book.run("[task.done() for task in tasks]").result == "[False, False, False]"
    gate.touch()
    assert book.run("[task.result() for task in tasks]").result == "[[0], [1], [2]]"
    assert book.run("sorted(p.pid for p in psutil.Process().children(recursive=True))").result == pids


def test_a_cell_task_that_is_waited_for_goes_on(book: Notebook, gate: Path) -> None:
    begun = gate.with_name("begun")
    body = f"pathlib.Path({str(begun)!r}).touch()\nwhile not os.path.exists(gate): time.sleep(0.01)\nlast = 7"
    cell = book.start(f"%%parsl --wait -e llex -n cell_task\n{body}")
    book.until(begun.exists)
    book.manager.interrupt_kernel()
    book.finish(cell)
    assert cell.error.startswith("KeyboardInterrupt")
    assert "its unfinished task goes on (%parsl cancel --cell would end it)" in cell.stdout
    gate.touch()
    assert book.run("last.result()").result == "7"
    assert "exec_done" in book.text(book.run("%parsl tasks --app cell_task").shown[0])


def test_a_command_that_waits_is_interrupted_alone(book: Notebook, gate: Path) -> None:
    book.run("task = waits(gate)")
    cell = book.start("print('waiting', flush=True)\n%parsl wait")
    book.until(lambda: "waiting" in cell.stdout)
    book.manager.interrupt_kernel()
    book.finish(cell)
    assert cell.error.startswith("KeyboardInterrupt")
    assert "was interrupted" not in cell.stdout  # it is another cell's task
    gate.touch()
    assert book.run("task.result()").result == "7"


def test_what_the_last_cell_called_is_cancelled_alone(book: Notebook, gate: Path) -> None:
    book.run("mine = waits(gate, 1)")
    cell = book.run("theirs = [waits(gate, n) for n in range(5)]\nafter = waits(gate, theirs[0])")
    assert book.run("1 + 1").result == "2"
    assert book.run("%parsl cancel --cell").stdout == f"6 tasks cancelled (In [{cell.number}]).\n"
    assert book.run("[one.cancelled() for one in [*theirs, after]], mine.done()").result == f"({[True] * 6}, False)"
    again = book.run("%parsl cancel --cell").stdout
    assert again.startswith(f"Nothing to cancel: no task that cell In [{cell.number}] has called is unfinished")


def test_a_cell_is_named_by_its_number(book: Notebook, gate: Path) -> None:
    first = book.run("one = waits(gate, 1)")
    book.run("two = waits(gate, 2)")
    assert book.run(f"%parsl cancel --cell {first.number}").stdout == "1 task cancelled.\n"
    assert book.run("one.cancelled(), two.done()").result == "(True, False)"
    number = book.run("three = waits(gate, 3)").number
    assert book.run(f"parslab.dfk().cancel(cell={number})").result == "'1 task cancelled'"


def test_an_app_is_cancelled_in_all_cells(book: Notebook, gate: Path) -> None:
    book.run("%%parsl -e llex -n other\nwhile not os.path.exists(gate): time.sleep(0.01)")
    book.run("one = waits(gate, 1)")
    book.run("two = waits(gate, one)")
    assert book.run("%parsl cancel --app waits").stdout == "2 tasks cancelled.\n"
    assert book.run("one.cancelled(), two.cancelled()").result == "(True, True)"
    assert book.run("%parsl cancel --app nobody").stdout == "Nothing to cancel: no task of app nobody is unfinished.\n"
    assert book.run("%parsl cancel --app other").stdout == "1 task cancelled.\n"


def test_with_a_join_goes_what_its_body_has_called(book: Notebook, gate: Path) -> None:
    cell = book.run("join = fans(gate)\nwhile join.state.name != 'joining': time.sleep(0.01)")
    book.run("mine = waits(gate, 1)")
    unfinished = "--state running --state ready --state launched"
    tasks = book.text(book.run(f"%parsl tasks --app waits {unfinished}").shown[0])
    assert tasks.count(f"In [{cell.number}]") == 3  # the body's calls belong to its cell, whatever runs now
    assert book.run(f"%parsl cancel --cell {cell.number}").stdout == "4 tasks cancelled.\n"
    assert book.run("join.cancelled(), mine.done()").result == "(True, False)"


def test_a_thread_cannot_be_stopped_and_that_is_said(book: Notebook, gate: Path) -> None:
    book.run("task = in_thread(gate)\nwhile not task.running(): time.sleep(0.01)")
    assert book.run("task.cancel()").result == "False"
    said = "0 tasks cancelled; 1 task runs in threads of the notebook, where nobody can stop it, and goes on.\n"
    assert book.run("%parsl cancel --app in_thread").stdout == said
    gate.touch()
    assert book.run("task.result()").result == "'done'"


def test_a_setting_cancels_what_an_interrupted_cell_has_called(book: Notebook, gate: Path) -> None:
    book.run("mine = waits(gate, 1)")
    assert not book.run("%config ParslMagics.cancel_on_interrupt = True").error
    assert not book.run("%reload_ext parslab").error
    try:
        cell = book.start("tasks = [waits(gate, n) for n in range(3)]\nprint('waiting', flush=True)\ntasks[0].result()")
        book.until(lambda: "waiting" in cell.stdout)
        book.manager.interrupt_kernel()
        book.finish(cell)
        assert cell.error.startswith("KeyboardInterrupt")
        assert f"In [{cell.number}] was interrupted: 3 tasks cancelled." in cell.stdout
        assert book.run("[task.cancelled() for task in tasks], mine.done()").result == "([True, True, True], False)"
    finally:
        assert not book.run("%config ParslMagics.cancel_on_interrupt = False").error


@pytest.mark.parametrize("line", ["%parsl cancel", "%parsl cancel 1 --all", "%parsl cancel --all --cell 3"])
def test_one_choice_at_a_time(book: Notebook, line: str) -> None:
    assert "%parsl cancel TASK..., --all, --app NAME or --cell [N]" in book.run(line).stderr
