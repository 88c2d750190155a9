"""``SentFunctions`` numbers the functions that this client has sent to the DataFlowKernel.

The first thread that calls a function sends it.  Both sides drop the function when its pickle is garbage.
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
    """The numbers by which this client and the DataFlowKernel name functions.

    Parameters
    ----------
    link
        The connection to the DataFlowKernel.
    """

    def __init__(self, link: KernelLink) -> None:
        self._link = link
        self._numbers: dict[bytes, int] = {}
        self._next = itertools.count()
        # Two threads may call a new function at once, and both need its number now: an inbox cannot answer them.
        self._sending = threading.Lock()

    def number(self, pickled: PickledFunction, function: Any) -> int:
        """Return the number of a pickled function; send the function before that if it is new."""
        fn = self._numbers.get(pickled.digest)
        return self._send(pickled, function) if fn is None else fn

    def _send(self, pickled: PickledFunction, function: Any) -> int:
        with self._sending:
            fn = self._numbers.get(pickled.digest)
            if fn is None:
                fn = next(self._next)
                parts = {**pickled.parts, **_parameters(function)} if pickled.parts else pickled.parts
                message = DefineFunction(
                    fn=fn,
                    digest=pickled.digest,
                    name=pickled.name,
                    frames=1,
                    fingerprint=pickled.fingerprint,
                    parts=parts,
                    origin=origin_of(function),
                )
                # Publish the number after the send: a call of another thread must not arrive before the function.
                self._link.send(message, [pickled.payload])
                self._numbers[pickled.digest] = fn
                # Not at exit: the link is closed by then, and the DataFlowKernel drops the functions by itself.
                weakref.finalize(pickled, self._forget, pickled.digest, fn).atexit = False
            return fn

    def _forget(self, digest: bytes, fn: int) -> None:
        """Drop the number of a pickle that is garbage, so that no call can use it any more."""
        if self._numbers.pop(digest, None) is not None:
            self._link.later(ForgetFunctions([fn]))


def _parameters(function: Any) -> dict[str, bytes]:
    """Return the names of a function's positional parameters, for explanations of a call."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return {}
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {PARAMETERS: ",".join(p.name for p in parameters if p.kind in kinds).encode()}
