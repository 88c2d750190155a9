"""Reads the output of qstat -f: PBS Pro, OpenPBS and Torque write the same text, PBS Pro also JSON [pure].

qstat wraps the text at about eighty columns, in the middle of words; a continued line begins with a tab.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["number_of", "records"]


def records(text: str) -> dict[str, dict[str, str]]:
    """Return the attributes of each job in the output of ``qstat -f``, by job id.

    Examples
    --------
    >>> records("Job Id: 12.server\\n    job_state = R\\n    comment = Job run at Mon Nov 2\\n\\t1 at 10:00\\n")
    {'12.server': {'job_state': 'R', 'comment': 'Job run at Mon Nov 21 at 10:00'}}
    """
    start = text.find("{")
    if "Job Id:" not in text and start >= 0:
        found = _from_json(text[start:])
        if found is not None:
            return found
    jobs: dict[str, dict[str, str]] = {}
    now: dict[str, str] = {}
    for line in text.replace("\n\t", "").splitlines():
        head = re.match(r"Job Id:\s*(\S+)", line)
        if head:
            now = jobs.setdefault(head[1], {})
            continue
        name, equals, value = line.partition(" = ")
        if equals and line[:1].isspace():
            now[name.strip()] = value.strip()
    return jobs


def _from_json(text: str) -> dict[str, dict[str, str]] | None:
    """Return the same for ``qstat -F json``; None if it is not JSON: some versions do not escape texts of users."""
    try:
        answer: Any = json.loads(text)
        return {job: {name: str(value) for name, value in row.items()} for job, row in answer.get("Jobs", {}).items()}
    except (ValueError, AttributeError):
        return None


def number_of(job: str) -> str:
    """Return the common part of two names of one job, such as ``12.server`` and ``12.server.domain``.

    Examples
    --------
    >>> number_of("12[3].server.site.org"), number_of("12.server")
    ('12', '12')
    """
    return re.split(r"[.\[]", job, maxsplit=1)[0]
