"""Hold the run of this process: ``load``, ``dfk``, ``clear``, ``attach`` (Parsl: ``DataFlowKernelLoader``).

Users run notebook cells more than once.  So ``load`` with an equal configuration returns the run that is loaded.
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
    from parslab.executors.base import ParslExecutor
    from parslab.wire.notebooks import NotebookPlace

__all__ = ["attach", "by_value", "clear", "current_run", "dfk", "handover", "load", "wait_for_current_tasks"]

_current: DataFlowKernel | None = None

# Threads that load at the same time must get one run. Each of them waits for it anyway, so an inbox would not help.
_loading = threading.RLock()

_warned: set[str] = set()
"""Modules for which this worker has printed why ``load()`` does nothing."""

_kernels: weakref.WeakSet[DataFlowKernel] = weakref.WeakSet()
"""All handles of this process, because a forked child must detach from each of them, not only from the current one."""


def _in_child() -> None:
    """Detach a forked child from its runs: it has no link thread, and must not keep the runs alive."""
    global _loading
    _loading = threading.RLock()  # another thread of the parent may hold the old one for ever
    for kernel in list(_kernels):
        kernel.lifecycle.forked()


os.register_at_fork(after_in_child=_in_child)

on_load: list[Callable[[DataFlowKernel], None]] = []
"""Functions that ``load`` and ``attach`` call with each run; notebooks connect their panel here."""


def load(config: Config | str | os.PathLike[str] | None = None) -> DataFlowKernel:
    """Start a run for this notebook or script, or return the one that is loaded (Parsl: ``parsl.load``).

    A run outlives its notebook kernel by ``Config.linger`` seconds.  A new kernel of the notebook attaches to it.

    Parameters
    ----------
    config
        One of three: a Config, the name of a ready configuration (``"slurm"``; ``parslab config list`` shows them), or
        the path of a file that makes a Config.  With None, ``load`` takes an existing run as it is.  A new run then
        gets the configuration of the site's ``parslab_config.py`` or of ``PARSLAB_CONFIG``.  Without these it gets
        one low-latency executor with a worker for every usable core of this host.

    Returns
    -------
    DataFlowKernel
        The handle of the run.  As a context manager it ends the run at the end of the block.

    Raises
    ------
    ConfigurationError
        Another configuration is loaded already, or the process cannot be started.
    """
    # Before the lock: a worker's import must not wait for another thread that loads.
    if module := importing_module():
        return _nothing_loaded(module)
    with _loading:
        return _load(config)


def _nothing_loaded(module: str) -> DataFlowKernel:
    """Print once why ``load()`` does nothing in a module that a worker imports."""
    if module not in _warned:
        _warned.add(module)
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
    """Open /dev/null where stdin, stdout or stderr is closed, as in some daemons and cron jobs.

    Otherwise the system gives our sockets the numbers 0 to 2.  The processes that we start then take these sockets for
    their standard streams.
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
    given.check_parts()
    return given


def _again(running: DataFlowKernel, given: Config | None) -> DataFlowKernel:
    """Return the loaded run if the configuration fits, because the user has run the cell with ``load`` again."""
    if given is None:
        return running
    from parslab.client.process.run_settings import of_the_run

    there = running.config
    if there is not None and of_the_run(there) == of_the_run(given):
        running.use_retry_handler(given.retry_handler)
        running.use_dependency_resolver(given.dependency_resolver)
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
    from parslab.client.process.run_settings import new_settings
    from parslab.clock import set_anchor
    from parslab.executors.base import Executor
    from parslab.executors.threads import ThreadPoolExecutor
    from parslab.version import version

    set_anchor()  # a kernel may have run for days, and its steady clock stood still while the machine slept
    started = start(new_settings(config, version(), notebook, inherits, place))
    connection = RunConnection(
        run=started.run,
        run_dir=started.run_dir,
        pid=started.pid,
        sock=started.sock,
        process=started,
        threads={e.label: e.max_threads for e in config.executors if isinstance(e, ThreadPoolExecutor)},
        user_executors={e.label: e for e in config.executors if not isinstance(e, Executor)},
        restart=KernelRestart(started.run, started.run_dir, notebook, started.pid) if config.resume else None,
    )
    kernel = DataFlowKernel.opened(config, connection)
    for executor in connection.user_executors.values():
        _start_user_executor(kernel, executor)
    return kernel


def _start_user_executor(kernel: DataFlowKernel, executor: ParslExecutor) -> None:
    """Start an executor that the user has written for Parsl; its error ends the run."""
    executor.run_dir, executor.run_id = str(kernel.run_dir), kernel.run
    try:
        executor.start()
        executor.begin_scaling()
    except BaseException:
        kernel.cleanup()
        raise
    kernel.on_end.append(lambda _: _end_user_executor(executor))


