"""Apps read and write files, which this package names by path or URL and brings to where tasks run.

The names of Parsl's modules below this one work here, too.  A staging provider of another package is found by its name
if the package has an entry point for it (see :mod:`parslab.plugins`).
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from parslab.compat.modules import look_up
    from parslab.data_provider.staging import Staging
    from parslab.plugins import STAGING, find_plugin

    try:
        return look_up("data_provider", name)
    except AttributeError:
        plugin = find_plugin(STAGING, name, Staging)
        if plugin is None:
            raise
        return plugin
