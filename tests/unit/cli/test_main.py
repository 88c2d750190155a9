"""The command line: what is printed, exit statuses, and that little is loaded."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parslab.cli import main as command
from parslab.cli import runs
from parslab.client import reattach
from parslab.remote.software.cache import EnvironmentCache
from parslab.sites import file_of, names
from parslab.wire.run_files import ConnectionInfo


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ConnectionInfo]:
    """Two live runs, as their connection files describe them; nobody is really there."""
    found = []
    for number in ("004-aa11", "004-bb22"):
        folder = tmp_path / number
        (folder / "blocks").mkdir(parents=True)
        (folder / "dfk.log").write_text("".join(f"line {i}\n" for i in range(100)))
        (folder / "blocks" / "0.err").write_text("nosuch: command not found\n")
        (folder / "manager-htex.json").write_text(json.dumps({"secret": "key"}))
        found.append(ConnectionInfo(run=number, pid=4242, host=socket.gethostname(), socket="/x", run_dir=str(folder)))
    for module in (runs, reattach):
        monkeypatch.setattr(module, "find_runs", lambda: found)
    monkeypatch.setattr(time, "time", lambda: 3 * 3600.0 + 5 * 60)
    return found


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = command.main(words)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_live_runs_are_listed(live: list[ConnectionInfo], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, "runs")
    assert status == 0
    assert out.splitlines()[0] == (
        f"004-aa11  pid 4242 on {socket.gethostname()}, up 3 h 5 min, files in {live[0].run_dir}"
    )
    live[0].away, live[0].ends, live[0].notebook = 3 * 3600.0, 3 * 3600.0 + 600, "/books/fit.ipynb"
    lines = said(capsys, "runs")[1].splitlines()
    assert "up 3 h 5 min, away for 5 min, ends in 5 min, files in" in lines[0]
    assert lines[1].strip() == "of /books/fit.ipynb"
    live.clear()
    assert said(capsys, "runs")[1] == "You have no live run on this host.\n"


def test_logs_are_found_by_run_folder_or_nothing(
    live: list[ConnectionInfo], capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "logs", "004-b", "-n", "2")[1] == "line 98\nline 99\n"
    assert len(said(capsys, "logs", "-n", "0")[1].splitlines()) == 100
    folder = live[0].run_dir
    assert said(capsys, "logs", folder, "blocks/0.err")[1] == "nosuch: command not found\n"
    listed = said(capsys, "logs", folder, "--list")[1]
    assert [line.split()[-1] for line in listed.splitlines()] == ["blocks/0.err", "dfk.log"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("logs", "009"), "There is no live run 009 of yours on this host; there are: 004-aa11, 004-bb22."),
        (("logs", "004-"), "004- is the beginning of several runs: 004-aa11, 004-bb22."),
        (("logs", "004-aa11", "x.log"), "--list` lists those of the run."),
        (("stop",), "Name one run, or --all: parslab stop RUN."),
        (("stop", "004-aa11", "--all"), "Name one run, or --all: parslab stop RUN."),
        (("config", "show", "moon"), "There is no ready configuration 'moon'; there are laptop, big_node,"),
    ],
)
def test_mistakes_are_one_sentence(
    live: list[ConnectionInfo], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    status, out, err = said(capsys, *words)
    assert (status, out) == (1, "")
    assert err.startswith("parslab: ")
    assert says in err
    assert err.count("\n") == 1


def test_stopping_waits_for_the_end(
    live: list[ConnectionInfo], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []
    ends = {"now": True}
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    monkeypatch.setattr(runs, "_ended", lambda info, deadline: ends["now"])
    monkeypatch.setattr(runs, "process_runs", lambda pid, since: True)
    live[1].host = "elsewhere"
    status, out, err = said(capsys, "stop", "--all")
    assert sent == [(4242, signal.SIGTERM)]
    assert "Run 004-aa11 is over" in out
    assert (status, err) == (1, "Run 004-bb22 is on host elsewhere: stop it there.\n")
    ends["now"] = False
    status, out, _ = said(capsys, "stop", "004-aa11")
    assert (status, "still ends its jobs" in out) == (1, True)


def test_ready_configurations_are_listed_shown_and_copied(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = said(capsys, "config", "list")[1]
    assert [line.split()[0] for line in listed.splitlines()] == names()
    assert said(capsys, "config", "show", "slurm")[1] == file_of("slurm").read_text()
    status, out, _ = said(capsys, "config", "copy", "slurm")
    assert status == 0
    assert "parslab doctor slurm.py" in out
    assert Path("slurm.py").read_text() == file_of("slurm").read_text()
    status, _, err = said(capsys, "config", "copy", "slurm")
    assert (status, "is there already" in err) == (1, True)
    assert said(capsys, "config", "copy", "pbs", str(tmp_path))[0] == 0
    assert (tmp_path / "pbs.py").is_file()
    assert "cannot be written" in said(capsys, "config", "copy", "pbs", "no/such/folder.py")[2]


def test_what_the_site_says_is_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path))
    assert "There is no parslab_config.py in any of" in said(capsys, "config", "site")[1]
    file = tmp_path / "parslab_config.py"
    file.write_text("\nc.Config.retries = 3\n")
    monkeypatch.setenv("PARSLAB_RETRIES", "1")
    status, out, _ = said(capsys, "config", "site")
    assert status == 0
    assert f"Config.retries = 3   ({file}, line 2)" in out
    assert "PARSLAB_RETRIES=1" in out
    file.write_text("c.Config.retrys = 30\n")
    assert said(capsys, "config", "site")[2].startswith(f"parslab: {file}, line 1: Config has no option 'retrys'")


def test_the_version_names_the_packages_that_it_uses(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "version")[1]
    assert out.startswith("parslab ")
    assert "pyzmq" in out


def test_the_command_itself_loads_little() -> None:
    code = (
        "import sys; before = set(sys.modules); import parslab.cli.main as m; m._parser(); "
        "print(' '.join(sorted({n.split('.')[0] for n in set(sys.modules) - before})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert not set(done.stdout.split()) & {"traitlets", "zmq", "msgspec", "psutil", "IPython", "json", "asyncio"}


def test_environments_are_listed_removed_and_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARSLAB_ENVIRONMENTS", str(tmp_path))
    assert said(capsys, "environments")[1] == f"There is no environment in {tmp_path}.\n"
    cache = EnvironmentCache(tmp_path)
    for key in ("aa11", "aa22", "bb33"):
        (cache.path(key) / "bin").mkdir(parents=True)
        (cache.path(key) / "bin" / "python").symlink_to("/bin/sh")
        cache.write_manifest(cache.path(key), ["numpy<2", key], "3.11")
    used = cache.use("bb33")
    lines = said(capsys, "environments", "list")[1].splitlines()
    assert {line.split()[0] for line in lines[:-1]} == {"aa11", "aa22", "bb33"}
    assert any("in use" in line and "numpy<2, bb33" in line for line in lines)
    assert said(capsys, "environments", "remove", "aa")[2] == (
        "parslab: 2 environments begin with 'aa': see parslab environments.\n"
    )
    assert said(capsys, "environments", "remove")[0] == 1
    assert said(capsys, "environments", "remove", "aa1")[:2] == (0, "Removed 1 of 1.\n")
    status, out, _ = said(capsys, "environments", "remove", "--all")
    assert (status, out.splitlines()[0]) == (1, "Removed 1 of 2.")
    assert "bb33 is in use" in out
    os.close(used)
    assert said(capsys, "environments", "prune", "--days", "0")[1] == "Removed 1.\n"


def test_usage_prints_the_very_bytes_and_says_whether_they_are_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("DO_NOT_TRACK", "PARSLAB_USAGE_TRACKING", "PARSLAB_USAGE_ADDRESS", "PARSLAB_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    file = tmp_path / "mine.py"
    file.write_text("from parslab import Config\nconfig = Config()\n")
    lines = said(capsys, "usage", str(file))[1].splitlines()
    assert lines[0] == "Nothing is sent: usage reports are off (Config(usage_tracking=0))."
    assert [json.loads(line)["event"] for line in lines if line.startswith("{")] == ["start", "end"]
    lines = said(capsys, "usage", str(file), "--level", "1")[1].splitlines()
    assert lines[-1] == "and nothing when it ends."
    assert "components" not in lines[-2]
    monkeypatch.setenv("PARSLAB_USAGE_TRACKING", "2")
    lines = said(capsys, "usage", str(file))[1].splitlines()
    assert (
        lines[0] == "Nothing is sent: usage reports are at level 2, but no address is set (Config(usage_address=...))."
    )
    monkeypatch.setenv("PARSLAB_USAGE_ADDRESS", "localhost:9")
    lines = said(capsys, "usage", str(file))[1].splitlines()
    assert lines[0] == "Each run sends usage reports of level 2 to localhost:9, by UDP."
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    lines = said(capsys, "usage", str(file))[1].splitlines()
    assert lines[0] == "Nothing is sent: usage reports are off, and DO_NOT_TRACK=1 keeps them off."
