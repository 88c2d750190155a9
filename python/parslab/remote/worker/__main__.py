"""``python -m parslab.remote.worker SETTINGS``: join a run from another host."""

from __future__ import annotations

import json
import os
import socket
import sys

from parslab.remote.worker.main import main
from parslab.trust import read_text

if len(sys.argv) != 2:
    sys.exit(
        "usage: python -m parslab.remote.worker SETTINGS   (the file that the run wrote; it holds keys: keep it 0600)"
    )
settings = json.loads(read_text(sys.argv[1]))
# Many workers may join with the same file, on one host or several: host and pid make the name of each unique.
settings["worker"] = f"{settings['label']}-{socket.gethostname()}-{os.getpid()}"
# The notebook's path has precedence, so that functions import the same modules as in the notebook.
sys.path[:] = [*settings["path"], *[p for p in sys.path if p not in settings["path"]]]
main(settings)
