"""Decorate functions as apps: ``python_app``, ``bash_app`` and ``join_app``, with Parsl's names of options.

Users write each decorator bare (``@python_app``) or with options (``@python_app(cache=True)``). Those of Parsl may also
be given by position. The options are written out for each decorator, because editors and notebooks show the signature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from parslab.app.bash import BashApp
from parslab.app.join import JoinApp
from parslab.app.python import PythonApp

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from parslab.app.base import App
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.executors.containers import Container

__all__ = ["bash_app", "join_app", "python_app"]

A = TypeVar("A", bound="App")


@overload
def python_app(
    function: None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    *,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
    environment: Sequence[str] | str | None = None,
    container: Container | str | None = None,
) -> Callable[[Callable[..., Any]], PythonApp]: ...


@overload
def python_app(
    function: Callable[..., Any],
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    *,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
    environment: Sequence[str] | str | None = None,
    container: Container | str | None = None,
) -> PythonApp: ...


def python_app(
    function: Callable[..., Any] | None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    *,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
    environment: Sequence[str] | str | None = None,
    container: Container | str | None = None,
) -> PythonApp | Callable[[Callable[..., Any]], PythonApp]:
    """Make an app from a function: each call becomes a task on a worker, and returns an AppFuture at once.

    The task waits for futures anywhere in the arguments, and gets their results instead. A call may pass a list of
    Files to a parameter ``outputs``; ``future.outputs`` then has a DataFuture for each.

    Parameters
    ----------
    function
        The function. Leave it out to give options.
    data_flow_kernel
        The run that executes the calls. None: the run that is loaded at the time of the call.
    cache
        Whether results are memoized. A call of the same function (body, helpers, globals that they use) with the same
        arguments then does not run again, but gets the earlier result. Two Files are the same if their contents are
        equal, two paths if their texts are equal. See :func:`parslab.id_for_memo` for types of your own.
    executors
        The label of an executor, or several labels. Each call draws one of them at random. ``"all"``: any executor.
    ignore_for_cache
        Parameters that do not count for ``cache``, such as one that says how much to print.
    resource_specification
        The resources and limits of each call, as a dictionary. A call replaces single keys by its keyword
        ``parslab_resource_specification`` (or Parsl's ``parsl_resource_specification``). Keys:

        - ``cores``, ``gpus`` and ``memory`` (a number of megabytes, or a string such as ``"4GB"`` or ``"512MiB"``):
          the share of a node that the task takes on a high-throughput executor.
        - ``priority``: a number. Of the tasks that wait for an executor, those with a smaller number run first, and
          those without one last.
        - ``max_run_time``: seconds after which the worker stops the task, which fails with AppTimeout. A single call
          may set it with the keyword ``walltime``.
        - ``retries``: how often the task runs again after a failure; it replaces ``Config(retries=...)``.
    retries
        The same as ``retries`` in ``resource_specification``.
    environment
        Requirements as pip takes them, such as ``["numpy<2"]``: the task runs in a Python environment that has these
        packages, and not those of the notebook. It is made by uv when the first task needs it, and kept in a cache on
        its node. Or the path of an environment that exists there, with the same version of Python. None: the
        environment of the executor.
    container
        A :class:`~parslab.Container`, or the name of its image: the task runs in such a container. None: as the
        executor says.

    Examples
    --------
    >>> @python_app
    ... def square(x):
    ...     return x * x
    >>> square(4).result()  # doctest: +SKIP
    16
    """
    return _decorated(
        PythonApp,
        function,
        data_flow_kernel=data_flow_kernel,
        cache=cache,
        executors=executors,
        ignore_for_cache=ignore_for_cache,
        resource_specification=resource_specification,
        retries=retries,
        environment=environment,
        container=container,
    )


@overload
def bash_app(
    function: None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    *,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
    environment: Sequence[str] | str | None = None,
    container: Container | str | None = None,
    sandbox: bool | str | os.PathLike[str] | None = None,
) -> Callable[[Callable[..., Any]], BashApp]: ...


@overload
def bash_app(
    function: Callable[..., Any],
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    *,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
    environment: Sequence[str] | str | None = None,
    container: Container | str | None = None,
    sandbox: bool | str | os.PathLike[str] | None = None,
) -> BashApp: ...


def bash_app(
    function: Callable[..., Any] | None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    *,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
    environment: Sequence[str] | str | None = None,
    container: Container | str | None = None,
    sandbox: bool | str | os.PathLike[str] | None = None,
) -> BashApp | Callable[[Callable[..., Any]], BashApp]:
    """Make an app from a function that returns a command line: each call runs the command on a worker, with bash.

    The function runs on the worker too, with the results of its futures. The result of the task is 0. Another exit
    status fails with :class:`~parslab.errors.BashExitFailure`, which holds the last lines of stderr.

    Each call may have these keywords, whether or not the function has such parameters:

    - ``stdout``, ``stderr``: a path, ``(path, mode)``, a File, or ``AUTO_LOGNAME`` for a file in the run directory.
    - ``inputs``: files or futures.
    - ``outputs``: files that must exist afterwards; ``future.outputs`` has a DataFuture for each.
    - ``label``: a part of the automatic file names.

    Parameters
    ----------
    function, data_flow_kernel, cache, executors, ignore_for_cache, resource_specification, retries, container
        As in :func:`python_app`.
    environment
        As in :func:`python_app`. The commands of the environment are in front on ``PATH``.
    sandbox
        True: each call runs in a new folder, where its inputs are reachable, and from which its ``outputs`` are moved
        at the end. After a failure the folder stays, and the error names it. A path says where to make such folders.
        None: as :class:`~parslab.Config` says.

    Examples
    --------
    >>> @bash_app
    ... def sort(inputs=(), outputs=()):
    ...     return f"sort {inputs[0]} > {outputs[0]}"
    >>> sort(inputs=[File("a.txt")], outputs=[File("b.txt")]).outputs[0].result()  # doctest: +SKIP
    File('b.txt')
    """
    return _decorated(
        BashApp,
        function,
        data_flow_kernel=data_flow_kernel,
        cache=cache,
        executors=executors,
        ignore_for_cache=ignore_for_cache,
        resource_specification=resource_specification,
        retries=retries,
        environment=environment,
        container=container,
        sandbox=sandbox,
    )


@overload
def join_app(
    function: None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
    *,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
) -> Callable[[Callable[..., Any]], JoinApp]: ...


@overload
def join_app(
    function: Callable[..., Any],
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
    *,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
) -> JoinApp: ...


def join_app(
    function: Callable[..., Any] | None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
    *,
    resource_specification: Mapping[str, Any] | None = None,
    retries: int | None = None,
) -> JoinApp | Callable[[Callable[..., Any]], JoinApp]:
    """Make an app from a function that calls other apps and returns a future or a list of futures.

    The function runs in a thread of the notebook's process, as soon as its arguments have values. The future of the app
    gets the result, or the list of results, of the futures that the function returns. It fails with JoinError if one
    of them fails.

    Parameters
    ----------
    function, data_flow_kernel, cache, ignore_for_cache
        As in :func:`python_app`.
    resource_specification
        The key ``retries``: how often the function runs again after a failure. The tasks that it called do not.
    retries
        The same as ``retries`` in ``resource_specification``.

    Examples
    --------
    >>> @join_app
    ... def squares(n):
    ...     return [square(i) for i in range(n)]
    >>> squares(3).result()  # doctest: +SKIP
    [0, 1, 4]
    """
    return _decorated(
        JoinApp,
        function,
        data_flow_kernel=data_flow_kernel,
        cache=cache,
        ignore_for_cache=ignore_for_cache,
        resource_specification=resource_specification,
        retries=retries,
    )


def _decorated(
    kind: type[A], function: Callable[..., Any] | None, **options: Any
) -> A | Callable[[Callable[..., Any]], A]:
    def decorate(function: Callable[..., Any]) -> A:
        return kind(function, **options)

    return decorate if function is None else decorate(function)
