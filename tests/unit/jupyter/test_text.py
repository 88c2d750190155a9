"""Text for people: bounded output, tables, durations."""

from __future__ import annotations

from typing import Any

import pytest

from parslab.jupyter.display import plain
from parslab.jupyter.text import BoundedText, TextTable, block_lines, duration, say, shortened, size
from parslab.records.panel import BlockRow
from tests.unit.client.home import FakeHome


def test_output_keeps_the_order_of_streams() -> None:
    text = BoundedText()
    text.append("stdout", "a\n")
    text.append("stderr", "<b>\n")
    text.append("stdout", "c\n")
    assert text.plain() == "a\n<b>\nc\n"
    assert "&lt;b&gt;" in text.html()
    assert text.html().count("<span") == 1


def test_only_the_end_of_much_output_is_kept() -> None:
    text = BoundedText(limit=10)
    assert not text
    for piece in ("0123456789", "abcdef", "x" * 30 + "yz"):
        text.append("stdout", piece)
    assert text.lost == 38
    assert text.plain() == f"{text.mark}xxxxxxxxyz"
    assert "38 B before this cut" in text.mark


def test_a_line_that_overwrites_itself_shows_its_last_state() -> None:
    text = BoundedText()
    for step in ("  0%|", "\r 50%|", "\r", "100%|", "\ndone\r\n"):
        text.append("stderr", step)
    assert text.plain() == "100%|\ndone\n"


def test_progress_bars_do_not_pile_up() -> None:
    text = BoundedText(limit=100)
    for number in range(1000):
        text.append("stderr", f"\r{number}")
    assert text.plain() == "999"


def test_colours_are_taken_out() -> None:
    text = BoundedText()
    text.append("stdout", "\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07")
    assert text.plain() == "red link"


def test_tables_line_up_and_escape() -> None:
    table = TextTable("Head <1>", ["app", "done"], [["fit", 7], ["<b>", 1234]], ["foot"])
    assert repr(table) == "Head <1>\napp  done\nfit     7\n<b>  1234\nfoot"
    assert "&lt;b&gt;" in table._repr_html_()
    assert '<td style="text-align:right">7</td>' in table._repr_html_()
    assert repr(TextTable("Nothing", ["a"], [])) == "Nothing"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.00 s"),
        (0.123, "0.12 s"),
        (9.999, "10.0 s"),
        (59.97, "1 min 0 s"),
        (125, "2 min 5 s"),
        (12000, "3 h 20 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sizes_and_short_lines() -> None:
    assert [size(n) for n in (5, 64000, 1_500_000)] == ["5 B", "64 kB", "1.5 MB"]
    assert shortened("a\n b", 10) == "a b"
    assert shortened("abcdef", 4) == "abc…"


def block(number: int, state: str, reason: str = "", workers: int = 0, **more: Any) -> BlockRow:
    times = {"since": float(number), "requested": 0.0, "started": None, "ended": None}
    rest = {"job": "", "nodes": 1, "managers": 0, "busy": 0, "done": 0, "held": False, "stdout": "", "stderr": ""}
    return BlockRow("htex", str(number), state, reason=reason, workers=workers, **{**times, **rest, **more})


def test_blocks_are_one_line_for_each_executor() -> None:
    rows = [
        block(0, "failed", "old"),
        block(1, "failed", "sbatch: error:\nInvalid account"),
        block(2, "running", workers=4, busy=4),
        block(3, "running", workers=4, busy=2),
        block(4, "queued", "(Resources)"),
        block(5, "running", workers=4, held=True),
        block(6, "requested"),
    ]
    assert block_lines(rows) == [
        "Blocks of htex: 2 running (6 of 8 workers busy), 1 held (0 of 4 workers busy), 1 queued: (Resources), "
        "1 requested, 2 failed: sbatch: error: Invalid account"
    ]
    assert block_lines([]) == []


CONTROL = "\x1b]0;title\x07 \x9b2J \x1b[31mred caf\udce9"
ESCAPED = "\\x1b]0;title\\x07 \\x9b2J \\x1b[31mred caf\\udce9"


def test_control_characters_of_users_never_reach_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """The name of an app could set the title of the terminal's window."""
    table = TextTable(f"head {CONTROL}", ["app"], [[CONTROL]], [f"foot {CONTROL}"])
    assert repr(table) == f"head {ESCAPED}\napp\n{ESCAPED}\nfoot {ESCAPED}"
    assert shortened(CONTROL, 200) == ESCAPED
    say(CONTROL)
    assert capsys.readouterr().out == f"{ESCAPED}\n"
    text = BoundedText()
    text.append("stdout", "\x1b[31mred\x1b[0m \x1b")
    text.append("stdout", "]0;title\x07 50 %\b\b\b60 %\n")
    assert text.plain() == "red \\x1b]0;title\\x07 50 %\b\b\b60 %\n"


def test_names_of_apps_are_escaped_in_what_futures_show() -> None:
    future = FakeHome().future(7, CONTROL)
    assert repr(future) == f"<AppFuture task 7 {ESCAPED} unfinished>"
    assert "\x1b" not in plain(future)
