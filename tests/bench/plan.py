"""What a run consists of: which cases with which arguments, and the figures that come out of them.

A run is a dictionary of figures named ``measure.subject.what``, in seconds and bytes.  Sides of a ratio are measured in
turns within one run, and change places from run to run; ``report`` takes medians over the runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tests.bench import htex, startup
from tests.bench.subjects import loky_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["FULL", "MEASURES", "QUICK", "ROOT", "Bench", "Figures", "Sizes", "scratch"]

Figures: TypeAlias = dict[str, float]
ROOT = Path(__file__).resolve().parents[2]
PAUSE = 0.005
"""Seconds before each call of the paced case."""
LIMIT = 600
"""Seconds after which a case is given up."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything a run measures; ``extras`` are the rows without a bound that need cases of their own."""

    calls: int = 2000
    rounds: int = 2
    tasks: int = 20_000
    links: int = 1000
    chains: int = 5
    starts: int = 3
    kept: int = 60_000
    dropped: int = 100_000
    waited: int = 200_000
    warm_up: int = 30_000
    seconds: float = 10.0
    many: int = 50_000
    growth: tuple[int, ...] = (1000, 10_000, 50_000, 200_000)
    short: int = 2000
    crowd: tuple[int, ...] = (1, 64, 2048)
    parsl: int = 5000
    lasting: int = 10_000
    session: int = 1_000_000
    staged: int = 1000
    extras: bool = True


FULL = Sizes()
QUICK = Sizes(
    calls=300,
    rounds=1,
    tasks=4000,
    links=200,
    chains=2,
    starts=1,
    kept=10_000,
    dropped=10_000,
    waited=20_000,
    warm_up=5000,
    seconds=2.0,
    many=10_000,
    growth=(1000, 10_000),
    short=200,
    crowd=(1, 64),
    parsl=0,
    lasting=1000,
    session=200_000,
    staged=200,
    extras=False,
)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all cases of a bench share.

    Parameters
    ----------
    sizes
        How much is measured.
    with_parslab
        Whether parslab is measured, or the floors alone.
    folder
        Working directory of every case; run directories land there.
    say
        Called with a text that names what is measured.
    """

    sizes: Sizes
    with_parslab: bool
    folder: Path
    say: Callable[[str], None]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every case: it finds this package, and parslab in a checkout that is not installed."""
        path = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        absolute = [str(Path(entry).resolve()) for entry in path]
        return os.environ | {"PYTHONPATH": os.pathsep.join(absolute)}

    def case(self, name: str, **arguments: object) -> Figures:
        """Run a case in a fresh process.

        Raises
        ------
        RuntimeError
            When it fails; its stderr has been shown.
        """
        self.say(f"{name} {arguments}")
        command = [sys.executable, "-m", "tests.bench.cases", name, json.dumps(arguments)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, env=self.environment, cwd=self.folder, timeout=LIMIT, check=False
        )
        if done.returncode:
            message = f"case {name} ended with exit status {done.returncode}; its files are in {self.folder}"
            raise RuntimeError(message)
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        return figures

    def subjects(self, *names: str) -> list[str]:
        """Those of ``names`` that can be measured here."""
        missing = set() if self.with_parslab else {"parslab"}
        missing |= set() if self.sizes.extras and loky_module() else {"loky"}
        return [name for name in names if name not in missing]


def _named(prefix: str, figures: Figures) -> Figures:
    return {f"{prefix}.{name}": value for name, value in figures.items()}


def _in_turns(names: Iterable[str], run: int) -> list[str]:
    """The order of this run: every other one backwards."""
    return list(names)[:: -1 if run % 2 else 1]


def latency(bench: Bench, run: int) -> Figures:
    """One worker, one call after the other."""
    sizes = bench.sizes
    subjects = _in_turns(bench.subjects("parslab", "pool", "loky", "zmq", "unix"), run)
    figures = _named("latency", bench.case("latency", subjects=subjects, calls=sizes.calls, rounds=sizes.rounds))
    if bench.with_parslab:
        if sizes.extras:
            figures |= _named("latency.by_value", bench.case("by_value", calls=sizes.calls))
            figures |= _named(
                "paced", bench.case("paced", subjects=["relay", "parslab", "pool"], calls=300, pause=PAUSE)
            )
            figures["paced.ratio"] = figures["paced.parslab"] / figures["paced.relay"]
        figures["latency.parslab_p99_ratio"] = figures["latency.parslab_p99"] / figures["latency.parslab_median"]
    return figures


def burst(bench: Bench, run: int) -> Figures:
    """Two workers, many tasks at once; throughput and CPU time."""
    figures: Figures = {}
    tasks = bench.sizes.tasks
    for kind, numbers in (("burst", False), ("numbers", True))[: 2 if bench.sizes.extras else 1]:
        for subject in _in_turns(bench.subjects("pool", "parslab", "loky"), run):
            found = bench.case("burst", subject=subject, tasks=tasks, numbers=numbers)
            figures |= _named(f"{kind}.{subject}", found)
        for subject in bench.subjects("parslab", "loky"):
            for what, name in (("rate", "ratio"), ("cpu_per_task", "cpu_ratio")):
                ratio = figures[f"{kind}.{subject}.{what}"] / figures[f"{kind}.pool.{what}"]
                figures[f"{kind}.{subject}.{name}"] = ratio
    return figures


