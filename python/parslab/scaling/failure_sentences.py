"""Sentences that explain why a block did not start: the end of its output, and what the user can do [core].

Only ``end_of_output`` and ``mistakes`` do I/O: they read files that may be on a slow file system, so they run in the
background.
"""

from __future__ import annotations

import contextlib
import os
import re

from parslab.monitoring.jobfiles import tail

__all__ = ["advice", "end_of_output", "last_lines", "mistakes", "queue_is_full", "stop_sentence"]

# A notice and a row of the panel have no room for more.
LINES = 6
CHARACTERS = 700

_HAS_ADVICE = r"would never start it: .*\(|: load this where |; see whether |load again"
"""Matches the words of a provider that already say what to do."""

_FULL = r"(?i)MaxSubmit|submit ?limit|too many jobs|queue is full"

_ADVICE = (
    (
        r"factory (?:raised|must return)",
        "Correct the executor's factory, then load again.",
    ),
    (
        r"No module named '?parslab",
        "Install parslab in the environment of the nodes, or activate one that has it in worker_init.",
    ),
    (
        r"No module named",
        "Install that package in the environment of the nodes, or activate one that has it in worker_init.",
    ),
    (
        r"runs Python \d|has parslab \d|needs Python",
        "Activate the same environment as the notebook's in worker_init, or name its python.",
    ),
    (
        r"python\S*: (?:command not found|No such file or directory|not found)|No such file or directory: '\S*python",
        "Load or activate Python in worker_init, or name its path with HighThroughputExecutor(python=...).",
    ),
    (
        r"module: (?:command )?not found|Unable to locate a modulefile|module\(s\) are unknown",
        "Correct the module line in worker_init; some sites need `source /etc/profile` before it.",
    ),
    (r"command not found|: not found", "Correct that command in worker_init, or load the module that brings it there."),
    # This pattern comes before the others, because its words match them too, as in "job submit limit, user's size
    # and/or time limits".
    (_FULL, "Wait until fewer of your jobs are in the queue."),
    (r"(?i)\baccount\b", "Give the provider an account that you may use."),
    (r"(?i)\b(?:partition|queue)\b", "Give the provider a partition or queue that exists and takes such jobs."),
    (r"(?i)\bwall ?time|time limit", "Give the provider a shorter walltime."),
    (r"(?i)\bqos\b", "Give the provider a QOS that you may use."),
    (r"(?i)\bmemory\b", "Ask for less memory."),
    (
        r"(?i)connect|address|unreachable|no route",
        "Give HighThroughputExecutor an address of this host that the nodes can reach (address=...).",
    ),
    (r"(?i)permission denied", "See that you may use what is named there, on the nodes too."),
    (r"(?i)no space|quota", "Make room there, or choose another run_dir."),
    (r"(?i)timed? ?out|did not answer", "See whether the scheduler is well, then load again."),
)
"""Patterns and advice; the first pattern that matches counts."""


def queue_is_full(words: str) -> bool:
    """Return whether a scheduler refused a job only because its queue holds too many jobs of the user."""
    return re.search(_FULL, words) is not None


def advice(words: str) -> str:
    """Return advice about a failure in one sentence; empty if ``words`` already contain advice."""
    if re.search(_HAS_ADVICE, words):
        return ""
    for pattern, what in _ADVICE:
        if re.search(pattern, words):
            return what
    return "Correct the provider's options or worker_init, then load again; `parslab doctor` tries a configuration."


def last_lines(text: str, known: str = "") -> str:
    """Return the last lines of an output, joined to one line; lines that are part of ``known`` are left out."""
    lines = [line for part in text.splitlines() if (line := part.strip()) and line not in known]
    shown = " | ".join(lines[-LINES:])
    return shown if len(shown) <= CHARACTERS else f"...{shown[-CHARACTERS:]}"


def end_of_output(stderr: str, stdout: str, known: str = "") -> str:
    """Return the end of a job's stderr, or of its stdout if stderr is empty; empty if ``known`` contains it."""
    for path in (stderr, stdout):
        with contextlib.suppress(OSError):
            text = _ours(tail(path))
            # A shell begins its messages with the path of the script, which would fill a narrow row of the panel.
            words = last_lines(text.replace(f"{os.path.dirname(path)}/", ""), known)
            if text.strip():
                return f"its output: {words}" if words else ""
    return ""


def _ours(text: str) -> str:
    """Return the lines that parslab has written to explain a failure, each once; all lines if there are none."""
    # A starter of ranks says a lot about processes that end, and would hide why they did.
    lines = dict.fromkeys(line for line in text.splitlines() if re.match(r"(\d+: *)?parslab: ", line))
    return "\n".join(lines) or text


_MISTAKE = r"(?i)not found|no such|error|unable|cannot|could not|denied|unknown|invalid|failed"
"""Matches a line that reports a mistake; other lines (``Loading python/3.11``) would only hide it."""


def mistakes(path: str) -> str:
    """Return the lines of a file of errors that report mistakes, joined to one line; empty when there are none."""
    with contextlib.suppress(OSError):
        lines = tail(path).replace(f"{os.path.dirname(path)}/", "").splitlines()
        return last_lines("\n".join(line for line in lines if re.search(_MISTAKE, line)))
    return ""


def stop_sentence(failures: int, block: str, job: str, reason: str, output: str) -> str:
    """Return the sentence that tasks and the user get when an executor stops."""
    which = f"block {block} (job {job})" if job else f"block {block}"
    where = f" Its whole output is in {output}." if job else ""
    why = reason.rstrip(". ") or "no reason is known"
    what = " ".join(part for part in (f"{why}.", advice(reason)) if part)
    return f"{failures} blocks in a row could not start; the last, {which}: {what}{where}"
