"""A launcher that starts a manager on each node by GNU parallel over ssh, where nothing better is installed."""

from __future__ import annotations

import shlex

from parslab.description import Text
from parslab.launchers.base import Launcher
from parslab.launchers.copies import NODE_NAMES, joined
from parslab.launchers.single_node import SingleNodeLauncher

__all__ = ["GnuParallelLauncher"]


class GnuParallelLauncher(Launcher):
    """Starts a manager on each node by GNU ``parallel``, which logs in with ssh.

    The nodes must let the job's user in without a password.  The environment of the block's script, with what
    ``worker_init`` has set, is carried along.

    Parameters
    ----------
    overrides
        Further options of parallel.
    """

    overrides = Text("", empty=True)

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        on_a_node = SingleNodeLauncher().script(command, 1, tasks_per_node)
        line = joined(
            'parallel --nonall --tag --line-buffer --jobs 0 --sshloginfile "$logins"',
            self.overrides,
            '"echo $carried | base64 -d | bash"',
        )
        return "\n".join(
            [
                NODE_NAMES,
                "logins=$(mktemp)",
                "# Our own host needs no ssh; parallel calls it ':'.",
                'node_names | sed -e "s/^localhost$/:/" -e "s/^$(hostname)$/:/" > "$logins"',
                "# Any login shell understands this; the variables of the connection are those of each node.",
                f"on_a_node={shlex.quote(on_a_node)}",
                "carried=$({ export -p | grep -v '^declare -[a-z]* SSH_'",
                """    printf '{\\n%s\\n} < /dev/null\\n' "$on_a_node"; } | base64 | tr -d '\\n')""",
                *self.said("starting on $(paste -sd' ' $logins) with GNU parallel"),
                line,
                "status=$?",
                'rm -f "$logins"',
                'exit "$status"',
            ]
        )
