"""Which functions this client has sent, by digest.

A function is sent before its first call, by whichever thread calls, and forgotten when its pickle is garbage.
"""

from __future__ import annotations

import inspect
import itertools
import threading
import weakref
from typing import TYPE_CHECKING, Any

from parslab.client.calls.definitions import origin_of
from parslab.wire.messages.base import PARAMETERS, DefineFunction, ForgetFunctions

if TYPE_CHECKING:
    from parslab.client.transport.link import KernelLink
    from parslab.serialize.functions import PickledFunction

__all__ = ["SentFunctions"]


class SentFunctions:
    """The numbers under which the DataFlowKernel knows our functions.

    Parameters
    ----------
    link
        Where they are sent.
    """

    def __init__(self, link: KernelLink) -> None:
        self._link = link
        self._fns: dict[bytes, int] = {}
        self._numbers = itertools.count()
        self._sending = threading.Lock()  # two threads may call a new app at once; its code is sent once

    def number(self, pickled: PickledFunction, function: Any) -> int:
        """The number of this pickle of a function; it is sent first when it is new."""
        fn = self._fns.get(pickled.digest)
        return self._send(pickled, function) if fn is None else fn

    def _send(self, pickled: PickledFunction, function: Any) -> int:
        with self._sending:
            fn = self._fns.get(pickled.digest)
            if fn is None:
                fn = next(self._numbers)
                parts = {**pickled.parts, **_parameters(function)} if pickled.parts else pickled.parts
                code = DefineFunction(
                    fn, pickled.digest, pickled.name, 1, pickled.fingerprint, parts, origin_of(function)
                )
                self._link.send(code, [pickled.payload])
                self._fns[pickled.digest] = fn
                weakref.finalize(pickled, self._forget, pickled.digest, fn).atexit = False
            return fn

    def _forget(self, digest: bytes, fn: int) -> None:
        """The pickle is garbage: no call can name it any more."""
        if self._fns.pop(digest, None) is not None:
            self._link.later(ForgetFunctions([fn]))


def _parameters(function: Any) -> dict[str, bytes]:
    """The names of its positional parameters, so that a call can be explained by them."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins do not tell
        return {}
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {PARAMETERS: ",".join(p.name for p in parameters if p.kind in kinds).encode()}
