"""Installs the examples of the families' documentation as a package of a third party: a module and its entry points."""

from __future__ import annotations

import inspect
import textwrap
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EXAMPLES", "MODULE", "example", "install"]

MODULE = "my_cluster"

EXAMPLES = {
    "parslab.providers": ("parslab.providers.base", "NiceProvider", "NiceProvider"),
    "parslab.launchers": ("parslab.launchers.base", "TimedLauncher", "TimedLauncher"),
    "parslab.executors": ("parslab.executors.base", "GpuExecutor", "GpuExecutor"),
    "parslab.staging": ("parslab.data_provider.staging", "vault", "VaultStaging"),
    "parslab.strategies": ("parslab.scaling.strategies.base", "by_day", "ByDay"),
}
"""By group: the module whose documentation has the example, the name of the entry point, and the class."""

_IMPORTS = """\
import os
import shlex
import time

from parslab.data_provider.staging import TransferStaging
from parslab.data_provider.transfers import copied
from parslab.description import Label, Variables, Whole
from parslab.executors import LowLatencyExecutor
from parslab.launchers import Launcher
from parslab.providers import Job, LocalProvider
from parslab.scaling.strategies import Decision, ScalingState, Strategy
"""


def example(group: str) -> str:
    """The code of the example: the indented lines after ``::`` in the documentation of the module."""
    module, _, _ = EXAMPLES[group]
    documentation = inspect.getdoc(import_module(module)) or ""
    _, _, rest = documentation.partition("::\n\n")
    lines: list[str] = []
    for line in rest.splitlines():
        if line and not line.startswith(" "):
            break
        lines.append(line)
    return textwrap.dedent("\n".join(lines)).strip()


def install(folder: Path) -> None:
    """Write the package into ``folder``, as an installer does."""
    code = "\n\n\n".join([_IMPORTS, *(example(group) for group in EXAMPLES)])
    (folder / f"{MODULE}.py").write_text(code + "\n")
    metadata = folder / f"{MODULE}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1.0\n")
    lines = [f"[{group}]\n{name} = {MODULE}:{cls}\n" for group, (_, name, cls) in EXAMPLES.items()]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
