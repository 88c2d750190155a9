"""The test suite that every launcher must pass; it runs the launcher's shell text with bash.

A member of the family makes a subclass in a test file of its own; pytest finds the rest::

    class TestMine(LauncherSuite):
        programs = {"myrun": 'shift 2; exec "$@"'}

        def launcher(self):
            return MyLauncher()

``programs`` are stand-ins for programs of the site: their bash texts by name.  This module needs pytest.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, ClassVar

from parslab.description import decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from parslab.launchers import Launcher

__all__ = ["LauncherSuite"]

_LIMIT = 60.0
_JOB_VARIABLES = ("PBS_NODEFILE", "COBALT_NODEFILE", "PE_HOSTFILE", "LSB_DJOB_HOSTFILE", "SLURM_JOB_NODELIST")


class LauncherSuite:
    """The suite of a launcher.

    Attributes
    ----------
    programs : dict
        Stand-ins for programs of the site: their bash texts by name.
    """

    programs: ClassVar[Mapping[str, str]] = {}

    def launcher(self) -> Launcher:
        """Return the launcher to test."""
        raise NotImplementedError

    def run(self, folder: Path, command: str, launcher: Launcher | None = None) -> subprocess.CompletedProcess[str]:
        """Run the launcher's text for one node in ``folder``."""
        programs = folder / "bin"
        programs.mkdir(exist_ok=True)
        for name, text in self.programs.items():
            (programs / name).write_text(f"#!/bin/bash\n{text}\n")
            (programs / name).chmod(0o755)
        # A job that the tests themselves run in must not decide which nodes the launcher uses.
        environment = {name: text for name, text in os.environ.items() if name not in _JOB_VARIABLES}
        environment["PATH"] = f"{programs}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", (launcher or self.launcher()).script(command, 1)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
        )

    def test_the_command_runs_once_for_each_node(self, tmp_path: Path) -> None:
        """The command keeps its quotes, and bash on the node expands its variables."""
        done = self.run(tmp_path, """QUOTED='a  b' bash -c 'echo "$QUOTED" > copy.$$'""")
        assert done.returncode == 0, done.stderr
        (copy,) = tmp_path.glob("copy.*")
        assert copy.read_text() == "a  b\n"

    def test_a_command_that_fails_fails_the_block(self, tmp_path: Path) -> None:
        """The exit status of the text is not 0 if the command fails."""
        assert self.run(tmp_path, "bash -c 'exit 3'").returncode != 0

    def test_the_text_is_valid_bash_for_any_number_of_nodes(self) -> None:
        """The text is valid bash for several nodes, and for several tasks on each node."""
        for nodes in (1, 2, 17):
            for tasks in (1, 4):
                text = self.launcher().script("start-manager 'x y'", nodes, tasks)
                checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
                assert checked.stderr == ""

    def test_debug_says_what_starts(self, tmp_path: Path) -> None:
        """With ``debug`` the text writes to stderr what it starts, and otherwise nothing."""
        assert "parslab: starting" in self.run(tmp_path, "true", self.launcher().replaced(debug=True)).stderr
        assert "parslab: starting" not in self.run(tmp_path, "true").stderr

    def test_it_is_a_description(self) -> None:
        """Two launchers with the same options are equal, also after one was encoded and decoded."""
        launcher = self.launcher()
        assert decoded(encoded(launcher)) == launcher
        assert launcher != launcher.replaced(debug=not launcher.debug)
        assert repr(launcher).startswith(f"{type(launcher).__name__}(")
