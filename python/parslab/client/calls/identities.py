"""``Identities`` decides which calls get an identity, and which results are memoized.

A call of an app with ``cache=True`` always gets an identity.  Any other call gets one when its pickle would differ in
the next kernel, so that the next kernel finds the results of a lost one.  Most calls have plain arguments and cost
nothing here.  ``handle.remote_calls`` and ``local.tasks`` call this module in the thread that calls the app.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from parslab.serialize.identity.calls import Parameters, identify_arguments
from parslab.serialize.identity.registry import Unidentified
from parslab.serialize.user_frame import frames_to_user

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from parslab.serialize.arguments import ArgumentDependencies
    from parslab.serialize.functions import AppFunction, PickledFunction
    from parslab.serialize.identity.calls import Refer

__all__ = ["IdentifiedCalls", "Identities", "KnownIdentity"]

_LOOKED_AT = 20_000
"""The most objects in the arguments of a call that is not memoized: few calls are ever matched after a loss."""
_LOOKED_AT_HERE = 500
"""The same for a call that runs in this process: such a call costs little, and its identity must not cost more."""


class KnownIdentity(NamedTuple):
    """The identity of a call, as ``SubmitTask`` carries it."""

    identity: bytes = b""
    memo: bool = False
    unknown: str = ""


_NOTHING = KnownIdentity()


class IdentifiedCalls:
    """The rules by which one app identifies its calls.

    Parameters
    ----------
    code
        The function of the app.
    memo
        Whether the results of the app are memoized.
    ignored
        The names of parameters that do not count.
    """

    __slots__ = ("_warned", "code", "ignored", "memo", "parameters")

    def __init__(self, code: AppFunction, memo: bool = False, ignored: Collection[str] = ()) -> None:
        self.code = code
        self.memo = memo
        self.ignored = frozenset(ignored)
        self.parameters = Parameters(code.function, self.ignored)
        self._warned: set[str] = set()

    def without(self, names: Collection[str]) -> IdentifiedCalls:
        """Return a copy that ignores some more parameters."""
        made = object.__new__(IdentifiedCalls)
        made.code, made.memo, made._warned = self.code, self.memo, self._warned
        made.ignored = self.ignored.union(names)
        made.parameters = self.parameters.without(names)
        return made

    def not_memoized(self, reason: str) -> KnownIdentity:
        """Return the empty identity of a call that cannot be memoized; warn once for each reason."""
        if reason not in self._warned:
            self._warned.add(reason)
            warnings.warn(
                f"App {self.code.name}: a call is not memoized, because nothing distinguishes it from other calls: "
                f"{reason}. "
                "Register the type with parslab.id_for_memo, or name the argument in ignore_for_cache.",
                UserWarning,
                stacklevel=frames_to_user(),
            )
        return KnownIdentity(b"", True, reason)


class Identities:
    """Makes the identities of the calls of one run.

    Parameters
    ----------
    resume
        Whether the next kernel of the notebook can find the calls of a lost one.
    """

    def __init__(self, resume: bool) -> None:
        self._resume = resume

    def remote(
        self,
        pickled: PickledFunction,
        calls: IdentifiedCalls | None,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        dependencies: ArgumentDependencies,
    ) -> KnownIdentity:
        """Return the identity of a call for a worker: a memoized one, or one whose pickle differs between processes."""
        if calls is not None and calls.memo:
            if pickled.unknown:
                return calls.not_memoized(pickled.unknown)
            try:
                return KnownIdentity(calls.parameters.identify(args, kwargs, dependencies.refer), True)
            except Unidentified as error:
                return calls.not_memoized(str(error))
        if self._resume:
            try:
                identify = identify_arguments if calls is None else calls.parameters.identify
                return KnownIdentity(identify(args, kwargs, dependencies.refer, _LOOKED_AT))
            except Unidentified as error:
                return KnownIdentity(unknown=str(error))
        return _NOTHING

    def local(
        self,
        code: AppFunction,
        calls: IdentifiedCalls | None,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        refer: Refer,
    ) -> KnownIdentity:
        """Return the identity of a call that runs in this process.

        It includes the fingerprint of the function, because the client does not send the function of such a call.
        """
        memo = calls is not None and calls.memo
        if not memo and not self._resume:
            return _NOTHING
        try:
            identify = identify_arguments if calls is None else calls.parameters.identify
            return KnownIdentity(
                identify(args, kwargs, refer, None if memo else _LOOKED_AT_HERE, code.fingerprint()), memo
            )
        except Unidentified as error:
            return calls.not_memoized(str(error)) if calls is not None and memo else KnownIdentity(unknown=str(error))
