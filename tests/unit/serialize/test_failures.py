"""Exceptions keep their type, their traceback is never lost, and those that cannot travel say so."""

from __future__ import annotations

import pickle
import sys
import threading
from typing import Any

import msgspec
import pytest

from parslab.errors import (
    AppError,
    AppExit,
    AppTimeout,
    BashExitFailure,
    DependencyError,
    DeserializationError,
    JoinError,
    ManagerLost,
    RemoteError,
    RemoteTraceback,
    WorkerLost,
)
from parslab.serialize.failures import bounded, exception_of, failure_of, one_line, remote_traceback
from parslab.wire.messages.base import Failure


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def returned(error: BaseException) -> BaseException:
    """The exception as the notebook gets it."""
    return exception_of(failure_of(raised(error)), 7)


class Odd(Exception):
    """Its constructor takes other arguments than `args` holds, so pickle cannot rebuild it."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


class OddButGood(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(a, b)


class Adds(Exception):
    """Its constructor would add to the message once more."""

    def __init__(self, text: str) -> None:
        super().__init__(f"bad {text}")


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


class OddFile(OSError):
    def __init__(self, name: str, why: Any) -> None:
        super().__init__(2, "not there", name)
        self.why = why


class OddText(UnicodeDecodeError):
    def __init__(self, data: bytes) -> None:
        super().__init__("utf-8", data, 0, 1, "bad")


GROUPS: list[Exception] = []
if sys.version_info >= (3, 11):
    GROUPS += [ExceptionGroup("many", [Odd(1, 2)])]  # noqa: F821


class WithLock(Exception):
    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Speechless:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


class Impostor(Exception):
    def __reduce__(self) -> Any:
        return (dict, ())


class ExitsWhenRebuilt(Exception):
    def __reduce__(self) -> Any:
        return (_fail, ())


def _fail() -> Any:
    raise LookupError("cannot be rebuilt")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        KeyError("k"),
        OddButGood(1, 2),
        OSError(2, "No such file", "x"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
        Exception(),
    ],
    ids=lambda e: type(e).__name__,
)
def test_an_exception_keeps_its_type_and_arguments(error: BaseException) -> None:
    back = returned(error)
    assert type(back) is type(error)
    assert back.args == error.args
    assert isinstance(back.__cause__, RemoteTraceback)
    assert "Traceback (most recent call last)" in back.__cause__.text
    assert "in raised" in back.__cause__.text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SystemExit(3), "The task called sys.exit(3), which ended nothing but the task"),
        (SystemExit(), "The task called sys.exit(), "),
        (SystemExit("no data"), "The task called sys.exit('no data'), "),
        (KeyboardInterrupt(), "The task raised KeyboardInterrupt(), which ended nothing but the task"),
        (GeneratorExit(), "The task raised GeneratorExit(), "),
        (SystemExit(Speechless()), "The task called sys.exit(...), "),
    ],
    ids=lambda e: type(e).__name__,
)
def test_what_would_end_a_program_does_not_end_the_notebooks_cell(error: BaseException, words: str) -> None:
    """`SystemExit` in `result()` ended the cell without a word."""
    back = returned(error)
    assert isinstance(back, AppExit)
    assert str(back).startswith(words)
    assert isinstance(back.__cause__, RemoteTraceback)
    assert "in raised" in back.__cause__.text
    assert failure_of(error).error.startswith(type(error).__name__)


def test_what_a_local_class_holds_survives() -> None:
    class Local(Exception):
        pass

    error = Local("here")
    error.detail = {"x": 1}  # type: ignore[attr-defined]
    back = returned(error)
    assert type(back).__name__ == "Local"
    assert back.detail == {"x": 1}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "message", "reason"),
    [
        (WithLock(), "locked", "cannot pickle"),
        (ExitsWhenRebuilt("x"), "x", "LookupError: cannot be rebuilt"),
    ],
)
def test_an_exception_that_cannot_travel_is_stood_in_for(error: Exception, message: str, reason: str) -> None:
    back = returned(error)
    assert isinstance(back, RemoteError)
    assert back.type_name == f"{__name__}.{type(error).__qualname__}"
    assert back.message == message
    assert reason in back.reason
    assert isinstance(back.__cause__, RemoteTraceback)
    assert "in raised" in back.__cause__.text


@pytest.mark.parametrize(
    "error",
    [Odd(1, 2), Adds("x"), Slotted(3), OddFile("a.txt", {1}), OddText(b"xy"), *GROUPS],
    ids=lambda e: type(e).__name__,
)
def test_an_exception_keeps_its_type_whatever_its_constructor_takes(error: Exception) -> None:
    """`except Odd` missed it, because a RemoteError came; the message of `Adds` came as "bad bad x"."""
    back: Any = returned(error)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert repr(back.args) == repr(error.args)
    for name in ("code", "why", "errno", "filename", "reason", "object"):
        assert getattr(back, name, None) == getattr(error, name, None)
    assert isinstance(back.__cause__, RemoteTraceback)


def test_an_exception_keeps_its_cause() -> None:
    """The remote traceback took the place of the cause."""
    error, middle = Odd(1, 2), ValueError("middle")
    error.__cause__, middle.__cause__ = middle, KeyError("k")
    back = returned(error)
    assert type(back) is Odd
    assert type(back.__cause__) is ValueError
    assert type(back.__cause__.__cause__) is KeyError
    assert isinstance(back.__cause__.__cause__.__cause__, RemoteTraceback)
    assert "in raised" in remote_traceback(back)
    assert remote_traceback(ValueError()) == ""


def test_causes_that_cannot_travel_and_chains_that_do_not_end() -> None:
    error = ValueError("no")
    error.__cause__ = WithLock()
    back = returned(error)
    assert type(back) is ValueError
    assert isinstance(back.__cause__, RemoteError)
    locked = WithLock()
    locked.__cause__ = KeyError("k")
    assert type(returned(locked).__cause__) is KeyError
    error.__cause__ = error
    assert type(returned(error)) is ValueError
    ring = KeyError("ring")
    error.__cause__, ring.__cause__ = ring, error
    assert type(returned(error).__cause__) is KeyError


def test_errors_of_ours_that_have_a_cause_come_with_it() -> None:
    error = DeserializationError("argument 0 of app f", "KeyError: 'k'")
    error.__cause__ = KeyError("k")
    back = returned(error)
    assert type(back) is DeserializationError
    assert str(back) == "argument 0 of app f cannot be unpickled here: KeyError: 'k'"
    assert type(back.__cause__) is KeyError
    assert "in raised" in remote_traceback(back)


@pytest.mark.parametrize("text", ["caf\udce9", "\x1b]0;title\x07", "\x9b31m", "a\u202eb"])
def test_texts_can_be_encoded_and_printed(text: str) -> None:
    """A lone surrogate in a message ended the worker; control characters reached the terminal."""
    failure = failure_of(raised(ValueError(text)))
    escape = text.encode("unicode_escape").decode()
    assert failure.error == f"ValueError: {escape}"
    assert escape in failure.traceback
    assert text not in failure.traceback
    msgspec.msgpack.encode(failure)
    assert returned(ValueError(text)).args == (text,)


def test_an_exception_of_which_a_pickle_makes_something_else() -> None:
    back = returned(Impostor("x"))
    assert isinstance(back, RemoteError)
    assert "dict" in back.reason


def test_an_exception_that_is_too_large() -> None:
    back = returned(ValueError("x" * (17 << 20)))
    assert isinstance(back, RemoteError)
    assert back.type_name == "ValueError"
    assert "bytes long" in back.reason
    assert len(str(back)) < 2000


def test_an_exception_without_words() -> None:
    failure = failure_of(raised(Mute()))
    assert failure.error == "Mute: (its text cannot be made)"
    assert "Mute" in failure.traceback


def test_errors_of_ours_come_without_a_remote_traceback() -> None:
    back = returned(BashExitFailure("sh", 3, "boom"))
    assert isinstance(back, BashExitFailure)
    assert (back.exitcode, back.stderr_tail) == (3, "boom")
    assert back.__cause__ is None


def test_the_first_frames_are_ours_and_left_out() -> None:
    def users() -> None:
        raise ValueError("no")

    def ours() -> None:
        users()

    with pytest.raises(ValueError, match="no") as raised:
        ours()
    text = failure_of(raised.value, 2).traceback
    assert "in users" in text
    assert "in ours" not in text
    assert "ValueError" in failure_of(ValueError("never raised"), 5).traceback


def test_chained_exceptions_are_in_the_traceback() -> None:
    def chained() -> None:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise ValueError("second") from first

    with pytest.raises(ValueError, match="second") as raised:
        chained()
    text = failure_of(raised.value).traceback
    assert text.index("KeyError") < text.index("ValueError: second")


def test_texts_are_bounded() -> None:
    def down(n: int) -> None:
        if n:
            down(n - 1)
        raise ValueError("x" * 1_000_000)

    with pytest.raises(ValueError, match="x") as raised:
        down(5)
    failure = failure_of(raised.value)
    assert len(failure.error) < 600
    assert len(failure.traceback) < 70_000
    assert "characters cut" in failure.traceback
    assert bounded("short") == "short"
    assert bounded("ab" * 100, 10).startswith("ababa\n")
    assert bounded("ab" * 100, 10).endswith("\nbabab")


def test_one_line() -> None:
    assert one_line(ValueError("two\n  lines")) == "ValueError: two lines"
    assert one_line(ValueError()) == "ValueError"


# --- in the notebook -------------------------------------------------------------------------------------------------


def test_a_failure_without_a_pickle() -> None:
    back = exception_of(Failure("ValueError: no", "Traceback: here"), 7)
    assert isinstance(back, RemoteError)
    assert (back.type_name, back.message) == ("ValueError", "no")
    assert isinstance(back.__cause__, RemoteTraceback)


def test_a_failure_whose_module_is_missing_here() -> None:
    payload = b"\x80\x05\x8c\x0enowhere_module\x8c\x05Error\x93)R."
    back = exception_of(Failure("Error: remote", "Traceback", payload), 7)
    assert isinstance(back, RemoteError)
    assert "nowhere_module" in back.reason


@pytest.mark.parametrize(("kind", "error"), [(DependencyError, "DependencyError"), (JoinError, "JoinError")])
def test_failures_of_other_tasks_name_them(kind: type[Exception], error: str) -> None:
    payload = pickle.dumps(ValueError("no"))
    failure = Failure(f"{error}: task 3", "Traceback of 3", payload, ((3, "task 3 (fit)", "ValueError: no"),), (5, 3))
    back = exception_of(failure, 7)
    assert type(back) is kind
    assert "task 7" in str(back)
    assert "task 5 <- task 3" in str(back)
    assert isinstance(back.__cause__, ValueError)
    assert isinstance(back.__cause__.__cause__, RemoteTraceback)


def test_a_dependency_on_a_cancelled_task() -> None:
    back = exception_of(Failure("DependencyError: task 3", "", b"", ((3, "task 3 (f)", "CancelledError"),), (3,)), 7)
    assert type(back) is DependencyError
    assert back.__cause__ is None


@pytest.mark.parametrize(
    "error",
    [
        WorkerLost(1, "was killed", "host", 7, "tail"),
        ManagerLost(1, "m-3", "node7", "2", "was silent for 20 s"),
        AppTimeout(1, 0.5),
        AppTimeout("in words of an app"),
        RemoteError("T", "m", "r"),
        DependencyError(1, [(2, "d", "e")], [2]),
    ],
)
def test_errors_of_ours_survive_pickling(error: AppError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert vars(back) == vars(error)
    assert str(back) == str(error)


def test_limits_and_losses_are_reported_in_a_sentence() -> None:
    assert str(AppTimeout(3, 0.5)).startswith("Task 3 ran longer than its limit of 0.5 s and was stopped: ")
    assert str(AppTimeout("too slow for me")) == "too slow for me"
    text = "Task 3 was lost with its manager m-3 (host node7, block 2), which was silent for 20 s"
    assert str(ManagerLost(3, "m-3", "node7", "2", "was silent for 20 s")) == text
