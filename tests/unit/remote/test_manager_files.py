"""A manager that replaces another one, and does not come to serve: it leaves no files of the run on its node."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NoReturn

import pytest

from parslab.errors import ConfigurationError
from parslab.files.cache import lock_folder, remove_run, remove_run_of_killed, unlock_folder
from parslab.remote.manager import main as manager_main
from parslab.wire.invitations import RunOver

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of the manager before, which has a content of the run."""
    folder, lock = lock_folder(tmp_path / "files")
    for name in ("run", "partial"):
        (folder / name).mkdir()
        (folder / name / "content").write_text("of the run")
    os.close(lock)
    monkeypatch.setenv("PARSLAB_AGAIN", "1e9")
    monkeypatch.setenv("PARSLAB_AGAIN_FILES", str(folder))
    return folder


@pytest.fixture(autouse=True)
def signals() -> object:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def meeting(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> None:
    def meet(*_: object) -> NoReturn:
        if error is None:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        assert error is not None
        raise error

    monkeypatch.setattr(manager_main, "meet", meet)


@pytest.mark.parametrize("error", [RunOver("its folder is gone"), ConfigurationError("bad"), OSError(2, "gone")])
def test_the_run_is_over(kept: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    meeting(monkeypatch, error)
    assert manager_main.main("invitation", "b1") == 0
    assert not kept.parent.exists()
    assert "PARSLAB_AGAIN_FILES" not in os.environ


def test_a_signal_ends_it_while_it_looks_for_the_run(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting(monkeypatch)
    with pytest.raises(SystemExit) as end:
        manager_main.main("invitation", "b1")
    assert end.value.code == 128 + signal.SIGTERM
    assert not kept.parent.exists()


def test_a_signal_that_comes_while_python_starts_again_waits_for_it(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting(monkeypatch, RunOver("its folder is gone"))
    # As the manager before it does: the mask outlives ``exec``.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    # To this thread only: a thread that another test has left, such as one of pyzmq, does not block the signal.
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(SystemExit):
        manager_main.main("invitation", "b1")
    assert not kept.parent.exists()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_a_second_signal_does_not_interrupt_the_removal(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(folder: Path) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        remove_run(folder)

    meeting(monkeypatch)
    monkeypatch.setattr("parslab.files.cache.remove_run", remove)
    with pytest.raises(SystemExit):
        manager_main.main("invitation", "b1")
    assert not kept.parent.exists()


def test_what_lives_for_ever_stays(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (kept / "kept").mkdir()
    (kept / "kept" / "content").write_text("for ever")
    meeting(monkeypatch, RunOver("its folder is gone"))
    manager_main.main("invitation", "b1")
    assert (kept / "kept" / "content").read_text() == "for ever"
    assert not (kept / "run").exists()


def test_a_folder_that_another_process_uses_stays(kept: Path) -> None:
    folder, lock = lock_folder(kept.parent)
    assert folder == kept
    remove_run(kept)
    assert (kept / "run" / "content").exists()
    unlock_folder(folder, lock)
    remove_run(kept)  # nothing is left


def test_the_end_of_a_run_removes_what_its_killed_managers_have_kept(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARSLAB_FILE_CACHE", str(kept.parent))
    (kept / "run-name").write_text("000-a")
    (kept.parent / "cache-1").mkdir()  # of a process that was killed while it began
    remove_run_of_killed("001-b")
    assert [path.name for path in kept.parent.iterdir()] == ["cache-0"]
    remove_run_of_killed("000-a")
    assert not kept.parent.exists()
