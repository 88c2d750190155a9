"""The description of a login host on which a batch provider runs the commands of its scheduler."""

from __future__ import annotations

import re
from typing import ClassVar

from parslab.description import Choice, Description, Duration, Text, Texts, Whole
from parslab.errors import ConfigurationError

__all__ = ["SSH"]


class SSH(Description):
    """A login host that the user reaches with ``ssh``: a batch provider submits its jobs there.

    The user's own ``ssh`` logs in, with the keys, agent, known hosts and jump hosts of ``~/.ssh/config``.  It never
    asks for anything.  One connection carries all commands, scripts and outputs, so there is one login.  When it is
    lost, the blocks go on, and parslab logs in again.

    The login host needs bash and Python 3.6.  The nodes need the notebook's version of parslab, which ``worker_init``
    activates, and see the home folder of the login host.  They share no disk with this host, so the executor moves the
    Files of apps.

    Parameters
    ----------
    host
        The login host, as ``ssh`` takes it (``"me@login.example.org"``, or a name of ``~/.ssh/config``).
    ssh_options
        More options of ssh, such as ``["-F", "config", "-p", "2222"]``.
    route
        How managers reach this host: ``"relay"`` through the connection, which opens no port of this host to others;
        ``"direct"``; or ``"auto"``, directly if that works.
    relay_address
        The address, name or network interface of the login host at which its nodes reach it; all of them by default.
    relay_port
        The port there; 0 means any free one.
    folder
        The folder on the login host for scripts, outputs and the keys of runs; all nodes must see it.
    init
        Shell text that the login host runs before the scheduler's commands, such as ``module load slurm``.
    python
        The interpreter on the login host, of version 3.6 or later.
    timeout
        Seconds within which a login must succeed.

    Examples
    --------
    >>> from parslab.providers import SlurmProvider
    >>> SlurmProvider(channel=SSH("me@login.example.org"), partition="debug")
    SlurmProvider(channel=SSH(host='me@login.example.org'), partition='debug')
    """

    host = Text("", empty=True)
    ssh_options = Texts(())
    route = Choice("auto", ("auto", "direct", "relay"))
    relay_address = Text("", empty=True)
    relay_port = Whole(0, low=0, high=65535)
    folder = Text("~/.parslab/channel")
    init = Text("", empty=True)
    python = Text("python3")
    timeout = Duration(30.0, low=1.0)

    positional: ClassVar[tuple[str, ...]] = ("host",)
    instead: ClassVar[dict[str, str]] = {
        "hostname": "it is called host",
        "username": "write it before the host: me@login.example.org",
        "port": 'give it to ssh: ssh_options=["-p", "2222"]',
        "password": "load a key with ssh-add, or share a connection that you open in a terminal (ControlMaster)",
        "key_filename": 'give it to ssh: ssh_options=["-i", "FILE"]',
    }

    def check(self) -> None:
        if not self.host or self.host.startswith("-") or re.search(r"\s", self.host):
            raise ConfigurationError(
                f"SSH: host must be a login host as ssh takes it, not {self.host!r}; options of ssh go to ssh_options "
                "or ~/.ssh/config."
            )
        if not self.folder.startswith(("/", "~/")) or ".." in self.folder.split("/"):
            raise ConfigurationError(f"SSH: folder must begin with / or ~/, not {self.folder!r}.")
