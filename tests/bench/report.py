"""The rows of the table: which figure belongs to which measure, beside which floor, within which bound.

Pure: runs (dictionaries of figures, see ``plan``) in, rows and text out.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.bench.plan import Figures

__all__ = ["ROWS", "Line", "Row", "lines", "table"]

UNITS = {"us": 1e6, "s": 1.0, "/s": 1.0, "B": 1.0, "MB": 1e-6, "%": 100.0, "x": 1.0}
"""By what a figure in seconds, bytes or parts of one is multiplied to be shown."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table.

    Parameters
    ----------
    title
        What was measured.
    figure, unit
        The figure of a run, and how it is shown.
    floor_name, floor
        What it is compared with, and the figure of that.
    ratio
        The figure of the ratio, where a run has paired one; its spread over the runs is shown.
    bound
        ``<=`` or ``>=`` and a number, in the unit shown.
    on_ratio
        Whether the bound is for the ratio.
    full
        Whether only a full run measures it, because it says nothing about a busy machine.
    """

    title: str
    figure: str
    unit: str
    floor_name: str = ""
    floor: str = ""
    ratio: str = ""
    bound: tuple[str, float] | None = None
    on_ratio: bool = False
    full: bool = False


ROWS = (
    Row(
        "no-op, 1 worker: submit -> result, median",
        *("latency.parslab_median", "us", "relay", "latency.relay_median", "latency.parslab_ratio"),
        ("<=", 1.5),
        on_ratio=True,
    ),
    Row(
        "    its 99th percentile",
        *("latency.parslab_p99", "us", "median", "latency.parslab_median", "latency.parslab_p99_ratio"),
        ("<=", 5.0),
        on_ratio=True,
    ),
    Row("    99th percentile of the relay", "latency.relay_p99", "us", "median", "latency.relay_median"),
    Row("    5 ms after the last call, median", "paced.parslab", "us", "relay", "paced.relay", "paced.ratio"),
    Row("    CPU time of all processes", "latency.parslab_cpu", "us", "relay", "latency.relay_cpu"),
    Row("    an app shipped by value, median", "latency.by_value.median", "us", "relay", "latency.relay_median"),
    Row(
        "    ProcessPoolExecutor(1)",
        *("latency.pool_median", "us", "relay", "latency.relay_median", "latency.pool_ratio"),
    ),
    Row("    loky(1)", "latency.loky_median", "us", "relay", "latency.relay_median", "latency.loky_ratio"),
    Row("    zmq ping-pong", "latency.zmq_median", "us", "relay", "latency.relay_median", "latency.zmq_ratio"),
    Row(
        "    unix socket ping-pong", "latency.unix_median", "us", "relay", "latency.relay_median", "latency.unix_ratio"
    ),
    Row(
        "many no-ops at once, 2 workers",
        *("burst.parslab.rate", "/s", "pool", "burst.pool.rate", "burst.parslab.ratio"),
        (">=", 1.0),
        on_ratio=True,
    ),
    Row("    submitting one", "burst.parslab.submitting_one", "us", "pool", "burst.pool.submitting_one"),
    Row(
        "    one number in, one out",
        *("numbers.parslab.rate", "/s", "pool", "numbers.pool.rate", "numbers.parslab.ratio"),
    ),
    Row("    loky(2)", "burst.loky.rate", "/s", "pool", "burst.pool.rate", "burst.loky.ratio"),
    Row(
        "CPU time of all processes per no-op",
        *("burst.parslab.cpu_per_task", "us", "pool", "burst.pool.cpu_per_task", "burst.parslab.cpu_ratio"),
        ("<=", 150.0),
    ),
    Row("    in the client", "burst.parslab.cpu_client", "us", "pool", "burst.pool.cpu_client"),
    Row("    in the DataFlowKernel process", "burst.parslab.cpu_kernel", "us"),
    Row("    in the workers", "burst.parslab.cpu_workers", "us", "pool", "burst.pool.cpu_workers"),
    Row(
        "    one number in, one out",
        *("numbers.parslab.cpu_per_task", "us", "pool", "numbers.pool.cpu_per_task", "numbers.parslab.cpu_ratio"),
    ),
    Row("    loky(2)", "burst.loky.cpu_per_task", "us", "pool", "burst.pool.cpu_per_task", "burst.loky.cpu_ratio"),
    Row(
        "chain submitted ahead, per link, 2 workers",
        *("chain.2.link", "us", "relay", "chain.2.relay", "chain.2.ratio"),
        ("<=", 1.0),
        on_ratio=True,
    ),
    Row("    1 worker", "chain.1.link", "us", "relay", "chain.1.relay", "chain.1.ratio"),
    Row("first result, from process start", "startup.first", "s", "pool", "startup.pool", bound=("<=", 0.8)),
    Row("import parslab, beyond bare Python", "startup.import_minus_python", "s", bound=("<=", 0.1)),
    Row("    with Config, load, python_app ...", "startup.names_minus_python", "s"),
    Row("    bare Python", "startup.python", "s"),
    Row(
        "client memory per task, future kept",
        *("memory.parslab.kept.bytes", "B", "pool", "memory.pool.kept.bytes"),
        bound=("<=", 1500.0),
    ),
    Row(
        "    future dropped",
        *("memory.parslab.dropped.bytes", "B", "pool", "memory.pool.dropped.bytes"),
        bound=("<=", 50.0),
    ),
    Row(
        "client after wait() for 200,000 futures",
        *("memory.parslab.waited.after", "MB", "before", "memory.parslab.waited.before"),
        bound=("<=", 150.0),
    ),
    Row("idle DataFlowKernel process, CPU", "idle.fresh.cpu", "%", bound=("<=", 1.0)),
    Row("    memory", "idle.fresh.rss", "MB", bound=("<=", 80.0)),
    Row("    CPU, after many tasks", "idle.used.cpu", "%", bound=("<=", 1.0)),
    Row("    memory, after many tasks", "idle.used.rss", "MB"),
    Row("    memory of a worker", "idle.fresh.rss_worker", "MB"),
    *(
        Row(
            f"{window} calls in flight, 2 workers, {name}",
            *(f"loop.{subject}.{window}.rate", "/s", "pool", f"loop.{subject}.{window}.pool"),
            f"loop.{subject}.{window}.ratio",
            bound=(">=", bound),
            on_ratio=True,
            full=True,
        )
        for subject, name, bound in (("llex", "low latency", 1.1), ("htex", "a block", 0.9))
        for window in (1, 4, 16, 64)
    ),
    *(
        Row(
            f"a function of the notebook, {name}",
            *(f"own.{subject}.own", "us", "imported", f"own.{subject}.imported", f"own.{subject}.ratio"),
            bound=("<=", 1.1),
            on_ratio=True,
            full=True,
        )
        for subject, name in (("llex", "low latency"), ("htex", "a block"))
    ),
    Row(
        "    the call, when it uses an array of 80 MB",
        *("large_global.call", "us", "hash", "large_global.hash", "large_global.ratio"),
        bound=("<=", 0.3),
        on_ratio=True,
        full=True,
    ),
    Row(
        "a %%parsl cell in a notebook of 5,000 names",
        *("cells.many", "us", "no names", "cells.none", "cells.ratio"),
        bound=("<=", 1500.0),
        full=True,
    ),
    Row(
        "shortest useful task, stencil of width 2",
        *("stencil.2.llex.metg", "us", "pool", "stencil.2.pool.metg", "stencil.2.llex.ratio"),
        bound=("<=", 350.0),
        full=True,
    ),
    Row(
        "    beside a process pool and a barrier",
        *("stencil.2.llex.metg", "us", "pool", "stencil.2.pool.metg", "stencil.2.llex.ratio"),
        bound=("<=", 1.0),
        on_ratio=True,
        full=True,
    ),
    Row("    a block", *("stencil.2.htex.metg", "us", "pool", "stencil.2.pool.metg", "stencil.2.htex.ratio")),
    Row("    width 8", *("stencil.8.llex.metg", "us", "pool", "stencil.8.pool.metg", "stencil.8.llex.ratio")),
    Row(
        "a join app in a burst",
        *("bodies.join", "us", "plain", "bodies.plain", "bodies.join_ratio"),
        bound=("<=", 3.0),
        on_ratio=True,
        full=True,
    ),
    Row(
        "a bash app in a burst",
        *("bodies.bash", "us", "subprocess", "bodies.subprocess", "bodies.bash_ratio"),
        bound=("<=", 1.1),
        on_ratio=True,
        full=True,
    ),
    Row(
        "    round trip of one call",
        *("bodies.round_trip", "us", "in the worker", "bodies.in_worker", "bodies.round_trip_ratio"),
        bound=("<=", 2.0),
        on_ratio=True,
        full=True,
    ),
    Row(
        "a call whose result is remembered",
        *("memo.hit", "us", "submitting", "memo.submit", "memo.ratio"),
        ("<=", 1.2),
        on_ratio=True,
    ),
    Row(
        "a checkpoint after each task",
        *("memo.written.on", "/s", "without", "memo.written.off", "memo.written.ratio"),
        (">=", 0.8),
        on_ratio=True,
    ),
    Row(
        "1,000 small files over http, 5 ms away, a task each",
        *("staging.staged", "s", "the transfers", "staging.alone", "staging.ratio"),
        ("<=", 1.3),
        on_ratio=True,
    ),
    Row("    transfers of a file that 1,000 tasks need", "staging.shared", "x", bound=("<=", 1.0)),
    Row(
        "block of this host: no-op, 1 worker, median",
        *("blocks.htex_median", "us", "relay", "blocks.relay_median", "blocks.htex_ratio"),
        ("<=", 2.2),
        on_ratio=True,
    ),
    Row("    its 99th percentile", "blocks.htex_p99", "us", "relay", "blocks.relay_median"),
    Row(
        "    by the encrypted port, median",
        *("blocks.htex_port_median", "us", "relay", "blocks.relay_median", "blocks.htex_port_ratio"),
    ),
    Row("    Parsl, median", "blocks.parsl.latency", "us", "relay", "blocks.relay_median"),
    Row(
        "50,000 no-ops at once, 2 workers of a block",
        *("blocks.on.rate", "/s", "pool", "blocks.pool.rate", "blocks.beside_pool"),
        (">=", 1.5),
        on_ratio=True,
    ),
    Row(
        "    beside Parsl",
        *("blocks.on.rate", "/s", "Parsl", "blocks.parsl.rate", "blocks.beside_parsl"),
        (">=", 15.0),
        on_ratio=True,
    ),
    Row(
        "    beside a run without monitoring",
        *("blocks.on.rate", "/s", "off", "blocks.off.rate", "blocks.monitoring"),
        (">=", 0.95),
        on_ratio=True,
    ),
    Row("    CPU time of all processes per no-op", "blocks.on.cpu_per_task", "us", bound=("<=", 120.0)),
    Row("    in the DataFlowKernel process", "blocks.on.cpu_kernel", "us"),
    Row("    in the manager and its workers", "blocks.on.cpu_node", "us"),
    Row("    cost per task, dearest burst size beside cheapest", "blocks.growth.ratio", "x", bound=("<=", 1.15)),
    Row("tasks of 10 ms, 2 workers of a block: efficiency", "blocks.efficiency", "%", bound=(">=", 95.0)),
    Row("first result of a block, from load()", "blocks.first", "s", "Parsl", "blocks.parsl.first", bound=("<=", 1.5)),
    Row(
        "DataFlowKernel's CPU time of a no-op, most managers",
        *("crowd.most.cost", "us", "one", "crowd.1.cost", "crowd.growth"),
        ("<=", 1.5),
        on_ratio=True,
    ),
    Row("    connections lost", "crowd.most.lost", "x", bound=("<=", 0.0)),
    Row(
        "1 GB file, 20 tasks, 4 hosts without a shared disk",
        *("files.open.seconds", "s", "all by the hub", "files.refused.seconds"),
    ),
    Row("    how often the hub sends it", "files.open.sent", "x", bound=("<=", 1.05), full=True),
    Row(
        "    behind firewalls between the hosts",
        *("files.dropped.seconds", "s", "all by the hub", "files.refused.seconds", "files.firewall"),
        bound=("<=", 1.3),
        full=True,
        on_ratio=True,
    ),
    Row(
        "mend 10 of 1,000 tasks: until all have results",
        *("mend.llex.took", "s", "the first run", "mend.llex.first"),
    ),
    Row("    tasks run beyond the failed branch, or missed", "mend.llex.wrongly", "x", bound=("<=", 0.0)),
    Row("    on blocks: until all have results", "mend.htex.took", "s", "the first run", "mend.htex.first"),
    Row("    on blocks: tasks run beyond it, or missed", "mend.htex.wrongly", "x", bound=("<=", 0.0)),
    Row(
        "kernel killed half-way, cells run again: tasks run twice",
        "lasting.kernel_killed.low_latency.twice",
        "x",
        bound=("<=", 0.0),
    ),
    Row("    seconds until cells go on", "lasting.kernel_killed.low_latency.first", "s", bound=("<=", 3.0)),
    Row("    block of this host: tasks run twice", "lasting.kernel_killed.high_throughput.twice", "x"),
    Row("    block of this host: seconds until cells go on", "lasting.kernel_killed.high_throughput.first", "s"),
    Row(
        "DataFlowKernel killed half-way: results computed again",
        "lasting.kernel_process_killed.low_latency.again",
        "x",
        bound=("<=", 0.0),
    ),
    Row("    tasks run twice: they ran, or had just ended", "lasting.kernel_process_killed.low_latency.twice", "x"),
    Row("    seconds until cells go on", "lasting.kernel_process_killed.low_latency.first", "s", bound=("<=", 3.0)),
    Row("    block of this host: results computed again", "lasting.kernel_process_killed.high_throughput.again", "x"),
    Row("    block of this host: tasks run twice", "lasting.kernel_process_killed.high_throughput.twice", "x"),
    Row(
        "    block of this host: seconds until cells go on", "lasting.kernel_process_killed.high_throughput.first", "s"
    ),
    *(
        row
        for name, who in (("llex", "low latency"), ("htex", "a block of this host"))
        for row in (
            Row(
                f"array of 1 MB to a task and back, {who}",
                *(f"large.{name}.echo.1", "/s", "copy", f"large.{name}.copy.1"),
                bound=(">=", 472.0),
                full=True,
            ),
            Row(
                "    10 MB",
                *(f"large.{name}.echo.10", "/s", "copy", f"large.{name}.copy.10"),
                bound=(">=", 1560.0),
                full=True,
            ),
            Row(
                "    100 MB",
                *(f"large.{name}.echo.100", "/s", "copy", f"large.{name}.copy.100"),
                bound=(">=", 1605.0),
                full=True,
            ),
            Row(
                "    peak of client and DataFlowKernel, in arrays",
                f"large.{name}.echo.memory",
                "x",
                bound=("<=", 2.2),
                full=True,
            ),
            Row("    1 GiB", f"large.{name}.gibibyte", "s", bound=("<=", 1.6), full=True),
            Row(
                "    memory beside the array, in arrays",
                f"large.{name}.gibibyte.memory",
                "x",
                bound=("<=", 2.0),
                full=True,
            ),
            Row(
                "tree of sums over 200 arrays of 5 MB, MB of leaves",
                f"large.{name}.tree",
                "/s",
                bound=(">=", 600.0),
                full=True,
            ),
            Row(
                "    growth of client and DataFlowKernel",
                f"large.{name}.tree.memory",
                "MB",
                bound=("<=", 600.0),
                full=True,
            ),
            Row("one task that returns 3,000 arrays", f"large.{name}.returns", "s", bound=("<=", 0.3), full=True),
            Row("100 MB handed down a chain, per link", f"large.{name}.link", "us", bound=("<=", 5000.0), full=True),
            Row("    memory beside the first array", f"large.{name}.link.memory", "x", bound=("<=", 0.5), full=True),
            Row("memory of 100 calls with one array", f"large.{name}.model.memory", "x", bound=("<=", 3.0), full=True),
        )
    ),
    Row("1,000,000 tasks, futures dropped: growth of memory", "session.grown", "MB", bound=("<=", 150.0)),
    Row(
        "    throughput at the end beside the beginning",
        *("session.last", "/s", "first", "session.first", "session.ratio"),
        (">=", 0.9),
        on_ratio=True,
    ),
    *(
        Row(
            f"failures of 1 000 000 tasks, 100 000 failed: {title}",
            f"failures.{figure}",
            "s",
            bound=("<=", 0.5),
            full=True,
        )
        for title, figure in (
            ("groups, with the whole snapshot", "groups"),
            ("a page of a group", "page"),
            ("the example of a group", "example"),
            ("the tasks of a group to retry", "retry"),
        )
    ),
    Row(
        "two versions of numpy in one cell, from a local cache: first calls",
        "environments.first",
        "s",
        bound=("<=", 5.0),
        full=True,
    ),
    Row(
        "    later calls, median",
        *("environments.later", "us", "plain call", "environments.plain", "environments.ratio"),
        ("<=", 1.2),
        on_ratio=True,
        full=True,
    ),
    Row("100 MPI tasks of 2 ranks in a block of 8 slots: most ranks at once", "mpi.most", "x", bound=("<=", 8.0)),
    Row("    busy slots", "mpi.busy", "x", bound=(">=", 0.9)),
    *(
        row
        for who, words in (("held", "client holds the interpreter's lock"), ("dead", "client was killed"))
        for row in (
            Row(f"panel by the Jupyter server, {words}: event", f"panel.{who}.event", "s", bound=("<=", 1.0)),
            Row("    the latest event", f"panel.{who}.latest_event", "s"),
            Row("    cancelled, from the request", f"panel.{who}.cancel", "s", bound=("<=", 1.0)),
            Row("    the latest cancellation", f"panel.{who}.latest_cancel", "s"),
        )
    ),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A row with its figures: medians over the runs, in the unit shown.  ``ok`` is None where there is no bound."""

    title: str
    figure: str
    unit: str
    value: float
    floor_name: str
    floor: float | None
    ratio: float | None
    spread: tuple[float, float]
    bound: tuple[str, float] | None
    on_ratio: bool
    ok: bool | None

    def as_json(self) -> dict[str, Any]:
        """As a dictionary."""
        return asdict(self)


