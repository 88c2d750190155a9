"""Makes the script that an instance runs when it has booted, and reads what it has written to the console [pure].

The script carries the lease of the instance.  A second process, the watcher, ends the instance when the lease is over,
and also when the script was killed.  So an instance ends although nobody asks for it: its run may be dead, or its
network cut.

The managers of the instance get the invitation of the run through a file that has no name any more, so no later reader
of the disk finds it.  The start script itself contains the invitation: who may read the attributes of the instance in
the cloud's account can read it there.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parslab.providers.base import Job

__all__ = ["exit_status", "own_output", "start_script"]

_BEGIN = "parslab: begin of "
_EXIT = "parslab: exit status "
_SHUTDOWN = "sync; shutdown -h now || poweroff || halt -p"
_END = "END_OF_INVITATION"

_WATCHER = """\
# The watcher ends this instance when its lease is over, or when this script is gone for whatever reason.
# It reads the time since boot, because the clock of a new machine may be set once more.
export PARSLAB_SHUTDOWN="${{PARSLAB_SHUTDOWN:-{shutdown}}}"
setsid bash -c '
since_boot() {{ read -r seconds _ < /proc/uptime; echo "${{seconds%.*}}"; }}
ends=$(($(since_boot) + {lease}))
while {stays}[ "$(since_boot)" -lt "$ends" ]; do sleep 1; done
[ "$(since_boot)" -lt "$ends" ] || echo "parslab: the lease of {lease} s is over, so this instance ends"
while :; do eval "$PARSLAB_SHUTDOWN"; sleep 10; done
' "$$" < /dev/null &
"""

_INVITATION = """\
parslab_mask=$(umask); umask 077; parslab_file=$(mktemp)
cat > "$parslab_file" <<'{end}'
{text}
{end}
exec 8< "$parslab_file"; rm "$parslab_file"; umask "$parslab_mask"
export PARSLAB_INVITATION=/dev/fd/8
"""


def start_script(
    job: Job, *, worker_init: str, command: str, lease: float, linger: bool = False, invitation: str = ""
) -> str:
    """Return the script.

    Parameters
    ----------
    job
        The block.
    worker_init
        The user's lines.
    command
        What the instance runs after them.
    lease
        Seconds after which the instance ends, whatever it does.
    linger
        Whether the instance stays until the end of its lease when the command has ended.
    invitation
        The invitation of the run as JSON; empty where no manager runs.
    """
    stays = "" if linger else 'kill -0 "$0" 2> /dev/null && '
    return "\n".join(
        [
            "#!/bin/bash",
            f"# Block {job.name}",
            'export HOME="${HOME:-/root}"; cd "$HOME" || cd /',
            _WATCHER.format(shutdown=_SHUTDOWN, lease=round(lease), stays=stays),
            f"export PARSLAB_WALLTIME={lease:g} PARSLAB_JOB_ENDS=$(($(date +%s) + {lease:.0f}))",
            _INVITATION.format(end=_END, text=invitation) if invitation else "",
            f"echo {shlex.quote(_BEGIN + job.name)}",
            # An ``exit`` in the user's lines must not skip the lines that follow.
            "(",
            worker_init.strip("\n"),
            command,
            ")",
            f'echo "{_EXIT}$?"',
            "# The watcher sees the end of this script, and ends the instance." if not linger else "",
            "",
        ]
    )


_PREFIX = re.compile(
    r"^\[ *\d+\.\d+\] (?:cloud-init|google_metadata_script_runner|startup-script)\[\d+\]: ?", re.MULTILINE
)
"""What systemd puts before each line that a start script writes to the console."""


def own_output(console: str, name: str) -> str:
    """Return what the start script of a block has written to the console, without its boot messages.

    Examples
    --------
    >>> own_output("Linux\\nparslab: begin of a.b\\nhello\\nparslab: exit status 0\\nreboot: down\\n", "a.b")
    'hello\\n'
    """
    text = _PREFIX.sub("", console.replace("\r\n", "\n"))
    _, begun, rest = text.rpartition(f"{_BEGIN}{name}\n")
    if not begun:
        return text
    return re.split(rf"^{_EXIT}", rest, maxsplit=1, flags=re.MULTILINE)[0]


def exit_status(console: str) -> int | None:
    """Return the exit status that a start script has written to the console; None if there is none.

    Examples
    --------
    >>> exit_status("[   30.2] cloud-init[812]: parslab: exit status 127\\n")
    127
    """
    found = re.findall(rf"{_EXIT}(\d+)", console)
    return int(found[-1]) if found else None
