"""Instances that boot as processes of this host: they run a start script, and can be cut off like a real machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil

__all__ = ["Machine", "shutdown_command"]

MARK = "PARSLAB_TEST_MACHINE"


def shutdown_command(folder: Path) -> str:
    """What takes the place of ``shutdown -h now``: a file says that the machine wants to be off."""
    return f'touch "{folder}/$' + MARK + '.down"; exit 0'


class Machine:
    """One instance.

    Parameters
    ----------
    name
        The id of the instance; all of its processes have it in their environment.
    script
        The start script.
    folder
        The folder for the files of machines; each has a home of its own there.
    """

    def __init__(self, name: str, script: str, folder: Path) -> None:
        self.name = name
        self._folder = folder
        home = folder / name
        (home / "tmp").mkdir(parents=True)
        path = home / "script"
        path.write_text(script)
        path.chmod(0o700)
        with open(self.console_file, "wb") as console:
            self._process = subprocess.Popen(
                [path],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                # As cloud-init starts it: hardly any variable, and the folders of the programs.
                env=self.environment,
                start_new_session=True,
                cwd=home,
            )

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes."""
        home = self._folder / self.name
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "PARSLAB_SHUTDOWN": shutdown_command(self._folder),
            MARK: self.name,
            **{key: value for key, value in os.environ.items() if key == "PARSLAB_TEST_SANDBOX"},
        }

    @property
    def script_process(self) -> int:
        """The id of the process that runs the start script."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status of the start script; None while it runs."""
        return self._process.poll()

    @property
    def console_file(self) -> Path:
        return self._folder / self.name / "console"

    @property
    def console(self) -> str:
        """All that it has written, as a serial console shows it."""
        return f"Linux version 6.1\r\n{self.console_file.read_text(errors='replace')}".replace("\n", "\r\n")

    @property
    def wants_down(self) -> bool:
        """Whether it has shut itself down."""
        self._process.poll()  # a script that has ended must not stay a zombie, which its watcher takes for alive
        return (self._folder / f"{self.name}.down").exists()

    def processes(self) -> list[psutil.Process]:
        """All of its processes."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(MARK) == self.name and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def cut_off(self) -> None:
        """End it as a loss of power does; again and again, because processes may be starting others."""
        while left := self.processes():
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self._process.poll()
        self._process.wait()
