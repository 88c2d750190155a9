"""The table of blocks: what the scheduler says merged with what managers say, failed starts, and what is cancelled."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from parslab.providers.base import JobStatus
from parslab.records.states import BlockState
from parslab.scaling.block_table import (
    ABANDONED_AFTER,
    CANCEL_WITHOUT_MANAGER,
    ENDED_KEPT,
    EXIT_GRACE,
    LATE_AFTER,
    PROVEN_AFTER,
    UNKNOWN_JOB_GRACE,
    BlockTable,
)
from parslab.scaling.controller_owner import BlockLoad, ExecutorLoad
from parslab.scaling.failed_starts import MAX_IN_A_ROW, OUTPUT_WITHIN

if TYPE_CHECKING:
    from parslab.scaling.block import Block

S = BlockState
NOTHING = ExecutorLoad(0, 0, {})


class Story:
    """A table of blocks and a clock."""

    def __init__(self) -> None:
        self.table = BlockTable()
        self.now = 100.0

    def submitted(self) -> Block:
        block = self.table.request(self.now)
        self.table.accepted(block, f"job{block.id}", self.now)
        return block

    def working(self, tasks: int = 1) -> Block:
        block = self.submitted()
        self.table.manager_joined(block.id, f"m{block.id}", "node", self.now)
        self.table.tick(ExecutorLoad(tasks, 0, {block.id: BlockLoad(1, 2, tasks, None)}), self.now)
        return block

    def hears(self, block: Block, state: BlockState | None, reason: str = "") -> None:
        said = {} if state is None else {block.job: JobStatus(state, reason)}
        self.table.update_statuses(said, [block.job], self.now)

    def later(self, seconds: float, load: ExecutorLoad = NOTHING) -> None:
        self.now += seconds
        self.table.tick(load, self.now)

    def stopped_by(self) -> str | None:
        return self.table.failed_starts.stopped_by.id if self.table.failed_starts.stopped_by is not None else None

    def states(self) -> list[BlockState]:
        return [block.state for block in self.table.blocks.values()]

    def due(self) -> list[str]:
        return [block.id for block in self.table.start_cancelling(self.now)]

    def fails(self, words: str = "exit status 1") -> Block:
        block = self.submitted()
        self.hears(block, S.failed, words)
        self.table.output_read(block, "", self.now)
        return block


@pytest.fixture
def story() -> Story:
    return Story()


# ----- an ordinary life


def test_from_request_to_end(story: Story) -> None:
    block = story.table.request(story.now)
    assert (block.id, block.state, block.starting) == ("0", S.requested, True)
    story.table.accepted(block, "12", story.now)
    assert (block.state, block.job) == (S.queued, "12")
    story.hears(block, S.queued, "Priority")
    assert block.reason == "Priority"
    story.hears(block, S.running)
    assert (block.state, block.reason, block.starting) == (S.running, "", True)
    story.table.manager_joined("0", "m", "node", story.now)
    assert not block.starting
    story.later(PROVEN_AFTER)
    story.hears(block, S.finished, "exit status 0")
    assert (block.state, block.reason, story.table.failed_starts.count) == (S.finished, "exit status 0", 0)
    assert not story.table.alive


def test_a_block_that_we_end_keeps_our_reason(story: Story) -> None:
    for state in (S.finished, S.failed, None):
        block = story.working()
        story.table.drain(block, story.now, "it was idle")
        story.table.manager_left(block.id, f"m{block.id}", "it has finished", story.now)
        story.hears(block, state, "exit status 0")
        assert (block.state, block.reason) == (S.scaled_in, "it was idle")


def test_ids_are_never_used_again(story: Story) -> None:
    assert [story.fails().id for _ in range(3)] == ["0", "1", "2"]


def test_changes_are_sent_once(story: Story) -> None:
    block = story.submitted()
    assert story.table.changed == {"0": block}
    story.table.changed = {}
    story.hears(block, S.queued)
    story.hears(block, S.queued)
    assert story.table.changed == {}
    story.hears(block, S.queued, "Resources")
    story.hears(block, S.queued, "Resources")
    assert story.table.changed == {"0": block}


def test_ended_blocks_are_forgotten_in_the_end(story: Story) -> None:
    for _ in range(ENDED_KEPT + 20):
        story.hears(story.working(), S.finished)
    assert len(story.table.blocks) == ENDED_KEPT
    assert "0" not in story.table.blocks


# ----- managers are believed before the scheduler


def test_a_manager_makes_a_block_run_whatever_the_scheduler_says(story: Story) -> None:
    block = story.submitted()
    story.table.manager_joined(block.id, "m", "node", story.now)
    story.hears(block, S.queued, "Priority")
    assert (block.state, block.reason) == (S.running, "")


def test_a_manager_may_come_before_the_answer_to_the_submission(story: Story) -> None:
    block = story.table.request(story.now)
    story.table.manager_joined(block.id, "m", "node", story.now)
    assert block.state is S.running
    story.table.accepted(block, "12", story.now)
    assert (block.state, block.job) == (S.running, "12")


def test_a_forgotten_job_runs_while_its_managers_are_connected(story: Story) -> None:
    block = story.working()
    story.hears(block, None)
    story.later(10 * UNKNOWN_JOB_GRACE)
    assert story.states() == [S.running]
    story.table.manager_left(block.id, f"m{block.id}", "lost its connection", story.now)
    story.hears(block, None)
    story.later(UNKNOWN_JOB_GRACE)
    assert block.state is S.missing
    assert "lost its connection" in block.reason


def test_a_forgotten_job_with_no_manager_is_missing_after_a_while(story: Story) -> None:
    block = story.submitted()
    story.hears(block, None)
    story.later(UNKNOWN_JOB_GRACE - 1)
    assert block.state is S.queued
    assert story.table.next_deadline(story.now) == story.now + 1
    story.later(1)
    assert (block.state, story.table.output_wanted) == (S.missing, [block])


def test_a_job_that_is_seen_again_was_never_missing(story: Story) -> None:
    block = story.submitted()
    story.hears(block, None)
    story.later(UNKNOWN_JOB_GRACE - 1)
    story.hears(block, S.queued)
    story.later(UNKNOWN_JOB_GRACE - 1)
    assert block.state is S.queued


def test_a_provider_that_says_missing_has_waited_already(story: Story) -> None:
    block = story.submitted()
    story.hears(block, S.missing, "it left no exit status")
    assert (block.state, block.reason) == (S.missing, "it left no exit status")


def test_a_requeued_job_is_queued_again(story: Story) -> None:
    block = story.submitted()
    story.hears(block, S.running)
    story.hears(block, S.queued, "NODE_FAIL, requeued")
    assert (block.state, block.reason, block.started_at) == (S.queued, "NODE_FAIL, requeued", None)


def test_managers_of_an_ended_block_are_sent_away(story: Story) -> None:
    block = story.working()
    story.hears(block, S.failed, "TIMEOUT")
    assert story.table.to_release == [block.id]
    assert not story.table.manager_joined(block.id, "late", "node", story.now)
    assert story.table.manager_joined("by hand", "m", "node", story.now)


def test_a_submission_that_timed_out_may_have_worked(story: Story) -> None:
    block = story.table.request(story.now)
    story.table.manager_joined(block.id, "m", "node", story.now)
    story.table.refused(block, "sbatch did not answer", story.now)
    assert (block.state, story.table.failed_starts.count) == (S.running, 0)
    story.table.drain(block, story.now, "idle")
    story.table.manager_left(block.id, "m", "not needed", story.now)
    assert block.state is S.scaled_in


# ----- we end it


def test_an_idle_block_may_leave_by_itself_before_it_is_cancelled(story: Story) -> None:
    block = story.working()
    story.table.drain(block, story.now, "it was idle")
    assert (block.state, story.due()) == (S.draining, [])
    story.table.manager_left(block.id, f"m{block.id}", "not needed", story.now)
    assert story.due() == []
    story.now += EXIT_GRACE
    assert story.due() == [block.id]
    assert story.due() == [], "it is being cancelled already"
    story.table.cancelled([block.id], story.now)
    assert (block.state, block.reason) == (S.scaled_in, "it was idle")


def test_a_busy_block_is_not_cancelled(story: Story) -> None:
    block = story.working()
    story.table.drain(block, story.now, "fewer")
    story.later(10_000.0)
    assert (block.state, story.due()) == (S.draining, [])


def test_a_queued_block_is_cancelled_at_once(story: Story) -> None:
    block = story.submitted()
    story.table.drain(block, story.now, "not needed")
    assert story.due() == [block.id]
    story.hears(block, S.scaled_in, "CANCELLED")
    assert (block.state, story.table.failed_starts.count) == (S.scaled_in, 0)


def test_a_block_that_is_being_submitted_is_cancelled_when_its_number_is_known(story: Story) -> None:
    block = story.table.request(story.now)
    story.table.drain(block, story.now, "not needed")
    assert story.due() == []
    story.table.accepted(block, "12", story.now)
    assert (block.state, story.due()) == (S.draining, [block.id])


def test_a_cancellation_that_failed_is_made_again(story: Story) -> None:
    block = story.submitted()
    story.table.drain(block, story.now, "not needed")
    story.due()
    story.table.cancel_failed([block.id], story.now + 5)
    assert story.due() == []
    assert story.table.next_deadline(story.now) == story.now + 5
    story.now += 5
    assert story.due() == [block.id]


def test_end_does_not_wait_for_tasks(story: Story) -> None:
    block = story.working()
    story.table.end(block, story.now, "the run is over")
    assert story.due() == [block.id]


def test_a_job_whose_managers_are_gone_is_not_left_behind(story: Story) -> None:
    block = story.working()
    story.table.manager_left(block.id, f"m{block.id}", "was silent for 20 s", story.now)
    story.later(ABANDONED_AFTER - 1)
    assert story.due() == []
    story.later(1)
    assert story.due() == [block.id]
    story.table.cancelled([block.id], story.now)
    assert (block.state, block.reason) == (S.failed, "all its managers are gone: was silent for 20 s")
    assert story.table.failed_starts.count == 0


def test_a_manager_that_comes_again_saves_its_block(story: Story) -> None:
    block = story.working()
    story.table.manager_left(block.id, f"m{block.id}", "lost its connection", story.now)
    story.later(ABANDONED_AFTER - 1)
    story.table.manager_joined(block.id, "m again", "node", story.now)
    story.later(ABANDONED_AFTER)
    assert (story.due(), block.state) == ([], S.running)


# ----- failed starts


def test_a_full_queue_stops_nothing_and_is_tried_again_later(story: Story) -> None:
    for _ in range(3 * MAX_IN_A_ROW):
        block = story.table.request(story.now)
        story.table.refused(block, "sbatch: error: QOSMaxSubmitJobPerUserLimit", story.now)
        assert block.state is S.failed
        assert story.table.failed_starts.retry_at >= story.now + 10.0
        story.later(60.0)
    assert story.stopped_by() is None
    assert story.table.failed_starts.count  # so that the user gets a notice


def test_refused_submissions_stop_the_executor(story: Story) -> None:
    for number in range(MAX_IN_A_ROW):
        assert story.table.failed_starts.stopped_by is None
        block = story.table.request(story.now)
        story.table.refused(block, f"Invalid account {number}", story.now)
        assert (block.state, block.reason) == (S.failed, f"Invalid account {number}")
    assert story.stopped_by() == str(MAX_IN_A_ROW - 1)


def test_jobs_that_end_before_a_manager_came_stop_the_executor(story: Story) -> None:
    for state in (S.failed, S.finished, S.scaled_in):
        block = story.submitted()
        story.hears(block, state, "words")
        assert block.state is S.failed
        assert "words" in block.reason
        assert story.table.output_wanted.pop() is block
        story.table.output_read(block, "its output: python: command not found", story.now)
        assert "command not found" in block.reason
    assert story.table.failed_starts.count == MAX_IN_A_ROW
    assert story.stopped_by() == str(MAX_IN_A_ROW - 1)


def test_a_start_without_explanation_counts_in_the_end(story: Story) -> None:
    block = story.submitted()
    story.hears(block, S.failed)
    assert story.table.failed_starts.count == 0
    assert story.table.requests_allowed(story.now) == 0, "the next is not asked for before this one is understood"
    story.later(60.0)
    assert story.table.failed_starts.count == 1
    story.table.output_read(block, "late words", story.now)
    assert story.table.failed_starts.count == 1


def test_a_block_that_works_ends_the_series(story: Story) -> None:
    story.fails()
    story.fails()
    story.working()
    assert story.table.failed_starts.count == 0
    story.fails()
    assert story.table.failed_starts.count == 1


@pytest.mark.parametrize("readable", [True, False])
def test_a_failed_start_without_output_is_news(story: Story, readable: bool) -> None:
    block = story.submitted()
    story.hears(block, S.failed, "exit status 1")
    story.table.changed.clear()
    if readable:
        story.table.output_read(block, "", story.now)
    else:
        story.later(OUTPUT_WITHIN)
    assert story.table.failed_starts.count == 1
    assert story.table.changed == {block.id: block}


def test_an_idle_block_works_when_it_has_stayed_for_a_while(story: Story) -> None:
    story.fails()
    block = story.submitted()
    story.table.manager_joined(block.id, "m", "node", story.now)
    story.later(PROVEN_AFTER - 1)
    assert story.table.failed_starts.count == 1
    story.later(1)
    assert story.table.failed_starts.count == 0


@pytest.mark.parametrize(
    ("state", "words"),
    [(S.scaled_in, "CANCELLED by 1000"), (S.failed, "TIMEOUT"), (S.failed, "NODE_FAIL")],
)
def test_what_ends_a_block_that_worked_is_no_failed_start(story: Story, state: BlockState, words: str) -> None:
    for _ in range(2 * MAX_IN_A_ROW):
        block = story.working()
        story.hears(block, state, words)
        assert block.state is S.failed
        assert words in block.reason
    starts = story.table.failed_starts
    assert (starts.count, starts.stopped_by, story.table.output_wanted) == (0, None, [])


def test_a_manager_that_can_start_no_worker_is_a_failed_start(story: Story) -> None:
    for _ in range(MAX_IN_A_ROW):
        block = story.submitted()
        story.table.manager_joined(block.id, "m", "node", story.now)
        story.table.manager_left(block.id, "m", "no worker can be started: numpy is broken", story.now)
        story.hears(block, S.failed, "exit status 1")
        story.table.output_read(block, "", story.now)
        assert "numpy is broken" in block.reason
    assert story.stopped_by() == str(MAX_IN_A_ROW - 1)


def test_a_cancelled_idle_block_is_no_failed_start(story: Story) -> None:
    block = story.submitted()
    story.table.manager_joined(block.id, "m", "node", story.now)
    story.hears(block, S.scaled_in, "CANCELLED by 1000")
    assert (block.state, story.table.output_wanted) == (S.failed, [])


def test_a_refused_manager_is_the_explanation(story: Story) -> None:
    block = story.submitted()
    story.hears(block, S.running)
    story.table.manager_left(block.id, "m", "host n1 runs Python 3.9, this notebook 3.11", story.now)
    assert (block.state, block.reason) == (S.running, "host n1 runs Python 3.9, this notebook 3.11")
    story.hears(block, S.failed, "exit status 1")
    assert block.reason == "exit status 1; its manager: host n1 runs Python 3.9, this notebook 3.11"


def test_the_executor_is_not_stopped_while_a_block_is_there(story: Story) -> None:
    block = story.working()
    for _ in range(2 * MAX_IN_A_ROW):
        story.fails()
    assert story.table.failed_starts.stopped_by is None
    story.hears(block, S.failed, "NODE_FAIL")
    last = story.fails()
    assert story.table.failed_starts.stopped_by is last


def test_the_executor_is_not_stopped_while_a_block_is_just_starting(story: Story) -> None:
    block = story.submitted()
    story.hears(block, S.running)
    for _ in range(MAX_IN_A_ROW):
        story.fails()
    assert story.table.failed_starts.stopped_by is None


@pytest.mark.parametrize("order", [1, -1])
def test_refusals_stop_nothing_while_another_job_is_taken(story: Story, order: int) -> None:
    """Where another job is taken, sooner or later, what is wrong is not how we ask."""
    taken, *refused = [story.table.request(story.now) for _ in range(1 + MAX_IN_A_ROW)]
    for block in [taken, *refused][::order]:
        if block is taken:
            story.table.accepted(taken, "job", story.now)
        else:
            story.table.refused(block, "a limit of this site", story.now)
    assert story.stopped_by() is None
    assert story.table.requests_allowed(story.now + 100) == 0, (
        "until it is known what becomes of the one that was taken"
    )
    story.hears(taken, S.failed, "exit status 127")
    story.table.output_read(taken, "python: command not found", story.now)
    assert story.stopped_by() == taken.id


def test_after_a_failed_start_one_block_is_tried_at_a_time(story: Story) -> None:
    assert story.table.requests_allowed(story.now) > 1000
    story.fails()
    assert story.table.requests_allowed(story.now) == 0
    deadline = story.table.next_deadline(story.now)
    assert deadline is not None
    story.later(deadline - story.now)
    assert story.table.requests_allowed(story.now) == 1
    story.submitted()
    assert story.table.requests_allowed(story.now) == 0


# ----- late managers


def test_a_job_without_manager_is_explained_within_a_minute(story: Story) -> None:
    block = story.submitted()
    story.hears(block, S.running)
    assert story.table.next_deadline(story.now) == story.now + LATE_AFTER
    story.later(LATE_AFTER)
    assert LATE_AFTER < 60
    assert story.table.output_wanted == [block]
    story.table.output_read(block, "its output: cannot reach 10.0.0.1", story.now)
    assert (block.state, story.table.failed_starts.count) == (S.running, 0)
    assert "no manager has come" in block.reason
    assert "10.0.0.1" in block.reason
    story.hears(block, S.running)
    assert "10.0.0.1" in block.reason, "the scheduler's silence does not take the explanation away"
    story.table.manager_joined(block.id, "m", "node", story.now)
    assert block.reason == ""


def test_a_job_without_manager_is_given_up_in_the_end(story: Story) -> None:
    block = story.submitted()
    story.hears(block, S.running)
    story.later(CANCEL_WITHOUT_MANAGER)
    assert story.due() == [block.id]
    story.table.cancelled([block.id], story.now)
    assert block.state is S.scaled_in
    story.table.output_read(block, "", story.now)
    assert story.table.failed_starts.count == 1


# ----- any order


@pytest.mark.parametrize("seed", range(300))
def test_any_order_of_events_keeps_the_promises(seed: int) -> None:
    """Whatever comes in whatever order: no impossible step, ended blocks stay so, each failed start counts once."""
    dice, story = random.Random(seed), Story()
    table, ended = story.table, dict[str, BlockState]()
    states = (S.queued, S.running, S.finished, S.failed, S.scaled_in, S.missing, None)
    counted = 0
    for _ in range(120):
        story.now += dice.choice((0.0, 0.5, 5.0, 30.0, 700.0))
        known = list(table.blocks.values())
        block = dice.choice(known) if known else table.request(story.now)
        before = table.failed_starts.count
        what = dice.randrange(9)
        if what == 0:
            table.request(story.now)
        elif what == 1 and not block.job:
            table.accepted(block, f"job{block.id}", story.now)
        elif what == 2 and not block.job and block.unknown_since is None:
            table.refused(block, "no", story.now)
        elif what == 3 and block.job:
            story.hears(block, dice.choice(states), dice.choice(("", "words")))
        elif what == 4:
            table.manager_joined(block.id, "m", "node", story.now)
        elif what == 5:
            table.manager_left(block.id, "m", "gone", story.now)
        elif what == 6:
            dice.choice((table.drain, table.end))(block, story.now, "ours")
        elif what == 7:
            due = story.due()
            if dice.random() < 0.7:
                table.cancelled(due, story.now)
            else:
                table.cancel_failed(due, story.now + 5)
        for failed in table.output_wanted:
            table.output_read(failed, "why", story.now)
        table.output_wanted = []
        story.later(0.0)
        counted += max(0, table.failed_starts.count - before)
        for one in table.blocks.values():
            assert one.id not in ended or one.state is ended[one.id]
            if not one.alive:
                ended[one.id] = one.state
            assert one.alive is (one.id in table.alive)
    assert counted <= len(table.blocks)
    for one in list(table.alive.values()):
        if not one.job:
            table.refused(one, "no", story.now)
        table.end(one, story.now, "over")
        for name in list(one.managers):
            table.manager_left(one.id, name, "over", story.now)
    table.cancelled(story.due() + list(table.alive), story.now)
    assert not table.alive
