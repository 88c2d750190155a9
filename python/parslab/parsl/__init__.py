"""Runs programs that were written for Parsl: ``python -m parslab.parsl program.py``.

The package also holds what only Parsl has.  Programs import these names by Parsl's own module paths, such as
``parslab.dataflow.memoization.BasicMemoizer``; ``compat.names`` says where each of them is.
"""

from __future__ import annotations

import os

from parslab.compat.modules import install

__all__ = ["AS_PARSL", "install_as_parsl"]

AS_PARSL = "PARSLAB_AS_PARSL"
"""The environment variable that makes ``import parsl`` give parslab in workers, too; ``import parslab`` reads it."""


def install_as_parsl() -> None:
    """Let ``import parsl``, also in libraries and in workers, give parslab from now on.

    Call it before anything imports Parsl.  Parsl itself need not be installed; if it is, this process and its workers
    do not see it.

    Raises
    ------
    ImportError
        This process has imported Parsl itself already.
    """
    install()
    os.environ[AS_PARSL] = "1"  # the processes of the run inherit it
