"""What launchers write: one manager on each node, quoted so that it is read once, on the node."""

from __future__ import annotations

import shlex

import pytest

from parslab.errors import ConfigurationError
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

COMMAND = """PYTHONPATH='/a b' python -m manager "$HOME/x y.json" 3"""

ALL: list[Launcher] = [
    AprunLauncher(),
    GnuParallelLauncher(),
    JsrunLauncher(),
    MpiExecLauncher(),
    MpiRunLauncher(),
    SimpleLauncher(),
    SingleNodeLauncher(),
    SrunLauncher(),
    SrunMPILauncher(),
    WrappedLauncher(prepend="nice"),
]


def last_line(launcher: Launcher, nodes: int, tasks_per_node: int = 1) -> list[str]:
    """The words of the last line, as a shell reads them."""
    return shlex.split(launcher.script(COMMAND, nodes, tasks_per_node).splitlines()[-1])


def test_one_on_one_node_is_the_command_itself() -> None:
    assert SingleNodeLauncher().script(COMMAND, 1) == COMMAND
    assert SimpleLauncher().script(COMMAND, 4) == COMMAND


def test_copies_on_one_node_are_counted() -> None:
    assert "for n in 1 2 3 4; do" in SingleNodeLauncher().script(COMMAND, 2, 2)


def test_words_before_the_command() -> None:
    assert WrappedLauncher(prepend="time").script("python -m manager", 1) == "time python -m manager"
    assert WrappedLauncher(prepend="time").script(COMMAND, 1) == f"time env {COMMAND}"


def test_srun_gets_numbers_and_the_options_for_managers() -> None:
    words = last_line(SrunLauncher(overrides="--mem=0 --wait=7"), nodes=3, tasks_per_node=2)
    assert words[:4] == ["srun", "--nodes=3", "--ntasks=6", "--ntasks-per-node=2"]
    assert words[-3:] == ["bash", "-c", COMMAND]
    assert {"--cpu-bind=none", "--kill-on-bad-exit=0", "--label"} <= set(words)
    assert words.index("--wait=7") > words.index("--wait=0"), "the user's options come last"
    assert "--label" not in last_line(SrunLauncher(), nodes=1)


@pytest.mark.parametrize(
    ("launcher", "before"),
    [
        (AprunLauncher(overrides="-d 8"), ["aprun", "-n", "6", "-N", "2", "-d", "8", "/bin/bash", "-c"]),
        (JsrunLauncher(overrides="-c ALL_CPUS"), ["jsrun", "-n", "6", "-r", "2", "-c", "ALL_CPUS", "/bin/bash", "-c"]),
        (
            MpiRunLauncher(bash_location="/opt/bash", overrides="--map-by node"),
            ["mpirun", "-np", "6", "--map-by", "node", "/opt/bash", "-c"],
        ),
    ],
)
def test_programs_that_find_the_nodes_themselves(launcher: Launcher, before: list[str]) -> None:
    assert last_line(launcher, nodes=3, tasks_per_node=2) == [*before, COMMAND]


@pytest.mark.parametrize("bind", ["--bind-to", "--cpu-bind", ""])
def test_mpiexec_binds_to_nothing(bind: str) -> None:
    text = MpiExecLauncher(bind_cmd=bind, overrides="--depth=64").script(COMMAND, 3)
    line = next(line for line in text.splitlines() if line.startswith("mpiexec"))
    words = shlex.split(line)
    assert words[1:] == [
        *([bind, "none"] if bind else []),
        *["--depth=64", "-n", "3", "--hostfile", "$hostfile", "bash", "-c", COMMAND],
    ]


@pytest.mark.parametrize("launcher", ALL, ids=lambda launcher: type(launcher).__name__)
def test_debug_shows_what_is_started(launcher: Launcher) -> None:
    text = launcher.replaced(debug=True).script(COMMAND, 2)
    assert "parslab: starting" in text
    assert "parslab: starting" not in launcher.script(COMMAND, 2)


@pytest.mark.parametrize("launcher", ALL, ids=lambda launcher: type(launcher).__name__)
def test_values(launcher: Launcher) -> None:
    assert launcher == type(launcher)(**launcher.options())
    assert launcher != launcher.replaced(debug=True)
    assert eval(repr(launcher)) == launcher


def test_who_stays_on_one_node() -> None:
    assert {type(launcher).__name__ for launcher in ALL if not launcher.spans_nodes} == {"SingleNodeLauncher"}


def test_what_is_no_option_of_a_launcher() -> None:
    with pytest.raises(ConfigurationError, match="SrunLauncher has no option 'nodes'"):
        SrunLauncher(nodes=2)
    with pytest.raises(ConfigurationError, match="overrides must be a text"):
        MpiExecLauncher(overrides=None)
