"""The start script of an instance: whatever happens, the instance shuts itself down."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from parslab.providers.cloud.start_script import exit_status, own_output, start_script
from parslab.testing.conformance.jobs import a_job
from tests.clouds.machines import Machine
from tests.process.sandbox import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="instances are machines with Linux")

LONG = 3600.0


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Boots machines, and cuts them off at the end."""
    machines: list[Machine] = []

    def booted(command: str, lease: float = LONG, **options: Any) -> Machine:
        script = start_script(a_job(tmp_path), worker_init="", command=command, lease=lease, **options)
        machines.append(Machine(f"m-{len(machines)}", script, tmp_path))
        return machines[-1]

    yield booted
    for machine in machines:
        machine.cut_off()


def test_an_instance_ends_when_its_command_has_ended(boot: Callable[..., Machine], tmp_path: Path) -> None:
    machine = boot("echo hello; exit 3")
    until(lambda: machine.wants_down, 30, "the shutdown")
    assert own_output(machine.console, a_job(tmp_path).name) == "hello\n"
    assert exit_status(machine.console) == 3


def test_an_instance_ends_with_its_lease(boot: Callable[..., Machine]) -> None:
    machine = boot("sleep 3600", lease=1)
    until(lambda: machine.wants_down, 30, "the shutdown")
    assert "parslab: the lease of 1 s is over, so this instance ends\r\n" in machine.console


def test_an_instance_ends_when_its_script_was_killed(boot: Callable[..., Machine], tmp_path: Path) -> None:
    machine = boot(f"echo $BASHPID > {tmp_path}/begun; sleep 3600")
    until(lambda: (tmp_path / "begun").exists(), 30, "the command")
    assert not machine.wants_down
    os.kill(machine.script_process, signal.SIGKILL)
    until(lambda: machine.wants_down, 30, "the shutdown")


def test_an_instance_that_lingers_stays_until_the_end_of_its_lease(boot: Callable[..., Machine]) -> None:
    """Only an end by the lease writes the sentence about it; the end of the command writes none."""
    machine = boot("echo done", lease=3, linger=True)
    until(lambda: exit_status(machine.console) == 0, 30, "the end of the command")
    until(lambda: machine.wants_down, 30, "the shutdown")
    assert "parslab: the lease of 3 s is over, so this instance ends\r\n" in machine.console


def test_the_invitation_can_be_read_again_but_has_no_name(boot: Callable[..., Machine], tmp_path: Path) -> None:
    read = 'cat "$PARSLAB_INVITATION"; cat "$PARSLAB_INVITATION"; ls -A "$TMPDIR"; umask'
    mask = os.umask(0o022)
    os.umask(mask)
    machine = boot(read, invitation='{"key": "a b\'$c`d"}')
    until(lambda: machine.wants_down, 30, "the shutdown")
    lines = own_output(machine.console, a_job(tmp_path).name).splitlines()
    assert lines == ['{"key": "a b\'$c`d"}'] * 2 + [f"{mask:04o}"]
