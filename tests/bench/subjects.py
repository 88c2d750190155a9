"""Who is measured: parslab and what it is compared with, all behind the same two small interfaces.

``CALLS`` are context managers that yield ``call``, one blocking round trip; ``BURSTS`` yield ``submit``, which answers
with a future.  parslab itself is imported only by its own subjects, so that floors can be measured without it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.bench import floors
from tests.bench.htex import loaded_blocks
from tests.bench.peers import noop, step

if TYPE_CHECKING:
    from tests.bench.floors import Call

__all__ = ["BURSTS", "CALLS", "Submit", "loaded", "loky_module"]

Submit: TypeAlias = Callable[..., "Future[Any]"]
"""Without arguments: a no-op.  With a number: one that answers with the next number."""


@contextmanager
def loaded(workers: int) -> Iterator[Any]:
    """A run with so many low-latency workers and everything else as it comes; yields its DataFlowKernel."""
    import parslab

    parslab.load(parslab.Config(executors=[parslab.LowLatencyExecutor(workers=workers)]))
    dfk = parslab.dfk()
    try:
        yield dfk
    finally:
        dfk.cleanup()


def loky_module() -> Any | None:
    """Loky, by itself or as joblib carries it; None where neither is installed."""
    for name in ("loky", "joblib.externals.loky"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


@contextmanager
def parslab_submit(workers: int) -> Iterator[Submit]:
    """An app of a module, sent by reference."""
    with loaded(workers):
        from tests.bench.apps import noop, step

        yield lambda *args: step(*args) if args else noop()


@contextmanager
def pool_submit(workers: int) -> Iterator[Submit]:
    """The executor that everybody has."""
    with ProcessPoolExecutor(workers) as pool:
        yield lambda *args: pool.submit(step if args else noop, *args)


@contextmanager
def loky_submit(workers: int) -> Iterator[Submit]:
    """The executor behind joblib."""
    loky = loky_module()
    assert loky is not None
    with loky.ProcessPoolExecutor(workers) as pool:
        yield lambda *args: pool.submit(step if args else noop, *args)


BURSTS: dict[str, Callable[[int], AbstractContextManager[Submit]]] = {
    "parslab": parslab_submit,
    "pool": pool_submit,
    "loky": loky_submit,
}


def _one_worker(name: str) -> Callable[[], AbstractContextManager[Call]]:
    @contextmanager
    def one() -> Iterator[Call]:
        with BURSTS[name](1) as submit:
            yield lambda: submit().result()

    return one


def _one_block(**options: Any) -> Callable[[], AbstractContextManager[Call]]:
    """A manager with one worker: of this host, or as those of others come."""

    @contextmanager
    def one() -> Iterator[Call]:
        with loaded_blocks(1, **options):
            from tests.bench.apps import noop

            yield lambda: noop().result()

    return one


CALLS: dict[str, Callable[[], AbstractContextManager[Call]]] = {
    "relay": floors.relay,
    "zmq": floors.zmq_ping,
    "unix": floors.unix_ping,
    "pool": _one_worker("pool"),
    "loky": _one_worker("loky"),
    "parslab": _one_worker("parslab"),
    "htex": _one_block(),
    "htex_port": _one_block(address="127.0.0.1"),
}
