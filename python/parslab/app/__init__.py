"""Apps: functions whose calls become tasks of the loaded run and return a future at once.

All code here runs in the user's process, in the thread that calls the app.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from parslab.compat.modules import look_up

    return look_up("app", name)
