"""What a manager does differently when its tasks run on an executor of another library, which is in its process."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

from parslab.clock import set_anchor
from parslab.remote.pool.worker_start import source_folders
from parslab.wire.invitations import read_invitation

if TYPE_CHECKING:
    from parslab.remote.engines.engine import Engine
    from parslab.remote.manager.link import DataFlowKernelLink
    from parslab.wire.invitations import ManagerInvitation

__all__ = ["end_at_once", "import_path", "leave_children_alone", "made_engine"]


def made_engine(path: str) -> Engine | None:
    """Make what runs the tasks in place of workers.

    Parameters
    ----------
    path
        The path of the invitation.

    Returns
    -------
    Engine or None
        None where the manager has workers of its own, and where the invitation cannot be read.

    Raises
    ------
    ConfigurationError
        The factory of the executor failed.
    parslab.wire.invitations.RunOver
        The run has ended.
    """
    invitation = None
    with contextlib.suppress(OSError):  # who looks for the DataFlowKernel reads it again, and says why it cannot
        invitation = read_invitation(path)
    if invitation is None or invitation.manager.engine is None:
        return None
    # Here, because most managers have workers of their own.
    from parslab.remote.engines.engine import Engine

    # As in a worker: the factory and the processes that it starts import what the notebook imports.
    own = import_path(invitation)
    sys.path[:] = [*own, *(entry for entry in sys.path if entry not in own)]
    os.environ.update(invitation.manager.environment, PARSLAB_RUN=invitation.run)
    if os.path.isdir(invitation.cwd):
        os.chdir(invitation.cwd)
    if invitation.host == socket.gethostname():
        set_anchor(invitation.clock)  # before the factory starts processes, which inherit it
    engine = Engine(invitation.manager.engine)
    engine.start()
    return engine


def import_path(invitation: ManagerInvitation) -> list[str]:
    """Return the ``sys.path`` of the workers: that of the notebook, adapted if this is another environment."""
    theirs = invitation.path
    if invitation.prefix == sys.prefix:
        return theirs
    # Installed packages of the notebook may be built for another Python: only its source folders are of use here.
    own = [os.path.abspath(entry) for entry in sys.path]
    sources = source_folders(theirs)
    return [*sources, *(entry for entry in own if entry not in sources)]


def leave_children_alone(link: DataFlowKernelLink) -> None:
    """Have the processes that the engine forks keep neither the signals nor the connection of this manager."""

    def in_child() -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        link.let_go()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=in_child)


def end_at_once(status: int) -> NoReturn:
    """End this process without waiting for threads of the engine's library, which may never end."""
    logging.shutdown()
    os._exit(status)
