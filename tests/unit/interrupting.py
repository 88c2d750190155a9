"""KeyboardInterrupt before every single step of a function, as a notebook's user may press Stop at any moment."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["interrupting", "steps", "switching"]


def interrupting(file: str, step: int, call: Callable[[], Any]) -> bool:
    """Call with a KeyboardInterrupt before opcode number ``step`` of a file; whether there were that many."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    try:
        return switching(file, step, call, interrupt)
    except KeyboardInterrupt:
        return True


def switching(file: str, step: int, call: Callable[[], Any], other: Callable[[], Any]) -> bool:
    """Call, with another call before opcode number ``step`` of a file; whether there were that many."""
    seen = 0

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal seen
        if frame.f_code.co_filename != file:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen += 1
            if seen == step:
                sys.settrace(None)
                other()
        return trace

    old = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 looks for one such frame when tracing begins
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(old)
    return seen >= step


def steps(call: Callable[[int], bool]) -> Iterator[int]:
    """Every step at which ``call(step)`` was interrupted, until there are no more."""
    for step in range(1, 5000):
        if not call(step):
            assert step > 50
            return
        yield step
    pytest.fail("it never ends")
