"""The rules about size and names that a program can check, for every file of the package."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "python" / "parslab"
FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if "labextension" not in path.parts and path.name != "_version.py"
)

LINES = 40
"""Of a function, without its docstring."""
POSITIONAL = 5
"""Parameters that may be given by position, ``self`` and ``cls`` left out."""
ARGUMENTS = 7
"""Positional arguments that a call of a class may have."""
FILES_IN_A_FOLDER = 15

PARSL_API = {"python_app", "bash_app", "join_app"}
"""Functions whose parameters Parsl documents as positional."""

SAME_NAME_ON_PURPOSE: dict[str, str] = {}
"""Public class names that two modules may share, and why."""

TYPED_PACKAGES = (
    "cleanup",
    "client/transport",
    "dataflow",
    "files",
    "monitoring",
    "records",
    "remote",
    "scaling",
    "wire",
)
"""Folders whose own objects have types: ``Any`` may stand only in the places of ``ANY_PLACES``."""

LAZY = "the lazy names of a package"
TABLE = "a dispatch table: each of its functions takes another class"
USERS = "a user's function or value"
JSON = "JSON or keyword arguments, which the function checks"
CELLS = "values that SQLite takes"
ZMQ = "pyzmq's sockets, whose type parameter says bytes or str"
ANY_PLACES = {
    "dataflow/__init__.py:__getattr__": LAZY,
    "dataflow/high_throughput/managers.py:": TABLE,
    "dataflow/network/hub.py:Hub.__init__": f"{TABLE}; {ZMQ}",
    "dataflow/persistence/replay.py:Replay.__init__": TABLE,
    "monitoring/__init__.py:__getattr__": LAZY,
    "monitoring/store/inserts.py:_insert": CELLS,
    "monitoring/store/inserts.py:_rows": CELLS,
    "monitoring/store/queries.py:_filter": CELLS,
    "monitoring/store/tables.py:": CELLS,
    "monitoring/view/view.py:View._made_handlers": TABLE,
    "records/executor_settings.py:": JSON,
    "remote/files/connections.py:OutgoingConnection.__init__": ZMQ,
    "remote/software/supervisor.py:_follow": JSON,
    "remote/software/supervisor.py:_hand_over": JSON,
    "remote/software/supervisor.py:supervise": JSON,
    "remote/files/connections.py:PeerPort.__init__": ZMQ,
    "remote/files/service.py:NodeFileService.__init__": ZMQ,
    "remote/files/service.py:NodeFileService._forget": ZMQ,
    "remote/files/service.py:NodeFileService._watch": ZMQ,
    "remote/manager/link.py:ManagerLink.__init__": ZMQ,
    "remote/engines/capture.py": "streams of any kind, which the process of another library has",
    "remote/engines/dask.py": "clients and futures of Dask, which has no types, and values of users",
    "remote/engines/engine.py": "the executor of another library, and what it returns",
    "remote/engines/interrupts.py": "what Python's signal handlers are, and a call of its C interface",
    "remote/engines/pool.py": "what the executor of another library returns",
    "remote/engines/runner.py": USERS,
    "remote/worker/calls.py": USERS,
    "remote/worker/links.py:_TcpWorkerLink.__init__": ZMQ,
    "remote/worker/links.py:tcp_links": f"{JSON}; {ZMQ}",
    "remote/worker/main.py:main": JSON,
    "remote/worker/process_state.py": "what a user's function may set in Python's own modules",
    "remote/worker/worker.py:Worker.__init__": USERS,
    "remote/worker/worker.py:Worker._load": USERS,
    "scaling/background_calls.py:BackgroundCalls.__init__": TABLE,
    "scaling/block_journal.py:BlockJournal._write": JSON,
    "scaling/block_journal.py:_apply": JSON,
    "wire/curve.py:CurveGate.__init__": ZMQ,
    "wire/encoding.py:escaped": "a value of any message, copied with its type",
    "wire/invitations.py:read": JSON,
    "wire/stream.py:Stream.__init__": "the lengths of a header and its messages, which are taken apart later",
    "wire/stream.py:decoder": "a union of message types, for which Python has no type",
    "wire/zmq_parts.py:joined": ZMQ,
}
"""Where ``Any`` is right, and why: a file, or file and function; the function is empty for the module itself."""


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def place(path: Path, node: ast.expr | ast.stmt) -> str:
    return f"{path.relative_to(PACKAGE)}:{node.lineno}"


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from ``def`` to its end, without its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def positional(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [argument.arg for argument in function.args.posonlyargs + function.args.args]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def called_class(call: ast.Call) -> str:
    """The name of the class that a call makes an object of; empty for other calls (classes begin with a capital)."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    return name if name.lstrip("_")[:1].isupper() and not name.isupper() else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_are_short_and_calls_name_their_arguments(path: Path) -> None:
    wrong = []
    for function in functions(path):
        if length(function) > LINES:
            wrong.append(f"{place(path, function)} {function.name} has {length(function)} lines")
        if positional(function) > POSITIONAL and function.name not in PARSL_API:
            wrong.append(f"{place(path, function)} {function.name} has {positional(function)} positional parameters")
    wrong += [
        f"{place(path, node)} {called_class(node)} is called with {len(node.args)} positional arguments"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and called_class(node) and len(node.args) > ARGUMENTS
    ]
    assert wrong == []


def test_no_folder_holds_too_many_files() -> None:
    folders = Counter(path.parent.relative_to(PACKAGE) for path in FILES)
    assert {str(folder): count for folder, count in folders.items() if count > FILES_IN_A_FOLDER} == {}


def test_a_public_class_name_means_one_thing() -> None:
    where: dict[str, list[str]] = {}
    for path in FILES:
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    shared = {name: paths for name, paths in where.items() if len(paths) > 1}
    assert {name: paths for name, paths in shared.items() if name not in SAME_NAME_ON_PURPOSE} == {}
    assert set(SAME_NAME_ON_PURPOSE) <= set(shared), "a name that is not shared any more needs no reason"


def places_of_any(node: ast.AST, inside: tuple[str, ...] = ()) -> set[str]:
    """The functions and classes below a node that use ``Any``, by their qualified names."""
    found = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Name) and child.id == "Any":
            found.add(".".join(inside))
        names = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        found |= places_of_any(child, (*inside, child.name) if names else inside)  # type: ignore[attr-defined]
    return found


def test_objects_of_ours_have_types() -> None:
    """A TypeVar, a Protocol or a union says what a place takes; ``Any`` would hide a mistake from mypy."""
    found = {
        name if name in ANY_PLACES else f"{name}:{function}"
        for name, path in {str(path.relative_to(PACKAGE)): path for path in FILES}.items()
        if name.startswith(tuple(f"{package}/" for package in TYPED_PACKAGES))
        for function in places_of_any(tree(path))
    }
    assert found - set(ANY_PLACES) == set(), "give these a type, or say in ANY_PLACES why they have none"
    assert set(ANY_PLACES) - found == set(), "a place that has types needs no reason"


def test_a_use_of_any_is_seen() -> None:
    source = "x: Any = 1\nclass A:\n    def f(self, y: list[Any]) -> None: ...\n    def g(self) -> int: ...\n"
    assert places_of_any(ast.parse(source)) == {"", "A.f"}
