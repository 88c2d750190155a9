"""Executors that grow and shrink in virtual time: the real controller, blocks and strategies, a planned scheduler."""

from __future__ import annotations

import errno
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from parslab.errors import ConfigurationError
from parslab.providers.base import JobStatus
from parslab.records.states import BlockState
from parslab.scaling.controller import GAP
from parslab.testing.simulated_cluster import Cluster
from parslab.testing.virtual_time import START

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from parslab.scaling.strategies import Decision, ScalingState


@pytest.fixture
def cluster(tmp_path: Path) -> Callable[..., Cluster]:
    """Makes clusters; each has a run folder of its own."""
    count = 0

    def make(**options: Any) -> Cluster:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        folder.mkdir()
        return Cluster(folder, **options)

    return make


# ----- submissions that fail for a reason that passes


def full_table() -> OSError:
    return OSError(errno.EMFILE, "Too many open files")


def test_a_submission_that_fails_for_a_while_is_tried_again_ever_more_rarely(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=1)
    made.scheduler.fail = [full_table() for _ in range(5)]
    made.submit([1.0])
    assert made.finish(1000.0) < 250.0
    pauses = [later - earlier for earlier, later in itertools.pairwise(made.scheduler.submitted)]
    assert pauses == pytest.approx([1.0, 5.0, 30.0, 60.0, 60.0], abs=0.2)
    assert made.stopped == ""
    assert made.states("0")[:2] == ["requested", "queued"]
    (notice,) = made.notices()
    assert "could not be submitted" in notice
    assert "Too many open files" in notice
    assert "tried again" in notice


def test_a_submission_that_fails_for_long_stops_the_executor_in_the_end(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=1)
    made.scheduler.fail = [full_table() for _ in range(1000)]
    made.submit([1.0])
    made.play(599.0)
    assert made.stopped == ""
    made.play(3600.0)
    assert "Too many open files" in made.stopped


def test_a_block_whose_submission_waits_can_be_given_back(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=1)
    made.scheduler.fail = [full_table() for _ in range(1000)]
    made.submit([1.0])
    made.play(20.0)
    made.controller.cancel("0")
    made.play(1.0)
    assert made.states("0")[-1] == "scaled_in"


def test_the_end_of_a_run_does_not_wait_for_a_submission_that_is_postponed(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=1)
    made.scheduler.fail = [full_table() for _ in range(1000)]
    made.play(20.0)
    made.controller.close(made.time.now + 5.0)
    assert made.states("0")[-1] == "scaled_in"


def test_a_lost_answer_to_a_submission_is_no_second_job(cluster: Callable[..., Cluster]) -> None:
    """The scheduler took the job, and the command that submitted it failed."""
    made = cluster(init_blocks=1)
    made.scheduler.fail = [full_table()]
    made.scheduler.arrives("0")
    made.submit([1.0])
    assert made.finish(100.0) < 100.0
    assert list(made.scheduler.names.values()) == ["0"]


# ----- growing


def test_scale_out_takes_one_decision(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=0, max_blocks=4)
    made.play(60.0)
    assert made.scheduler.submitted == []
    asked = made.time.now
    made.submit([10.0] * 20)
    made.play(GAP)
    assert made.scheduler.submitted == [asked] * 4


def test_work_that_comes_bit_by_bit_waits_for_at_most_one_gap(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=0, max_blocks=8, queue=1000.0)
    for number in range(8):
        made.submit([10.0] * 5)
        made.play(0.01)
        assert len(made.scheduler.submitted) <= number + 1
    made.play(GAP)
    assert len(made.scheduler.submitted) == 8
    assert max(made.scheduler.submitted) <= START + 0.08 + 2 * GAP


def test_never_more_than_max_blocks(cluster: Callable[..., Cluster]) -> None:
    made = cluster(max_blocks=3, max_idletime=5.0, boot=2.0)
    made.stages(*([3.0] * 100, [1.0]) * 5)
    made.finish()
    assert made.ended == 505
    assert made.most == 3


def test_one_block_is_enough_to_learn_what_a_block_brings(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=0, max_blocks=10, slots=16, known_slots=False, boot=5.0)
    made.submit([100.0] * 40)
    made.play(4.0)
    assert len(made.scheduler.submitted) == 1
    made.play(4.0)
    assert made.controller.expected_slots == 16
    assert len(made.scheduler.submitted) == 3


def test_parallelism(cluster: Callable[..., Cluster]) -> None:
    for parallelism, blocks in ((1.0, 4), (0.5, 2), (0.0, 1)):
        made = cluster(init_blocks=0, max_blocks=9, parallelism=parallelism)
        made.submit([10.0] * 20)
        made.play(1.0)
        assert len(made.scheduler.submitted) == blocks


