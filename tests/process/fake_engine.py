"""A container engine that starts no container: it runs the interpreter on this host, and notes each of its commands.

It stands for any engine, because it looks only at what all of their commands have in common.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["commands", "make_engine"]

_PROGRAM = """#!{python}
import json, os, re, sys
words = sys.argv[1:]
with open({log!r}, 'a') as log:
    log.write(json.dumps([os.path.basename(sys.argv[0]), *words]) + '\\n')
if any('missing' in word for word in words):
    sys.exit('Error: manifest unknown')
if '-c' not in words:
    sys.exit(0)
at = words.index('-c')
entry = [word.partition('=')[2] for word in words if word.startswith('--entrypoint=')]
python = entry[0] if entry else words[at - 1]
link = re.search('([^=;:\\n]+):/parslab-link', '\\n'.join(words))[1]
environment = {{name: text for name, text in os.environ.items() if not name.startswith('PARSLAB_')}}
environment['INSIDE'] = os.path.basename(sys.argv[0])
for name in ('PARSLAB_TEST_SESSION', 'PARSLAB_TEST_SANDBOX'):
    if name in os.environ:
        environment[name] = os.environ[name]
os.execve(python, [python, *words[at:at + 2], link], environment)
"""


def make_engine(folder: Path, *names: str) -> Path:
    """Make programs of these names in a folder; return the file in which they note their commands."""
    folder.mkdir(exist_ok=True)
    log = folder / "commands"
    for name in names:
        program = folder / name
        program.write_text(_PROGRAM.format(python=sys.executable, log=str(log)))
        program.chmod(0o755)
    return log


def commands(log: Path) -> list[list[str]]:
    """Return the commands that were run, as lists of words."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
