"""``python -m parslab.cli``: the same as the command ``parslab``, where that is not on PATH."""

from __future__ import annotations

import sys

from parslab.cli.main import main

sys.exit(main())
