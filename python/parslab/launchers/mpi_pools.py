"""The launcher of ExtremeScaleExecutor: it starts the ranks of MPI jobs with the launcher of the user's provider."""

from __future__ import annotations

from typing import ClassVar

from parslab.description import Nested, Whole
from parslab.launchers.base import Launcher
from parslab.launchers.copies import NODE_NAMES, background
from parslab.launchers.mpi import AprunLauncher, JsrunLauncher, MpiExecLauncher, MpiRunLauncher
from parslab.launchers.srun import SrunLauncher

__all__ = ["MPI_LAUNCHERS", "MpiPoolsLauncher"]

MPI_LAUNCHERS = (MpiExecLauncher, MpiRunLauncher, SrunLauncher, AprunLauncher, JsrunLauncher)
"""The launchers that start the ranks of an MPI job."""
_CHOOSES_NODES = (MpiExecLauncher, SrunLauncher, AprunLauncher, JsrunLauncher)
"""Those of them that start several MPI jobs in one block on nodes of their own."""
# A pool that has lost a rank must end, unlike the managers that this launcher starts usually.
_FOR_RANKS = "--kill-on-bad-exit=1"
_LEFT = """\
# MPICH leaves files behind when it ends by force.  What another job has made a moment ago may not have been read yet.
mine=(-maxdepth 1 -user "$(id -u)" -newermt "@$((started - 1))")
find /tmp "${mine[@]}" -name 'hydra_hwloc_xmlfile_*' ! -newermt '2 seconds ago' -delete 2> /dev/null
find /dev/shm "${mine[@]}" -name 'mpich_shm_*' 2> /dev/null | while read -r file; do
    grep -qs "$file" /proc/[0-9]*/maps || rm -f "$file"
done"""
_NODES = '--nodelist="$(paste -sd, <<< "$PARSLAB_POOL_NODES")"'


class MpiPoolsLauncher(Launcher):
    """Starts one MPI job or several side by side in each block.

    Parameters
    ----------
    launcher
        Starts the ranks of one job.
    ranks_per_node
        The number of ranks on each node.
    pools_per_block
        The number of jobs, which divide the nodes of a block among them, or the ranks of a block of one node.
    """

    positional: ClassVar[tuple[str, ...]] = ("launcher", "ranks_per_node", "pools_per_block")
    launcher = Nested(Launcher, MpiExecLauncher)
    ranks_per_node = Whole(2, low=2)
    pools_per_block = Whole(1, low=1)

    def divides_nodes(self) -> bool:
        """Return whether the launcher can give the jobs of a block nodes of their own."""
        return isinstance(self.launcher, _CHOOSES_NODES)

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        launcher = self.launcher
        if isinstance(launcher, SrunLauncher):
            parted = _NODES if self.pools_per_block > 1 and nodes > 1 else ""
            launcher = launcher.replaced(overrides=" ".join([_FOR_RANKS, parted, launcher.overrides]).strip())
        pools, ranks = self.pools_per_block, self.ranks_per_node
        if pools == 1:
            return _explained(launcher.script(command, nodes, ranks))
        numbers = " ".join(map(str, range(pools)))
        if nodes == 1:
            return background(f"for pool in {numbers}", _explained(launcher.script(command, 1, ranks // pools)), False)
        share = nodes // pools
        chosen = f'export PARSLAB_POOL_NODES=$(printf "%s\\n" "${{nodes[@]:$((pool * {share})):{share}}}")'
        body = "\n".join([chosen, _explained(launcher.script(command, share, ranks))])
        return "\n".join(
            [NODE_NAMES, "mapfile -t nodes < <(node_names)", background(f"for pool in {numbers}", body, False)]
        )


def _explained(script: str) -> str:
    """Return a script that says what it means when it fails; the MPI itself says which rank has died."""
    return "\n".join(
        [
            "started=$(date +%s)",
            "(",
            script,
            # Some say on stdout which rank has died.
            ") >&2",
            "status=$?",
            _LEFT,
            '[ "$status" = 0 ] || echo "parslab: this MPI job has ended with status $status; if one of its ranks has '
            'died, the lines above say which" >&2',
            '(exit "$status")',
        ]
    )
