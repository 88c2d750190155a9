"""Explains in a few sentences why a task ran, or whose result it has [core].

``%parsl explain`` and the panel use it.  A call that ran itself is compared with the nearest call whose result was
cached at that time.  The nearest call has the same function and arguments but other inputs; else the same function but
other arguments; else the same app but another function.
"""

from __future__ import annotations

import re
from time import localtime, strftime
from typing import TYPE_CHECKING

from parslab.errors import ParslabError
from parslab.records.states import FAILURES, TASK_STATES
from parslab.wire.messages.base import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from parslab.dataflow.graph.memoization.memo import Memo
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.task import MemoCall, Task

__all__ = ["changed_parts", "explain", "shown_arguments"]

_TASK = re.compile(r"task \d+")
"""A future among the shown arguments; ``summaries.brief`` writes it."""
_PAIRS = {"(": ")", "[": "]", "{": "}"}


def explain(number: int, table: TaskTable, memo: Memo, reasons: Iterable[Callable[[int], str | None]] = ()) -> str:
    """Say why this task ran, or whose result it has.

    Parameters
    ----------
    number
        The number of the task.
    table, memo
        The task graph and the memo of the run.
    reasons
        Functions that may know why the task ran; they are asked before the call is compared with cached results.

    Raises
    ------
    ParslabError
        The run has dropped the task and its call.
    """
    task = table.tasks.get(number)
    call = memo.calls.get(number) or (task.call if task is not None else None)
    # A call with a memoized result needs no other reason.
    if call is None or call.source is None:
        for reason in reasons:
            text = reason(number)
            if text:
                return text
    if call is None and task is None:
        raise ParslabError(
            f"The run does not know task {number}: it never was, or it ended and its future was dropped."
        )
    if call is None or (not call.key and not call.why):
        return _without(number, task, call)
    name = f"Task {number} ({call.app})"
    if call.source is not None:
        return f"{name} {_found(call, call.source)}"
    if call.why:
        return f"{name} was not looked up among cached results: {call.why}."
    return f"{name} {_verb(task)} because {difference(call, memo)}.{_failed(task)}"


def _without(number: int, task: Task | None, call: MemoCall | None) -> str:
    """Explain a task for which no result was looked up, or not yet."""
    if call is not None:
        return (
            f"Task {number} ({call.app}) has not been looked up among cached results yet: some of its inputs come from "
            "apps that do not cache, so their values have to be there first."
        )
    assert task is not None
    return f"Task {number} ({task.app}) {_verb(task)} because its app does not cache results (cache=True)."


def _verb(task: Task | None) -> str:
    if task is None:
        return "ran"
    state = TASK_STATES[task.state]
    if state.final:
        return "ran" if state.has_run else "was not run"
    return "runs" if state.has_run else "will run"


def _failed(task: Task | None) -> str:
    if task is not None and task.state in FAILURES:
        return " It failed, and failures are not cached: the next equal call runs, too."
    return ""


def _found(call: MemoCall, source: MemoCall) -> str:
    if call.leader is not None:
        return f"waits for task {source.task}, an equal call that has not ended, and will have its result."
    if call.where is not None:
        file, run = call.where
        when = strftime("%Y-%m-%d %H:%M:%S", localtime(source.at))
        return f"did not run: run {run} had computed its result (called {when}), which was in the checkpoint {file}."
    return f"did not run: its result is that of task {source.task}, an equal call."


def difference(call: MemoCall, memo: Memo) -> str:
    """Say how a call differs from the nearest one whose result was cached when it was made."""
    # Only results that were there when the call was made: later ones could not have served it.
    known = [other for other in memo.known.get(call.app, ()) if other.kept < call.order and other is not call]
    if not known:
        return f"no result of {call.app} was cached when it was called"
    same = [other for other in known if other.fingerprint == call.fingerprint]
    if not same:
        # Reversed, so that of equally near calls the newest is named: the user has seen it last.
        nearest = min(reversed(known), key=lambda other: _distance(other, call))
        return f"its function has changed: {changed_parts(nearest.parts, call.parts)}"
    nearest = min(reversed(same), key=lambda other: _distance(other, call))
    changes = _arguments_changed(nearest, call)
    if changes:
        return f"its arguments differ: {_listed(changes)}"
    if nearest.inputs != call.inputs:
        return _new_inputs(call, nearest, memo)
    if nearest.key == call.key:
        return "the result of an equal call was dropped to save memory, or could not be read"
    return f"an argument has another content than in any cached call, although it looks the same ({call.shown})"


