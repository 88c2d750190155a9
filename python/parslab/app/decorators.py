"""The decorators ``python_app``, ``bash_app`` and ``join_app``: usable bare or called, with Parsl's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from parslab.app.bash import BashApp
from parslab.app.join import JoinApp
from parslab.app.python import PythonApp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from parslab.app.base import App
    from parslab.client.handle.dfk import DataFlowKernel

__all__ = ["bash_app", "join_app", "python_app"]

A = TypeVar("A", bound="App")


@overload
def python_app(
    function: None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
) -> Callable[[Callable[..., Any]], PythonApp]: ...


@overload
def python_app(
    function: Callable[..., Any],
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
) -> PythonApp: ...


def python_app(
    function: Callable[..., Any] | None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
) -> PythonApp | Callable[[Callable[..., Any]], PythonApp]:
    """Make a function an app: each call is a task on a worker and answers with an AppFuture at once.

    Futures anywhere inside the arguments are waited for and replaced by their results.  Functions that have a parameter
    ``outputs`` may be given a list of Files; ``future.outputs`` then has a DataFuture for each.

    Parameters
    ----------
    function
        The function; left out when the decorator is called with options.
    data_flow_kernel
        The run that calls go to; None: the one that is loaded when the app is called.
    cache
        Whether results are remembered: a call of the same function (body, helpers, globals that they use) with the
        same arguments does not run again, but has the result of the one before.  Files count by their content when they
        are given as File; paths and texts by their letters.  See :func:`parslab.id_for_memo` for types of your own.
    executors
        Label or labels of the executors that may run it, one of which is drawn for each call; ``"all"``: any.
    ignore_for_cache
        Parameters that do not count for that, such as one that says how much is printed.
    resource_specification
        What each call asks for; a call replaces single keys of it by its keyword ``parslab_resource_specification``
        (or Parsl's ``parsl_resource_specification``).  Keys: ``cores``, ``memory`` (a number of megabytes, or a text
        such as ``"4GB"`` or ``"512MiB"``) and ``gpus``: how much of a node it takes, where a high-throughput executor
        runs it; ``priority``: of the tasks that wait for an executor, those with a smaller number go first, and those
        without one last; ``max_run_time``: seconds after which it is stopped and fails with AppTimeout, also given for
        a single call as ``walltime``; ``retries``: how often it is tried again after it failed, instead of
        ``Config(retries=...)``.
    retries
        The same as ``retries`` in ``resource_specification``.

    Examples
    --------
    >>> @python_app
    ... def square(x):
    ...     return x * x
    >>> square(4).result()  # doctest: +SKIP
    16
    """
    options = (data_flow_kernel, cache, executors, ignore_for_cache, resource_specification, retries)
    return _decorated(PythonApp, function, options)


@overload
def bash_app(
    function: None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
) -> Callable[[Callable[..., Any]], BashApp]: ...


@overload
def bash_app(
    function: Callable[..., Any],
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
) -> BashApp: ...


def bash_app(
    function: Callable[..., Any] | None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
) -> BashApp | Callable[[Callable[..., Any]], BashApp]:
    """Make a function that returns a command line an app: each call runs the command on a worker, by bash.

    The function runs on the worker too, with its futures resolved.  The result is 0; another exit status is a
    :class:`~parslab.errors.BashExitFailure` with the last lines of stderr.

    Calls take, whether or not the function has such parameters: ``stdout`` and ``stderr`` (a path, ``(path, mode)``,
    a File, or ``AUTO_LOGNAME``: a file of its own in the run directory), ``inputs`` (files or futures), ``outputs``
    (files that must exist afterwards; one DataFuture each in ``future.outputs``), ``label`` (part of the automatic
    file names).

    Parameters
    ----------
    function, data_flow_kernel, cache, executors, ignore_for_cache, resource_specification, retries
        As in :func:`python_app`.

    Examples
    --------
    >>> @bash_app
    ... def sort(inputs=(), outputs=()):
    ...     return f"sort {inputs[0]} > {outputs[0]}"
    >>> sort(inputs=[File("a.txt")], outputs=[File("b.txt")]).outputs[0].result()  # doctest: +SKIP
    File('b.txt')
    """
    options = (data_flow_kernel, cache, executors, ignore_for_cache, resource_specification, retries)
    return _decorated(BashApp, function, options)


@overload
def join_app(
    function: None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
) -> Callable[[Callable[..., Any]], JoinApp]: ...


@overload
def join_app(
    function: Callable[..., Any],
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
) -> JoinApp: ...


def join_app(
    function: Callable[..., Any] | None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
) -> JoinApp | Callable[[Callable[..., Any]], JoinApp]:
    """Make a function that starts other tasks an app: it returns a future or a list of futures.

    The function runs in a thread of the notebook's process, once its arguments are there.  The app's future takes the
    result, or the list of results, of what was returned, and fails with JoinError when one of them fails.

    Parameters
    ----------
    function, data_flow_kernel, cache, ignore_for_cache
        As in :func:`python_app`.
    resource_specification
        ``retries``: how often the body is tried again; the tasks that it started are not.
    retries
        The same.

    Examples
    --------
    >>> @join_app
    ... def squares(n):
    ...     return [square(i) for i in range(n)]
    >>> squares(3).result()  # doctest: +SKIP
    [0, 1, 4]
    """
    options = (data_flow_kernel, cache, "all", ignore_for_cache, resource_specification, retries)
    return _decorated(JoinApp, function, options)


def _decorated(
    kind: type[A], function: Callable[..., Any] | None, options: tuple[Any, ...]
) -> A | Callable[[Callable[..., Any]], A]:
    def decorate(function: Callable[..., Any]) -> A:
        return kind(function, *options)

    return decorate if function is None else decorate(function)
