"""Matplotlib uses this backend on a worker: it draws with Agg, and ``plt.show()`` shows the figures under the cell.

``cell`` puts the name of this module into ``MPLBACKEND``, so matplotlib imports it when the cell makes its first
figure.
"""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas

from parslab.bodies.display import show_figures

__all__ = ["FigureCanvas", "show"]


def show(*_: Any, **__: Any) -> None:
    """Show all open figures; ``pyplot.show()`` calls this."""
    show_figures()