def chain(bench: Bench, run: int) -> Figures:
    """Tasks that depend on each other, submitted ahead."""
    if not bench.with_parslab:
        return {}
    sizes = bench.sizes
    figures: Figures = {}
    for workers in _in_turns("12" if sizes.extras else "2", run):
        arguments = {"links": sizes.links, "rounds": sizes.chains, "calls": sizes.calls // 2, "workers": int(workers)}
        figures |= _named(f"chain.{workers}", bench.case("chain", **arguments))
    return figures


def start_up(bench: Bench, run: int) -> Figures:
    """From the start of Python to an import and to a first result."""
    bench.say("start-up")
    figures = startup.measure(bench.sizes.starts, bench.with_parslab, bench.environment, bench.folder)
    return _named("startup", figures)


def memory(bench: Bench, run: int) -> Figures:
    """What tasks leave in the process that submits them."""
    sizes = bench.sizes
    figures: Figures = {}
    for case, tasks in (("kept", sizes.kept), ("dropped", sizes.dropped)):
        for subject in _in_turns(bench.subjects("pool", "parslab"), run):
            found = bench.case(case, subject=subject, tasks=tasks, warm_up=sizes.warm_up)
            figures |= _named(f"memory.{subject}.{case}", found)
    for subject in _in_turns(bench.subjects("parslab"), run):
        figures |= _named(f"memory.{subject}.waited", bench.case("waited", subject=subject, tasks=sizes.waited))
    return figures


def quiet(bench: Bench, run: int) -> Figures:
    """A run in which nothing happens, soon after it began and after many tasks."""
    if not bench.with_parslab:
        return {}
    seconds = bench.sizes.seconds
    figures = _named("idle.fresh", bench.case("quiet", seconds=seconds, tasks=100))
    return figures | _named("idle.used", bench.case("quiet", seconds=seconds, tasks=bench.sizes.tasks))


def blocks(bench: Bench, run: int) -> Figures:
    """The high-throughput executor with one block of this host."""
    if not bench.with_parslab:
        return {}
    sizes = bench.sizes
    figures: Figures = {}
    for subject in _in_turns(("htex", "htex_port") if sizes.extras else ("htex",), run):
        found = bench.case("latency", subjects=[subject], calls=sizes.calls // 2, rounds=sizes.rounds)
        figures |= _named("blocks", found)
    runs = (("on", {"monitoring": True}), ("off", {"monitoring": False}))
    for name, arguments in runs[:: -1 if run % 2 else 1]:
        figures |= _named(f"blocks.{name}", bench.case("rate", tasks=sizes.many, **arguments))
    figures |= _named("blocks.pool", bench.case("burst", subject="pool", tasks=sizes.tasks))
    figures["blocks.monitoring"] = figures["blocks.on.rate"] / figures["blocks.off.rate"]
    figures["blocks.beside_pool"] = figures["blocks.on.rate"] / figures["blocks.pool.rate"]
    figures |= _named("blocks.growth", bench.case("growth", sizes=sizes.growth, total=max(sizes.growth)))
    figures |= _named("blocks", bench.case("efficiency", tasks=sizes.short, seconds=0.01))
    figures |= _named("blocks", bench.case("first"))
    python = htex.parsl_python(bench.say) if sizes.parsl else None
    if python:
        figures |= _named("blocks.parsl", bench.case("parsl", python=python, tasks=sizes.parsl, calls=200))
        figures["blocks.beside_parsl"] = figures["blocks.on.rate"] / figures["blocks.parsl.rate"]
    return figures


def crowds(bench: Bench, run: int) -> Figures:
    """Very many connected managers."""
    if not bench.with_parslab:
        return {}
    sizes = bench.sizes
    figures: Figures = {}
    for managers in _in_turns(map(str, sizes.crowd), run):
        found = bench.case("crowd", managers=int(managers), slots=32, tasks=sizes.many)
        figures |= _named(f"crowd.{managers}", found)
    most = max(sizes.crowd)
    figures["crowd.most.cost"] = figures[f"crowd.{most}.cost"]
    figures["crowd.most.lost"] = figures[f"crowd.{most}.lost"]
    figures["crowd.growth"] = figures[f"crowd.{most}.cost"] / figures["crowd.1.cost"]
    return figures


def mending(bench: Bench, run: int) -> Figures:
    """A graph in which some tasks fail, and are tried again with a redefined function."""
    if not bench.with_parslab:
        return {}
    figures: Figures = {}
    for executor in _in_turns(("llex", "htex"), run):
        figures |= _named(f"mend.{executor}", bench.case("mend", executor=executor, tasks=1000, bad=10))
    return figures


def lasting(bench: Bench, run: int) -> Figures:
    """What is kept when processes are killed, and what a long session costs."""
    if not bench.with_parslab:
        return {}
    sizes = bench.sizes
    figures: Figures = {}
    executors = ("low_latency", "high_throughput")[: 2 if sizes.extras else 1]
    for executor in _in_turns(executors, run):
        for who in ("kernel_killed", "kernel_process_killed"):
            found = bench.case(who, tasks=sizes.lasting, executor=executor)
            figures |= _named(f"lasting.{who}.{executor}", found)
    return figures | _named("session", bench.case("session", tasks=sizes.session, parts=10))


def reacting(bench: Bench, run: int) -> Figures:
    """A client that reacts to results: closed loops, stencils, functions of a notebook, bodies of apps."""
    if not bench.with_parslab or not bench.sizes.extras:
        return {}
    sizes = bench.sizes
    figures: Figures = {}
    for subject in _in_turns(("llex", "htex"), run):
        found = bench.case(
            "closed_loop", subject=subject, windows=[1, 4, 16, 64], calls=sizes.calls, rounds=sizes.rounds
        )
        figures |= _named(f"loop.{subject}", found)
        # Many short blocks: both kinds of function must meet the same moments of the machine.
        found = bench.case("notebook_functions", executor=subject, calls=sizes.calls // 10, rounds=8 * sizes.rounds)
        figures |= _named(f"own.{subject}", found)
    figures |= _named("large_global", bench.case("large_global", megabytes=80, calls=20))
    for subject in _in_turns(("pool", "llex", "htex"), run):
        for width in (2, 8):
            figures |= _named(
                f"stencil.{width}.{subject}", bench.case("stencil", subject=subject, width=width, steps=100)
            )
    for width in (2, 8):
        for subject in ("llex", "htex"):
            ratio = figures[f"stencil.{width}.{subject}.metg"] / figures[f"stencil.{width}.pool.metg"]
            figures[f"stencil.{width}.{subject}.ratio"] = ratio
    figures |= _named("cells", bench.case("cells", names=5000, calls=sizes.calls // 10))
    return figures | _named("bodies", bench.case("bodies", tasks=sizes.tasks // 2, rounds=sizes.rounds))


def remembering(bench: Bench, run: int) -> Figures:
    """Results that are remembered, and written down."""
    if not bench.with_parslab:
        return {}
    sizes = bench.sizes
    figures = _named("memo", bench.case("hits", calls=sizes.tasks, rounds=sizes.chains))
    return figures | _named("memo.written", bench.case("checkpointed", tasks=sizes.tasks, rounds=sizes.rounds))


def environments(bench: Bench, run: int) -> Figures:
    """Apps with environments of their own; nothing where uv finds no numpy."""
    if not bench.with_parslab or not bench.sizes.extras:
        return {}
    return _named("environments", bench.case("two_versions", calls=bench.sizes.calls))


def failures(bench: Bench, run: int) -> Figures:
    """Answers about the failures of a run of a million tasks."""
    if not bench.with_parslab or not bench.sizes.extras:
        return {}
    return _named("failures", bench.case("many_failures", tasks=1_000_000, share=10))


def files(bench: Bench, run: int) -> Figures:
    """Files for hosts that share no disk; nothing where such hosts cannot be made."""
    if not bench.with_parslab or not bench.sizes.extras:
        return {}
    return _named("files", bench.case("large_file", size=1_000_000_000))


def mpi(bench: Bench, run: int) -> Figures:
    """MPI tasks that share the cores of a block."""
    if not bench.with_parslab:
        return {}
    return _named("mpi", bench.case("mpi_shared", tasks=100, seconds=1.0))


def large_values(bench: Bench, run: int) -> Figures:
    """Arrays that go to tasks, between tasks and back."""
    if not bench.with_parslab or not bench.sizes.extras:
        return {}
    figures: Figures = {}
    for subject in _in_turns(("llex", "htex"), run):
        figures |= _named(f"large.{subject}", bench.case("large_values", executor=subject))
    return figures


def staging(bench: Bench, run: int) -> Figures:
    """Files over http, staged for tasks."""
    if not bench.with_parslab:
        return {}
    sizes = bench.sizes
    return _named("staging", bench.case("staged", files=sizes.staged, rounds=sizes.rounds + 1))


def panel(bench: Bench, run: int) -> Figures:
    """The panel while its client holds the interpreter's lock, and when the client is dead."""
    if not bench.with_parslab:
        return {}
    return _named("panel", bench.case("panel_route", rounds=5 * bench.sizes.rounds))


MEASURES: dict[str, Callable[[Bench, int], Figures]] = {
    "latency": latency,
    "burst": burst,
    "chain": chain,
    "startup": start_up,
    "memory": memory,
    "idle": quiet,
    "blocks": blocks,
    "crowds": crowds,
    "mend": mending,
    "lasting": lasting,
    "remembering": remembering,
    "reacting": reacting,
    "large": large_values,
    "environments": environments,
    "failures": failures,
    "files": files,
    "mpi": mpi,
    "panel": panel,
    "staging": staging,
}
"""What can be asked for on the command line."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A working directory on the disk of the checkout, kept when something failed in it."""
    parent = ROOT / "build"
    parent.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
    yield folder
    shutil.rmtree(folder)
