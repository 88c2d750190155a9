"""The two files by which the processes of a run find each other, declared once for their writers and readers.

- ``settings.json`` in the folder of the run: the client writes it, the DataFlowKernel reads it, and so does every
  process that restarts or removes the run later.
- The connection file ``parslab-RUN.json`` in Jupyter's runtime folder: the DataFlowKernel writes it, other processes
  of this user read it in order to attach to the run, list it, restart it or remove it.

Only their owner can read the files.  A file is replaced as a whole, so a reader never sees half of it.  A
reader ignores fields that it does not know, and fills in those that are missing from the defaults.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from parslab.atomic_files import write_atomically
from parslab.records.executor_settings import EncodedDescription, ExecutorSettings
from parslab.trust import read_text
from parslab.wire.notebooks import NotebookPlace

if TYPE_CHECKING:
    import os

__all__ = [
    "EVENT_LOG",
    "HANDOVER_REFUSED",
    "HANDOVER_WANTED",
    "ConnectionInfo",
    "RunSettings",
    "UsageSettings",
    "ValueSettings",
    "read_connection_info",
    "read_settings",
    "settings_path",
    "write_connection_info",
    "write_settings",
]


HANDOVER_WANTED = "handover-wanted.json"
"""Name of the file in the folder of a run by which another host asks for the run."""
HANDOVER_REFUSED = "handover-refused.txt"
"""Name of the file that says why the run stays where it is, after such a request."""
EVENT_LOG = "event_log"
"""Name of the folder of a run's event log, in the folder of the run."""


class UsageSettings(msgspec.Struct, kw_only=True):
    """The usage reports of a run whose user has asked for them."""

    address: str
    """``host:port``."""
    start: str
    """The report that the run sends when it begins, JSON."""
    run_id: str
    """A random name by which the receiver joins the reports of one run; it is used nowhere else."""
    level: int


class ValueSettings(msgspec.Struct, frozen=True):
    """What happens to large values."""

    keep_results: bool = False
    """Whether the event log has large results, which workers could make again."""
    memory: int = 1 << 40
    """Bytes of them that may be in memory; further ones move to a disk."""
    spill_dir: str | None = None
    """Where they move to; None: into the run's folder."""


class RunSettings(msgspec.Struct, kw_only=True):
    """The settings with which the DataFlowKernel process serves a run."""

    run: str
    """The name of the run."""
    run_dir: str
    connection: str
    """Path of the connection file."""
    sockets: str
    """Folder of the run's unix sockets."""
    package: str
    """Version of parslab."""
    path: list[str]
    """The client's ``sys.path``, made absolute."""
    cwd: str
    owner_pid: int
    """The process that started the DataFlowKernel and holds the other end of its socket."""
    executors: list[ExecutorSettings]
    """One for each executor, as ``Executor.settings`` describes it."""

    notebook: str = ""
    """The name of the notebook in the run: the path that it had first; empty for a script."""
    notebook_place: NotebookPlace = NotebookPlace()
    """Where the notebook is."""
    linger: float = 0.0
    """Seconds that the run outlives its last client."""
    started: float = 0.0
    """When the run began, in seconds since the epoch; a restart keeps it."""
    clock: float = 0.0
    """The client's ``clock.anchor``, which makes times of several processes comparable (D34); 0: not known."""
    config: EncodedDescription | None = None
    """The configuration, encoded for the notebook's next kernel; None where it cannot be encoded."""
    digest: str = ""
    """Hash of the configuration."""
    notices: list[str] = []
    """Warnings of the client that the run shows to the user."""

    retries: int = 0
    strategy: str = "simple"
    strategy_period: float = 5.0
    max_idletime: float = 120.0
    app_cache: bool = True
    checkpoint_mode: str | None = None
    checkpoint_dir: str | None = None
    checkpoint_files: list[str] = []
    checkpoint_period: float | None = None
    trusted_owners: list[int] = []
    """Users whose checkpoints the run accepts besides its own user's and root's."""

    usage: UsageSettings | None = None
    """The usage reports; None where nothing is sent."""
    resume: bool = False
    """Whether the run keeps an event log, so that it can be resumed."""
    values: ValueSettings = ValueSettings()
    """What happens to large values."""
    inherits: list[str] = []
    """Folders of earlier runs whose results this one may use."""
    restarts: int = 0
    """How many DataFlowKernel processes of this run were lost before this one."""
    owner_client: int = -1
    """The client number that the owner had before the restart; -1: it had none."""
    loss: str = ""
    """How the last DataFlowKernel process was lost (``was killed by SIGKILL``)."""
    lost_at: float = 0.0
    """When it was lost, in seconds since the epoch."""


