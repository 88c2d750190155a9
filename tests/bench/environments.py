"""Apps with Python environments of their own: two versions of numpy in one run, beside plain calls."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["two_versions"]


def _version() -> str:
    import numpy

    return str(numpy.__version__)


def _noop() -> None:
    """Nothing: what is left is the way of a task."""


def two_versions(calls: int) -> dict[str, float]:
    """The first calls of two environments that uv makes from its cache, then calls of all kinds in turns.

    Returns no figures where uv finds no numpy.
    """
    import parslab
    from parslab.errors import SoftwareError

    folder = tempfile.mkdtemp(prefix="environments-")
    os.environ["PARSLAB_ENVIRONMENTS"] = folder
    config = parslab.Config(executors=[parslab.LowLatencyExecutor(workers=2)], run_dir=Path(folder) / "runs")
    figures: dict[str, float] = {}
    try:
        # The first run fills the cache of uv, which keeps what it has downloaded.
        for measured in (False, True):
            with parslab.load(config):
                figures["first"] = _first_calls()
                if measured:
                    figures |= _later_calls(calls)
            parslab.clear()
            for path in Path(folder).iterdir():
                if path.name != "runs":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        return figures
    except SoftwareError as error:
        print(error)
        parslab.clear()
        return {}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _first_calls() -> float:
    from parslab import python_app

    apps = [python_app(_version, environment=[name]) for name in ("numpy<2", "numpy>=2")]
    python_app(_noop)().result()
    begun = time.perf_counter()
    futures = [app() for app in apps]
    versions = [future.result() for future in futures]
    assert [version.split(".")[0] for version in versions] == ["1", "2"], versions
    return time.perf_counter() - begun


def _later_calls(calls: int) -> dict[str, float]:
    from parslab import python_app

    apps: dict[str, Any] = {
        "plain": python_app(_noop),
        "old": python_app(_noop, environment=["numpy<2"]),
        "new": python_app(_noop, environment=["numpy>=2"]),
    }
    times: dict[str, list[float]] = {name: [] for name in apps}
    # Short blocks in turns, because calls of one kind follow each other in a program, too.
    for _ in range(max(1, calls // 20)):
        for name, app in apps.items():
            for _ in range(20):
                begun = time.perf_counter()
                app().result()
                times[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(each) for name, each in times.items()}
    later = max(medians["old"], medians["new"])
    return {"plain": medians["plain"], "later": later, "ratio": later / medians["plain"]}
