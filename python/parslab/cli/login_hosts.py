"""Tries the login host of a provider with ``channel=SSH(...)`` for ``parslab doctor``.

It logs in as a run does, and asks the agent there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.providers.base import SubmitError
from parslab.providers.channel.login_host import LoginHost

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from parslab.providers.batch.base import BatchProvider

__all__ = ["examine_login_host"]


def examine_login_host(provider: BatchProvider, folder: Path, good: Callable[[str, str], None]) -> str:
    """Try the login host, and show what works.

    Parameters
    ----------
    provider
        The provider.
    folder
        A folder for files of this host.
    good
        Shows a step that went well: its name and details.

    Returns
    -------
    str
        Why the configuration cannot work, and what to do; empty if it can.
    """
    channel = provider.channel
    host = LoginHost(channel, folder)
    try:
        found = host.examined(provider.commands)
        good("login host", f"{channel.host} ({found.host}, {found.python})")
        missing = [command for command in provider.commands if command not in found.commands]
        if missing:
            advice = host.advice.format(scheduler=provider.scheduler)
            return f"{' and '.join(missing)} cannot be found on {channel.host}: {advice}."
        good("scheduler commands", ", ".join(found.commands.values()))
        good("folder there", found.folder)
        if channel.route == "direct":
            good("managers connect", "directly")
        elif found.trouble:
            return (
                f"{channel.host} cannot relay the connections of managers ({found.trouble}): choose another relay_port "
                "or relay_address in SSH(...), or let them connect directly with SSH(route='direct')."
            )
        else:
            first = "directly, or else " if channel.route == "auto" else ""
            good("managers connect", f"{first}through {', '.join(found.relays)}")
    except (OSError, SubmitError) as error:
        return str(error)
    finally:
        host.close()
    return ""