# ----- shrinking


def test_idle_blocks_go_singly_and_together_and_busy_ones_stay(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=4, max_blocks=4, max_idletime=20.0)
    made.play(1.0)
    made.submit([10.0] * 15 + [500.0])
    made.play(10.1 + 20.0 - 0.5)
    assert made.blocks == 4, "the cool-down"
    made.play(1.0)
    assert made.blocks == 1, "three in one decision"
    made.finish()
    assert made.ended == 16
    assert made.lost == 0


@pytest.mark.parametrize("strategy", ["simple", "htex_auto_scale"])
def test_everything_goes_within_the_bound_when_the_work_is_done(cluster: Callable[..., Cluster], strategy: str) -> None:
    for idle in (0.5, 5.0, 120.0):
        made = cluster(strategy=strategy, init_blocks=1, max_blocks=4, max_idletime=idle)
        made.submit([7.0] * 37)
        made.finish()
        made.play(idle + 10.0)
        assert made.blocks == 0
        made.play(2.0)
        assert made.scheduler.alive == []


def test_simple_keeps_blocks_while_there_is_any_work(cluster: Callable[..., Cluster]) -> None:
    made = cluster(strategy="simple", max_blocks=4, max_idletime=5.0)
    made.submit([1.0] * 19 + [300.0])
    made.play(250.0)
    assert made.blocks == 4
    made.play(60.0 + 15.0)
    assert made.blocks == 0


def test_none_keeps_its_blocks_for_ever(cluster: Callable[..., Cluster]) -> None:
    made = cluster(strategy="none", init_blocks=2, max_blocks=4)
    made.submit([1.0] * 100)
    made.play(10_000.0)
    assert made.blocks == made.most == 2


def test_a_second_cell_finds_the_blocks_of_the_first(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=0, max_blocks=4, max_idletime=60.0)
    for _ in range(5):
        made.submit([2.0] * 20)
        made.finish()
        made.play(45.0)
    assert len(made.scheduler.submitted) == 4


def test_min_blocks_stay_and_come_again(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=1, min_blocks=1, max_blocks=4, max_idletime=5.0)
    made.submit([1.0] * 20)
    made.play(1000.0)
    assert made.blocks == 1
    made.scheduler.end(made.scheduler.alive[0], JobStatus(BlockState.failed, "TIMEOUT"))
    made.play(60.0)
    assert made.blocks == 1
    assert made.stopped == ""


def test_queued_blocks_are_cancelled_when_not_needed_any_more(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=1, max_blocks=4, max_idletime=30.0)
    made.play(2.0)
    made.scheduler.queue = 1e9
    made.submit([6.0] * 20)
    made.play(10.0)
    assert len(made.scheduler.alive) == 4
    made.finish()
    made.play(30.0 + 10.0)
    assert made.scheduler.alive == []
    assert [made.states(block)[-1] for block in "123"] == ["scaled_in"] * 3
    assert "running" not in made.states("1")


def test_the_first_blocks_wait_in_the_queue_for_as_long_as_it_takes(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=2, max_blocks=4, max_idletime=10.0, queue=3600.0)
    made.play(3590.0)
    assert len(made.scheduler.alive) == 2
    made.play(15.0)
    assert made.blocks == 2
    made.play(20.0)
    assert made.scheduler.alive == []


# ----- the study of the paper (section 5.4)

FIXED = {"strategy": "none", "init_blocks": 4}
ELASTIC = {"strategy": "htex_auto_scale", "init_blocks": 1}


def studied(made: Cluster, scale: float) -> tuple[float, float]:
    """Makespan and utilization of four stages of sleeping tasks."""
    made.play(0.5)
    wide, narrow = [100.0 * scale] * 20, [50.0 * scale]
    made.stages(wide, narrow, wide, narrow)
    makespan = made.finish()
    return makespan, made.used / made.paid


@pytest.mark.parametrize(
    ("scale", "idle", "boot"), [(0.1, 0.5, 0.4), (0.1, 0.5, 1.0), (1.0, 5.0, 2.0), (1.0, 5.0, 10.0)]
)
def test_elasticity_gains_more_and_costs_less_than_in_the_paper(
    cluster: Callable[..., Cluster], scale: float, idle: float, boot: float
) -> None:
    fixed = studied(cluster(max_blocks=4, boot=boot, **FIXED), scale)
    elastic = studied(cluster(max_blocks=4, boot=boot, max_idletime=idle, **ELASTIC), scale)
    assert fixed[1] == pytest.approx(0.683, abs=0.005)
    assert elastic[1] / fixed[1] >= 1.23
    assert elastic[0] / fixed[0] <= 1.10


