"""The run of this process: ``load``, ``dfk``, ``clear``, ``attach`` (Parsl: ``DataFlowKernelLoader``).

A notebook cell is run twice, so ``load`` with an equal configuration returns the run that is there.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, cast

from parslab.client.process.notebook import this_notebook
from parslab.client.worker_import import UnloadedRun, importing_module
from parslab.errors import ConfigurationError, NoDataFlowKernelError
from parslab.records.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.config import Config
    from parslab.wire.notebooks import NotebookPlace

__all__ = ["attach", "by_value", "clear", "current_run", "dfk", "load", "wait_for_current_tasks"]

_current: DataFlowKernel | None = None

# Threads that load at the same time must get one run. Each of them waits for it anyway, so an inbox would not help.
_loading = threading.RLock()

_said: set[str] = set()
"""Modules whose load() in this worker has been explained."""

_kernels: weakref.WeakSet[DataFlowKernel] = weakref.WeakSet()


def _in_child() -> None:
    """Detach a forked child from its runs: it has no link thread, and must not keep the runs alive."""
    global _loading
    _loading = threading.RLock()  # another thread of the parent may hold the old one for ever
    for kernel in list(_kernels):
        kernel.lifecycle.forked()


os.register_at_fork(after_in_child=_in_child)

on_load: list[Callable[[DataFlowKernel], None]] = []
"""Functions that get each run that is loaded or attached to; notebooks connect their panel here."""


def load(config: Config | str | os.PathLike[str] | None = None) -> DataFlowKernel:
    """Start a run for this notebook or script, or return the one that is loaded (Parsl: ``parsl.load``).

    A new kernel of a notebook goes on with the notebook's run, which stays for ``Config.linger`` seconds.

    Parameters
    ----------
    config
        A Config, the name of a ready configuration (``"slurm"``; ``parslab config list`` shows them) or the path of a
        file that makes one.  None: an existing run as it is; for a new run, what the site's ``parslab_config.py`` or
        ``PARSLAB_CONFIG`` says, else one low-latency executor with a worker for every usable core of this host.

    Returns
    -------
    DataFlowKernel
        The handle of the run; as a context manager it ends the run when the block is left.

    Raises
    ------
    ConfigurationError
        Another configuration is loaded already, or the process cannot be started.
    """
    if module := importing_module():
        return _nothing_loaded(module)
    with _loading:
        return _load(config)


def _nothing_loaded(module: str) -> DataFlowKernel:
    """Say once that a worker which imports a module loads no run."""
    if module not in _said:
        _said.add(module)
        print(
            f"parslab.load() in {module} does nothing in a worker, which imports the module for its apps: put it under "
            "`if __name__ == '__main__':`, or into a function.",
            file=sys.stderr,
        )
    return cast("DataFlowKernel", UnloadedRun(module))


def _load(config: Config | str | os.PathLike[str] | None) -> DataFlowKernel:
    from parslab.sites import check_site, default_config

    _open_standard_descriptors()
    check_site()
    given = None if config is None else _config(config)
    running = current_run()
    if running is not None:
        return _again(running, given)
    place = this_notebook()
    wanted = given if given is not None else default_config()
    if not place.path:
        return _set_current(_new_run(wanted, place, "", []), [])
    from parslab.client.reattach import come_back

    back = come_back(place, given, wanted.resume)
    kernel = back.kernel
    if kernel is None:
        kernel = _new_run(wanted, place, back.notebook, back.inherits)
    elif given is not None and given.linger is not None and given.linger != kernel.linger:
        kernel.keep(given.linger)
    back.remove_dead_runs()
    return _set_current(kernel, back.notices)


def _open_standard_descriptors() -> None:
    """Open /dev/null where stdin, stdout or stderr is closed, as daemons and cron may leave them.

    Otherwise sockets of ours get their numbers, and the processes that we start take them for standard streams.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)


def _config(given: Config | str | os.PathLike[str]) -> Config:
    from parslab.config import Config
    from parslab.sites import named_config

    if isinstance(given, (str, os.PathLike)):
        return named_config(given)
    if not isinstance(given, Config):
        raise ConfigurationError(
            f"load() takes a Config, the name of one or a file, not a {type(given).__name__}: "
            "parslab.Config(executors=[...])"
        )
    return given


