"""``App`` is the base class of the three kinds of app: functions whose calls become tasks.

An app looks up the loaded run at each call, so users may define apps before ``load()``, and apps outlive a run. The
constructor does all work that does not depend on arguments, because a plain call may cost a few microseconds only.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any

from parslab.app.origin import calling_cell
from parslab.app.resources import SPECIFICATIONS, WALLTIME, checked, specification
from parslab.app.software import software
from parslab.app.special import SPECIAL, SpecialCall, special_parameters
from parslab.bodies.absent import AbsentApp
from parslab.client.calls.definitions import define
from parslab.client.calls.identities import IdentifiedCalls
from parslab.client.session import dfk as loaded
from parslab.data_provider import files
from parslab.errors import ConfigurationError
from parslab.records.text import printable
from parslab.serialize.functions import AppFunction

if TYPE_CHECKING:
    from parslab.app.staged_call import StagedCall
    from parslab.client.futures.app_future import AppFuture
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.executors.containers import Container
    from parslab.wire.messages.base import TaskSpec

__all__ = ["App"]


class App:
    """A function whose calls become tasks; each call returns an AppFuture at once.

    An app has the name, docstring and signature of its function. The decorators of :mod:`parslab.app` make apps.

    Attributes
    ----------
    func
        The function: ``app.func(...)`` calls it in this process.
    executors
        ``"all"``, or labels of the executors that may run the tasks.
    cache
        Whether results are memoized.
    ignore_for_cache
        Parameters that do not count for ``cache``.
    resource_specification
        The resources and limits of each call; keywords of a call replace single keys.
    software
        What the worker needs; None: the software of its executor.
    """

    kind = "app"
    _parslab_app = True  # serialize recognises apps by this attribute, because it may not import this module
    takes_async = False
    runner: Callable[..., Any] | None = None
    """A function that the worker calls with the app's function as its first argument; None: the function itself."""
    strict = False
    """Whether special keywords always mean files, even if the function has no such parameters."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        data_flow_kernel: DataFlowKernel | None = None,
        cache: bool = False,
        executors: str | Sequence[str] = "all",
        ignore_for_cache: Sequence[str] | None = None,
        resource_specification: Mapping[str, Any] | None = None,
        retries: int | None = None,
        environment: Sequence[str] | str | None = None,
        container: Container | str | None = None,
    ) -> None:
        if not callable(function):
            raise TypeError(f"A {self.kind} is made from a function, not from {function!r}.")
        if inspect.iscoroutinefunction(function) and not self.takes_async:
            raise TypeError(f"A {self.kind} is made from a plain function, and {function.__name__} is an async one.")
        functools.update_wrapper(self, function)
        # A callable object, such as a functools.partial, has no __name__ that update_wrapper could copy.
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.func = function
        self.data_flow_kernel = data_flow_kernel
        self.cache = bool(cache)
        self.executors = _labels(self.__name__, executors)
        self.ignore_for_cache = tuple(ignore_for_cache or ())
        self.resource_specification = checked(self.__name__, resource_specification)
        if retries is not None:
            self.resource_specification["retries"] = retries
        self.software = software(f"App {self.__name__}", environment, container)
        self.spec = specification(self.__name__, self.resource_specification, software=self.software)
        self._signature, self.kwargs = special_parameters(function)
        self._special = bool(self.kwargs)
        self.code = AppFunction(function, self.runner, self.__name__, str(self.software or ""))
        self._staged_code: AppFunction | None = None
        """The function of calls with transfers inside their tasks; None before the first one."""
        self._calls = IdentifiedCalls(self.code, True, self._ignored()) if self.cache else None
        define(self)

    def __call__(self, /, *args: Any, **kwargs: Any) -> AppFuture:
        dfk = self.data_flow_kernel or loaded()
        if files.staging_needed:
            return self._call_staged(dfk, args, kwargs)
        # Binding the signature takes longer than the rest of the call, so it is left to calls with a special keyword.
        if self._special or (kwargs and not SPECIAL.isdisjoint(kwargs)):
            return self._call_special(dfk, args, kwargs)
        return self._submit(dfk, args, kwargs, self.spec, self._calls)

    def _submit(
        self,
        dfk: DataFlowKernel,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        spec: TaskSpec | None,
        calls: IdentifiedCalls | None,
    ) -> AppFuture:
        """Submit a call whose special keywords are taken out."""
        cell = calling_cell()
        return dfk.submit(self.code, args, kwargs, executors=self.executors, cell=cell, spec=spec, calls=calls)

    def _call_staged(self, dfk: DataFlowKernel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AppFuture:
        """Submit a call in a program with files that may have to be staged."""
        from parslab.app.staged_call import INHIBIT, StagedCall

        inhibited = kwargs.get(INHIBIT, False)
        if self._signature is None or INHIBIT not in self._signature.parameters:
            kwargs.pop(INHIBIT, None)
        special = self._special or not SPECIAL.isdisjoint(kwargs)
        staged = StagedCall(dfk, self.code, self._drawn(dfk), stages=not inhibited)
        if special:
            return self._call_special(dfk, args, kwargs, staged)
        args, kwargs = staged.inputs(args, kwargs)
        return self._submit_staged(dfk, args, kwargs, staged, spec=self.spec, calls=self._calls)

    def _drawn(self, dfk: DataFlowKernel) -> str:
        """Return the executor that is drawn for a call, because its files go where its task goes."""
        return dfk.choose_executor(self.executors, self.spec, self.__name__)

    def _submit_staged(
        self,
        dfk: DataFlowKernel,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        staged: StagedCall,
        *,
        spec: TaskSpec | None,
        calls: IdentifiedCalls | None,
    ) -> AppFuture:
        """Submit a call whose files are staged, to the executor that was drawn for it."""
        from parslab.app.staged_call import run_with_transfers

        transfers = staged.transfers()
        if transfers:
            if self._staged_code is None:
                self._staged_code = AppFunction(self.func, run_with_transfers, self.__name__, self.code.software)
            calls = (calls or IdentifiedCalls(self.code, False, self._ignored())).without(transfers)
        code = staged.code(self._staged_code or self.code)
        return staged.submit(
            lambda future: self._send(dfk, code, args, {**kwargs, **transfers}, staged.executor,
                                      spec=spec, calls=calls, future=future)
        )  # fmt: skip

    def _send(
        self,
        dfk: DataFlowKernel,
        code: AppFunction,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        executors: str | Sequence[str],
        *,
        spec: TaskSpec | None,
        calls: IdentifiedCalls | None,
        future: AppFuture | None,
    ) -> AppFuture:
        """Submit a call to some executors; ``future`` is its future if it has one already."""
        cell = calling_cell()
        return dfk.submit(code, args, kwargs, executors=executors, cell=cell, spec=spec, calls=calls, future=future)

    def _call_special(
        self, dfk: DataFlowKernel, args: tuple[Any, ...], kwargs: dict[str, Any], staged: StagedCall | None = None
    ) -> AppFuture:
        from parslab.client.futures.app_future import DataFuture

        copies = staged is None or staged.stages
        call = SpecialCall(self.__name__, self._signature, self.strict, args, kwargs, copies=copies)
        spec = self._call_spec(call.asked) if call.asked else self.spec
        if staged is not None:
            call.args, call.kwargs = staged.inputs(call.args, call.kwargs)
            call.write_to([staged.output(file) for file in call.files])
        reserved: AppFuture | None = None
        if call.needs_number:
            reserved = dfk.new_future(self.__name__) if staged is None else staged.reserve()
        number = -1 if reserved is None else reserved.task_id
        call.name_streams(dfk, number, None if staged is None else staged.output)
        calls = self._calls
        if call.automatic:  # each call has other names for these files, so they must not count in its identity
            calls = (calls or IdentifiedCalls(self.code, False, self._ignored())).without(call.automatic)
        if staged is None and reserved is None:
            future = self._submit(dfk, call.args, call.kwargs, spec, calls)
        elif staged is None:
            future = self._send(
                dfk, self.code, call.args, call.kwargs, self.executors, spec=spec, calls=calls, future=reserved
            )
        else:
            future = self._submit_staged(dfk, call.args, call.kwargs, staged, spec=spec, calls=calls)
        made = DataFuture if staged is None else staged.data_future
        streams = {
            stream: made(future, value) if isinstance(value, files.File) else value
            for stream, value in call.streams.items()
        }
        future.set_streams(
            stdout=streams.get("stdout"),
            stderr=streams.get("stderr"),
            outputs=[made(future, file) for file in call.files],
        )
        return future

    def _run(self) -> DataFlowKernel:
        """Return the run of a call that is made now."""
        return self.data_flow_kernel or loaded()

    def _ignored(self) -> tuple[str, ...]:
        """Return the parameters that do not count for ``cache``, with ``label`` where it only names files."""
        sees = self._signature is None or "label" in self._signature.parameters
        return self.ignore_for_cache if sees or not self.strict else (*self.ignore_for_cache, "label")

    def _call_spec(self, asked: Mapping[str, Any]) -> TaskSpec | None:
        """Return the resources and limits of a call; its keys replace those of the app."""
        merged = dict(self.resource_specification)
        for keyword in SPECIFICATIONS:
            merged.update(checked(self.__name__, asked.get(keyword)))
        return specification(self.__name__, merged, asked.get(WALLTIME), self.software)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Make an app in a class body a method: each call pickles the instance as the first argument."""
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<{self.kind} {printable(self.__name__)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Functions that mention an app must be picklable, but a worker has no run in which it could call the app.
        return AbsentApp, (self.__name__,)

    # Without these two, copy would use __reduce__, and return an AbsentApp in the notebook itself.

    def __copy__(self) -> App:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> App:
        return self


def _labels(app: str, executors: str | Sequence[str]) -> str | tuple[str, ...]:
    """Return ``"all"``, or at least one label."""
    if isinstance(executors, str):
        return executors if executors == "all" else (executors,)
    labels = tuple(executors) if isinstance(executors, Sequence) else ()
    if not labels or not all(isinstance(label, str) for label in labels):
        raise ConfigurationError(f"App {app}: executors must be 'all' or a list of labels, not {executors!r}.")
    return "all" if "all" in labels else labels
