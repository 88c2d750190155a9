"""A small Slurm of bash on a host that ssh reaches: its jobs are processes of that host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import parslab
from parslab import SSH

if TYPE_CHECKING:
    from typing import Any

    from tests.ssh.server import SSHServer

__all__ = ["Queue"]

_SBATCH = """\
#!/bin/bash
# Accepts a job and starts it at once; "deaf" lets it take its time, "refuse" is what it says instead.
cd {folder} || exit 1
[ -s refuse ] && {{ cat refuse >&2; exit 1; }}
exec 9>> lock; flock 9
number=$(($(cat last 2> /dev/null || echo 100) + 1)); echo "$number" > last
name=$(sed -n 's/^#SBATCH --job-name=//p' "$1")
out=$(sed -n 's/^#SBATCH --output=//p' "$1"); err=$(sed -n 's/^#SBATCH --error=//p' "$1")
echo "$name" > "name-$number"
cp "$1" "script-$number"
exec 9>&-
setsid bash -c 'echo $$ > "pid-$0"; bash "script-$0"; rm -f "pid-$0"' "$number" > "$out" 2> "$err" < /dev/null &
for _ in $(seq 100); do [ -s "pid-$number" ] && break; sleep 0.01; done
while [ -e deaf ]; do sleep 0.05; done
echo "Submitted batch job $number"
"""

_SQUEUE = """\
#!/bin/bash
cd {folder} || exit 1
echo squeue >> asked
[ -s refuse ] && {{ cat refuse >&2; exit 1; }}
case "$*" in *%j*) column=name ;; *) column=state ;; esac
for file in ended-*; do
    [ -s "$file" ] && [ $column = state ] && echo "${{file#ended-}}|$(cat "$file")|None|$(hostname)"
done
for file in pid-*; do
    [ -s "$file" ] || continue
    number=${{file#pid-}}
    if [ $column = name ]; then echo "$number|$(cat "name-$number")"; else echo "$number|RUNNING|None|$(hostname)"; fi
done
"""

_SCANCEL = """\
#!/bin/bash
cd {folder} || exit 1
for number in "$@"; do
    [ -s "pid-$number" ] || continue
    kill -TERM -- "-$(cat "pid-$number")" 2> /dev/null
    echo CANCELLED > "ended-$number"
    rm -f "pid-$number"
done
exit 0
"""

_PROGRAMS = {"sbatch": _SBATCH, "squeue": _SQUEUE, "scancel": _SCANCEL}


class Queue:
    """The scheduler.

    Parameters
    ----------
    folder
        A folder for its programs and its jobs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name, text in _PROGRAMS.items():
            path = folder / name
            path.write_text(text.format(folder=folder))
            path.chmod(0o755)

    def channel(self, server: SSHServer, host: str = "far", **options: Any) -> SSH:
        """A channel to a host that has this scheduler."""
        return SSH(
            host,
            **{"ssh_options": server.options, "init": f"export PATH={self.folder}:$PATH", "route": "relay", **options},
        )

    def hidden(self) -> str:
        """Shell code after which the programs of the host are found, but those of no scheduler."""
        bare = self.folder / "bare"
        bare.mkdir()
        for folder in ("/bin", "/usr/bin"):
            for program in Path(folder).iterdir():
                if program.name not in _PROGRAMS and not (bare / program.name).is_symlink():
                    (bare / program.name).symlink_to(program)
        return f"export PATH={bare}"

    def provider(self, channel: SSH, **options: Any) -> parslab.SlurmProvider:
        """Blocks of one node of this scheduler."""
        return parslab.SlurmProvider(**{"channel": channel, "poll_interval": 0.5, "walltime": 600, **options})

    def jobs(self) -> list[str]:
        """The numbers of the jobs that run."""
        return sorted(path.name.removeprefix("pid-") for path in self.folder.glob("pid-*"))
