"""The run of this process: ``load``, ``dfk``, ``clear``, ``attach`` (Parsl: ``DataFlowKernelLoader``).

A notebook cell is run twice, so ``load`` with an equal configuration returns the run that is there.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parslab.errors import ConfigurationError, NoDataFlowKernelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from parslab.client.dfk import DataFlowKernel
    from parslab.config import Config

__all__ = ["attach", "by_value", "clear", "dfk", "load", "wait_for_current_tasks"]

_current: DataFlowKernel | None = None

_kernels: weakref.WeakSet[DataFlowKernel] = weakref.WeakSet()


def _in_child() -> None:
    """A forked child has no link thread and may not keep the run alive."""
    for kernel in list(_kernels):
        kernel._forked()


os.register_at_fork(after_in_child=_in_child)

on_load: list[Callable[[DataFlowKernel], None]] = []
"""Called with each run that is loaded or attached to; notebooks connect their panel here."""


def load(config: Config | str | os.PathLike[str] | None = None) -> DataFlowKernel:
    """Start a DataFlowKernel process for this notebook or script, or return the one that runs (Parsl: ``parsl.load``).

    Parameters
    ----------
    config
        What to run on: a Config, the name of a ready configuration (``"slurm"``; ``parslab config list`` shows them) or
        the path of a file that makes one.  By default what the site's ``parslab_config.py`` or ``PARSLAB_CONFIG`` says,
        else one low-latency executor with a worker for every usable core of this host.

    Returns
    -------
    DataFlowKernel
        The handle of the run; as a context manager it ends the run when the block is left.

    Raises
    ------
    ConfigurationError
        Another configuration is loaded already, or the process cannot be started.
    """
    global _current
    from parslab.client.dfk import DataFlowKernel
    from parslab.client.start import start
    from parslab.config import Config
    from parslab.sites import check_site, default_config, named_config
    from parslab.version import version

    check_site()
    if config is None:
        config = default_config()
    elif isinstance(config, (str, os.PathLike)):
        config = named_config(config)
    elif not isinstance(config, Config):
        raise ConfigurationError(
            f"load() takes a Config, the name of one or a file, not a {type(config).__name__}: "
            "parslab.Config(executors=[...])"
        )
    running = _running()
    if running is not None:
        if running.config == config:
            return running
        raise ConfigurationError(
            f"Run {running.run} is loaded with another configuration: call parslab.dfk().cleanup() first to end it."
        )
    started = start(config, version())
    kernel = DataFlowKernel(config, started.run, started.run_dir, started.popen.pid, started)
    threads = {e.label: e.max_threads for e in config.executors if hasattr(e, "max_threads")}
    kernel._open(started.sock, threads)
    _adopt(kernel)
    return kernel


def attach(run: str | None = None) -> DataFlowKernel:
    """Attach to a run of this user on this host as a guest.

    Parameters
    ----------
    run
        Its name, or the path of its connection file; by default the newest one.

    Raises
    ------
    ConfigurationError
        There is no such run, or a run is loaded here already.
    """
    from parslab.client.dfk import DataFlowKernel
    from parslab.client.start import connect, find_runs, read_connection
    from parslab.version import version
    from parslab.wire.messages import PROTOCOL, Hello

    running = _running()
    if running is not None:
        raise ConfigurationError(f"Run {running.run} is loaded here: call parslab.dfk().cleanup() first.")
    if run is not None and os.path.exists(run):
        info: dict[str, Any] = read_connection(Path(run))
    else:
        runs = find_runs()
        matching = [info for info in runs if run is None or info["run"] == run]
        if not matching:
            there = ", ".join(info["run"] for info in runs) or "none"
            raise ConfigurationError(f"There is no live run {run or ''} of yours on this host; there are: {there}.")
        info = matching[-1]
    kernel = DataFlowKernel(None, info["run"], Path(info["run_dir"]), info["pid"], None)
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    kernel._open(connect(info), {}, Hello(PROTOCOL, version(), python, os.getpid(), socket.gethostname()))
    _adopt(kernel)
    return kernel


def _running() -> DataFlowKernel | None:
    """The loaded run, if it is alive and ours (a forked child has none)."""
    if _current is not None and _current._ended is None and _current._process == os.getpid():
        return _current
    return None


def _adopt(kernel: DataFlowKernel) -> None:
    global _current
    _current = kernel
    atexit.register(kernel.cleanup)
    kernel.on_end.append(lambda _: atexit.unregister(kernel.cleanup) if kernel._closing else None)
    _kernels.add(kernel)
    for call in on_load:
        call(kernel)


def dfk() -> DataFlowKernel:
    """The loaded run.

    Raises
    ------
    NoDataFlowKernelError
        Nothing is loaded.
    """
    running = _running()
    if running is not None:
        return running
    if _current is not None:
        raise _current._over()
    raise NoDataFlowKernelError


def clear() -> None:
    """Forget the loaded run without ending it (Parsl: ``parsl.clear``); usually ``dfk().cleanup()`` is meant."""
    global _current
    _current = None


def wait_for_current_tasks() -> None:
    """Wait until every task called so far is finished (Parsl: same name)."""
    dfk().wait_for_current_tasks()


def by_value(module: ModuleType) -> None:
    """Ship the functions and classes of a module by value, as those of the notebook are.

    For modules that are edited beside the notebook: after ``importlib.reload`` the next call uses the new code.
    """
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)
