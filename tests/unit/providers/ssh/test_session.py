"""One login of a block, with a program in the place of ssh."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from parslab.providers.ssh.session import NO_CONNECTION, NO_LOGIN, Login, SessionSettings

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = SessionSettings(
    job="parslab.r.htex.0", hosts=["h1"], options=[], tunnel="never", invitation="", python="python3", connect_within=5
)


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of the program, which is to be written."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "ssh"
    path.touch(0o755)
    return path


def login(program: bytes = b"true") -> Login:
    return Login("h1", SETTINGS, program, {}, "")


@pytest.mark.parametrize("size", [10, 200_000])
def test_an_ssh_that_has_ended_before_anything_is_sent(
    fake_ssh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    class Ended(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr(subprocess, "Popen", Ended)
    fake_ssh.write_text("#!/bin/sh\necho 'ssh: Could not resolve hostname h1: unknown' >&2\nexit 255\n")
    one = login(b"#" * size)
    one.run()
    assert one.status == NO_LOGIN
    assert capsys.readouterr().err.startswith("parslab: h1 is unknown by this name (ssh: Could not resolve")


@pytest.mark.parametrize(("ends", "status"), [("exit 0", 0), ("exit 7", 7), ("exit 255", NO_CONNECTION)])
def test_the_end_of_a_block(fake_ssh: Path, capfd: pytest.CaptureFixture[str], ends: str, status: int) -> None:
    fake_ssh.write_text(f"#!/bin/sh\necho noise >&2\necho 'parslab: logged in' >&2\necho words >&2\n{ends}\n")
    one = login()
    one.run()
    assert one.status == status
    said = capfd.readouterr().err
    assert said.startswith("noise\nwords\n")
    assert ("the connection to h1 broke" in said) == (status == NO_CONNECTION)


def test_an_ssh_that_is_killed(fake_ssh: Path) -> None:
    fake_ssh.write_text("#!/bin/sh\necho 'parslab: logged in' >&2\nkill -9 $$\n")
    one = login()
    one.run()
    assert one.status == 128 + 9


def test_a_host_without_ssh(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    one = login()
    one.run()
    assert one.status == 127
    assert capsys.readouterr().err.startswith("parslab: ssh cannot be started (No such file or directory)")