def changed_parts(before: Mapping[str, bytes], now: Mapping[str, bytes]) -> str:
    """List which parts of a function differ: ``body changed, global scale changed``."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    words = [
        f"{name} {'is new' if name not in before else 'is gone' if name not in now else 'changed'}" for name in names
    ]
    return _listed(words) or "its code changed"


def _listed(words: list[str]) -> str:
    return ", ".join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")


def shown_arguments(shown: str, names: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Split the text of a call that ``show_arguments`` wrote into arguments, by name or else by place.

    Examples
    --------
    >>> shown_arguments("3, 'a, b', k=(1, 2)")
    [('1', '3'), ('2', "'a, b'"), ('k', '(1, 2)')]
    """
    pieces: list[str] = []
    # A scanner and no parser: the text is cut and shows objects that are no Python expressions.
    piece, quote, closing = "", "", []
    escaped = False
    for char in shown:
        if quote:
            if not escaped and char == quote:
                quote = ""
            escaped = char == "\\" and not escaped
        elif char in "'\"":
            quote = char
        elif char in _PAIRS:
            closing.append(_PAIRS[char])
        elif closing and char == closing[-1]:
            closing.pop()
        elif char == "," and not closing:
            pieces.append(piece.strip())
            piece = ""
            continue
        piece += char
    if piece.strip():
        pieces.append(piece.strip())
    found = []
    for place, text in enumerate(pieces, 1):
        name, equals, value = text.partition("=")
        if equals and name.isidentifier():
            found.append((name, value))
        else:
            found.append((names[place - 1] if place <= len(names) else str(place), text))
    return found


def _arguments_changed(before: MemoCall, now: MemoCall) -> list[str]:
    """List the changed arguments as ``argument x: 3, was 2``; ``_new_inputs`` compares inputs that are tasks."""
    old, new = dict(shown_arguments(before.shown, _names(before))), dict(shown_arguments(now.shown, _names(now)))
    changes = []
    for name in {**old, **new}:
        was, is_now = old.get(name), new.get(name)
        # Each call has another number, which says nothing about its value.
        if was == is_now or (was and is_now and _TASK.fullmatch(was) and _TASK.fullmatch(is_now)):
            continue
        if was is None:
            changes.append(f"argument {name}: {is_now}, was not given")
        elif is_now is None:
            changes.append(f"argument {name} is not given, was {was}")
        else:
            changes.append(f"argument {name}: {is_now}, was {was}")
    return changes


def _names(call: MemoCall) -> list[str]:
    names = call.parts.get(PARAMETERS, b"").decode(errors="replace")
    return names.split(",") if names else []


def _distance(before: MemoCall, now: MemoCall) -> tuple[bool, int, int]:
    """Return a measure of the difference of two calls, the most important part first."""
    changed = len(_arguments_changed(before, now))
    return len(before.inputs) != len(now.inputs), changed, _inputs_changed(before, now)


def _inputs_changed(before: MemoCall, now: MemoCall) -> int:
    if len(before.inputs) != len(now.inputs):
        return len(now.inputs)
    return sum(old != new for old, new in zip(before.inputs, now.inputs, strict=True))


def _new_inputs(call: MemoCall, nearest: MemoCall, memo: Memo) -> str:
    """List the tasks among the inputs of a call that are not those of the nearest call."""
    if len(call.inputs) != len(nearest.inputs):
        return f"it has {len(call.inputs)} inputs, and the nearest cached call had {len(nearest.inputs)}"
    words = []
    for dep, old, new in zip(call.deps, nearest.inputs, call.inputs, strict=True):
        if old != new:
            source = memo.calls.get(dep)
            if source is None or source.key != new:
                words.append(f"its input, task {dep}, has another value")
            else:
                # The input may have run for the same kind of reason, so the explanation follows the chain to its start.
                why = f" ({difference(source, memo)})" if source.source is None else ""
                words.append(f"its input, task {dep} ({source.app}), is new{why}")
    return _listed(words)
