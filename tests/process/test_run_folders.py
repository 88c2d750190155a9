"""Where a run is started: folders that are read-only, full or gone, and configurations that are wrong."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import Config, LowLatencyExecutor, python_app
from parslab.client.process.connection_file import find_runs
from parslab.errors import ConfigurationError
from tests.process.panel import notices
from tests.process.sandbox import Sandbox, alive, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab import DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def patch(sandbox: Sandbox) -> Iterator[pytest.MonkeyPatch]:
    """Patches that are undone before the sandbox is left, which patches the same names."""
    with pytest.MonkeyPatch.context() as patched:
        yield patched


@python_app
def plus(x: int) -> int:
    print("adding to", x)
    return x + 1


@contextlib.contextmanager
def filesystem(point: Path, options: str) -> Iterator[Path]:
    """A small filesystem of its own; skipped where only an administrator may mount."""
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(point)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small filesystem needs Linux and root")
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


@contextlib.contextmanager
def loaded(run_dir: Path) -> Iterator[DataFlowKernel]:
    with parslab.load(Config(executors=[LowLatencyExecutor(workers=1)], run_dir=run_dir)) as dfk:
        yield dfk
    parslab.clear()


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
    with contextlib.suppress(OSError), open(ballast, "ab", buffering=0) as file:
        while True:
            file.write(b"x")
    return ballast


def works_with_a_notice(dfk: DataFlowKernel, root: Path, words: str) -> None:
    """Tasks run, their output is there, and one notice names the folder and what to do."""
    assert [plus(n).result(10) for n in range(20)] == list(range(1, 21))
    future = plus(7)
    assert future.result(10) == 8
    assert future.logs() == "adding to 7\n"
    said = [text for text in notices(dfk) if str(root) in text]
    assert len(said) == 1, notices(dfk)
    assert re.search(words, said[0]), said[0]


def test_a_read_only_run_directory_is_replaced_and_said(sandbox: Sandbox) -> None:
    with filesystem(sandbox.root / "ro", "size=1m,ro") as root:
        with loaded(root / "runs") as dfk:
            assert not dfk.run_dir.is_relative_to(root)
            works_with_a_notice(dfk, root, r"cannot be written \(Read-only file system\).*Config\(run_dir=\.\.\.\)")
            elsewhere = dfk.run_dir.parent
        for path in elsewhere.parent.glob("parslab-runs-*"):  # it is the run directory, so it stays
            assert path == elsewhere
            path.rename(sandbox.root / "kept")


def test_a_run_directory_that_cannot_be_made(sandbox: Sandbox) -> None:
    root = sandbox.root / "file"
    root.write_text("no folder")
    with loaded(root / "runs") as dfk:
        works_with_a_notice(dfk, root, r"cannot be written \(Not a directory\)")
        dfk.run_dir.parent.rename(sandbox.root / "kept")


def test_a_full_run_directory_is_replaced_and_said(sandbox: Sandbox) -> None:
    with filesystem(sandbox.root / "full", "size=1m") as root:
        fill(root)
        with loaded(root / "runs") as dfk:
            assert not dfk.run_dir.is_relative_to(root)
            works_with_a_notice(dfk, root, r"cannot be written \(No space left on device\)")
            dfk.run_dir.parent.rename(sandbox.root / "kept")


def test_a_file_system_on_which_everybody_can_write_is_replaced_and_said(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mkdir(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        os.makedirs(path, exist_ok=exist_ok) if parents else os.mkdir(path)
        if sandbox.runs in path.parents:
            path.chmod(0o777)  # whatever mode was asked for, as on some network and Windows file systems

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", mkdir)
        dfk = parslab.load(Config(run_dir=sandbox.runs))
    with dfk:
        assert not dfk.run_dir.is_relative_to(sandbox.runs)
        works_with_a_notice(dfk, sandbox.runs, r"is not safe \(.*others than its owner, .*, can write to it")
        dfk.run_dir.parent.rename(sandbox.root / "kept")


def test_a_disk_that_fills_up_while_tasks_run(sandbox: Sandbox) -> None:
    with filesystem(sandbox.root / "small", "size=2m") as root:
        with loaded(root / "runs") as dfk:
            assert plus(0).result() == 1
            until(lambda: list(dfk.run_dir.glob("monitoring.db")))
            ballast = fill(root)
            futures = [plus(n) for n in range(5000)]
            assert [future.result(15) for future in futures] == list(range(1, 5001))
            said = until(lambda: [text for text in notices(dfk) if "database cannot be written" in text], 10)
            assert len(said) == 1
            assert str(dfk.run_dir) in said[0]
            assert "tasks go on" in said[0]
            (record,) = (text for text in notices(dfk) if "The event log of this run" in text)
            assert "cannot be written (No space left on device): the run goes on without one" in record
            assert futures[17].logs() == "adding to 17\n"
            assert alive(dfk.pid)
            ballast.unlink()
        assert (dfk.run_dir / "dfk.log").exists()


def test_temporary_folders_that_cannot_be_written(sandbox: Sandbox, patch: pytest.MonkeyPatch) -> None:
    with filesystem(sandbox.root / "ro", "size=1m,ro") as root:
        patch.setattr(tempfile, "tempdir", str(root))
        for name in ("XDG_RUNTIME_DIR", "TMPDIR"):
            patch.setenv(name, str(root))
        with loaded(sandbox.runs) as dfk:
            assert plus(1).result() == 2
            (run,) = [run for run in find_runs() if run.run == dfk.run]
            sockets = Path(run.socket).parent
            assert sockets.parent == Path("/tmp")
        assert not sockets.exists()


def test_missing_temporary_folder_is_reported(sandbox: Sandbox, patch: pytest.MonkeyPatch) -> None:
    long = sandbox.root / ("long" * 20)
    long.mkdir()
    patch.setattr(tempfile, "tempdir", str(long))
    for name in ("XDG_RUNTIME_DIR", "TMPDIR"):
        patch.setenv(name, str(long))
    with loaded(sandbox.runs):  # too long for sockets: another place is taken
        assert plus(1).result() == 2
    make = os.mkdir

    def refuse(path: Any, *args: Any, **options: Any) -> None:
        if os.path.basename(path).startswith("parslab-"):
            raise OSError(30, "Read-only file system", "/tmp")
        make(path, *args, **options)

    patch.setattr(os, "mkdir", refuse)
    with pytest.raises(ConfigurationError, match=r"needs a folder for its sockets.*Read-only.*set TMPDIR to a folder"):
        parslab.load(Config(run_dir=sandbox.runs))


def test_a_runtime_folder_of_jupyter_that_cannot_be_written(sandbox: Sandbox, patch: pytest.MonkeyPatch) -> None:
    """Nobody can attach then; the run itself does not need it."""
    with filesystem(sandbox.root / "ro", "size=1m,ro") as root:
        patch.setenv("JUPYTER_RUNTIME_DIR", str(root / "runtime"))
        with loaded(sandbox.runs) as dfk:
            assert plus(1).result() == 2
            assert "no other notebook can attach" in (dfk.run_dir / "dfk.log").read_text()


def test_a_folder_that_is_gone_before_load(sandbox: Sandbox, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigurationError, match=r"does not exist any more.*os\.chdir"):
        parslab.load(Config(run_dir=sandbox.runs))
    os.chdir(tmp_path)


@pytest.mark.skipif(sys.version_info[:3] == (3, 13, 0), reason="Python 3.13.0 cannot import in a folder that is gone")
def test_a_folder_that_goes_while_the_run_is_up(sandbox: Sandbox, tmp_path: Path) -> None:
    @python_app
    def end() -> None:
        os._exit(1)

    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    with loaded(sandbox.runs):
        assert plus(1).result() == 2
        gone.rmdir()
        end().exception(10)
        assert plus(2).result(10) == 3  # a new worker starts all the same
    os.chdir(tmp_path)


def test_a_run_directory_that_is_removed_while_the_run_is_up(sandbox: Sandbox) -> None:
    import shutil

    with loaded(sandbox.runs) as dfk:
        assert plus(1).result() == 2
        until(lambda: list(dfk.run_dir.glob("monitoring.db")))
        shutil.rmtree(sandbox.runs)
        assert [plus(n).result(10) for n in range(200)] == list(range(1, 201))
        time.sleep(0.5)
        assert plus(5).result() == 6
        assert alive(dfk.pid)


def test_many_runs_have_numbers_of_their_own(sandbox: Sandbox) -> None:
    for n in range(3):
        with loaded(sandbox.runs) as dfk:
            assert dfk.run_dir == sandbox.runs / f"{n:03d}"
            assert plus(n).result() == n + 1


def test_files_of_a_run_are_private(sandbox: Sandbox) -> None:
    with sandbox.load(address="127.0.0.1") as dfk:
        assert plus(1).result() == 2
        until(lambda: list(dfk.run_dir.glob("monitoring.db")))
        assert dfk.run_dir.stat().st_mode & 0o077 == 0
        for path in [*dfk.run_dir.iterdir(), *sandbox.jupyter.glob("*"), *sandbox.runtime.rglob("*")]:
            if path.name != "dfk.log":  # its folder is closed
                assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: parslab.load(3),  # type: ignore[arg-type]
            "load() takes a Config, the name of one or a file, not a int",
        ),
        (lambda: parslab.load(Config(run_dir=3)), "Config: run_dir must be a path, not 3."),
        (lambda: Config(executor=[]), "Config has no option 'executor'; its options are executors, run_dir, "),
        (lambda: Config(executors=[]), "executors must be a list of at least one executor"),
        (lambda: LowLatencyExecutor(workers=0), "workers must be a whole number of at least 1, not 0."),
        (lambda: LowLatencyExecutor(workers="two"), "workers must be a whole number of at least 1, not 'two'."),
        (lambda: LowLatencyExecutor(environment={"A": 1}), "environment must be a dictionary of texts"),
        (lambda: LowLatencyExecutor(label="all"), "label must be a name"),
        (lambda: LowLatencyExecutor(port=80), "port 80 means nothing without address"),
        (
            lambda: Config(executors=[LowLatencyExecutor(), LowLatencyExecutor()]),
            "the label 'llex' names more than one executor; labels must differ.",
        ),
        (
            lambda: parslab.load(Config(executors=[LowLatencyExecutor(address="no-such-interface")])),
            "one of this host's interfaces (",
        ),
    ],
)
def test_wrong_configuration_is_reported_in_a_sentence(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert words in str(caught.value)


def test_a_port_that_is_taken(sandbox: Sandbox) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigurationError, match=rf"listen at 127\.0\.0\.1:{port} \(Address already in use\)"
        ) as caught:
            parslab.load(
                Config(executors=[LowLatencyExecutor(workers=1, address="127.0.0.1", port=port)], run_dir=sandbox.runs)
            )
        assert "Traceback" not in str(caught.value)


def test_an_address_that_is_not_of_this_host(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigurationError, match=r"address 192\.0\.2\.77 is none of this host's") as caught:
        parslab.load(Config(executors=[LowLatencyExecutor(workers=1, address="192.0.2.77")], run_dir=sandbox.runs))
    assert "Traceback" not in str(caught.value)


def test_wrong_number_of_cores_is_reported(sandbox: Sandbox, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PARSLAB_CORES", "many")
    with pytest.raises(ConfigurationError, match="PARSLAB_CORES must be a whole number of at least 1, not 'many'"):
        parslab.load(Config(run_dir=sandbox.runs))


def test_as_many_workers_as_usable_cores_and_no_fight_for_them(sandbox: Sandbox, patch: pytest.MonkeyPatch) -> None:
    @python_app
    def limits() -> dict[str, str]:
        return {key: value for key, value in os.environ.items() if key.endswith("_NUM_THREADS")}

    from parslab.cores import usable_cores
    from tests.process.sandbox import workers_of

    with parslab.load(Config(run_dir=sandbox.runs)) as dfk:
        assert len(workers_of(dfk.pid)) == usable_cores()
        found = limits().result()
        assert found["OMP_NUM_THREADS"] == found["OPENBLAS_NUM_THREADS"] == found["MKL_NUM_THREADS"] == "1"
    patch.setenv("PARSLAB_CORES", "3")
    with parslab.load(Config(run_dir=sandbox.runs)) as dfk:
        assert len(workers_of(dfk.pid)) == 3
    with sandbox.load(workers=1, threads_per_worker=5):
        assert limits().result()["OMP_NUM_THREADS"] == "5"
    if hasattr(os, "sched_setaffinity"):
        patch.delenv("PARSLAB_CORES")
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(allowed)})
        try:
            with parslab.load(Config(run_dir=sandbox.runs)) as dfk:
                assert len(workers_of(dfk.pid)) == 1
        finally:
            os.sched_setaffinity(0, allowed)