# ----- what goes wrong


def test_refused_submissions_stop_the_executor_with_the_words_of_the_scheduler(
    cluster: Callable[..., Cluster],
) -> None:
    made = cluster()
    made.scheduler.refuse = ["sbatch: error: Invalid account or account/partition combination"] * 9
    made.submit([1.0] * 9)
    made.play(60.0)
    assert "Invalid account or account/partition" in made.stopped
    assert "Give the provider an account" in made.stopped
    assert len(made.scheduler.submitted) == 3
    assert sum("could not start" in text for text in made.notices()) == 1
    made.submit([1.0])
    made.play(1000.0)
    assert len(made.scheduler.submitted) == 3, "a stopped executor asks for nothing"


def test_blocks_that_cannot_start_stop_the_executor_with_their_output(
    cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    made = cluster(max_blocks=4)
    made.scheduler.break_jobs = ["exit status 127"] * 9
    for number in range(9):
        (tmp_path / "1" / f"htex-{number}.stderr").write_text("htex.sh: line 4: condaa: command not found\n")
    begun = made.time.now
    made.submit([1.0] * 20)
    made.play(12.0)
    (failed,) = [event for event in made.moves("0") if event.state == "failed" and "condaa" in event.reason]
    assert failed.time - begun < 60.0
    assert failed.stderr == str(tmp_path / "1" / "htex-0.stderr")
    made.play(120.0)
    assert "condaa: command not found" in made.stopped
    assert "exit status 127" in made.stopped
    assert made.scheduler.alive == []


def test_one_bad_start_is_made_good(cluster: Callable[..., Cluster]) -> None:
    made = cluster(max_blocks=2)
    made.scheduler.break_jobs = ["exit status 1"]
    made.submit([5.0] * 30)
    made.finish(300.0)
    assert (made.ended, made.stopped) == (30, "")


def test_jobs_without_managers_are_explained_within_a_minute(cluster: Callable[..., Cluster]) -> None:
    made = cluster()
    made.scheduler.silent = True
    made.submit([1.0])
    made.play(60.0)
    assert any("no manager has come" in event.reason for event in made.moves("0"))
    assert any("no manager has come" in text for text in made.notices())
    made.play(3000.0)
    assert "no manager has come" in made.stopped
    assert made.scheduler.alive == []


def test_a_job_cancelled_behind_our_back_is_replaced_when_work_waits(cluster: Callable[..., Cluster]) -> None:
    made = cluster(max_blocks=1, period=10.0)
    made.submit([30.0] * 5)
    made.play(5.0)
    made.scheduler.end("100", JobStatus(BlockState.scaled_in, "CANCELLED by 1000"))
    made.play(20.0)
    assert made.states("0")[-1] == "failed"
    assert "CANCELLED by 1000" in made.moves("0")[-1].reason
    made.finish()
    assert (made.ended, made.lost, made.stopped) == (5, 5, "")


def test_a_block_that_ended_is_not_replaced_when_there_is_no_work(cluster: Callable[..., Cluster]) -> None:
    made = cluster(max_blocks=1)
    made.submit([1.0])
    made.finish()
    made.scheduler.end("100", JobStatus(BlockState.failed, "TIMEOUT"))
    made.play(500.0)
    assert len(made.scheduler.submitted) == 1


def test_a_scheduler_that_forgets_jobs_does_not_harm_blocks_that_work(cluster: Callable[..., Cluster]) -> None:
    made = cluster(max_blocks=1)
    made.submit([200.0] * 5)
    made.play(10.0)
    made.scheduler.forget = True
    made.finish()
    assert made.ended == 5
    assert made.states("0") == ["requested", "queued", "running"]


def test_a_scheduler_that_does_not_answer_is_said_and_waited_for(cluster: Callable[..., Cluster]) -> None:
    made = cluster(max_blocks=1, max_idletime=10.0)
    made.submit([100.0] * 5)
    made.play(5.0)
    made.scheduler.unreachable = True
    made.finish()
    assert made.ended == 5
    made.scheduler.unreachable = False
    made.play(60.0)
    assert made.states("0")[-1] == "scaled_in"


def test_queued_job_of_a_missing_scheduler_is_reported(cluster: Callable[..., Cluster]) -> None:
    made = cluster(queue=1e6)
    made.play(1.0)
    made.scheduler.unreachable = True
    made.play(300.0)
    assert sum("Unable to contact slurm controller" in text for text in made.notices()) == 1


# ----- how often the scheduler is asked


def test_status_calls(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=0, max_blocks=4, max_idletime=30.0, period=10.0)
    made.play(500.0)
    assert made.scheduler.asked == [], "nothing is queued or running"
    made.submit([300.0] * 20)
    made.finish()
    asked = list(made.scheduler.asked)
    assert min(b - a for a, b in itertools.pairwise(asked)) >= 10.0
    assert len(asked) <= 300 / 30 + 2, "rarely while all is well"
    made.play(60.0)
    count = len(made.scheduler.asked)
    made.play(5000.0)
    assert len(made.scheduler.asked) == count


# ----- commands


def test_scale_up_now_and_keep_until_the_blocks_have_rested(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=0, max_blocks=4, max_idletime=30.0, queue=200.0)
    made.play(1.0)
    assert made.controller.scale(3) == "Executor htex goes from 0 to 3 blocks."
    assert len(made.scheduler.submitted) == 3
    made.play(190.0)
    assert len(made.scheduler.alive) == 3, "they are asked for by hand, so the queue may be long"
    made.play(30.0)
    assert made.blocks == 3
    assert made.controller.scale(3) == "Executor htex stays at 3 blocks."
    made.play(30.0)
    assert made.blocks == 0


def test_scale_down_lets_tasks_end_and_holds_against_the_work(cluster: Callable[..., Cluster]) -> None:
    made = cluster(max_blocks=4, max_idletime=30.0)
    made.submit([20.0] * 60)
    made.play(5.0)
    said = made.controller.scale(1)
    assert said == "Executor htex goes from 4 to 1 block. The others finish what they hold first."
    made.play(25.0)
    assert made.blocks == 1
    made.finish()
    assert (made.ended, made.lost) == (60, 0)
    assert len(made.scheduler.submitted) == 4
    made.play(60.0)
    made.submit([20.0] * 20)
    made.play(1.0)
    assert len(made.scheduler.submitted) == 8, "the strategy decides again"


def test_scale_to_nothing_says_that_tasks_wait(cluster: Callable[..., Cluster]) -> None:
    made = cluster(max_blocks=4)
    made.submit([20.0] * 60)
    made.play(5.0)
    assert "tasks wait until you scale it again" in made.controller.scale(0)
    made.play(500.0)
    assert (made.blocks, made.lost, made.ended) == (0, 0, 20)
    made.controller.scale(2)
    made.finish()
    assert made.ended == 60


def test_scale_knows_the_limit(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=0, max_blocks=2)
    made.play(1.0)
    said = made.controller.scale(5)
    assert said == "Executor htex goes from 0 to 2 blocks (not 5: the provider's max_blocks is 2)."
    made.play(10.0)
    assert made.blocks == 2


def test_a_held_block_gets_no_tasks_and_is_replaced(cluster: Callable[..., Cluster]) -> None:
    made = cluster(max_blocks=2)
    made.play(2.0)
    assert "gets no new tasks" in made.controller.hold("0", True)
    made.submit([10.0] * 5)
    made.finish()
    assert made.states("1")[-1] == "running"
    assert made.controller.hold("0", False) == "Block htex/0 gets tasks again."
    made.submit([10.0] * 10)
    made.play(1.0)
    assert len(made.scheduler.submitted) == 2


def test_a_block_is_held_before_its_manager_comes(cluster: Callable[..., Cluster]) -> None:
    made = cluster(queue=60.0, max_blocks=1)
    made.play(5.0)
    made.controller.hold("0", True)
    made.submit([1.0])
    made.play(500.0)
    assert made.crews["0"].held
    assert made.ended == 0


def test_drain_and_cancel(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=2, max_blocks=2)
    made.submit([60.0] * 10)
    made.play(5.0)
    assert made.controller.drain("0") == "Block htex/0 ends when it has finished what it holds."
    assert "is cancelled" in made.controller.cancel("1")
    made.play(1.0)
    assert made.states("0")[-1] == "draining"
    assert (made.states("1")[-1], made.lost) == ("scaled_in", 5)
    made.play(70.0)
    assert made.states("0")[-1] == "scaled_in"
    made.finish()
    assert made.ended == 10


def test_a_block_ended_by_hand_does_not_come_again_without_work(cluster: Callable[..., Cluster]) -> None:
    made = cluster(init_blocks=1, queue=1000.0)
    made.play(5.0)
    assert made.controller.drain("0") == "Block htex/0 ends now: no manager of it had come."
    made.play(100.0)
    assert (made.scheduler.alive, len(made.scheduler.submitted)) == ([], 1)
    with pytest.raises(ConfigurationError, match="Block htex/0 has ended"):
        made.controller.drain("0")
    with pytest.raises(ConfigurationError, match="has no block '7'; it has none"):
        made.controller.cancel("7")


def test_the_only_block_is_replaced_when_it_is_cancelled_and_work_waits(cluster: Callable[..., Cluster]) -> None:
    made = cluster(max_blocks=4)
    made.submit([60.0] * 10)
    made.play(5.0)
    made.controller.scale(1)
    for name in list(made.controller.table.alive):
        made.controller.cancel(name)
    made.finish(600.0)
    assert made.ended == 10


def test_commands_to_a_stopped_executor_say_why(cluster: Callable[..., Cluster]) -> None:
    made = cluster()
    made.scheduler.refuse = ["Invalid account"] * 3
    made.submit([1.0])
    made.play(60.0)
    with pytest.raises(ConfigurationError, match=r"Executor htex is stopped: .*Invalid account"):
        made.controller.scale(2)


# ----- strategies of users


class Broken:
    """Works once."""

    def __init__(self) -> None:
        self.asked = 0

    def decide(self, state: ScalingState) -> Decision:
        raise ZeroDivisionError("oops")


def test_a_strategy_that_breaks_is_said_and_replaced(cluster: Callable[..., Cluster]) -> None:
    made = cluster(strategy=f"{__name__}:Broken", init_blocks=1)
    made.submit([5.0] * 10)
    made.finish(100.0)
    assert made.ended == 10
    assert sum("ZeroDivisionError: oops" in text for text in made.notices()) == 1


def test_an_unknown_strategy_stops_the_executor_at_once(cluster: Callable[..., Cluster]) -> None:
    made = cluster(strategy="often")
    made.play(1.0)
    assert "There is no strategy 'often'" in made.stopped


# ----- the end


def test_close_cancels_queued_and_running_jobs(cluster: Callable[..., Cluster]) -> None:
    made = cluster(max_blocks=4)
    made.submit([1000.0] * 10)
    made.play(5.0)
    made.scheduler.queue = 1e9
    made.submit([1000.0] * 10)
    made.play(5.0)
    assert len(made.scheduler.alive) == 4
    made.controller.leave()
    assert made.scheduler.alive == []
    made.play(1.0)
    made.controller.close(made.time.now + 5.0)
    assert {made.states(block)[-1] for block in "0123"} == {"scaled_in"}
    assert made.scheduler.closed


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_left_after_any_story(cluster: Callable[..., Cluster], seed: int) -> None:
    """Random work, faults and commands: tasks end, limits hold, and when it is over no job is left."""
    import random

    dice = random.Random(seed)
    most = dice.randint(1, 5)
    made = cluster(
        strategy=dice.choice(("simple", "htex_auto_scale")),
        init_blocks=dice.randint(0, most),
        max_blocks=most,
        max_idletime=dice.choice((1.0, 20.0, 100.0)),
        queue=dice.choice((0.0, 3.0, 60.0)),
        boot=dice.choice((0.5, 8.0)),
    )
    made.play(1.0)
    total = 0
    for _ in range(25):
        what = dice.randrange(8)
        if what < 3:
            count = dice.randint(1, 30)
            total += count
            made.submit([dice.uniform(0.1, 30.0) for _ in range(count)])
        elif what == 3 and made.scheduler.alive:
            words = dice.choice(("TIMEOUT", "NODE_FAIL"))
            made.scheduler.end(dice.choice(made.scheduler.alive), JobStatus(BlockState.failed, words))
        elif what == 4 and made.controller.table.alive:
            name = dice.choice(list(made.controller.table.alive))
            dice.choice((made.controller.drain, made.controller.cancel))(name)
        elif what == 5:
            made.scheduler.unreachable = dice.random() < 0.3
        elif what == 6:
            made.controller.scale(dice.randint(1, most))
        elif what == 7:
            made.kill()
            made.play(dice.choice((0.0, 1.0, 25.0, 300.0)))
            made.revive()
            made.play(0.5)
        made.play(dice.choice((0.0, 0.1, 5.0, 60.0)))
        if made.stopped:
            return  # three jobs in a row were killed before they worked: that may be
    made.scheduler.unreachable = False
    made.finish(20_000.0)
    assert made.stopped or made.ended == total
    assert made.most <= most
    made.controller.leave()
    made.play(60.0)
    assert made.scheduler.alive == []
