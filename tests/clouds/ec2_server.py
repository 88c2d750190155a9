"""An EC2 whose instances boot: moto's server, with a process of this host for each instance.

``python -m tests.clouds.ec2_server FOLDER`` writes its URL to stdout, and ends when its stdin ends.  A test writes the
file ``ID.taken`` into the folder to have EC2 take a spot instance back.
"""

from __future__ import annotations

import base64
import select
import sys
from pathlib import Path
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import StateReason
from moto.ec2.responses.general import General
from moto.server import ThreadedMotoServer

from tests.clouds.machines import Machine

REGION = "us-east-2"


class Machines:
    """Boots and ends a machine for each instance of moto.

    Parameters
    ----------
    folder
        The folder for the files of machines.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._backend: Any = ec2_backends["123456789012"][REGION]
        self._on: dict[str, Machine] = {}
        self._consoles: dict[str, str] = {}

    def console(self, instance: str) -> str:
        machine = self._on.get(instance)
        return machine.console if machine is not None else self._consoles.get(instance, "")

    def tend(self) -> None:
        """Do what has become due."""
        for reservation in self._backend.all_reservations():
            for instance in reservation.instances:
                if instance.id not in self._on and instance.id not in self._consoles:
                    script = base64.b64decode(str(instance.user_data)).decode()
                    self._on[instance.id] = Machine(instance.id, script, self._folder)
                    (self._folder / f"{instance.id}.on").touch()
                elif instance.id in self._on:
                    self._tend_one(instance, self._on[instance.id])

    def _tend_one(self, instance: Any, machine: Machine) -> None:
        for wanted, code in (
            (machine.wants_down, "Client.InstanceInitiatedShutdown"),
            ((self._folder / f"{instance.id}.taken").exists(), "Server.SpotInstanceTermination"),
        ):
            if wanted and instance.state != "terminated":
                # Not by ``terminate``, which gives a reason of its own that a request could read meanwhile.
                instance.state_reason = StateReason(f"{code}: the machine is off", code)
                instance._state.code, instance._state.name = 48, "terminated"
        if instance.state == "terminated":
            machine.cut_off()
            self._consoles[instance.id] = machine.console
            del self._on[instance.id]
            (self._folder / f"{instance.id}.on").unlink()

    def end(self) -> None:
        """Cut all machines off."""
        for machine in self._on.values():
            machine.cut_off()


def main(folder: Path) -> None:
    """Serve until stdin ends."""
    machines = Machines(folder)

    def get_console_output(self: General) -> ActionResult:
        instance = self._get_param("InstanceId")
        output = base64.b64encode(machines.console(instance).encode()).decode()
        return ActionResult({"InstanceId": instance, "Timestamp": utcnow(), "Output": output})

    # moto's own text is the same for every instance.
    General.get_console_output = get_console_output
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    try:
        while not select.select([sys.stdin], [], [], 0.05)[0]:
            machines.tend()
    finally:
        machines.end()
        server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
