"""Where packages come from: the settings of uv, else those of pip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parslab.remote.software import index as module
from parslab.remote.software.index import index_variables

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pip_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty environment in which pip has one file."""
    for name in (*module._OF_UV, "UV_OFFLINE", "UV_CONFIG_FILE", "UV_INSECURE_HOST", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in module._NAMES:
        monkeypatch.delenv(f"PIP_{name.upper().replace('-', '_')}", raising=False)
    file = tmp_path / "pip.conf"
    monkeypatch.setattr(module, "_files", lambda: [file])
    return file


def test_nothing_is_set(pip_conf: Path) -> None:
    assert index_variables() == {}


def test_settings_of_pip_become_variables_of_uv(pip_conf: Path) -> None:
    pip_conf.write_text(
        "[global]\nindex-url = http://one/simple\nextra-index-url =\n  http://two\n  http://three\n"
        "[install]\nfind-links = /wheels /more\nno-index = false\ntrusted-host = one\n"
    )
    assert index_variables() == {
        "UV_DEFAULT_INDEX": "http://one/simple",
        "UV_INDEX": "http://two http://three",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INSECURE_HOST": "one",
    }


def test_a_variable_of_pip_replaces_its_file(pip_conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_conf.write_text("[global]\nindex-url = http://one/simple\nno-index = true\n")
    monkeypatch.setenv("PIP_INDEX_URL", "http://two/simple")
    assert index_variables() == {"UV_DEFAULT_INDEX": "http://two/simple", "UV_NO_INDEX": "true"}


def test_settings_of_uv_count_alone(pip_conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_conf.write_text("[global]\nindex-url = http://one/simple\n")
    monkeypatch.setenv("UV_FIND_LINKS", "/wheels")
    monkeypatch.setenv("UV_OFFLINE", "1")
    assert index_variables() == {"UV_FIND_LINKS": "/wheels", "UV_OFFLINE": "1"}


def test_a_broken_file_of_pip_is_left_to_pip(pip_conf: Path) -> None:
    pip_conf.write_text("index-url = no section\n")
    assert index_variables() == {}
