"""The table of task states is whole, and no other module lists task states by hand.

Three files make a new task state: ``records/states.py`` (its meaning), ``records/machine.py`` (its transitions) and
``monitoring/store/tables.py`` (the column of its time).  ``protocol.ts`` is generated.  Whatever forgets the state
fails in the type checker or in one of these tests, which names the place.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import parslab
from parslab.records.machine import TASK
from parslab.records.panel import TaskRow
from parslab.records.states import (
    ACTIVE,
    FAILURES,
    FINAL,
    RANK,
    SUCCESSES,
    TASK_STATES,
    TaskGroup,
    TaskState,
)

PACKAGE = Path(parslab.__file__).parent
NAMES = set(TaskState.__members__)
DISTINCT = {"exec_done", "memo_done", "dep_fail", "fail_retryable", "launched", "joining"}
"""Names that no state of a block, manager or worker has."""

SUBSETS = {
    "dataflow/operations/invariants.py": "the states in which a need may still come",
}
"""Modules that may name several states in one display, and why the others do not matter there."""


@pytest.mark.parametrize("state", TaskState)
def test_every_state_has_a_row(state: TaskState) -> None:
    info = TASK_STATES[state]
    assert info.final == (state in FINAL) == (info.group not in (TaskGroup.waiting, TaskGroup.active))
    assert info.sentence.endswith(".")
    assert info.sentence[0].isupper()
    assert info.label


def test_the_table_lists_unfinished_states_first() -> None:
    assert list(TASK_STATES) == sorted(TASK_STATES, key=RANK.__getitem__)
    assert set(TASK_STATES) == set(TaskState)


def test_no_two_states_look_the_same() -> None:
    looks = [(info.shape, info.has_run, info.hue) for info in TASK_STATES.values()]
    assert len(set(looks)) == len(looks)
    shapes = [(info.shape, info.has_run) for info in TASK_STATES.values()]
    assert len(set(shapes)) == len(shapes), "colour alone tells two states apart"
    labels = [info.label for info in TASK_STATES.values()]
    assert len(set(labels)) == len(labels)


def test_states_that_follow_each_other_have_columns_of_their_own() -> None:
    # States of equal rank exclude each other, as running and staging do, and share a column.
    ranks = {RANK[state]: info.column for state, info in TASK_STATES.items() if not info.final}
    assert all(ranks[RANK[state]] == info.column for state, info in TASK_STATES.items() if not info.final)
    unfinished = list(ranks.values())
    ends = {info.column for info in TASK_STATES.values() if info.final}
    assert len(set(unfinished)) == len(unfinished)
    assert ends == {"ended"}
    assert {"submitted", "started", "ended"} <= {*unfinished, *ends} & set(TaskRow.__struct_fields__)


def test_groups_are_the_sets_that_conditions_use() -> None:
    assert SUCCESSES | FAILURES < FINAL
    assert {TaskState.cancelled} == FINAL - SUCCESSES - FAILURES
    assert not ACTIVE & FINAL


def test_every_state_is_in_the_machine() -> None:
    assert {state for state, _ in TASK} | set(TASK.values()) == set(TaskState)


def _states_listed(node: ast.AST) -> set[str]:
    """The task states that a set, list, tuple or dictionary display names."""
    if isinstance(node, ast.Dict):
        members = node.keys
    elif isinstance(node, ast.Set | ast.List | ast.Tuple):
        members = list(node.elts)
    else:
        return set()
    found = {
        each.attr
        for each in members
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "TaskState"
    }
    texts = {each.value for each in members if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    if texts & DISTINCT:
        found |= texts & NAMES
    return found


def test_no_module_lists_states_beside_the_table() -> None:
    listed = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if name in SUBSETS or name.startswith("records/"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            states = _states_listed(node)
            if len(states) > 1:
                listed[f"{name}:{getattr(node, 'lineno', 0)}"] = sorted(states)
    assert not listed, (
        "derive these from records.states.TASK_STATES, or say in SUBSETS why the other states do not matter"
    )
