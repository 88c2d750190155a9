"""``python -m parslab.remote.manager SETTINGS BLOCK``: the program that a block runs once on each of its nodes."""

from __future__ import annotations

import sys

from parslab.remote.manager.main import main

if len(sys.argv) != 3:
    sys.exit(
        "usage: python -m parslab.remote.manager SETTINGS BLOCK   (the file that the run wrote; it holds keys: keep it "
        "0600)"
    )
sys.exit(main(sys.argv[1], sys.argv[2]))
