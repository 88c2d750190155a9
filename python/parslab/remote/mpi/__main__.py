"""``mpiexec -n RANKS python -m parslab.remote.mpi SETTINGS BLOCK``: the program that each rank of a pool runs."""

from __future__ import annotations

import sys

from parslab.remote.mpi.main import main

if len(sys.argv) != 3:
    sys.exit(
        "usage: mpiexec -n RANKS python -m parslab.remote.mpi SETTINGS BLOCK   (the file that the run wrote; it holds "
        "keys: keep it 0600)"
    )
main(sys.argv[1], sys.argv[2])
