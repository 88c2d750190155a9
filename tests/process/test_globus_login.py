"""Logging in to Globus: tokens are private and refreshed; without a login one sentence says what to do."""

from __future__ import annotations

import io
import logging
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from parslab.cli import main as cli
from parslab.data_provider import globus_login
from parslab.data_provider.files import File
from parslab.data_provider.globus import GlobusStaging
from parslab.data_provider.globus_login import GlobusAuth
from parslab.errors import ConfigurationError, OptionalModuleMissing, StagingError
from tests.file_servers import serving
from tests.globus_server import CLIENT, CODE, GlobusServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOW = r"run parslab\.GlobusAuth\(\)\.login\(\) in a cell, or `parslab globus login` in a terminal"


@pytest.fixture
def globus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GlobusServer]:
    with serving(GlobusServer()) as server:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("GLOBUS_CLIENT_ID", CLIENT)
        monkeypatch.delenv("GLOBUS_CLIENT_SECRET", raising=False)
        for service in ("AUTH", "TRANSFER"):
            monkeypatch.setenv(f"GLOBUS_SDK_SERVICE_URL_{service}", server.url)
        yield server


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions to the user, who answers with the code."""
    found: list[str] = []

    def answer(question: str) -> str:
        found.append(question)
        return CODE

    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr(globus_login, "_can_ask", lambda: True)
    return found


def stored(home: Path) -> Path:
    return home / ".globus" / "app" / CLIENT / "parslab" / "tokens.json"


def fetch(tmp_path: Path, **options: Any) -> None:
    file = File("globus://there/data/a.h5")
    file.local_path = str(tmp_path / "copies" / "a.h5")
    (tmp_path / "copies").mkdir(exist_ok=True)
    (tmp_path / "copies" / "a.h5").write_bytes(b"brought by Globus")
    GlobusStaging("here", **options).fetch(file)


@pytest.mark.usefixtures("globus")
def test_one_login_serves_all_later_transfers(
    globus: GlobusServer, asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    auth = GlobusAuth()
    assert not auth.logged_in
    auth.login()
    assert f"{globus.url}v2/oauth2/authorize" in capsys.readouterr().out
    assert len(asked) == 1
    assert auth.logged_in
    auth.login()
    assert len(asked) == 1
    fetch(tmp_path)
    fetch(tmp_path, auth=GlobusAuth(CLIENT))
    assert [transfer["DATA"][0]["source_path"] for transfer in globus.transfers] == ["/data/a.h5"] * 2
    auth.login(force=True)
    assert len(asked) == 2


@pytest.mark.usefixtures("asked")
def test_tokens_are_private(globus: GlobusServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    before = os.umask(0)
    try:
        GlobusAuth().login()
    finally:
        os.umask(before)
    assert stat.S_IMODE(stored(tmp_path).stat().st_mode) == 0o600
    stored(tmp_path).chmod(0o644)  # as a tool for copies may leave it
    fetch(tmp_path)
    assert stat.S_IMODE(stored(tmp_path).stat().st_mode) == 0o600
    assert "secret-" in stored(tmp_path).read_text()
    shown = caplog.text + repr(GlobusAuth()) + repr(GlobusStaging("here", auth=GlobusAuth()))
    assert [token for token in ("secret-access", "secret-refresh") if token in shown] == []


@pytest.mark.usefixtures("asked")
def test_expired_tokens_are_refreshed(globus: GlobusServer, tmp_path: Path) -> None:
    globus.expires_in = 1
    GlobusAuth().login()
    fetch(tmp_path)
    assert "refresh_token" in globus.grants
    assert globus.transfers[0]["token"] != "secret-access-1"


@pytest.mark.usefixtures("asked")
def test_a_login_that_was_withdrawn(globus: GlobusServer, tmp_path: Path) -> None:
    globus.expires_in = 1
    GlobusAuth().login()
    globus.revoked += [f"secret-refresh-{n}" for n in range(10)]
    with pytest.raises(ConfigurationError, match=rf"Globus refuses the login \(.*invalid_grant.*\): {HOW}"):
        fetch(tmp_path)


@pytest.mark.usefixtures("globus")
def test_a_transfer_asks_nobody(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"^Globus needs a login: {HOW}\.$"):
        fetch(tmp_path)


@pytest.mark.usefixtures("globus")
def test_a_program_whose_input_is_no_terminal_says_how_to_log_in() -> None:
    program = "import parslab; parslab.GlobusAuth().login()"
    done = subprocess.run([sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert "Globus needs a login, and nobody can be asked here: run parslab.GlobusAuth()" in done.stderr


def test_a_wrong_code_is_explained(globus: GlobusServer, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "typo")
    with pytest.raises(ConfigurationError, match=r"Globus refuses the login \(Expired or invalid code\)"):
        GlobusAuth().login()
    assert not asked
    assert globus.grants == ["authorization_code"]


@pytest.mark.usefixtures("asked")
def test_a_consent_that_is_missing_is_named(globus: GlobusServer, tmp_path: Path) -> None:
    GlobusAuth().login()
    scope = "urn:globus:auth:scope:transfer.api.globus.org:all[*https://auth.globus.org/scopes/there/data_access]"
    globus.trouble = (
        403,
        {"code": "ConsentRequired", "message": "Missing required data_access consent", "required_scopes": [scope]},
    )
    with pytest.raises(
        StagingError, match=r"consent.*GlobusAuth\(collections=\['there', 'here'\]\), and call its login"
    ):
        fetch(tmp_path)


@pytest.mark.usefixtures("asked")
def test_a_damaged_file_of_tokens(globus: GlobusServer, tmp_path: Path) -> None:
    GlobusAuth().login()
    stored(tmp_path).write_text('{"data": {"DEF')
    with pytest.raises(ConfigurationError, match=r"cannot be read .*: remove ~/\.globus/app/.*/parslab, and run"):
        fetch(tmp_path)


@pytest.mark.usefixtures("asked")
def test_logout_revokes_the_tokens(globus: GlobusServer) -> None:
    GlobusAuth().login()
    GlobusAuth().logout()
    assert not GlobusAuth().logged_in
    assert {"secret-access-1", "secret-refresh-1"} <= set(globus.revoked)


def test_a_client_with_a_secret_needs_no_login(
    globus: GlobusServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOBUS_CLIENT_SECRET", "hidden-secret")
    fetch(tmp_path)
    assert globus.grants[0] == "client_credentials"
    assert "hidden-secret" not in "".join(path.read_text() for path in (tmp_path / ".globus").rglob("*.json"))


@pytest.mark.usefixtures("globus", "asked")
def test_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["globus", "login", "--service", "transfer"]) == 0
    assert capsys.readouterr().out.endswith("Logged in to Globus.\n")
    assert cli.main(["globus", "logout"]) == 0
    assert cli.main(["globus", "login", "--service", "mail"]) == 1
    assert "services can be 'transfer' and 'compute', not ['mail']" in capsys.readouterr().err


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "globus_sdk", None)
    with pytest.raises(OptionalModuleMissing, match=r"pip install 'parslab\[globus\]'"):
        GlobusAuth("x").login()


def test_an_application_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOBUS_CLIENT_ID", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(ConfigurationError, match="set GLOBUS_CLIENT_ID"):
        GlobusAuth().login()
