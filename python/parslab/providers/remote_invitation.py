"""Reads the invitation of a run for machines that share no disk with the notebook's host [shell]."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from parslab.trust import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["remote_invitation"]


def remote_invitation(path: str, address: str | None) -> str:
    """Return the invitation in a file, on one line, as managers of other hosts need it.

    Parameters
    ----------
    path
        The file; an empty path gives an empty text, where no manager runs.
    address
        Replaces the addresses of this host; ports stay the same.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if not path:
        return ""
    content = json.loads(read_text(path))
    content["socket"] = ""  # of this host
    if address is not None:
        ports: Iterable[str] = dict.fromkeys(one.rpartition(":")[2] for one in content["addresses"])
        content["addresses"] = [f"tcp://{f'[{address}]' if ':' in address else address}:{port}" for port in ports]
    return json.dumps(content)
