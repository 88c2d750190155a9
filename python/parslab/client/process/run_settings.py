"""Make the settings of a new run from a configuration, and the hash by which runs recognise equal configurations."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from parslab.checkpoints import checkpoint_folders, files_in, refuse_parsl_checkpoint
from parslab.client.process.connection_file import connection_path
from parslab.client.process.notebook import default_linger
from parslab.client.process.run_folder import new_run_dir
from parslab.client.process.usage_report import usage_settings
from parslab.clock import anchor, steady_time
from parslab.errors import ConfigurationError
from parslab.executors.base import checked_settings
from parslab.records.executor_settings import HighThroughputSettings
from parslab.trust import check_file, check_folder
from parslab.wire.run_files import RunSettings, ValueSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.config import Config
    from parslab.records.executor_settings import EncodedDescription, ExecutorSettings
    from parslab.wire.notebooks import NotebookPlace

__all__ = ["digest", "new_settings", "of_the_run", "value_memory"]

_OF_THE_CLIENT = (
    "dependency_resolver",
    "exit_mode",
    "garbage_collect",
    "linger",
    "resume",
    "retry_handler",
    "sandbox",
    "std_autopath",
)
"""Options that each client sets for itself; a run fits a configuration that differs from its own in these only."""


def new_settings(
    config: Config, package: str, notebook: str, inherits: Sequence[str], place: NotebookPlace
) -> RunSettings:
    """Make the folder of a new run and its settings, except for the sockets.

    Parameters
    ----------
    config
        The configuration.
    package
        The version of parslab.
    notebook
        The name of the notebook in the run; empty for a script.
    inherits
        The folders of earlier runs whose results the run may use.
    place
        Where the notebook is.

    Raises
    ------
    ConfigurationError
        The configuration names something that does not exist.
    """
    here, executors = _current_folder(), _executor_settings(config)
    checkpoints = _checkpoints(config, owners := _trusted_owners(config))
    run, run_dir, warnings = _new_folder(config)
    return RunSettings(
        run=run,
        run_dir=str(run_dir),
        connection=str(connection_path(run)),
        sockets="",
        package=package,
        path=[os.path.abspath(entry) for entry in sys.path],
        cwd=here,
        owner_pid=os.getpid(),
        executors=executors,
        notebook=notebook,
        notebook_place=place,
        linger=default_linger(notebook) if config.linger is None else config.linger,
        started=steady_time(),
        clock=anchor(),
        config=_described(config),
        digest=digest(config),
        notices=warnings,
        retries=config.retries,
        strategy=config.strategy,
        strategy_period=config.strategy_period,
        max_idletime=config.max_idletime,
        app_cache=config.app_cache,
        checkpoint_mode=config.checkpoint_mode,
        checkpoint_dir=config.checkpoint_dir and _absolute(config.checkpoint_dir),
        checkpoint_files=checkpoints,
        trusted_owners=owners,
        checkpoint_period=config.checkpoint_period,
        usage=usage_settings(config),
        resume=config.resume,
        values=_value_settings(config),
        inherits=list(inherits),
    )


def _new_folder(config: Config) -> tuple[str, Path, list[str]]:
    """Make the folder of a new run; return the name of the run, the folder, and warnings for the user."""
    run_dir, warnings = new_run_dir(Path(config.run_dir))
    return f"{run_dir.name}-{secrets.token_hex(3)}", run_dir, warnings


def _executor_settings(config: Config) -> list[ExecutorSettings]:
    settings = [checked_settings(executor) for executor in config.executors]
    if any(isinstance(each, HighThroughputSettings) for each in settings):
        from parslab.scaling.strategies import strategy_named

        strategy_named(config.strategy)  # fails here, before a block is requested, if there is no such strategy
    return settings


def _value_settings(config: Config) -> ValueSettings:
    folder = config.spill_dir and _absolute(config.spill_dir)
    return ValueSettings(config.keep_large_results, value_memory(config), folder)


def value_memory(config: Config | None) -> int:
    """Return how many bytes of large values may be in memory: as configured, or half of what there is."""
    if config is not None and config.value_memory is not None:
        return int(config.value_memory * 1e9)
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # A container without a limit has a word in this file, and a host without containers has no such file.
    with contextlib.suppress(OSError, ValueError), open("/sys/fs/cgroup/memory.max") as file:
        limit = min(limit, int(file.read()))
    return limit // 2


def of_the_run(config: Config) -> Config:
    """Return a configuration without the options that each client sets for itself."""
    return type(config).bare({name: value for name, value in config.options().items() if name not in _OF_THE_CLIENT})


def digest(config: Config) -> str:
    """Return a hash that is equal for two configurations when a run of one can serve the other."""
    plain = of_the_run(config)
    text = json.dumps(msgspec.to_builtins(_described(plain) or repr(plain)), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _described(config: Config) -> EncodedDescription | None:
    """Return the configuration for the notebook's next kernel; None when it cannot be encoded."""
    from parslab.description import encoded

    try:
        return encoded(config.replaced(retry_handler=None, std_autopath=None, dependency_resolver=None))
    except ConfigurationError:
        return None


def _trusted_owners(config: Config) -> list[int]:
    """Return the numbers of the users whose checkpoints the run accepts."""
    import pwd

    owners = []
    for owner in config.trusted_owners:
        try:
            owners.append(owner if isinstance(owner, int) else pwd.getpwnam(owner).pw_uid)
        except KeyError:
            raise ConfigurationError(f"Config: trusted_owners names {owner!r}, who is no user of this host.") from None
    return owners


def _checkpoints(config: Config, owners: Sequence[int]) -> list[str]:
    """Return the checkpoints from which the run loads memoized results.

    A checkpoint that the configuration names must exist and be safe.  Of the others, the DataFlowKernel later skips
    those that are not, because the user has not asked for them.
    """
    if config.checkpoint_dir is not None:
        if os.path.isfile(_absolute(config.checkpoint_dir)):
            refuse_parsl_checkpoint(_absolute(config.checkpoint_dir))
        _check_checkpoint(_absolute(config.checkpoint_dir), owners)
    if config.checkpoint_files is None:
        return checkpoint_folders(_absolute(config.run_dir)) if config.checkpoint_mode else []
    files = [_absolute(file) for file in config.checkpoint_files]
    for file in files:
        if not os.path.exists(file):
            raise ConfigurationError(
                f"Config: checkpoint_files names {file}, which is not there; get_all_checkpoints({config.run_dir!r}) "
                "gives those that are."
            )
        refuse_parsl_checkpoint(file)
        _check_checkpoint(file, owners)
    return files


def _check_checkpoint(checkpoint: str, owners: Sequence[int]) -> None:
    """Raise an error for a checkpoint that other users can change, because loading it unpickles its content."""
    if os.path.isdir(checkpoint):
        check_folder(checkpoint, owners)
        if owners:  # several users may share the folder; the DataFlowKernel reads the files of trusted owners only
            return
    for file in files_in(checkpoint):
        if file.exists():
            check_file(file, owners)


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _current_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise ConfigurationError(
            "The folder that this process runs in does not exist any more: change to another one (os.chdir), "
            "then load again."
        ) from None
