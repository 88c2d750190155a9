"""Temporary files that were lost: exactly the calls run again whose files a task needs, once each, and not for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parslab.dataflow.graph.recovery.file_recovery import MOST_RECOVERIES, RECOVERY_CLIENT, LostFile, RecoveryAnswer
from parslab.dataflow.graph.values import StoredValue
from parslab.dataflow.operations.invariants import check
from parslab.dataflow.operations.retry_plan import functions_needed, plan, reopen
from parslab.records.events import TaskFailed, TaskSubmitted
from parslab.records.panel import CLIENT_SHIFT
from parslab.records.states import TaskState
from parslab.testing.fakes import outcome
from parslab.wire.messages.base import Failure
from tests.unit.dataflow.graph.test_table import Graph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.dataflow.graph.task import Task

S = TaskState
LOST = Failure("FileLostError: gone", reason="file_lost")


class Files(Graph):
    """A graph whose tasks write temporary files."""

    def runs(self, task: int) -> Task:
        there = self.table.tasks[task]
        self.table.sent(there, 1.0, "w")
        return there

    def writes(self, task: int, *paths: str) -> None:
        """A worker runs a ready task, which writes these files."""
        self.runs(task)
        for path in paths:
            self.table.recovery.wrote(task, path)
        self.ends(task)

    def ends(self, task: int, failure: Failure | None = None) -> None:
        there = self.table.tasks[task]
        value = StoredValue(b"value", []) if failure is None else None
        self.table.attempt_ended(there, outcome(there, 1.5, 2.0, failure), value, "w")

    def asks(self, task: int, *paths: str) -> list[RecoveryAnswer]:
        """An attempt asks for files that are lost, and fails if they are made again."""
        self.runs(task)
        answers = [self.table.file_lost(LostFile(task, path, "was lost with host h2"), 1.7) for path in paths]
        self.ends(task, LOST if all(answer.recovers for answer in answers) else Failure("StagingError: gone"))
        return answers

    def recoveries(self) -> list[int]:
        """Take the recovery tasks that became ready."""
        return [number for number in self.ready() if number >> CLIENT_SHIFT == RECOVERY_CLIENT]

    def shown(self) -> list[str]:
        """What the panel shows of each recovery task."""
        events = [event for event in self.table.out.events if isinstance(event, TaskSubmitted)]
        return [event.shown for event in events if event.client == RECOVERY_CLIENT]


@pytest.fixture
def graph() -> Iterator[Files]:
    graph = Files()
    yield graph
    check(graph.table)
    graph.table.cancel(None, 9.0, also_threads=True)
    check(graph.table)
    graph.table.release(list(graph.table.tasks))
    assert not graph.table.tasks
    assert graph.table.unfinished == 0


def test_the_call_runs_again_and_the_reader_waits_for_it_at_no_cost(graph: Files) -> None:
    graph.call(1)
    graph.writes(1, "/x")
    reader = graph.call(2, 1)
    graph.ready()
    (answer,) = graph.asks(2, "/x")
    assert answer.text == "its only copy was lost with host h2; task 1 (app), which wrote it, runs again"
    assert (reader.state, reader.attempt) == (S.fail_retryable, 0)
    (again,) = graph.recoveries()
    recovery = graph.table.tasks[again]
    assert (recovery.args, recovery.fn, recovery.executor, recovery.app) == (b"args", 0, 0, "app")
    check(graph.table)
    graph.writes(again, "/x")
    assert (reader.state, reader.attempt) == (S.ready, 1)
    assert graph.ready() == [2]
    graph.done(2)
    assert graph.resolved()[2].state is S.exec_done


def test_a_recovery_task_is_a_task_that_says_why_and_no_client_gets_its_result(graph: Files) -> None:
    graph.call(1)
    graph.writes(1, "/x")
    graph.call(2)
    graph.asks(2, "/x")
    graph.ready()
    (again,) = [number for number in graph.table.tasks if number > 2]
    graph.writes(again, "/x")
    why = "/x was lost with host h2, and task 2 (app) needs it"
    assert graph.shown() == [f"again for task 1: {why}"]
    recovery = graph.table.recovery
    assert recovery.count == 1
    assert recovery.why(1) == f"Task 1 (app) ran, and once again as a recovery task: {why}."
    assert recovery.why(again) == f"This task runs task 1 (app) again: {why}."
    assert recovery.why(2) is None
    assert [event.error for event in graph.table.out.events if isinstance(event, TaskFailed)] == [LOST.error]
    to_clients = [client for client, message, _ in graph.table.out.replies if getattr(message, "task", 0) == again]
    assert set(to_clients) <= {RECOVERY_CLIENT}
    assert again not in graph.table.tasks
    # A browser must represent the number exactly.
    assert again < 1 << 53


def test_a_hundred_readers_need_one_recovery_task(graph: Files) -> None:
    graph.call(1)
    graph.writes(1, "/x")
    readers = [graph.call(number, 1) for number in range(2, 102)]
    graph.ready()
    for reader in readers:
        graph.asks(reader.id, "/x")
    (again,) = graph.recoveries()
    graph.writes(again, "/x")
    assert graph.ready() == [reader.id for reader in readers]
    assert graph.table.recovery.count == 1


def test_exactly_the_files_that_somebody_needs_are_made_again(graph: Files) -> None:
    for number in range(1, 101):
        graph.call(number)
        graph.writes(number, f"/{number}")
    reader = graph.call(200, *range(1, 101))
    graph.ready()
    graph.asks(200, *(f"/{number}" for number in range(3, 101, 7)))
    again = graph.recoveries()
    assert len(again) == len(range(3, 101, 7)) == graph.table.recovery.count
    for number in again:
        assert reader.state is S.fail_retryable
        graph.writes(number)
    assert reader.state is S.ready


def test_lost_inputs_of_the_call_are_made_again_first(graph: Files) -> None:
    """/b was made from /a, and the node had both."""
    graph.call(1)
    graph.writes(1, "/a")
    graph.call(2, 1)
    graph.writes(2, "/b")
    reader = graph.call(3, 2)
    graph.ready()
    graph.asks(3, "/b")
    (second,) = graph.recoveries()
    graph.asks(second, "/a")
    (first,) = graph.recoveries()
    assert graph.table.recovery.count == 2
    graph.writes(first, "/a")
    assert graph.ready() == [second]
    graph.writes(second, "/b")
    assert graph.ready() == [3]
    assert reader.state is S.ready


def test_a_call_with_two_lost_files_runs_once(graph: Files) -> None:
    graph.call(1)
    graph.writes(1, "/a", "/b")
    graph.call(2, 1)
    graph.ready()
    graph.asks(2, "/a", "/b")
    assert len(graph.recoveries()) == 1


def test_a_file_that_is_there_again_when_the_attempt_ends_costs_no_wait(graph: Files) -> None:
    graph.call(1)
    graph.writes(1, "/x")
    reader = graph.call(2, 1)
    graph.ready()
    graph.runs(2)
    graph.table.file_lost(LostFile(2, "/x", "was lost with host h2"), 1.7)
    (again,) = graph.recoveries()
    graph.writes(again, "/x")
    graph.ends(2, LOST)
    assert (reader.state, reader.attempt) == (S.ready, 1)
    assert graph.ready() == [2]


def test_losses_that_repeat_end_with_a_sentence(graph: Files) -> None:
    graph.call(1)
    graph.writes(1, "/x")
    graph.call(2, 1)
    for _ in range(MOST_RECOVERIES):
        graph.ready()
        graph.asks(2, "/x")
        (again,) = graph.recoveries()
        graph.writes(again, "/x")
    graph.ready()
    (answer,) = graph.asks(2, "/x")
    assert answer == RecoveryAnswer(
        False,
        "its only copy was lost with host h2, and task 1 (app), which wrote it, has run again 5 times: keep the file "
        "on the host of the run (temporary=False), or use nodes that live longer",
    )
    assert graph.recoveries() == []
    assert graph.state(2) is S.failed


def test_a_recovery_task_that_fails_is_the_reason_and_does_not_run_once_more(graph: Files) -> None:
    graph.call(1)
    graph.writes(1, "/x")
    reader = graph.call(2, 1)
    graph.ready()
    graph.asks(2, "/x")
    (again,) = graph.recoveries()
    graph.runs(again)
    graph.ends(again, Failure("ValueError: no"))
    assert reader.state is S.ready  # it asks again, and gets the sentence
    (answer,) = graph.asks(2, "/x")
    assert not answer.recovers
    assert answer.text.endswith("and task 1 (app), which wrote it, ran again and failed: ValueError: no")
    assert graph.recoveries() == []


def test_nothing_runs_again_for_a_task_that_has_ended(graph: Files) -> None:
    graph.call(1)
    graph.writes(1, "/x")
    graph.call(2, 1)
    graph.done(2)
    graph.ready()
    assert not graph.table.file_lost(LostFile(2, "/x", "was lost with host h2"), 3.0).recovers
    assert not graph.table.file_lost(LostFile(-1, "/x", "was lost with host h2"), 3.0).recovers
    assert graph.recoveries() == []


def test_a_call_that_needs_the_file_itself_does_not_wait_for_itself(graph: Files) -> None:
    """Task 2 reads /x and writes it anew: nobody has the first content."""
    graph.call(1)
    graph.writes(1, "/x")
    graph.call(2, 1)
    graph.writes(2, "/x")
    graph.call(3, 2)
    graph.ready()
    graph.asks(3, "/x")
    (again,) = graph.recoveries()
    (answer,) = graph.asks(again, "/x")
    assert answer.text.endswith("needs it itself: write to another path than you read from")
    assert graph.state(3) is S.ready
    (answer,) = graph.asks(3, "/x")
    assert "ran again and failed" in answer.text


def test_calls_that_need_each_other_do_not_wait_for_ever(graph: Files) -> None:
    graph.call(1)
    graph.writes(1, "/a")
    graph.call(2, 1)
    graph.writes(2, "/b")
    graph.call(3, 2)
    graph.writes(3, "/a")  # from /b
    graph.call(4, 3)
    graph.ready()
    graph.asks(4, "/a")
    (third,) = graph.recoveries()
    graph.asks(third, "/b")
    (second,) = graph.recoveries()
    (answer,) = graph.asks(second, "/a")
    assert not answer.recovers
    assert graph.state(third) is S.ready


def test_a_released_call_still_runs_again(graph: Files) -> None:
    graph.call(1)
    graph.writes(1, "/x")
    graph.call(2, 1)
    graph.table.release([1])
    assert 1 not in graph.table.tasks
    assert functions_needed(graph.table) == {0}
    graph.ready()
    graph.asks(2, "/x")
    assert len(graph.recoveries()) == 1


def test_the_values_that_a_call_needs_are_kept_for_it(graph: Files) -> None:
    graph.call(1)
    graph.done(1, b"one")
    graph.call(2, 1)
    graph.writes(2, "/x")
    graph.table.release([1, 2])
    graph.call(3)
    graph.ready()
    graph.asks(3, "/x")
    (again,) = graph.recoveries()
    assert [need.value.inline for need in graph.table.tasks[again].needs if need.value] == [b"one"]


def test_a_node_that_reports_its_files_again_changes_nothing(graph: Files) -> None:
    graph.call(1)
    graph.writes(1, "/x")
    graph.table.recovery.wrote(1, "/x")
    graph.table.recovery.wrote(77, "/y")  # a task of the run before a failover
    graph.call(2)
    graph.ready()
    assert graph.asks(2, "/x")[0].recovers
    assert not graph.table.file_lost(LostFile(2, "/y", "was lost with host h2"), 3.0).recovers


def test_a_reader_that_is_cancelled_and_retried_is_not_woken_by_the_old_recovery(graph: Files) -> None:
    graph.call(1)
    graph.writes(1, "/x")
    graph.call(2, 1)
    graph.ready()
    graph.asks(2, "/x")
    (again,) = graph.recoveries()
    graph.table.cancel([2], 3.0)
    graph.table.out.ready.clear()
    reopen(graph.table, plan(graph.table, [2]), lambda task: None, 4.0)
    assert graph.ready() == [2]
    check(graph.table)
    graph.writes(again, "/x")
    assert graph.ready() == []
    graph.done(2)
