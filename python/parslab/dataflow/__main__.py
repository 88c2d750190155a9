"""``python -m parslab.dataflow SETTINGS FD``: the DataFlowKernel process; ``client.start`` is its only caller."""

from __future__ import annotations

import sys

from parslab.dataflow.main import main

main(sys.argv[1], int(sys.argv[2]))
