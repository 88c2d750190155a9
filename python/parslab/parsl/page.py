"""Writes the page that maps Parsl's names to those of parslab: ``python -m parslab.parsl.page python/PARSL.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from parslab.compat.differences import ATTRIBUTES, difference
from parslab.compat.modules import look_up
from parslab.compat.names import TARGETS
from parslab.parsl.migrate import options_of

__all__ = ["page"]

_HEAD = """\
# Parsl's names in parslab

This page maps every documented name of [Parsl](https://parsl-project.org) to parslab, and says what differs. It is
generated: `python -m parslab.parsl.page python/PARSL.md`.

Three ways to run a program that was written for Parsl:

- change `import parsl` to `import parslab as parsl`, and `from parsl...` to `from parslab...`;
- or run it unchanged: `python -m parslab.parsl program.py`;
- or say `import parslab; parslab.install_as_parsl()` before anything imports Parsl. Libraries that import Parsl, and
  the workers, then get parslab.

`parslab migrate PATH` reads programs and notebooks, and lists what differs for them.
"""

_CLASSES = (
    ("config", "Config"),
    ("executors", "HighThroughputExecutor"),
    ("executors", "ThreadPoolExecutor"),
    ("executors", "WorkQueueExecutor"),
    ("executors.taskvine", "TaskVineExecutor"),
    ("executors", "FluxExecutor"),
    ("providers", "LocalProvider"),
    ("providers", "SlurmProvider"),
    ("providers", "CondorProvider"),
)


def page() -> str:
    """Return the text of the page."""
    lines = [_HEAD, "## Modules and names", ""]
    for module, names in sorted(TARGETS.items()):
        if not names:
            continue
        path = ".".join(filter(None, ("parsl", module)))
        lines += [f"### {path}", "", "| name | here | what differs |", "|---|---|---|"]
        for name, (where, here) in sorted(names.items()):
            lines.append(f"| `{name}` | `{where}.{here}` | {difference(module, name)} |")
        lines.append("")
    lines += ["## Options", "", "All other options are the same. `None` is never refused where Parsl takes it.", ""]
    for module, name in _CLASSES:
        lines += [f"### {name}", "", "| option | here |", "|---|---|"]
        lines += [f"| `{option}` | {text} |" for option, text in options_of(look_up(module, name))]
        lines.append("")
    lines += ["## Attributes that are not there", "", "| attribute | instead |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in sorted(ATTRIBUTES.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
