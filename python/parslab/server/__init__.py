"""The extension of the Jupyter server: a route from a page to a run that does not lead through the notebook's kernel.

A kernel passes nothing on while its cell holds Python's interpreter lock, while it restarts, or when it is dead.  The
server then still reaches the run's unix socket.  Pages reach the server by its own websocket, with its own address and
its own checks of users.  The extension opens no port.  While no panel is open it does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


def _load_jupyter_server_extension(app: ServerApp) -> None:
    """Add the websocket of panels to a Jupyter server, which calls this when it starts."""
    from parslab.server.handlers import add_handlers

    add_handlers(app.web_app)
