"""The committed protocol.ts is what the Python structs say, and the generator covers every shape they use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from parslab.jupyter import typescript as generator
from parslab.records.states import TASK_STATES, BlockState, TaskState

COMMITTED = Path(__file__).parents[3] / "labextension" / "src" / "protocol.ts"


@pytest.mark.skipif(not COMMITTED.exists(), reason="the sources of the extension are not here")
def test_committed_file_is_current() -> None:
    assert COMMITTED.read_text() == generator.typescript(), (
        "run: python -m parslab.jupyter.typescript labextension/src/protocol.ts"
    )


def test_requests_have_optional_fields_and_replies_do_not() -> None:
    text = generator.typescript()
    page = text[text.index("export interface ITaskPageRequest") : text.index("export interface ITaskDetailRequest")]
    assert "  request_id: string;" in page
    assert "  states?: string[];" in page
    delta = text[text.index("export interface IDelta") : text.index("export interface ITaskRow")]
    assert "?:" not in delta
    assert "  run: IRunInfo | null;" in delta


def test_array_like_structs_are_tuples() -> None:
    assert "export type StateChange = [id: number, state: string];" in generator.typescript()


def test_unknown_types_are_refused() -> None:
    with pytest.raises(TypeError, match="no TypeScript for"):
        generator._type(complex)


@pytest.mark.skipif(not COMMITTED.exists(), reason="the sources of the extension are not here")
def test_no_source_of_the_panel_lists_task_states_beside_the_generated_table() -> None:
    """``components/states.tsx`` names some in records that the type checker wants whole."""
    names = {state.name for state in TaskState} - {state.value for state in BlockState} - {"ready"}
    allowed = {"src/protocol.ts", "src/components/states.tsx"}
    folder = COMMITTED.parents[1]
    listing = {
        path.relative_to(folder).as_posix(): sorted(found)
        for path in (*folder.glob("src/**/*.ts*"), *folder.glob("style/*.css"))
        if len(found := {name for name in names if re.search(rf"\b{name}\b", path.read_text())}) > 2
    }
    assert not listing.keys() - allowed, listing


def test_every_task_state_is_in_the_table_of_the_panel() -> None:
    text = generator.typescript()
    table = text[text.index("export const TASK_STATES") : text.index("export const FINAL")]
    for state, info in TASK_STATES.items():
        assert f"  {state.name}: {{ group: '{info.group}'" in table
        assert text.count(f"    {state.name}: trans.__(") == 2
