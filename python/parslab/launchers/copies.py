"""Shell text that several launchers share: copies in the background, and the names of a job's nodes [pure]."""

from __future__ import annotations

__all__ = ["NODE_NAMES", "background", "joined"]

NODE_NAMES = """\
node_names() {
    if [ -n "${PARSLAB_POOL_NODES:-}" ]; then echo "$PARSLAB_POOL_NODES"
    elif [ -n "${PBS_NODEFILE:-}" ]; then sort -u "$PBS_NODEFILE"
    elif [ -n "${COBALT_NODEFILE:-}" ]; then sort -u "$COBALT_NODEFILE"
    elif [ -n "${PE_HOSTFILE:-}" ]; then awk '{print $1}' "$PE_HOSTFILE" | sort -u
    elif [ -n "${LSB_DJOB_HOSTFILE:-}" ]; then sort -u "$LSB_DJOB_HOSTFILE"
    elif [ -n "${SLURM_JOB_NODELIST:-}" ]; then scontrol show hostnames "$SLURM_JOB_NODELIST"
    else echo localhost
    fi
}"""
"""A shell function that prints the nodes of a job, one a line, for every scheduler.

``PARSLAB_POOL_NODES`` holds those of one of the pools that share a job.  The files of some schedulers list a node once
for each of its cores, so the function removes repeated names.
"""

# ``wait`` without a process number would return 0, whatever the exit statuses are.
_WAIT_ANY = """\
status=0
for pid in "${pids[@]}"; do
    wait "$pid" || status=$?
done
exit "$status\""""

_WAIT_ALL = """\
status=0 good=0
for pid in "${pids[@]}"; do
    if wait "$pid"; then good=1; else status=$?; fi
done
[ "$good" = 1 ] && exit 0
exit "$status\""""


def background(loop: str, command: str, fail_on_any: bool = True) -> str:
    """Run ``command`` in each round of a shell loop (``for n in 1 2``), all at the same time, and wait for all.

    Parameters
    ----------
    fail_on_any
        The exit status is that of the last command that failed.  With False it is 0 if any command succeeded.
    """
    body = "\n".join([loop + "; do", "    {", command, "    } &", '    pids+=("$!")', "done"])
    return "\n".join(["pids=()", body, _WAIT_ANY if fail_on_any else _WAIT_ALL])


def joined(*parts: str) -> str:
    """Return the parts of a command line that are not empty, with a blank between them."""
    return " ".join(part.strip() for part in parts if part.strip())
