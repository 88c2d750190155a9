"""``python -m parslab.dataflow SETTINGS FD LOCK``: ``client.process.launch`` starts the DataFlowKernel process so."""

from __future__ import annotations

import sys

from parslab.dataflow.main import main

main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
