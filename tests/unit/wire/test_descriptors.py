"""A process gets all descriptors that the system allows; whatever it starts gets what the user allows."""

from __future__ import annotations

import errno
import os
import resource
from typing import TYPE_CHECKING

import pytest

from parslab.wire import descriptors

if TYPE_CHECKING:
    from pathlib import Path

INFINITY = resource.RLIM_INFINITY


class System:
    """The limits of one process, as the system keeps them."""

    def __init__(self, soft: int, hard: int, most: int = 1 << 30) -> None:
        self.soft, self.hard, self.most = soft, hard, most

    def getrlimit(self, what: int) -> tuple[int, int]:
        assert what == resource.RLIMIT_NOFILE
        return self.soft, self.hard

    def setrlimit(self, what: int, limits: tuple[int, int]) -> None:
        assert what == resource.RLIMIT_NOFILE
        soft, hard = limits
        if hard != self.hard or soft > self.most or (soft > hard and hard != INFINITY):
            raise ValueError("not allowed to raise maximum limit")
        self.soft = soft


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    system = System(1024, 1024)
    monkeypatch.setattr(resource, "getrlimit", system.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", system.setrlimit)
    monkeypatch.setattr(descriptors, "_limit", descriptors._Limit())
    return system


@pytest.mark.parametrize(
    ("soft", "hard", "most", "raised"),
    [
        (1024, 4096, 1 << 30, 4096),
        (1024, 1 << 20, 1 << 30, 1 << 16),
        (1024, INFINITY, 1 << 30, 1 << 16),
        (1024, INFINITY, 10240, 10240),  # macOS
        (1 << 20, 1 << 20, 1 << 30, 1 << 20),
        (INFINITY, INFINITY, 1 << 30, INFINITY),
        (256, 256, 1 << 30, 256),
    ],
)
def test_the_limit_is_raised_as_far_as_the_system_allows(
    system: System, soft: int, hard: int, most: int, raised: int
) -> None:
    system.soft, system.hard, system.most = soft, hard, most
    descriptors.raise_limit()
    assert system.soft == raised
    assert descriptors.user_limit() == (None if raised == soft else soft)
    descriptors.raise_limit()
    descriptors.restore_limit()
    assert system.soft == soft
    assert descriptors.user_limit() is None


@pytest.mark.parametrize(("limit", "usual"), [(256, 192), (1024, 896), (20000, 19872)])
def test_a_part_is_kept_for_what_must_not_fail(system: System, limit: int, usual: int) -> None:
    system.soft = system.hard = limit
    descriptors.raise_limit(keep_spare=True)
    assert system.soft == usual
    with descriptors.spare():
        assert system.soft == limit
        with descriptors.spare():
            assert system.soft == limit
        assert system.soft == limit
    assert system.soft == usual
    assert descriptors.user_limit() == limit


def test_a_process_that_has_not_raised_its_limit_keeps_it(system: System) -> None:
    with descriptors.spare():
        assert system.soft == 1024
    descriptors.restore_limit()
    assert system.soft == 1024
    assert descriptors.with_user_limit(["no-such-program"]) == ["no-such-program"]


def test_the_spare_ones_are_used_when_no_other_is_free(system: System) -> None:
    descriptors.raise_limit(keep_spare=True)
    seen = []

    def call() -> str:
        seen.append(system.soft)
        if system.soft < 1024:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return "opened"

    assert descriptors.using_spare(call) == "opened"
    assert seen == [896, 1024]
    assert system.soft == 896


def test_without_spare_ones_nothing_is_tried_twice(system: System) -> None:
    calls = []

    def call() -> None:
        calls.append(system.soft)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with pytest.raises(OSError, match="Too many open files"):
        descriptors.using_spare(call)
    assert calls == [1024]


def test_other_errors_are_raised_at_once(system: System) -> None:
    descriptors.raise_limit(keep_spare=True)
    calls = []

    def call() -> None:
        calls.append(system.soft)
        raise FileNotFoundError(errno.ENOENT, "no such file")

    with pytest.raises(FileNotFoundError):
        descriptors.using_spare(call)
    assert calls == [896]


def test_a_command_gets_the_limit_of_the_user(system: System) -> None:
    system.soft, system.hard = 1024, 4096
    descriptors.raise_limit()
    command = descriptors.with_user_limit(["sh", "-c", "true"])
    assert command[:2] == ["/bin/sh", "-c"]
    assert command[3:] == ["1024", "sh", "-c", "true"]


def test_a_missing_program_is_reported_as_if_there_were_no_shell(system: System, tmp_path: Path) -> None:
    system.soft, system.hard = 1024, 4096
    descriptors.raise_limit()
    environment = {"PATH": str(tmp_path)}
    with pytest.raises(FileNotFoundError, match="sbatch"):
        descriptors.with_user_limit(["sbatch"], environment)
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    with pytest.raises(PermissionError, match="sbatch"):
        descriptors.with_user_limit(["sbatch"], environment)
    (tmp_path / "sbatch").chmod(0o700)
    assert descriptors.with_user_limit(["sbatch"], environment)[-1] == "sbatch"
