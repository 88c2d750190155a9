"""Matplotlib's backend on a worker: draws with Agg; ``plt.show()`` shows the figures under the cell.

``cell`` names this module in ``MPLBACKEND``, so matplotlib imports it when the first figure is made.
"""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas

from parslab.bodies.display import show_figures

__all__ = ["FigureCanvas", "show"]


def show(*_: Any, **__: Any) -> None:
    """Called by ``pyplot.show()``."""
    show_figures()
