"""The program that ``parslab doctor`` runs on a node: it reports the node, its packages, and the addresses it reaches.

Any interpreter of the node may run this file, so it uses only the standard library and the syntax of Python 3.6.
``python probe.py FOLDER HOST:PORT ...`` writes ``report-*.json`` into FOLDER, and prints the same.
"""

import json
import os
import socket
import sys
import time

PATIENCE = 10.0
MODULES = ("parslab", "msgspec", "zmq", "cloudpickle", "psutil")


def imported(name: str) -> "tuple[str, str]":
    """Return the version of a module, or why it cannot be imported."""
    try:
        module = __import__(name)
        return str(getattr(module, "__version__", "")), ""
    except Exception as error:  # a broken package may raise anything, and the report must contain it
        return "", f"{type(error).__name__}: {error}"


def reached(addresses: "list[str]") -> "tuple[str, dict[str, str]]":
    """Return the first address that accepts a connection, and the errors of the others."""
    errors: dict[str, str] = {}
    deadline = time.monotonic() + PATIENCE
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            # Every address gets a second, even after the deadline: the last one may be the right one.
            wait = max(1.0, min(3.0, deadline - time.monotonic()))
            socket.create_connection((host.strip("[]"), int(port)), wait).close()
            return address, errors
        except OSError as error:
            errors[address] = error.strerror or str(error)
    return "", errors


def main(folder: str, addresses: "list[str]", tunnel: str = "") -> None:
    """Write the report into a folder, if one is named, and print it; try an address ``tunnel`` of this host, too."""
    modules = {name: imported(name) for name in MODULES}
    address, errors = reached(addresses)
    report = {
        "host": socket.gethostname(),
        "python": list(sys.version_info[:3]),
        "executable": sys.executable,
        "modules": {name: {"version": found[0], "error": found[1]} for name, found in modules.items()},
        "reached": address,
        "unreached": errors,
        "tunnel": reached([tunnel])[1].get(tunnel, "") if tunnel else "",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }
    text = json.dumps(report)
    if folder:
        path = os.path.join(folder, f"report-{socket.gethostname()}-{os.getpid()}.json")
        with open(path + ".part", "w") as file:
            file.write(text)
        os.rename(path + ".part", path)  # the doctor must never read half of a report
    print(text)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
