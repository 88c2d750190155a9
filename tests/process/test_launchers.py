"""Launchers' shell text, run by a real bash: with the real programs where this host has them, and with stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from parslab.launchers import (
    AprunLauncher,
    GnuParallelLauncher,
    JsrunLauncher,
    Launcher,
    MpiExecLauncher,
    MpiRunLauncher,
    SimpleLauncher,
    SingleNodeLauncher,
    SrunLauncher,
    SrunMPILauncher,
    WrappedLauncher,
)

TESTBED = Path(os.environ.get("PARSLAB_TESTBED") or Path(__file__).parents[3] / "shared" / "testbed")

JOB_VARIABLES = ("PBS_NODEFILE", "COBALT_NODEFILE", "PE_HOSTFILE", "LSB_DJOB_HOSTFILE", "SLURM_JOB_NODELIST")


class Block:
    """Runs the end of a block's script, and returns what became of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.environment = {name: text for name, text in os.environ.items() if name not in JOB_VARIABLES}
        self.environment["PATH"] = f"{self.bin}:{os.environ['PATH']}"
        self.stdout = self.stderr = ""

    def program(self, name: str, text: str) -> None:
        """A stand-in for a program of the site."""
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    def run(self, launcher: Launcher, command: str, nodes: int = 1, tasks_per_node: int = 1) -> int:
        text = launcher.script(command, nodes, tasks_per_node)
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.stdout, self.stderr = done.stdout, done.stderr
        return done.returncode

    def copies(self) -> int:
        """How many copies of :data:`LEAVES_A_FILE` have run."""
        return len(list(self.folder.glob("copy.*")))


LEAVES_A_FILE = """QUOTED='a  b' bash -c 'echo "$QUOTED" > copy.$$'"""
ONE_FAILS = """if mkdir first 2>/dev/null; then exit 3; else exit 0; fi"""


@pytest.fixture
def block(tmp_path: Path) -> Block:
    return Block(tmp_path)


# A program of a site that starts its last three words as often as an option says.
TIMES = """\
echo "$0 $*" >> calls
for ((n = 1; n < $#; n++)); do [ "${!n}" = "OPTION" ] && m=$((n + 1)) && times=${!m}; done
pids=()
for ((n = 0; n < times; n++)); do "${@: -3}" & pids+=($!); done
status=0
for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
exit $status"""

STAND_INS: list[tuple[Launcher, str, str]] = [
    (AprunLauncher(), "aprun", "-n"),
    (JsrunLauncher(), "jsrun", "-n"),
    (MpiRunLauncher(), "mpirun", "-np"),
    (MpiExecLauncher(), "mpiexec", "-n"),
]


@pytest.mark.parametrize(("launcher", "name", "option"), STAND_INS, ids=lambda value: getattr(value, "label", None))
def test_stand_ins(block: Block, launcher: Launcher, name: str, option: str) -> None:
    block.program(name, TIMES.replace("OPTION", option))
    assert block.run(launcher, LEAVES_A_FILE, nodes=2, tasks_per_node=2) == 0, block.stderr
    assert block.copies() == 4
    assert {path.read_text() for path in block.folder.glob("copy.*")} == {"a  b\n"}
    assert block.run(launcher, ONE_FAILS, nodes=3) == 3


def test_srun_by_a_stand_in(block: Block) -> None:
    block.program(
        "srun",
        TIMES.replace('"OPTION" ] && m=$((n + 1)) && times=${!m}', '"" ]').replace(
            "for ((n = 1", "times=3; for ((n = 1"
        ),
    )
    assert block.run(SrunLauncher(), LEAVES_A_FILE, nodes=3) == 0, block.stderr
    assert block.copies() == 3
    assert block.run(SrunLauncher(), ONE_FAILS, nodes=3) == 3


def test_one_srun_for_each_node(block: Block) -> None:
    block.program("scontrol", 'echo "$*" > asked; printf "n1\\nn2\\n"')
    block.program("srun", '[ "$1" = --help ] && echo "  --overlap" && exit; echo "$*" >> calls; "${@: -3}"')
    block.environment["SLURM_JOB_NODELIST"] = "n[1-2]"
    assert block.run(SrunMPILauncher(overrides="--mem=0"), LEAVES_A_FILE, nodes=2) == 0, block.stderr
    assert block.copies() == 2
    calls = sorted((block.folder / "calls").read_text().splitlines())
    assert [call.split()[:4] for call in calls] == [
        ["--overlap", "--nodes=1", "--ntasks=1", f"--nodelist={node}"] for node in ("n1", "n2")
    ]
    assert (block.folder / "asked").read_text() == "show hostnames n[1-2]\n"
    assert block.run(SrunMPILauncher(), ONE_FAILS, nodes=2) == 3


def test_a_missing_program_is_named_by_the_shell(block: Block) -> None:
    assert block.run(AprunLauncher(), "true", nodes=2) == 127
    assert "aprun: command not found" in block.stderr


# ----- on this node


def test_single_node(block: Block) -> None:
    assert block.run(SingleNodeLauncher(debug=True), LEAVES_A_FILE, nodes=2, tasks_per_node=2) == 0
    assert block.copies() == 4
    assert "parslab: starting 4 on" in block.stderr
    assert block.run(SingleNodeLauncher(), "exit 7") == 7
    assert block.run(SingleNodeLauncher(), ONE_FAILS, nodes=3) == 3


