"""``RemoteCalls`` turns calls for worker processes into messages: the hot path between an app and the link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from parslab.clock import steady_time
from parslab.serialize.arguments import NO_ARGUMENTS, ArgumentDependencies, pack_arguments
from parslab.serialize.shared.sent_blocks import CallBlocks, SentBlocks
from parslab.serialize.shared.values import shared
from parslab.serialize.summaries import show_arguments
from parslab.wire.messages.client import SubmitTask
from parslab.wire.shared_memory import SHARED_SIZE, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from parslab.client.calls.identities import IdentifiedCalls, Identities
    from parslab.client.calls.pending import PendingTasks
    from parslab.client.calls.sent_functions import SentFunctions
    from parslab.client.futures.app_future import AppFuture
    from parslab.client.local.tasks import LocalTasks
    from parslab.client.transport.link import KernelLink
    from parslab.serialize.dependency_resolvers import DependencyResolver
    from parslab.serialize.functions import AppFunction
    from parslab.wire.messages.base import TaskSpec
    from parslab.wire.shared_memory import Buffer, PlainBuffer

__all__ = ["RemoteCalls"]

Packer: TypeAlias = (
    "Callable[[tuple[Any, ...], Mapping[str, Any], ArgumentDependencies, str], tuple[bytes, list[PlainBuffer]]]"
)
_NO_FRAMES: list[PlainBuffer] = []


class RemoteCalls:
    """Sends the calls of one run that workers execute.

    Parameters
    ----------
    link
        The connection to the DataFlowKernel.
    pending
        Holds the futures of the calls.
    functions
        Numbers the functions.
    identities
        Identifies calls that have no stable pickle.
    local
        Makes tasks for futures of other libraries, and keeps values of this process for workers.
    value_memory
        Bytes of values that the run may have in memory.
    """

    def __init__(
        self,
        link: KernelLink,
        pending: PendingTasks,
        functions: SentFunctions,
        identities: Identities,
        local: LocalTasks,
        *,
        value_memory: int,
    ) -> None:
        self._link = link
        self._pending = pending
        self._unfinished = pending.unfinished
        self._functions = functions
        self._identities = identities
        self._local = local
        self._reference = local.reference
        self._pack: Packer = pack_arguments
        self._sent_blocks = SentBlocks(value_memory)

    def use_resolver(self, resolver: DependencyResolver | None) -> None:
        """Set the rule for where futures are looked for in the arguments; None: at any depth."""
        self._pack = pack_arguments if resolver is None else resolver.pack

    def submit(
        self,
        future: AppFuture,
        function: AppFunction,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        executor: int,
        *,
        name: str,
        cell: str,
        parent: int,
        follow: Callable[[str, str], None] | None,
        spec: TaskSpec | None,
        calls: IdentifiedCalls | None,
    ) -> None:
        """Send one call; the parameters are those of ``DataFlowKernel.submit``.

        The variable ``pickled`` keeps the pickle alive until the call is sent: both sides forget its number with it.
        """
        pickled = function.current()
        fn = self._functions.number(pickled, function.function)
        task = future.task_id
        if args or kwargs or calls is not None:
            dependencies = ArgumentDependencies(self._reference)
            inline, frames = self._packed(future, args, kwargs, dependencies)
            shown = show_arguments(args, kwargs)
            # Positional, against the house rule: keywords for all fields would cost a twentieth of the call.
            message = SubmitTask(
                task, fn, 0, executor, inline, len(frames), tuple(dependencies.tasks),
                at=steady_time(), shown=shown, cell=cell, name=name, follow=follow is not None, spec=spec,
                parent=parent,
            )  # fmt: skip
            if message.deps:  # before the send, because a worker may request such a value at once
                self._local.keep(task, message.deps)
            if dependencies.needs_identity or calls is not None:
                known = self._identities.remote(pickled, calls, args, kwargs, dependencies)
                message.identity, message.memo, message.unknown = known
        else:
            message = SubmitTask(
                task, fn, 0, executor, NO_ARGUMENTS, 0, (),
                at=steady_time(), cell=cell, name=name, follow=follow is not None, spec=spec, parent=parent,
            )  # fmt: skip
            frames = _NO_FRAMES
        self._send(future, message, frames, follow)

    def _packed(
        self,
        future: AppFuture,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        dependencies: ArgumentDependencies,
    ) -> tuple[bytes, Sequence[Buffer]]:
        """Pack the arguments; large ones are in blocks of unfinished calls where possible."""
        inline, frames = self._pack(args, kwargs, dependencies, future.app_name)
        if not frames or sum(map(size_of, frames)) < SHARED_SIZE:
            return inline, frames
        blocks = CallBlocks(self._sent_blocks)
        packed = shared(inline, frames, blocks)
        if blocks:
            future.add_done_callback(blocks)  # before the send, because the link's thread may settle the future then
        return packed

    def _send(
        self,
        future: AppFuture,
        message: SubmitTask,
        frames: Sequence[Buffer],
        follow: Callable[[str, str], None] | None,
    ) -> None:
        task = message.task
        try:
            # Before the send, because the link's thread may receive the result before this thread continues.
            self._unfinished[task] = future
            if follow is not None:
                self._pending.followers[task] = follow
            if frames:
                self._link.send(message, frames)
            else:
                self._link.call(message)
        except BaseException:  # an interrupt: the caller will get no future
            self._pending.withdraw(task)
            raise
