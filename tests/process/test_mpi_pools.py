"""The scripts that start the MPI jobs of a block, run with starters that only say what they were asked for."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from parslab.launchers import AprunLauncher, MpiExecLauncher, SrunLauncher
from parslab.launchers.mpi_pools import MpiPoolsLauncher

if TYPE_CHECKING:
    from parslab.launchers import Launcher

STARTER = """#!/bin/bash
all="$*"
while [ $# -gt 0 ]; do
    [ "$1" = --hostfile ] && hosts=$(sort "$2" | uniq -c | awk '{print $2 "*" $1}' | paste -sd,)
    last=$1
    shift
done
echo "$(basename "$0") ${all% bash -c *} hosts=$hosts"
bash -c "$last"
"""


def started(folder: Path, launcher: Launcher, nodes: int, command: str = "true") -> tuple[int, list[str], str]:
    """Run the script of a block on so many nodes; return its status, what was started, and its stderr."""
    for name in ("mpiexec", "srun", "aprun", "scontrol"):
        text = STARTER if name != "scontrol" else f"#!/bin/bash\nprintf 'n%d\\n' {{1..{nodes}}}\n"
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "SLURM_JOB_NODELIST": f"n[1-{nodes}]", "TMPDIR": str(folder)}
    done = subprocess.run(
        ["bash", "-c", launcher.script(command, nodes)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.split(" ")[0] in ("mpiexec", "srun", "aprun")]
    return done.returncode, sorted(lines), done.stderr


def test_one_job_spans_the_nodes_of_its_block(tmp_path: Path) -> None:
    launcher = MpiPoolsLauncher(launcher=MpiExecLauncher(), ranks_per_node=4)
    status, (line,), _ = started(tmp_path, launcher, 2)
    assert status == 0
    assert "--bind-to none -n 8 " in line
    assert line.endswith("hosts=n1*4,n2*4")


def test_jobs_divide_the_nodes(tmp_path: Path) -> None:
    launcher = MpiPoolsLauncher(launcher=MpiExecLauncher(), ranks_per_node=3, pools_per_block=2)
    status, lines, _ = started(tmp_path, launcher, 4)
    assert status == 0
    assert {line.rpartition("hosts=")[2] for line in lines} == {"n1*3,n2*3", "n3*3,n4*3"}
    assert all("-n 6 " in line for line in lines)


def test_jobs_divide_the_ranks_of_one_node(tmp_path: Path) -> None:
    launcher = MpiPoolsLauncher(launcher=AprunLauncher(), ranks_per_node=6, pools_per_block=2)
    status, lines, _ = started(tmp_path, launcher, 1)
    assert status == 0
    assert len(lines) == 2
    assert all("-n 3 -N 3" in line for line in lines)


def test_srun_ends_a_job_that_has_lost_a_rank_and_gets_the_nodes_of_the_job(tmp_path: Path) -> None:
    launcher = MpiPoolsLauncher(launcher=SrunLauncher(overrides="--mpi=pmi2"), ranks_per_node=2, pools_per_block=2)
    status, lines, _ = started(tmp_path, launcher, 2)
    assert status == 0
    assert {word for line in lines for word in line.split() if "nodelist" in word} == {"--nodelist=n1", "--nodelist=n2"}
    for line in lines:
        words = line.split()
        assert words.index("--kill-on-bad-exit=1") > words.index("--kill-on-bad-exit=0")
        assert words.index("--mpi=pmi2") > words.index("--kill-on-bad-exit=1")


@pytest.mark.parametrize("pools", [1, 2])
def test_a_job_that_fails_says_where_to_look(tmp_path: Path, pools: int) -> None:
    launcher = MpiPoolsLauncher(launcher=MpiExecLauncher(), ranks_per_node=4, pools_per_block=pools)
    status, _, stderr = started(tmp_path, launcher, 1, "exit 9")
    assert status == 9
    assert stderr.count("parslab: this MPI job has ended with status 9; if one of its ranks has died") == pools


def test_what_mpich_leaves_behind_is_removed(tmp_path: Path) -> None:
    launcher = MpiPoolsLauncher(launcher=MpiExecLauncher(), ranks_per_node=2)
    left, other = Path(f"/tmp/hydra_hwloc_xmlfile_{tmp_path.name}"), Path(f"/tmp/hydra_hwloc_{tmp_path.name}")
    try:
        # Files of the last two seconds may belong to another job, which reads them soon.
        assert started(tmp_path, launcher, 1, f"touch {left} {other}; sleep 3; exit 1")[0] == 1
        assert not left.exists()
        assert other.exists()
    finally:
        left.unlink(missing_ok=True)
        other.unlink(missing_ok=True)


def test_a_block_has_succeeded_if_one_of_its_jobs_has(tmp_path: Path) -> None:
    launcher = MpiPoolsLauncher(launcher=MpiExecLauncher(), ranks_per_node=4, pools_per_block=2)
    assert started(tmp_path, launcher, 1, f"mkdir {tmp_path}/first")[0] == 0
