"""The port and the keys of a run survive its DataFlowKernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parslab.dataflow.network.port_state import NAME, read, remove, write
from parslab.wire.curve import CurveKeys

if TYPE_CHECKING:
    from pathlib import Path


def test_keys_and_port_come_back(tmp_path: Path) -> None:
    keys = CurveKeys()
    write(tmp_path, keys, 4711)
    found = read(tmp_path)
    assert found is not None
    assert found.port == 4711
    assert vars(found.keys) == vars(keys)
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    remove(tmp_path)
    assert read(tmp_path) is None
    remove(tmp_path)  # twice is no matter


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"server": "x", "client": "y", "port": 1}', '{"server": 3}'])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    assert read(tmp_path) is None


def test_a_folder_that_cannot_be_written_costs_nothing_now(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "gone", CurveKeys(), 1)
    assert "cannot be written" in caplog.text


def test_no_two_runs_have_the_same_keys() -> None:
    assert not set(vars(CurveKeys()).values()) & set(vars(CurveKeys()).values())
