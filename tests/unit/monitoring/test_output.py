"""What is kept of a task's output, however it is cut into pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parslab.monitoring.output import HEAD, TAIL, OutputLimit, PrintedOutput


@given(st.lists(st.lists(st.integers(1, HEAD + 3 * TAIL), max_size=6), max_size=4))
def test_beginning_and_end_are_kept_and_the_rest_is_counted(flushes: list[list[int]]) -> None:
    text = "".join(f"{n:07d}\n" for n in range(sum(map(sum, flushes)) // 8 + 1))
    kept, chunks, at = OutputLimit(), list[str](), 0
    for sizes in flushes:
        printed = PrintedOutput()
        for size in sizes:
            printed.add(text[at : at + size])
            at += size
            assert sum(map(len, printed.head + printed.end)) <= HEAD + 4 * TAIL
        if chunk := kept.take(printed):
            chunks.append(chunk)
    whole, written = text[:at], "".join(chunks)
    assert written == whole[:HEAD]
    assert kept.tail == (whole[HEAD:][-TAIL:])
    assert kept.written + kept.skipped + len(kept.tail) == at
    assert (kept.written, kept.chunks) == (len(written), len(chunks))


def test_a_hundred_megabytes_stay_small() -> None:
    printed, line = PrintedOutput(), "x" * 65536
    for _ in range(1600):
        printed.add(line)
    kept = OutputLimit()
    assert len(kept.take(printed)) == HEAD
    assert len(kept.tail) == TAIL
    assert kept.skipped == 1600 * 65536 - HEAD - TAIL
