"""Blocks of a DataFlowKernel that was killed, in virtual time: the next one takes them over, or explains them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parslab.scaling.block_journal import BlockJournal, unfinished_jobs
from parslab.scaling.block_table import RETURN_WITHIN, UNKNOWN_JOB_GRACE
from parslab.testing.simulated_cluster import RECONNECT_FOR, Cluster

if TYPE_CHECKING:
    from pathlib import Path


def busy(folder: Path) -> Cluster:
    """Two blocks that run tasks of 100 s, and one whose job waits."""
    made = Cluster(folder, init_blocks=0, max_blocks=3, slots=5)
    made.submit([100.0] * 10)
    made.play(10.0)
    made.scheduler.queue = 60.0
    made.submit([100.0] * 5)
    made.play(10.0)
    assert (made.blocks, len(made.scheduler.alive)) == (2, 3)
    return made


def test_running_and_queued_jobs_serve_the_one_in_its_place(tmp_path: Path) -> None:
    made = busy(tmp_path)
    jobs = made.scheduler.alive
    made.kill()
    made.play(5.0)
    made.events.clear()
    made.revive()
    made.play(20.0)
    assert made.scheduler.alive == jobs
    assert made.blocks == 2
    assert {block: made.states(block) for block in "012"} == {
        "0": ["running"],
        "1": ["running"],
        "2": ["queued"],
    }
    said = (
        "Blocks 0 (job 100), 1 (job 101), 2 (job 102) of executor htex go on with the DataFlowKernel that was started"
    )
    assert made.notices() == [f"{said} again."]
    made.finish()
    assert made.ended == 15
    assert made.states("2") == ["queued", "running"]
    assert len(made.scheduler.submitted) == 3, "none was asked for anew"
    made.submit([50.0] * 30)
    made.controller.cancel("0")
    made.play(5.0)
    assert made.states("3")[0] == "requested", "numbers go on where they stopped"


def test_what_ended_meanwhile_is_explained_and_no_failed_start(tmp_path: Path) -> None:
    """Also many blocks in a row; those that are needed come again."""
    made = busy(tmp_path)
    made.kill()
    made.play(RECONNECT_FOR + 60.0)
    assert made.scheduler.alive == []
    made.revive()
    made.play(20.0)
    for block in "012":
        (end,) = [move for move in made.moves(block) if move.state == "finished"]
        assert end.reason == (
            "its job ended before a manager of it found the DataFlowKernel that was started again (exit status 0)"
        )
    assert made.controller.table.failed_starts.count == 0
    made.finish()
    assert (made.ended, made.stopped) == (15, "")
    assert len(made.scheduler.submitted) > 3


def test_jobs_that_the_scheduler_has_forgotten_are_missing(tmp_path: Path) -> None:
    made = busy(tmp_path)
    made.kill()
    made.orphans.clear()
    made.scheduler.forget = True
    made.revive()
    made.play(UNKNOWN_JOB_GRACE + 2.0)
    assert [made.states(block)[-1] for block in "012"] == ["missing"] * 3
    assert made.controller.table.failed_starts.count == 0
    made.scheduler.forget = False
    made.finish()
    assert (made.ended, made.stopped) == (15, "")


def test_a_job_whose_managers_do_not_come_back_is_cancelled_and_replaced(tmp_path: Path) -> None:
    made = busy(tmp_path)
    made.kill()
    made.orphans.discard("1")
    made.play(1.0)
    made.revive()
    made.play(RETURN_WITHIN - 10.0)
    assert "101" in made.scheduler.alive
    made.play(30.0)
    assert "101" not in made.scheduler.alive
    end = made.moves("1")[-1]
    assert end.state == "scaled_in"
    assert "s passed before a manager of it found the DataFlowKernel that was started again" in end.reason
    made.finish()
    assert made.ended == 15


def in_flight(made: Cluster, folder: Path) -> None:
    """A fourth block was being submitted when it was killed."""
    made.kill()
    BlockJournal(folder, "htex").requested("3", "parslab.r1.htex.3")
    made.play(5.0)
    made.revive()


@pytest.mark.parametrize("late", [0.0, 12.0])
def test_a_submission_in_flight_is_found_by_its_name(tmp_path: Path, late: float) -> None:
    made = busy(tmp_path)
    if not late:
        made.scheduler.arrives("3")
    in_flight(made, tmp_path)
    made.play(late)
    if late:
        made.scheduler.arrives("3")
    made.play(90.0)
    assert made.states("3")[-3:] == ["requested", "queued", "running"][-3:]
    assert made.controller.table.alive["3"].job == "103"
    assert unfinished_jobs(tmp_path)["htex"]["3"] == "103"


def test_lost_submission_is_reported_and_is_no_failed_start(tmp_path: Path) -> None:
    made = busy(tmp_path)
    in_flight(made, tmp_path)
    made.play(made.scheduler.late_arrival + 5.0)
    end = made.moves("3")[-1]
    assert (end.state, end.reason) == (
        "failed",
        "it was being submitted when the DataFlowKernel was killed, and no job of its name came",
    )
    assert made.controller.table.failed_starts.count == 0
    assert "3" not in unfinished_jobs(tmp_path)["htex"]


def test_a_scheduler_that_cannot_be_asked_for_names_says_why(tmp_path: Path) -> None:
    made = busy(tmp_path)
    made.scheduler.unreachable = True
    in_flight(made, tmp_path)
    made.play(made.scheduler.late_arrival + 5.0)
    assert "killed, and squeue: error: Unable to contact slurm controller" in made.moves("3")[-1].reason


def test_the_end_cancels_what_is_found_at_the_last_moment(tmp_path: Path) -> None:
    made = busy(tmp_path)
    in_flight(made, tmp_path)
    made.play(3.0)
    number = made.scheduler.arrives("3")
    made.controller.leave()
    made.play(5.0)
    assert number not in made.scheduler.alive
    assert made.scheduler.alive == []
    assert unfinished_jobs(tmp_path) == {}


def test_what_was_not_wanted_any_more_is_cancelled(tmp_path: Path) -> None:
    made = busy(tmp_path)
    made.scheduler.unreachable = True
    made.controller.cancel("2")
    made.play(1.0)
    made.kill()
    made.scheduler.unreachable = False
    made.revive()
    made.play(5.0)
    assert "102" not in made.scheduler.alive
    assert made.states("2")[-1] == "scaled_in"


def test_what_the_user_wanted_still_holds(tmp_path: Path) -> None:
    """A number of blocks, and a block that is held."""
    made = busy(tmp_path)
    made.controller.scale(2)
    made.controller.hold("0", True)
    made.play(1.0)
    for _ in range(2):
        made.kill()
        made.revive()
        made.play(5.0)
        assert made.controller.table.alive["0"].held
        assert made.crews["0"].held
        assert len([block for block in made.controller.table.alive.values() if not block.unwanted]) == 2


def test_blocks_that_nothing_needs_any_more_go_after_their_time(tmp_path: Path) -> None:
    made = Cluster(tmp_path, init_blocks=2, max_blocks=3, max_idletime=30.0)
    made.play(20.0)
    made.kill()
    made.revive()
    made.play(20.0)
    assert made.blocks == 2, "the next cell finds them"
    made.play(20.0)
    assert made.scheduler.alive == []
    assert len(made.scheduler.submitted) == 2


def test_one_that_was_killed_before_it_asked_for_blocks_asks_for_the_first(tmp_path: Path) -> None:
    made = Cluster(tmp_path, init_blocks=2)
    made.kill()
    made.revive()
    made.play(5.0)
    assert made.blocks == 2
