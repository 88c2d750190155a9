"""Starting the DataFlowKernel process, and finding those that run already.

Everything it must know goes into a 0600 file in the run's own folder; our socket is inherited, so there is nothing to
find and nothing for a stranger to open. A run folder that cannot be made is replaced by a temporary one, and said.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from parslab.atomic_files import write_atomically
from parslab.checkpoints import files_in, get_all_checkpoints
from parslab.client.process.notebook import default_linger
from parslab.clock import anchor, set_anchor, steady_time
from parslab.errors import ConfigurationError, UntrustedPathError
from parslab.paths import runtime_dir
from parslab.trust import check_file, check_folder, read_text, remove_socket_folder
from parslab.wire.unix_sockets import check_peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.config import Config

__all__ = [
    "FoundRun",
    "KernelProcess",
    "StartedRun",
    "connect",
    "digest",
    "find_runs",
    "new_socket_folder",
    "of_the_run",
    "read_connection",
    "start",
]

log = logging.getLogger(__name__)

_OURS = ("exit_mode", "linger", "resume", "retry_handler")
"""Options of a configuration that are the business of each kernel, and make no other run."""
_CONNECTION = {"run": str, "host": str, "pid": int, "socket": str, "run_dir": str}
"""What a connection file holds."""

_START = (
    "import json, os, sys; s = json.load(open(sys.argv[1])); sys.path[:] = s['path']; "
    "from parslab.dataflow.main import main; main(sys.argv[1], int(sys.argv[2]))"
)


class KernelProcess(Protocol):
    """The DataFlowKernel process of a run that we own, as its handle needs it."""

    log: Path
    pid: int

    def log_tail(self) -> str:
        """The last lines of its log."""

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; whether it has."""

    def how_it_ended(self) -> str:
        """Words for how it ended, once the connection is gone."""

    def clean_up(self) -> None:
        """Make sure that nothing of it stays."""