def _end_user_executor(executor: ParslExecutor) -> None:
    try:
        executor.end_scaling()
    finally:
        executor.shutdown()


def attach(run: str | None = None) -> DataFlowKernel:
    """Attach to a run of this user on this host.

    This process becomes an owner if the run belongs to its notebook, else a guest.  The run does not end while a client
    is attached.

    Parameters
    ----------
    run
        The name of the run, the beginning of its name, or the path of its connection file.  None: the newest run.

    Raises
    ------
    ConfigurationError
        No such run exists, or this process has loaded a run already.
    """
    from parslab.client.reattach import attached, live_run

    running = current_run()
    if running is not None:
        raise ConfigurationError(
            f"Run {running.run} is loaded here: first leave it with parslab.dfk().leave(), or end it with "
            "parslab.dfk().cleanup()."
        )
    return _set_current(attached(live_run(run), this_notebook()))


def handover(wait: float = 60.0, keep: float = 1800.0) -> DataFlowKernel | None:
    """Move a run of this notebook between hosts, for example from one batch job to the next.

    In a kernel that has loaded a run, the run is handed over: it ends here, and the next ``load()`` of the notebook
    goes on with it, on any host that sees its folder.  In a kernel without a run, the host that has the run of this
    notebook is asked to hand it over, and the run goes on here.  In both cases nothing is computed again: tasks on the
    host of the run finish before, and blocks of a cluster go on meanwhile.  If that is not possible, the run stays
    where it is, and the error says why.

    Parameters
    ----------
    wait
        Seconds that tasks on the host that has the run may take to finish; those that take longer run again.
    keep
        Seconds that the blocks of the run go on without a DataFlowKernel.

    Returns
    -------
    DataFlowKernel or None
        The run, if it goes on here.

    Raises
    ------
    ConfigurationError
        The run has no event log (``Config(resume=False)``), its files cannot be written, or no other host has a run of
        this notebook.
    """
    running = current_run()
    if running is not None:
        running.handover(wait, keep)
        return None
    place = this_notebook()
    if not place.path:
        raise ConfigurationError("This process belongs to no notebook, and only runs of notebooks move between hosts.")
    from parslab.client.reattach import bring_here

    bring_here(place, wait, keep)
    return load()


def current_run() -> DataFlowKernel | None:
    """Return the loaded run if it is alive and belongs to this process; a forked child has none."""
    # The process number is compared too: a fork in C code does not call the functions of os.register_at_fork.
    if _current is not None and _current.state.ended is None and _current.state.process == os.getpid():
        return _current
    return None


def _set_current(kernel: DataFlowKernel, notices: Sequence[str] = ()) -> DataFlowKernel:
    global _current
    _current = kernel
    if kernel.config is not None:
        kernel.config.freeze()
        _stage_if_asked(kernel.config)
    _send_main_by_value()
    kernel.notices = tuple(notices)
    atexit.register(kernel.lifecycle.at_exit)
    # Without this, atexit would keep the handle of every ended run. A lost run stays registered: its threads and
    # descriptors must still be closed.
    kernel.on_end.append(lambda _: atexit.unregister(kernel.lifecycle.at_exit) if kernel.state.closing else None)
    _kernels.add(kernel)
    for call in on_load:
        call(kernel)
    for sentence in notices:
        print(printable(sentence))
    return kernel


def _stage_if_asked(config: Config) -> None:
    """Have calls look for files to stage if an executor may stage paths, or if a function names files of streams.

    After the first File of a remote URL they look anyway.
    """
    from parslab.data_provider.files import require_staging
    from parslab.executors.base import stages_paths

    if config.std_autopath is not None or any(
        stages_paths(getattr(executor, "storage_access", None)) for executor in config.executors
    ):
        require_staging()


def _send_main_by_value() -> None:
    """Send the user's script by value in a child of multiprocessing.

    With the start method "spawn" the script is called ``__mp_main__`` there, a name that no worker can import.
    """
    main = sys.modules.get("__mp_main__")
    if main is not None and main.__name__ == "__mp_main__":
        by_value(main)


def dfk() -> DataFlowKernel:
    """Return the loaded run.

    Raises
    ------
    NoDataFlowKernelError
        No run is loaded, or the loaded run is over.
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
    """Wait until all tasks that this process has called are finished (Parsl: same name)."""
    dfk().wait_for_current_tasks()


def by_value(module: ModuleType) -> None:
    """Send the functions and classes of a module to workers by value, like those of the notebook.

    Use this for modules that you edit beside the notebook: after ``importlib.reload`` the next call uses the new code.

    Parameters
    ----------
    module
        The module, which this process has imported.
    """
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)
