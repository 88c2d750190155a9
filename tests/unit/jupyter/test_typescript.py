"""The committed protocol.ts is what the Python structs say, and the generator covers every shape they use."""

from __future__ import annotations

from pathlib import Path

import pytest

from parslab.jupyter import typescript as generator

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
