"""Take outputs, counters and other traces of running out of the notebooks, so that a commit shows what was written.

`python notebooks/strip.py` cleans every notebook beside it, or those named; `--check` only says which are not clean
and ends with status 1.  `make lint` and the pre-commit hook call the check.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

KEPT_OF_NOTEBOOK = {"kernelspec", "language_info"}
KEPT_OF_CELL = {"tags"}


def stripped(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return the notebook as it should be committed."""
    cells = []
    for cell in notebook["cells"]:
        clean = dict(cell, metadata={key: value for key, value in cell["metadata"].items() if key in KEPT_OF_CELL})
        if cell["cell_type"] == "code":
            clean |= {"execution_count": None, "outputs": []}
        cells.append(clean)
    metadata = {key: value for key, value in notebook["metadata"].items() if key in KEPT_OF_NOTEBOOK}
    # Which Python ran it last is a fact of that machine.
    metadata["language_info"] = {"name": "python"}
    return dict(notebook, cells=cells, metadata=metadata)


def text(notebook: dict[str, Any]) -> str:
    """Return the file's text in the layout that Jupyter writes."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> int:
    """Strip or check."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(Path(__file__).parent.glob("*.ipynb")))
    parser.add_argument("--check", action="store_true", help="change nothing, fail if something would change")
    options = parser.parse_args()
    unclean = []
    for path in options.notebooks:
        before = path.read_text(encoding="utf-8")
        after = text(stripped(json.loads(before)))
        if before != after:
            unclean.append(path)
            if not options.check:
                path.write_text(after, encoding="utf-8")
    for path in unclean:
        print(f"{path}: {'not stripped; run: python notebooks/strip.py' if options.check else 'stripped'}")
    if not unclean:
        print(f"{len(options.notebooks)} notebook(s): clean")
    return 1 if options.check and unclean else 0


if __name__ == "__main__":
    sys.exit(main())
