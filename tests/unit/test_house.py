"""The rules about imports that a program can check: imports point down, form no cycle, and a worker loads little.

The packages and their order are those of `python/DESIGN.md`; a test compares the picture there with `LAYERS` here.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "parslab"
DESIGN = ROOT / "python" / "DESIGN.md"

LAYERS = (
    {"errors"},
    {
        "records",
        "options",
        "defaults",
        "addresses",
        "clock",
        "compat",
        "cores",
        "atomic_files",
        "paths",
        "plugins",
        "version",
        "checkpoints",
        "trust",
    },
    {"wire", "serialize", "bodies", "files", "description"},
    {"launchers", "monitoring", "data_provider", "remote"},
    {"providers"},
    {"executors", "scaling"},
    {"config", "cleanup"},
    {"sites"},
    {"client", "dataflow"},
    {"app"},
    {"parslab", "cli", "jupyter", "parsl", "server", "testing"},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
SIDEWAYS = {
    ("serialize", "wire"),  # messages contain packed values
    ("files", "wire"),  # messages name contents
    ("bodies", "serialize"),  # a cell packs its values one by one
    ("jupyter", "parslab"),  # the lazy names, as users have them
    ("sites", "parslab"),  # a ready configuration is written as users write theirs
    ("testing", "parslab"),
    ("cli", "parsl"),  # `parslab migrate`
    ("parslab", "parsl"),  # the lazy names
    ("parslab", "jupyter"),  # load_ipython_extension
}
PARTS = {
    "dataflow": ("", "resume", "clients", "high_throughput", "operations", "persistence", "files", "network", "graph"),
    "client": ("", "handle", "local", "reproducer", "calls", "transport", "process", "futures"),
    "monitoring": ("parsl_database", "report", "export", "", "view", "timeline", "store", "failures"),
    "remote": ("mpi", "manager", "engines", "files", "pool", "software", "worker", ""),
    "providers": ("batch", "kube", "channel", "ssh", "cloud", ""),
}
"""The sub-packages of a package from the top down; "" is its own folder. An import may point down only."""

SHARED = {
    "client.run_state",
    "client.thread_pool",
    "client.waiting",
    "client.worker_import",
    "dataflow.acceptor",
    "dataflow.host",
    "monitoring.output",
}
"""Modules in a package's own folder that every sub-package of it may import: they import none of them."""

GENERATED = {"_version"}
"""Made by the build; `version` reads it."""

HEAVY = {
    "IPython",
    "asyncio",
    "cloudpickle",
    "comm",
    "ipykernel",
    "json",
    "jupyter_client",
    "jupyter_core",
    "numpy",
    "psutil",
    "sqlite3",
    "subprocess",
    "tornado",
    "traitlets",
    "zmq",
}