class StartedRun:
    """A DataFlowKernel process that has just been started, and our socket to it."""

    def __init__(self, settings: dict[str, Any], popen: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self.settings = settings
        self.popen = popen
        self.pid = popen.pid
        self.sock = sock
        self.run: str = settings["run"]
        self.run_dir = Path(settings["run_dir"])
        self.log = self.run_dir / "dfk.log"

    def log_tail(self) -> str:
        """The last lines of its log, for the sentence that explains why it is gone."""
        return _tail(self.log)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; whether it has."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(seconds)
        return self.popen.returncode is not None

    def how_it_ended(self) -> str:
        """``was killed by SIGKILL``, ``exited with status 1`` ... once the connection is gone."""
        try:
            status = self.popen.wait(2.0)
        except subprocess.TimeoutExpired:
            return "closed the connection but still runs"
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"exited with status {status}"

    def clean_up(self) -> None:
        """Make sure that nothing of a dead or ended run stays: processes, socket folder, connection file.

        A DataFlowKernel that ends in order takes everything along; what one leaves that was killed (or, where the
        system has no way to inherit them, processes that left their worker's group) carries the run's name.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(3.0)
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        from parslab.cleanup.dead_runs import cancel_jobs_of_dead_run, end_processes

        if self.popen.returncode:
            cancel_jobs_of_dead_run(self.run_dir)
        if self.popen.returncode or sys.platform != "linux" or self.settings.get("revived"):
            end_processes(self.run)
        remove_socket_folder(self.settings["sockets"])
        with contextlib.suppress(OSError):
            os.unlink(self.settings["connection"])


class FoundRun:
    """The DataFlowKernel of a run that an earlier kernel of our notebook has started: it is nobody's child here."""

    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info
        self.pid: int = info["pid"]
        self.log = Path(info["run_dir"]) / "dfk.log"

    def log_tail(self) -> str:
        """The last lines of its log."""
        return _tail(self.log)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; whether it has."""
        from parslab.cleanup.dead_runs import process_runs

        deadline = time.monotonic() + seconds
        while process_runs(self.info["pid"], self.info["since"]):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def how_it_ended(self) -> str:
        """Its status is not told to us; but one that ends in order removes its connection file first."""
        if not self.wait(2.0):
            return "closed the connection but still runs"
        return "was killed" if self._unburied() else "has ended"

    def clean_up(self) -> None:
        """Make sure that nothing of a dead or ended run stays."""
        if not self.wait(3.0):
            with contextlib.suppress(OSError):
                os.kill(self.info["pid"], signal.SIGKILL)
        if self.wait(3.0) and self._unburied():
            from parslab.cleanup.dead_runs import remove_dead_run

            remove_dead_run(connection_path(self.info["run"]), self.info)

    def _unburied(self) -> bool:
        return os.path.exists(connection_path(self.info["run"]))


def connection_path(run: str) -> Path:
    """Where the connection file of a run lies."""
    return runtime_dir() / f"parslab-{run}.json"


def _tail(log: Path) -> str:
    with contextlib.suppress(OSError):
        return "".join(log.read_text(errors="replace").splitlines(keepends=True)[-5:]).strip()
    return ""


def start(config: Config, package: str, notebook: str = "", inherits: Sequence[str] = ()) -> StartedRun:
    """Start the DataFlowKernel of a new run.

    Parameters
    ----------
    config
        What it runs on.
    package
        Our version.
    notebook
        Path of the notebook that it is for.
    inherits
        Folders of runs whose results it may go on with.

    Raises
    ------
    ConfigurationError
        The process cannot be started at all.
    """
    # Needed at the end, too, when an import would be too late: one that makes a dataclass has Python forget that it
    # ends by KeyboardInterrupt, and with which status.
    import parslab.cleanup.dead_runs  # noqa: F401

    set_anchor()  # this process may have run for days, and the machine slept meanwhile
    here = _here()
    executors = [executor.settings() for executor in config.executors]
    if any("provider" in settings for settings in executors):
        from parslab.scaling.strategies import strategy_named

        strategy_named(config.strategy)  # known to be there, before a block is asked for
    described = _described(config)
    owners = _trusted_owners(config)
    checkpoints = _checkpoints(config, owners)
    run_dir, notices = _new_run_dir(Path(config.run_dir))
    run = f"{run_dir.name}-{secrets.token_hex(3)}"
    settings: dict[str, Any] = {
        "run": run,
        "began": steady_time(),
        "clock": anchor(),
        "run_dir": str(run_dir),
        "executors": executors,
        "retries": config.retries,
        "strategy": config.strategy,
        "strategy_period": config.strategy_period,
        "max_idletime": config.max_idletime,
        "resume": config.resume,
        "app_cache": config.app_cache,
        "checkpoint_mode": config.checkpoint_mode,
        "checkpoint_dir": config.checkpoint_dir and _absolute(config.checkpoint_dir),
        "checkpoint_files": checkpoints,
        "trusted_owners": owners,
        "checkpoint_period": config.checkpoint_period,
        "package": package,
        "path": _import_path(),
        "cwd": here,
        "owner_pid": os.getpid(),
        "connection": str(connection_path(run)),
        "notebook": notebook,
        "linger": default_linger(notebook) if config.linger is None else config.linger,
        "inherits": list(inherits),
        "config": described,
        "digest": digest(config),
        "notices": notices,
    }
    folders: list[str] = []
    ours, theirs = socket.socketpair()
    try:
        settings["sockets"] = new_socket_folder(folders)
        popen = launch(settings, theirs.fileno())
    except BaseException as error:
        ours.close()
        for folder in folders:
            remove_socket_folder(folder)
        if not isinstance(error, OSError):
            raise  # an interrupt; a process that is there already ends with its socket
        raise ConfigurationError(
            f"The DataFlowKernel process of run {run} cannot be started: {error}. Its folder is {run_dir}."
        ) from error
    finally:
        theirs.close()
    return StartedRun(settings, popen, ours)


def of_the_run(config: Config) -> Config:
    """A configuration without what each kernel may say for itself."""
    return type(config).bare({name: value for name, value in config.options().items() if name not in _OURS})


def digest(config: Config) -> str:
    """The same for configurations of which one can do the other's work."""
    plain = of_the_run(config)
    text = json.dumps(_described(plain) or repr(plain), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _described(config: Config) -> dict[str, Any] | None:
    """The configuration for the notebook's next kernel; None where that could not make it again."""
    from parslab.description import encoded

    try:
        return encoded(config.replaced(retry_handler=None))
    except ConfigurationError:
        return None


def _trusted_owners(config: Config) -> list[int]:
    """The numbers of the users whose checkpoints the run accepts."""
    import pwd

    owners = []
    for owner in config.trusted_owners:
        try:
            owners.append(owner if isinstance(owner, int) else pwd.getpwnam(owner).pw_uid)
        except KeyError:
            raise ConfigurationError(f"Config: trusted_owners names {owner!r}, who is no user of this host.") from None
    return owners


def _checkpoints(config: Config, owners: Sequence[int]) -> list[str]:
    """The checkpoints that the run begins with.

    Those that the configuration names must be trusted.  The DataFlowKernel leaves out what is wrong with others.
    """
    if config.checkpoint_dir is not None:
        _check_checkpoint(_absolute(config.checkpoint_dir), owners)
    if config.checkpoint_files is None:
        return get_all_checkpoints(_absolute(config.run_dir)) if config.checkpoint_mode else []
    places = [_absolute(place) for place in config.checkpoint_files]
    for place in places:
        if not os.path.exists(place):
            raise ConfigurationError(
                f"Config: checkpoint_files names {place}, which is not there; get_all_checkpoints({config.run_dir!r}) "
                "gives those that are."
            )
        _check_checkpoint(place, owners)
    return places


def _check_checkpoint(place: str, owners: Sequence[int]) -> None:
    """Refuse the folder or the file of a checkpoint that others can change."""
    if os.path.isdir(place):
        check_folder(place, owners)
        if owners:  # others may add files of their own; the DataFlowKernel takes those of trusted owners
            return
    for file in files_in(place):
        if file.exists():
            check_file(file, owners)


def _absolute(place: str) -> str:
    return os.path.abspath(os.path.expanduser(place))


def launch(settings: dict[str, Any], fd: int) -> subprocess.Popen[bytes]:
    """Write down the settings of a run, and start its process."""
    path = Path(settings["run_dir"]) / "settings.json"
    write_atomically(path, json.dumps(settings))  # whoever comes after us needs it, if we are killed now
    with open(path.with_name("dfk.log"), "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", _START, str(path), str(fd)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(fd,),
            start_new_session=True,
        )


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise ConfigurationError(
            "The folder that this process runs in does not exist any more: change to another one (os.chdir), "
            "then load again."
        ) from None


def _import_path() -> list[str]:
    """Our ``sys.path`` as another process needs it: what was relative to our folder made absolute."""
    return [os.path.abspath(entry) for entry in sys.path]


def new_socket_folder(tried: list[str]) -> str:
    """A new folder for the sockets of a run, where paths are short: those of unix sockets end at about 100 bytes.

    Each name is in ``tried`` before the folder is made, so that one is removed whose making was interrupted.
    """
    errors: list[OSError] = []
    for base in (os.environ.get("XDG_RUNTIME_DIR", ""), os.environ.get("TMPDIR", ""), tempfile.gettempdir(), "/tmp"):
        if base and len(base) < 60:
            folder = os.path.join(base, f"parslab-{secrets.token_hex(4)}")
            tried.append(folder)
            try:
                os.mkdir(folder, 0o700)
            except OSError as error:
                errors.append(error)
            else:
                return folder
    raise ConfigurationError(
        f"A run needs a folder for its sockets and none can be made ({errors[0]}): set TMPDIR to a folder with a short "
        "path that can be written."
    )


def _new_run_dir(root: Path) -> tuple[Path, list[str]]:
    """Make the next numbered folder below ``root`` (as Parsl does); elsewhere, with a notice, where that fails."""
    root = root.expanduser().absolute()
    try:
        made = _numbered(root)
        # A full disk still makes folders: find out now, where another place can be taken.
        (made / "dfk.log").write_bytes(b"\n" * 4096)
        (made / "dfk.log").write_bytes(b"")
        # Some file systems give every file to one owner, or let everybody write: nothing there can be trusted later.
        check_folder(made)
        return made, []
    except OSError as error:
        other = Path(tempfile.mkdtemp(prefix="parslab-runs-"))
        problem = "is not safe" if isinstance(error, UntrustedPathError) else "cannot be written"
        notice = (
            f"The run folder {root} {problem} ({error.strerror or error}); logs and monitoring of this run "
            f"are in {other} instead. Choose another one with Config(run_dir=...)."
        )
        return _numbered(other), [notice]


def _numbered(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    taken = [int(entry.name) for entry in root.iterdir() if entry.name.isdigit()]
    for number in itertools.count(max(taken, default=-1) + 1):
        with contextlib.suppress(FileExistsError):
            path = root / f"{number:03d}"
            path.mkdir(mode=0o700)
            return path
    raise AssertionError("unreachable")


def find_runs() -> list[dict[str, Any]]:
    """The connection files of this user's live runs on this host, newest last.

    Those of dead ones are swept away, unless their notebook may come back.
    """
    from parslab.cleanup.dead_runs import find_dead_runs, remove_dead_runs

    folder = runtime_dir()
    remove_dead_runs(folder)
    dead = {path for path, _ in find_dead_runs(folder)}
    runs = []
    for path in set(folder.glob("parslab-*.json")) - dead:
        try:
            info = read_connection(path)
        except UntrustedPathError as error:
            log.warning("%s", error)
            continue
        except ConfigurationError:
            continue
        runs.append(info)
    return sorted(runs, key=lambda info: float(info["started"]))


def read_connection(path: Path) -> dict[str, Any]:
    """What the connection file of a run says.

    Raises
    ------
    ConfigurationError
        It cannot be read, or is none.
    """
    fix = "give attach() the name of a run, or the file parslab-RUN.json that the run made."
    try:
        info = json.loads(read_text(path))
    except UntrustedPathError:
        raise
    except OSError as error:
        why = error.strerror or error
        raise ConfigurationError(f"The connection file {path} cannot be read ({why}): {fix}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path} is no connection file of a run ({error}): {fix}") from None
    for name, kind in _CONNECTION.items():
        if not isinstance(info, dict) or not isinstance(info.get(name), kind):
            raise ConfigurationError(f"{path} is no connection file of a run (it has no {name!r}): {fix}")
    with contextlib.suppress(OSError):
        info["since"] = path.stat().st_mtime
    return {"since": 0.0, **info, "started": info.get("started", info.get("since", 0.0))}


def connect(info: dict[str, Any], patience: float = 5.0) -> socket.socket:
    """Connect to a live run as a guest."""
    deadline = time.monotonic() + patience
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(info["socket"])
            check_peer(sock, info["socket"])
            return sock
        except UntrustedPathError:
            sock.close()
            raise
        except OSError as error:
            sock.close()
            if time.monotonic() > deadline or isinstance(error, (FileNotFoundError, PermissionError)):
                raise ConfigurationError(f"Run {info['run']} cannot be reached at {info['socket']}: {error}") from error
            time.sleep(0.05)
