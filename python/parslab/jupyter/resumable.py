"""Finds the run that a new kernel of a notebook can continue, for the panel.

The panel evaluates :func:`resumable_run` in kernels without a run, also in those of users who do not use parslab.  So
the function imports next to nothing while the user has no runs on this host.
"""

from __future__ import annotations

from parslab.paths import runtime_dir

__all__ = ["resumable_run"]


def resumable_run() -> str:
    """Return the name of the live run of this notebook that ``load()`` would continue; empty if there is none."""
    if next(runtime_dir().glob("parslab-*.json"), None) is None:
        return ""
    from parslab.client.process.notebook import this_notebook
    from parslab.client.reattach import earlier_run

    found = earlier_run(this_notebook())
    return "" if found is None else found.run