def test_single_node_that_bears_some_failures(block: Block) -> None:
    assert block.run(SingleNodeLauncher(fail_on_any=False), ONE_FAILS, nodes=3) == 0
    assert block.run(SingleNodeLauncher(fail_on_any=False), "exit 4", nodes=3) == 4


def test_simple_and_wrapped(block: Block) -> None:
    assert block.run(SimpleLauncher(), "exit 5", nodes=4) == 5
    assert block.run(WrappedLauncher(prepend="env WRAPPED=yes"), "bash -c 'test $WRAPPED = yes'") == 0
    assert block.run(WrappedLauncher(prepend="env WRAPPED=yes"), LEAVES_A_FILE) == 0, block.stderr
    assert block.copies() == 1


# ----- the nodes of a job


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PBS_NODEFILE", "n2\nn1\nn1\nn2\n"),
        ("COBALT_NODEFILE", "n1\nn2\n"),
        ("PE_HOSTFILE", "n1 4 all.q@n1 UNDEFINED\nn2 4 all.q@n2 UNDEFINED\n"),
        ("LSB_DJOB_HOSTFILE", "n1\nn1\nn2\nn2\n"),
    ],
)
def test_mpiexec_gets_the_nodes_of_the_scheduler(block: Block, variable: str, text: str) -> None:
    (block.folder / "nodes").write_text(text)
    block.environment[variable] = str(block.folder / "nodes")
    block.program("mpiexec", 'while [ "$1" != --hostfile ]; do shift; done; cat "$2" > hosts')
    assert block.run(MpiExecLauncher(), "true", nodes=2) == 0
    assert (block.folder / "hosts").read_text() == "n1\nn2\n"
    assert block.run(MpiExecLauncher(), "true", nodes=2, tasks_per_node=2) == 0
    assert (block.folder / "hosts").read_text() == "n1\nn2\nn1\nn2\n"


# ----- real programs


def needed(program: str, how: str) -> None:
    """Skip without a program; in CI it has to be there."""
    if shutil.which(program) is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {program}: {how}")


@pytest.fixture(scope="module")
def mpi() -> str:
    """The folder of a real mpiexec."""
    path = shutil.which("mpiexec")
    if path is None and (TESTBED / "mpi-env.sh").exists():
        made = subprocess.run(["bash", TESTBED / "mpi-env.sh"], capture_output=True, text=True, check=True, timeout=110)
        path = str(Path(made.stdout.strip()).parent / "bin" / "mpiexec")
    if path is None:
        pytest.skip("no mpiexec: sudo apt-get install mpich")
    return str(Path(path).parent)


@pytest.mark.timeout(150)
def test_real_mpiexec(block: Block, mpi: str) -> None:
    block.environment["PATH"] += f":{mpi}"
    block.environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    launcher = MpiExecLauncher(debug=True)
    assert block.run(launcher, LEAVES_A_FILE, nodes=1, tasks_per_node=2) == 0, block.stderr
    assert block.copies() == 2
    assert "parslab: starting 2 with mpiexec on localhost" in block.stderr
    assert block.run(launcher, "exit 3") != 0
    assert block.run(MpiRunLauncher(), LEAVES_A_FILE, nodes=1, tasks_per_node=2) == 0, block.stderr
    assert block.copies() == 4


@pytest.mark.timeout(60)
def test_real_gnu_parallel(block: Block) -> None:
    needed("parallel", "sudo apt-get install parallel")
    block.environment |= {"OF_THE_JOB": "two  words\nand a 'line'", "HOME": str(block.folder)}
    launcher = GnuParallelLauncher(debug=True)
    command = f'test "$OF_THE_JOB" = "two  words\nand a \'line\'" && {LEAVES_A_FILE}'
    assert block.run(launcher, command, nodes=1, tasks_per_node=2) == 0, block.stderr
    assert block.copies() == 2
    assert "parslab: starting on : with GNU parallel" in block.stderr
    assert block.run(launcher, "exit 3") != 0


@pytest.mark.timeout(60)
def test_real_gnu_parallel_over_a_login(block: Block) -> None:
    """The remote shell is started by a stand-in for ssh, with an empty environment as sshd gives it."""
    needed("parallel", "sudo apt-get install parallel")
    block.program(
        "ssh",
        'echo "$*" >> logins\n'
        'while [ "${1#-}" != "$1" ]; do shift; done; shift; [ "$1" = -- ] && shift\n'
        'exec env -i HOME="$HOME" SHELL=/bin/sh PATH=/usr/bin:/bin sh -c "$*"',
    )
    (block.folder / "nodes").write_text("nodeA\nnodeA\nnodeB\n")
    block.environment |= {"OF_THE_JOB": "it's here", "PBS_NODEFILE": str(block.folder / "nodes")}
    block.environment["HOME"] = str(block.folder)
    folder = block.folder
    # Each waits for the other: a node that is done would be given the second one, too.
    both = f"until [ $(ls {folder}/copy.* | wc -l) = 2 ]; do sleep 0.05; done"
    command = f'echo "$OF_THE_JOB" > {folder}/copy.$$; {both}'
    assert block.run(GnuParallelLauncher(), command, nodes=2) == 0, block.stderr
    assert [path.read_text() for path in folder.glob("copy.*")] == ["it's here\n"] * 2
    assert {"nodeA", "nodeB"} <= set((folder / "logins").read_text().split())