def _again(running: DataFlowKernel, given: Config | None) -> DataFlowKernel:
    """Return the loaded run to a cell that runs again, if its configuration fits."""
    if given is None:
        return running
    from parslab.client.process.run_settings import of_the_run

    there = running.config
    if there is not None and of_the_run(there) == of_the_run(given):
        running.use_retry_handler(given.retry_handler)
        if given.linger is not None and given.linger != running.linger:
            running.keep(given.linger)
        running.config = given
        return running
    raise ConfigurationError(
        f"Run {running.run} is loaded with another configuration: call parslab.dfk().cleanup() first to end it."
    )


def _new_run(config: Config, place: NotebookPlace, notebook: str, inherits: list[str]) -> DataFlowKernel:
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.client.handle.run_connection import RunConnection
    from parslab.client.process.launch import start
    from parslab.client.process.restart import KernelRestart
    from parslab.version import version

    started = start(config, version(), notebook, inherits, place)
    connection = RunConnection(
        run=started.run,
        run_dir=started.run_dir,
        pid=started.pid,
        sock=started.sock,
        process=started,
        threads={e.label: e.max_threads for e in config.executors if hasattr(e, "max_threads")},
        restart=KernelRestart(started.run, started.run_dir, notebook) if config.resume else None,
    )
    return DataFlowKernel.opened(config, connection)


def attach(run: str | None = None) -> DataFlowKernel:
    """Attach to a run of this user on this host: as an owner if it is a run of this notebook, else as a guest.

    A run goes on while a client is attached.

    Parameters
    ----------
    run
        The name of the run or the beginning of it, or the path of its connection file; by default the newest run.

    Raises
    ------
    ConfigurationError
        There is no such run, or a run is loaded here already.
    """
    from parslab.client.reattach import attached, live_run

    running = current_run()
    if running is not None:
        raise ConfigurationError(
            f"Run {running.run} is loaded here: first leave it with parslab.dfk().leave(), or end it with "
            "parslab.dfk().cleanup()."
        )
    return _set_current(attached(live_run(run), this_notebook()))


def current_run() -> DataFlowKernel | None:
    """Return the loaded run if it is alive and belongs to this process; a forked child has none."""
    if _current is not None and _current.state.ended is None and _current.state.process == os.getpid():
        return _current
    return None


def _set_current(kernel: DataFlowKernel, notices: Sequence[str] = ()) -> DataFlowKernel:
    global _current
    _current = kernel
    _send_main_by_value()
    kernel.notices = tuple(notices)
    atexit.register(kernel.lifecycle.at_exit)
    kernel.on_end.append(lambda _: atexit.unregister(kernel.lifecycle.at_exit) if kernel.state.closing else None)
    _kernels.add(kernel)
    for call in on_load:
        call(kernel)
    for sentence in notices:
        print(printable(sentence))
    return kernel


def _send_main_by_value() -> None:
    """Send the user's script by value where multiprocessing has given it a name that no worker can import."""
    main = sys.modules.get("__mp_main__")
    if main is not None and main.__name__ == "__mp_main__":
        by_value(main)


def dfk() -> DataFlowKernel:
    """The loaded run.

    Raises
    ------
    NoDataFlowKernelError
        Nothing is loaded.
    """
    running = current_run()
    if running is not None:
        return running
    if _current is not None:
        raise _current.state.over_error()
    raise NoDataFlowKernelError


def clear() -> None:
    """Forget the loaded run without ending it (Parsl: ``parsl.clear``); to end it, call ``dfk().cleanup()``."""
    global _current
    _current = None


def wait_for_current_tasks() -> None:
    """Wait until every task called so far is finished (Parsl: same name)."""
    dfk().wait_for_current_tasks()


def by_value(module: ModuleType) -> None:
    """Send the functions and classes of a module to workers by value, as those of the notebook are.

    This is for modules that you edit beside the notebook: after ``importlib.reload`` the next call uses the new code.
    """
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)