def _line(row: Row, runs: Sequence[Figures]) -> Line | None:
    scale = UNITS[row.unit]
    values = [run[row.figure] * scale for run in runs if row.figure in run]
    if not values:
        return None
    pairs = [(run[row.figure], run[row.floor]) for run in runs if row.figure in run and row.floor in run]
    if row.ratio:
        ratios = [run[row.ratio] for run in runs if row.ratio in run]
    else:
        ratios = [value / floor for value, floor in pairs if floor > 0]
    floors = [floor * scale for _, floor in pairs]
    judged = ratios if row.on_ratio else values
    if not judged:
        return None  # what it is compared with was not measured
    ok = None
    if row.bound is not None:
        middle, (sign, limit) = statistics.median(judged), row.bound
        ok = middle <= limit if sign == "<=" else middle >= limit
    return Line(
        title=row.title,
        figure=row.figure,
        unit=row.unit,
        value=statistics.median(values),
        floor_name=row.floor_name,
        floor=statistics.median(floors) if floors else None,
        ratio=statistics.median(ratios) if ratios else None,
        spread=(min(judged), max(judged)),
        bound=row.bound,
        on_ratio=row.on_ratio,
        ok=ok,
    )


def lines(runs: Sequence[Figures]) -> list[Line]:
    """The rows that these runs have figures for."""
    return [line for row in ROWS if (line := _line(row, runs)) is not None]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cells(line: Line) -> list[str]:
    low, high = line.spread
    bound = ""
    if line.bound is not None:
        sign, limit = line.bound
        bound = f"{sign} {_number(limit)} {'x' if line.on_ratio else line.unit}"
    return [
        line.title,
        f"{_number(line.value)} {line.unit}",
        "" if line.floor is None else f"{line.floor_name} {_number(line.floor)}",
        "" if line.ratio is None else f"{line.ratio:.2f}",
        f"{_number(low)} .. {_number(high)}",
        bound,
        {None: "", True: "ok", False: "MISSED"}[line.ok],
    ]


def table(found: Iterable[Line]) -> str:
    """The lines as text in columns; the spread is that of what the bound is for."""
    cells = [["measure", "median", "beside", "ratio", "spread", "bound", ""], *map(_cells, found)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    cells.insert(1, ["-" * width for width in widths])
    left = {0, 2, 5, 6}
    return "\n".join(
        "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    )
