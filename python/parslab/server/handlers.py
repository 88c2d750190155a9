"""The websocket of panels in a Jupyter server: who may open it, and how its messages reach a relay [shell]."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.websocket import WebSocketHandler

from parslab.records.panel import RELAY
from parslab.server.live_runs import LiveRuns, WantedRun
from parslab.server.relay import PanelRelay, refusal_of_page

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["PanelHandler", "add_handlers"]

_NAME = re.compile(r"[\w.:-]{1,200}")
"""The form of identifiers of kernels and of names of runs."""

_LARGEST_REQUEST = 4 << 20
"""Bytes of a request of a panel: a cancel request with some hundred thousand tasks fits."""


class PanelHandler(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """The websocket of one panel: ``parslab/panel?kernel=ID&relay=VERSION``, or with ``run=NAME``.

    The checks are those of a kernel's websocket, because a panel can do to a run what a kernel can.
    """

    auth_resource = "kernels"

    _relay: PanelRelay | None = None

    def initialize(self, runs: LiveRuns) -> None:
        """Keep the finder of runs; Tornado calls this."""
        self._runs = runs

    def set_default_headers(self) -> None:
        """Set none: headers for pages mean nothing on a websocket."""

    def get_compression_options(self) -> Any:
        """Return the setting of the server."""
        return self.settings.get("websocket_compression_options", None)

    @property
    def max_message_size(self) -> int:
        """Return how large a request may be."""
        return _LARGEST_REQUEST

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Check the user and the wanted run, then open the websocket."""
        user = self.current_user
        if user is None or not await ensure_async(self.authorizer.is_authorized(self, user, "execute", "kernels")):
            raise web.HTTPError(403)
        self._wanted = WantedRun(run=self.get_argument("run", ""), kernel=self.get_argument("kernel", ""))
        named = [name for name in self._wanted if name]
        if len(named) != 1 or not _NAME.fullmatch(named[0]):
            raise web.HTTPError(400, "Name either a run or a kernel.")
        await super().get(*args, **kwargs)

    def open(self, *args: str, **kwargs: str) -> None:
        """Look for the run and connect the page with it."""
        super().open(*args, **kwargs)
        if self.get_argument("relay", "") != str(RELAY):
            self.write_message(refusal_of_page(), binary=False)
            return
        self._relay = PanelRelay(self._wanted, self._runs, self._write)

    def on_message(self, message: str | bytes) -> None:
        """Pass a request of the page on."""
        if self._relay is not None:
            self._relay.request(message.encode() if isinstance(message, str) else message)

    def on_close(self) -> None:
        """End the relay."""
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.close()

    def _write(self, text: bytes) -> Awaitable[None]:
        # As text, because that is what a page can decode without a copy of its own.
        return self.write_message(text, binary=False)


def add_handlers(app: web.Application) -> None:
    """Add the websocket to a server's application, and let its pages know that it is there."""
    url = url_path_join(app.settings["base_url"], "parslab", "panel")
    app.add_handlers(".*$", [(url, PanelHandler, {"runs": LiveRuns()})])
    # JupyterLab and Notebook put this into each page, so a page asks no server that lacks the extension.
    app.settings.setdefault("page_config_data", {})["parslabRelay"] = str(RELAY)