class ConnectionInfo(msgspec.Struct, kw_only=True):
    """What other processes of this user need in order to find a run."""

    run: str
    pid: int
    """The DataFlowKernel process."""
    host: str
    socket: str
    """Path of the unix socket at which the DataFlowKernel listens for clients."""
    run_dir: str
    pid_namespace: str = ""
    """The namespace in which ``pid`` and ``owners`` are valid; empty where the system has no such namespaces.

    Two containers may share the folder: a pid of one is another process, or none, in the other.
    """
    package: str = ""
    notebook: str = ""
    """The name of the notebook in the run: the path that it had first; empty for a script."""
    notebook_place: NotebookPlace = NotebookPlace()
    """Where the notebook is now, as far as the run knows."""
    resume: bool = False
    digest: str = ""
    started: float = 0.0

    linger: float = 0.0
    away: float | None = None
    """Since when no client is attached; None while one is."""
    ends: float | None = None
    """When the run ends if no client attaches before; None while one is attached."""
    heartbeat_period: float = 0.0
    """Seconds after which the DataFlowKernel touches the file again."""
    clients: int = 0
    owners: list[int] = []
    """Processes of this host that own the run and are attached."""
    panels: bool = False
    """Whether the run accepts panels that are no clients (``ClientHello.panel``); an older run does not."""

    handing_over: bool = False
    """Whether the DataFlowKernel prepares to end, in order to let another host go on with the run."""
    handed_over: bool = False
    """Whether it has ended for that reason."""

    written_at: float = 0.0
    """When the file was last written or touched; :func:`read_connection_info` fills it in."""


ContentT = TypeVar("ContentT", RunSettings, ConnectionInfo)


def _encoded(content: RunSettings | ConnectionInfo) -> str:
    # Paths may hold bytes that are not UTF-8. Python's JSON escapes them; msgspec's refuses to write or read them.
    return json.dumps(msgspec.to_builtins(content))


def _read(path: str | os.PathLike[str], kind: type[ContentT], problem: str) -> ContentT:
    try:
        return msgspec.convert(json.loads(read_text(path)), kind)
    except (ValueError, msgspec.ValidationError) as error:
        raise ValueError(f"{path} {problem}: {error}") from None


def settings_path(run_dir: str | os.PathLike[str]) -> Path:
    """Return the path of a run's settings."""
    return Path(run_dir) / "settings.json"


def write_settings(settings: RunSettings) -> Path:
    """Write the settings of a run into its folder, and return their path.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    path = settings_path(settings.run_dir)
    write_atomically(path, _encoded(settings))
    return path


def read_settings(path: str | os.PathLike[str]) -> RunSettings:
    """Read the settings of a run.

    Raises
    ------
    UntrustedPathError
        The file belongs to somebody else, or others can write to it.
    OSError
        The file cannot be read.
    ValueError
        The file holds something else.
    """
    return _read(path, RunSettings, "holds no settings of a run")


def write_connection_info(path: Path, info: ConnectionInfo) -> None:
    """Replace the connection file of a run.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    write_atomically(path, _encoded(info))


def read_connection_info(path: Path) -> ConnectionInfo:
    """Read the connection file of a run.

    Raises
    ------
    UntrustedPathError
        The file belongs to somebody else, or others can write to it.
    OSError
        The file cannot be read.
    ValueError
        The file holds something else.
    """
    info = _read(path, ConnectionInfo, "is no connection file of a run")
    # The DataFlowKernel touches the file as its heartbeat: the time of the last change says how long it was silent.
    info.written_at = path.stat().st_mtime
    info.started = info.started or info.written_at
    return info
