"""Prepare the software that tasks ask for, in threads of the pool's process [shell].

The pool asks for the state of a description; the first question begins the work.  A thread waits for the maker, and
posts the result to the loop, whose thread owns everything else here.  One set of requirements is made once, however
many tasks wait for it, and a failure is reported once to each of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from parslab.clock import steady_time
from parslab.errors import ConfigurationError
from parslab.remote.awaited import awaited
from parslab.remote.software.cache import EnvironmentCache, cache_folder
from parslab.remote.software.engines import ContainerStart
from parslab.remote.software.maker import MakerOrder

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.records.software import Software
    from parslab.remote.loop import Loop

__all__ = ["Interpreter", "Preparations", "Prepared"]

_FAILED = 10.0
"""Seconds for which a failure counts also for tasks that come later; then the next task tries again."""
_ATTEMPTS = 3
"""How often an environment is made whose maker is killed, or that another process removes before it is used here."""
_START = (
    "import json, sys; order = sys.stdin.buffer.read(); sys.path[:] = json.loads(order)['path']; "
    "from parslab.remote.software.maker import main; sys.exit(main(order))"
)
_MAKERS = 4
"""Environments that one pool makes at the same time."""
_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


class Interpreter(NamedTuple):
    """The interpreter that runs workers with a software."""

    path: str
    variables: dict[str, str]
    """Environment variables of its workers; ``PATH`` here comes in front of theirs."""


Prepared: TypeAlias = Interpreter | ContainerStart
"""How workers with a software start."""


class Preparations:
    """What a pool knows of the software of its tasks.

    Parameters
    ----------
    loop
        The loop of this process.
    run
        The name of the run, by which leftover processes are found.
    done
        Called in the loop's thread when the state of a description has changed.
    """

    def __init__(self, loop: Loop, run: str, done: Callable[[Software], None]) -> None:
        self._loop = loop
        self._run = run
        self._done = done
        self._states: dict[Software, Prepared | str | None] = {}
        self._failed_at: dict[Software, float] = {}
        self._using: list[int] = []
        """Descriptors that keep environments from being removed."""
        self._makers = threading.BoundedSemaphore(_MAKERS)

    def state(self, software: Software) -> Prepared | str | None:
        """Return how workers with it start, or why they cannot; None while it is being prepared."""
        if software in self._states:
            state = self._states[software]
            if not isinstance(state, str) or steady_time() - self._failed_at[software] < _FAILED:
                return state
        self._states[software] = None
        threading.Thread(target=self._prepare, args=(software,), name="parslab-environment", daemon=True).start()
        return None

    def fail(self, software: Software, why: str) -> None:
        """Note that no worker with this software can start."""
        self._states[software] = why
        self._failed_at[software] = steady_time()

    def close(self) -> None:
        """Let other processes remove the environments; makers that still work end with this process."""
        for fd in self._using:
            os.close(fd)
        self._using.clear()

    # ----- the thread of one description

    def _prepare(self, software: Software) -> None:
        state: Prepared | str
        used: int | None = None
        try:
            if software.container is not None:
                state = msgspec.json.decode(self._make(software, "/"), type=ContainerStart)
            elif software.requirements:
                state, used = self._environment(software)
            else:
                state = _existing(software.python)
        except (ConfigurationError, OSError) as error:
            state = str(error)
        except Exception as error:  # a task must not wait for ever
            state = f"{type(error).__name__}: {error}"
        self._loop.post(lambda: self._prepared(software, state, used))

    def _prepared(self, software: Software, state: Prepared | str, used: int | None) -> None:
        if used is not None:
            self._using.append(used)
        if isinstance(state, str):
            self.fail(software, state)
        else:
            self._states[software] = state
        self._done(software)

    def _environment(self, software: Software) -> tuple[Interpreter, int]:
        cache = EnvironmentCache(cache_folder())
        for _ in range(_ATTEMPTS):
            key = self._make(software, cache.folder)
            used = cache.use(key)
            # Another process may have removed it before this one used it.
            if cache.manifest(key) is not None:
                return _interpreter(cache.path(key)), used
            os.close(used)
        raise ConfigurationError(f"another process removes it from {cache.folder} again and again")

    def _make(self, software: Software, folder: str | Path) -> str:
        """Run a maker in this folder, and return its result; start another one if it is killed."""
        status, out, words = self._run_maker(software, folder)
        for _ in range(_ATTEMPTS - 1):
            if status >= 0:
                break
            status, out, words = self._run_maker(software, folder)
        if status:
            raise ConfigurationError(words or f"its maker ended with status {status}")
        return out

    def _run_maker(self, software: Software, folder: str | Path) -> tuple[int, str, str]:
        """Run a maker once; return its status, its result and its words."""
        lifeline, ours = os.pipe()
        order = MakerOrder(software, path=sys.path, lifeline=lifeline, parent=os.getpid())
        try:
            with self._makers, awaited(lambda: self._start(lifeline, folder)) as maker:
                out, err = maker.communicate(msgspec.json.encode(order))
        finally:
            os.close(lifeline)
            os.close(ours)
        return maker.returncode, out.decode().strip(), err.decode(errors="replace").strip()

    def _start(self, lifeline: int, folder: str | Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(lifeline,),
            env={**os.environ, "PARSLAB_RUN": self._run},
            # Not the folder of the notebook, whose project settings would change what uv installs.
            cwd=folder,
            start_new_session=True,
        )


def _interpreter(folder: Path) -> Interpreter:
    variables = {"PATH": os.fspath(folder / "bin")}
    if (folder / "pyvenv.cfg").exists():
        variables["VIRTUAL_ENV"] = os.fspath(folder)
    return Interpreter(os.fspath(folder / "bin" / "python"), variables)


def _existing(place: str) -> Interpreter:
    """Return the interpreter of an environment that somebody else has made; ``place`` is its folder or interpreter."""
    path = Path(place).expanduser()
    python = path / "bin" / "python" if path.is_dir() else path
    try:
        with awaited(
            lambda: subprocess.Popen([python, "-c", _VERSION], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        ) as process:
            out, err = process.communicate()
    except OSError as error:
        raise ConfigurationError(f"{python} cannot be started: {error.strerror or error}") from error
    if process.returncode:
        raise ConfigurationError(f"{python} does not run: {err.decode(errors='replace').strip()[-500:]}")
    version, ours = out.decode().strip(), f"{sys.version_info[0]}.{sys.version_info[1]}"
    if version != ours:
        raise ConfigurationError(
            f"{python} is Python {version}, and this run uses Python {ours}: functions and values travel as pickles, "
            "so both must be the same version"
        )
    return _interpreter(python.parent.parent)
