"""Strategies as pure functions, and how one is found by its name."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType
from typing import Any

import pytest

from parslab.errors import ConfigurationError
from parslab.scaling.strategies import (
    AutoScale,
    BlockLimits,
    BlockView,
    Decision,
    Fixed,
    ScalingState,
    Simple,
    Strategy,
    bounded,
    strategy_named,
)

NOW = 1000.0


def block(name: str, tasks: int = 0, idle: float | None = None, **options: Any) -> BlockView:
    """A block of five workers; ``idle``: for so many seconds."""
    options.setdefault("starting", False)
    return BlockView(name, slots=5, tasks=tasks, idle_since=None if idle is None else NOW - idle, **options)


def queued(name: str) -> BlockView:
    return block(name, starting=True)


def state(tasks: int, *blocks: BlockView, quiet: float | None = None, **options: Any) -> ScalingState:
    limits = {key: options.pop(key) for key in list(options) if key in BlockLimits.__slots__}
    return ScalingState(
        now=NOW,
        tasks=tasks,
        waiting=max(0, tasks - 5 * len(blocks)),
        blocks=blocks,
        limits=BlockLimits(**{"max_blocks": 10, "max_idletime": 60.0, **limits}),
        slots_per_block=options.pop("slots_per_block", 5),
        no_tasks_since=None if quiet is None else NOW - quiet,
        **options,
    )


# ----- what is needed


@pytest.mark.parametrize(
    ("tasks", "parallelism", "slots", "needed"),
    [
        (0, 1.0, 5, 0),
        (1, 1.0, 5, 1),
        (5, 1.0, 5, 1),
        (6, 1.0, 5, 2),
        (20, 1.0, 5, 4),
        (20, 0.5, 5, 2),
        (21, 0.5, 5, 3),
        (20, 0.0, 5, 1),
        (1000, 1.0, 0, 1),
        (30, 0.1, 3, 1),
    ],
)
def test_blocks_needed(tasks: int, parallelism: float, slots: int, needed: int) -> None:
    assert state(tasks, parallelism=parallelism, slots_per_block=slots).needed == needed


# ----- growing


@pytest.mark.parametrize("strategy", [Simple(), AutoScale()])
def test_what_is_missing_comes_at_once(strategy: Strategy) -> None:
    assert strategy.decide(state(20)).add == 4
    assert strategy.decide(state(20, block("0", tasks=5), queued("1"))).add == 2
    assert strategy.decide(state(20, *map(queued, "0123"))).add == 0
    assert strategy.decide(state(0, minimum=2)).add == 2


@pytest.mark.parametrize("strategy", [Simple(), AutoScale()])
def test_a_held_block_is_replaced_when_there_is_work(strategy: Strategy) -> None:
    held = block("0", tasks=2, held=True)
    assert strategy.decide(state(3, held)).add == 1
    assert strategy.decide(state(0, held)) == Decision(0, ())


@pytest.mark.parametrize("strategy", [Simple(), AutoScale()])
def test_never_too_few_and_too_many_in_one_decision(strategy: Strategy) -> None:
    for tasks in range(0, 60, 3):
        for count in range(8):
            blocks = [block(str(n), idle=100.0) for n in range(count)]
            decision = strategy.decide(state(tasks, *blocks, quiet=None if tasks else 100.0))
            assert not (decision.add > 0 and decision.release)
            left = count + max(0, decision.add) - len(decision.release)
            assert left >= state(tasks).needed


# ----- shrinking


def test_auto_scale_gives_back_all_idle_blocks_at_once_and_keeps_busy_ones() -> None:
    blocks = (block("0", idle=70.0), block("1", tasks=1), block("2", idle=60.0), block("3", idle=59.0))
    assert AutoScale().decide(state(1, *blocks)) == Decision(-3 + 3, ("0", "2"))


def test_simple_waits_until_everything_is_idle() -> None:
    blocks = (block("0", idle=700.0), block("1", tasks=1))
    assert Simple().decide(state(1, *blocks)).release == ()
    blocks = (block("0", idle=700.0), block("1", idle=59.0))
    assert Simple().decide(state(0, *blocks, quiet=59.0)).release == ()
    blocks = (block("0", idle=700.0), block("1", idle=60.0))
    assert Simple().decide(state(0, *blocks, quiet=60.0)).release == ("0", "1")


def test_simple_keeps_a_block_that_has_just_come() -> None:
    assert Simple().decide(state(0, block("0", idle=1.0), quiet=500.0)).release == ()


@pytest.mark.parametrize("strategy", [Simple(), AutoScale()])
def test_the_floor_is_kept(strategy: Strategy) -> None:
    blocks = (block("0", idle=70.0), block("1", idle=80.0), block("2", idle=90.0))
    assert strategy.decide(state(0, *blocks, quiet=70.0, minimum=1)).release == ("2", "1")


@pytest.mark.parametrize("strategy", [Simple(), AutoScale()])
def test_queued_blocks_go_when_nothing_has_needed_them_for_a_while(strategy: Strategy) -> None:
    blocks = (block("0", tasks=1), queued("1"), queued("2"))
    assert strategy.decide(state(1, *blocks, recently_needed=3)).release == ()
    assert strategy.decide(state(1, *blocks, recently_needed=2)).release == ("2",)
    assert strategy.decide(state(1, *blocks, recently_needed=1)).release == ("2", "1")


def test_fixed_replaces_what_ended_when_there_is_work() -> None:
    assert Fixed().decide(state(9, block("0"), init_blocks=3)).add == 2
    assert Fixed().decide(state(0, block("0"), init_blocks=3)).add <= 0
    assert Fixed().decide(state(0, block("0", idle=1e6), quiet=1e6)).release == ()


# ----- limits


def test_no_decision_breaks_the_limits() -> None:
    seen = state(100, queued("0"), queued("1"), ending=3, max_blocks=10)
    assert bounded(Decision(99), seen).add == 5
    assert bounded(Decision(-4, ("0", "0", "gone")), seen) == Decision(0, ("0",))
    assert bounded(Decision(1), state(100, *map(queued, "0123456789"))).add == 0


# ----- by name


class Two(Strategy):
    """Always two blocks."""

    def decide(self, state: ScalingState) -> Decision:
        return Decision(add=2 - len(state.usable), release=state.idle()[2:])


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made: Any = ModuleType("my_strategies")
    made.Two = Two
    made.number = 3
    made.Broken = lambda: 1 / 0
    made.Empty = object
    monkeypatch.setitem(sys.modules, "my_strategies", made)
    return made  # type: ignore[no-any-return]


def test_ours_by_name() -> None:
    kinds = {name: type(strategy_named(name)) for name in ("none", "simple", "htex_auto_scale")}
    assert kinds == {"none": Fixed, "simple": Simple, "htex_auto_scale": AutoScale}


@pytest.mark.usefixtures("module")
def test_a_users_strategy_by_module_and_name() -> None:
    assert isinstance(strategy_named("my_strategies:Two"), Two)


@pytest.mark.usefixtures("module")
def test_a_users_strategy_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(group: str) -> EntryPoints:
        assert group == "parslab.strategies"
        return EntryPoints([EntryPoint("two", "my_strategies:Two", group)])

    monkeypatch.setattr("importlib.metadata.entry_points", points)
    assert isinstance(strategy_named("two"), Two)
    with pytest.raises(ConfigurationError, match="none, simple, htex_auto_scale, two"):
        strategy_named("three")


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("often", "There is no strategy 'often': choose one of none, simple"),
        ("no_such_module:X", "ModuleNotFoundError"),
        ("my_strategies:Missing", "AttributeError"),
        ("my_strategies:number", "TypeError"),
        ("my_strategies:Broken", "ZeroDivisionError"),
        ("my_strategies:Empty", "has no method decide"),
    ],
)
def test_what_is_wrong_with_a_name(name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        strategy_named(name)