def room_of(module: str) -> str:
    """The room of a module named from the package on; the package's own file is the room `parslab`."""
    return module.split(".")[1] if "." in module else module


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[1] != "labextension":
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(text: str) -> set[str]:
    """Every module of ours that a file imports: at its top, in functions, and for its annotations."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            # `from parslab.client import session` names a module, `from parslab.errors import AppError` does not.
            children = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {child if child in MODULES else node.module for child in children}
        elif isinstance(node, ast.Call) and "import_module" in ast.dump(node.func):
            found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return {name for name in found if name.split(".")[0] == "parslab"}


def arrows(module: str, text: str) -> list[str]:
    """The imports of a module that do not point down."""
    here, wrong = room_of(module), []
    for name in sorted(imported(text)):
        there = room_of(name)
        if there in GENERATED or there == here or (here, there) in SIDEWAYS:
            continue
        if there not in LEVEL:
            wrong.append(f"{module} imports {name}, whose room {there} is in no layer")
        elif LEVEL[there] >= LEVEL[here]:
            wrong.append(f"{module} (layer {LEVEL[here]}) imports {name} (layer {LEVEL[there]})")
    return wrong


def part_of(module: str) -> str | None:
    """The sub-package of a module within its package ("" is the package's own folder); None for other packages."""
    names = module.split(".")
    if len(names) < 3 or names[1] not in PARTS:
        return None
    is_package = MODULES[module].name == "__init__.py"
    return names[2] if len(names) > 3 or is_package else ""


def sub_arrows(module: str, text: str) -> list[str]:
    """The imports of a module that point up within its own package."""
    here, wrong = part_of(module), []
    if here is None:
        return []
    package = room_of(module)
    order = PARTS[package]
    for name in sorted(imported(text)):
        if room_of(name) != package or name.removeprefix("parslab.") in SHARED:
            continue
        there = part_of(name)
        if there is not None and there != here and order.index(there) <= order.index(here):
            wrong.append(f"{module} imports {name}, which lies above it or beside it")
    return wrong


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other in a circle (Tarjan's strongly connected components)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for other in graph.get(module, ()):
            if other not in graph:
                continue
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            at = stack.index(module)
            group = sorted(stack[at:])
            del stack[at:]
            if len(group) > 1:
                found.append(group)

    for module in graph:
        if module not in number:
            visit(module)
    return found


def test_every_room_has_its_layer() -> None:
    assert {room_of(module) for module in MODULES} - GENERATED <= set(LEVEL)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module: str) -> None:
    assert arrows(module, MODULES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("package", sorted(PARTS))
def test_every_sub_package_has_its_place(package: str) -> None:
    folders = {path.parent.name for path in (PACKAGE / package).glob("*/__init__.py")}
    assert folders == set(PARTS[package]) - {""}


@pytest.mark.parametrize("module", sorted(module for module in MODULES if part_of(module) is not None))
def test_imports_within_a_package_point_down(module: str) -> None:
    assert sub_arrows(module, MODULES[module].read_text(encoding="utf-8")) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports in functions and for annotations count; only the package's lazy public face may be part of a circle."""
    graph = {module: imported(path.read_text(encoding="utf-8")) - {module} for module, path in MODULES.items()}
    del graph["parslab"]
    assert cycles(graph) == []


def test_a_circle_is_seen() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert cycles({"a": {"b", "elsewhere"}, "b": set()}) == []


@pytest.mark.parametrize(
    ("module", "line", "seen"),
    [
        ("parslab.dataflow.graph.table", "from parslab.dataflow.kernel import Kernel", True),
        ("parslab.dataflow.network.hub", "if TYPE_CHECKING:\n    from parslab.dataflow.graph.task import Task", False),
        ("parslab.dataflow.persistence.replay", "from parslab.dataflow.clients.leases import Leases", True),
        ("parslab.client.transport.link", "def f():\n    import parslab.client.handle.dfk", True),
        ("parslab.client.handle.dfk", "from parslab.client.transport.link import KernelLink", False),
    ],
)
def test_an_upward_arrow_within_a_package_is_seen(module: str, line: str, seen: bool) -> None:
    assert bool(sub_arrows(module, line)) is seen


@pytest.mark.parametrize(
    ("module", "line", "seen"),
    [
        ("parslab.client.handle.dfk", "from parslab.dataflow.graph.table import Table", True),
        ("parslab.dataflow.graph.table", "def f():\n    import parslab.client.handle.dfk", True),
        ("parslab.wire.stream", "if TYPE_CHECKING:\n    from parslab.serialize import values", True),
        ("parslab.remote.worker.main", "from parslab import config", True),
        ("parslab.monitoring.view.view", "from parslab.remote.worker import main", True),
        ("parslab.app.base", "from importlib import import_module\nimport_module('parslab.jupyter.magics')", True),
        ("parslab.serialize.values", "from parslab.wire.messages import INLINE", False),
        ("parslab.client.handle.dfk", "from parslab.client.transport.link import Link", False),
    ],
)
def test_an_upward_arrow_is_seen(module: str, line: str, seen: bool) -> None:
    assert bool(arrows(module, line)) is seen


def test_the_picture_in_the_design_shows_these_layers() -> None:
    text = DESIGN.read_text(encoding="utf-8")
    picture = re.search(r"## Packages.*?```\n(.*?)```", text, re.DOTALL)
    assert picture is not None
    drawn = {}
    for line in picture[1].splitlines():
        if line[:1].isdigit():
            layer, _, rooms = line.partition(" ")
            words = re.sub(r"\(.*?\)", "", rooms.partition("  # ")[0]).replace("|", " ").split()
            drawn[int(layer)] = {
                word.removesuffix("/__init__").removesuffix(".py").split("/")[0] for word in words if word[0].isalpha()
            }
    assert drawn == dict(enumerate(LAYERS))


# --- what is loaded --------------------------------------------------------------------------------------------------


def loaded_by(statement: str) -> set[str]:
    """The modules that a bare interpreter has after one statement; `.pth` files of the tree are left out (-S)."""
    code = (
        f"import sys; sys.path[:] = {[str(PACKAGE.parent), *sys.path]!r}; before = set(sys.modules); {statement}; "
        "loaded = sorted(set(sys.modules) - before); import json; print(json.dumps(loaded))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def tops(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_importing_the_package_loads_nothing_of_it() -> None:
    loaded = loaded_by("import parslab")
    assert {name for name in loaded if name.startswith("parslab")} == {"parslab"}
    assert not tops(loaded) & (HEAVY | {"msgspec", "socket", "logging", "concurrent", "inspect"})


def test_a_bare_worker_loads_only_what_it_needs() -> None:
    loaded = loaded_by("import parslab.remote.worker.main")
    ours = {room_of(name) for name in loaded if name.startswith("parslab")}
    assert ours == {"parslab", "clock", "errors", "records", "wire", "serialize", "remote"}
    # msgspec loads uuid, which brings subprocess with it before Python 3.11.
    assert not tops(loaded) & HEAVY - ({"subprocess"} if sys.version_info < (3, 11) else set())


def test_a_manager_loads_neither_client_nor_jupyter() -> None:
    loaded = loaded_by("import parslab.remote.manager.main")
    ours = {room_of(name) for name in loaded if name.startswith("parslab")}
    assert not ours & {
        "client",
        "app",
        "jupyter",
        "config",
        "executors",
        "description",
        "dataflow",
        "monitoring",
        "scaling",
    }
    assert not tops(loaded) & (HEAVY - {"json", "subprocess", "zmq"})


def test_the_kernel_process_loads_neither_client_nor_jupyter() -> None:
    loaded = loaded_by("import parslab.dataflow.main, parslab.dataflow.kernel")
    ours = {room_of(name) for name in loaded if name.startswith("parslab")}
    assert not ours & {"client", "app", "jupyter", "config", "executors", "description"}
    assert not tops(loaded) & (HEAVY - {"json", "sqlite3", "subprocess"})


def test_defining_an_app_loads_no_sockets_and_no_jupyter() -> None:
    loaded = loaded_by("import parslab; parslab.python_app(len)")
    assert not tops(loaded) & {"IPython", "ipykernel", "zmq", "traitlets", "numpy", "asyncio", "sqlite3"}


def test_every_public_name_is_found() -> None:
    names = "import parslab; [getattr(parslab, name) for name in parslab.__all__]"
    assert "parslab.client.session" in loaded_by(names)
