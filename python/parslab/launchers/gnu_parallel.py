"""A launcher that starts a manager on each node with GNU parallel over ssh, for sites without a better program."""

from __future__ import annotations

import shlex

from parslab.description import Text
from parslab.launchers.base import Launcher
from parslab.launchers.copies import NODE_NAMES, joined
from parslab.launchers.single_node import SingleNodeLauncher

__all__ = ["GnuParallelLauncher"]


class GnuParallelLauncher(Launcher):
    """Starts a manager on each node with GNU ``parallel``, which logs in with ssh.

    The nodes must let the user log in without a password.  The managers get the environment of the block's script,
    with the variables that ``worker_init`` has set.

    Parameters
    ----------
    overrides
        More options for parallel.
    """

    overrides = Text("", empty=True)

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        on_a_node = SingleNodeLauncher().script(command, 1, tasks_per_node)
        line = joined(
            # parallel waits for a free slot without "--jobs 0", but all managers must run at the same time.
            'parallel --nonall --tag --line-buffer --jobs 0 --sshloginfile "$logins"',
            self.overrides,
            '"echo $carried | base64 -d | bash"',
        )
        return "\n".join(
            [
                NODE_NAMES,
                "logins=$(mktemp)",
                "# The host of the script needs no ssh; parallel calls it ':'.",
                'node_names | sed -e "s/^localhost$/:/" -e "s/^$(hostname)$/:/" > "$logins"',
                "# Any login shell can run this; variables of the ssh connection must stay those of each node.",
                f"on_a_node={shlex.quote(on_a_node)}",
                "carried=$({ export -p | grep -v '^declare -[a-z]* SSH_'",
                """    printf '{\\n%s\\n} < /dev/null\\n' "$on_a_node"; } | base64 | tr -d '\\n')""",
                *self.debug_lines("starting on $(paste -sd' ' $logins) with GNU parallel"),
                line,
                "status=$?",
                'rm -f "$logins"',
                'exit "$status"',
            ]
        )
