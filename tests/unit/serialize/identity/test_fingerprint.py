"""Functions that mean the same have one fingerprint; modules edited beside the notebook count with their code.

`tests/process/test_identities.py` shows the same for two kernels.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import pytest

from parslab import by_value
from parslab.app.decorators import python_app
from parslab.bodies.bash import run
from parslab.serialize import functions
from parslab.serialize.arguments import ArgumentDependencies, pack_arguments
from parslab.serialize.code.bytecode import code_term, imported_names
from parslab.serialize.functions import AppFunction
from parslab.serialize.identity.calls import identify_arguments
from parslab.serialize.identity.fingerprint import Fingerprint, fingerprint
from parslab.serialize.identity.registry import Unidentified
from tests.unit.serialize.notebook import Notebook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def of(source: str, name: str = "f", runner: Any = None) -> tuple[bytes, dict[str, bytes]]:
    notebook = Notebook()
    notebook.cell(source)
    return fingerprint(notebook.names[name], runner)


def changed(before: str, after: str) -> set[str]:
    """The names of the parts in which two cells differ."""
    (one, parts), (other, others) = of(before), of(after)
    named = {label for label, _ in parts.items() ^ others.items()}
    assert bool(named) == (one != other)
    return named


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("def f(): return 1", "def f(): return 2", {"body"}),
        ("def f(): return 1", "def f(): return True", {"body"}),
        ("def f(x): return x", "def f(*, x): return x", {"body"}),
        (
            "def f():\n  try: g()\n  except A: pass",
            "def f():\n  try: g()\n  except B: pass",
            {"body", "global A", "global B"},
        ),
        ("f = lambda: 1", "f = lambda: 2", {"body"}),
        ("f = lambda: [i for i in 'ab']", "f = lambda: [i for i in 'ac']", {"body"}),
        ("def f(): return k", "def f(): return k\nk = 1", {"global k"}),
        ("def f(): return len(k)\nk = 1", "def f(): return len(k)\nk = 1\ndef len(x): return 0", {"helper len"}),
        ("def f(x=1): pass", "def f(x=None): pass", {"default x"}),
        ("def f(x, y=1): pass", "def f(x, y=2): pass", {"default y"}),
        ("def f(*, x=1): pass", "def f(*, x=2): pass", {"default x"}),
        ("def f(): pass\nf.table = 1", "def f(): pass\nf.table = 2", {"attribute table"}),
        ("def f(): return h\nh = {'a': print}", "def f(): return h\nh = {'a': len}", {"global h"}),
        (
            "def g(): return 1\ndef f(): return h\nh = {'a': g}",
            "def g(): return 2\ndef f(): return h\nh = {'a': g}",
            {"helper g"},
        ),
        ("def f(): return g()\ndef g(): return 1", "def f(): return g()\ng = len", {"helper g", "global g"}),
        ("class M: k = 1\nm = M()\ndef f(): return m", "class M: k = 2\nm = M()\ndef f(): return m", {"class M"}),
        (
            "class M: pass\nm = M(); m.v = 1\ndef f(): return m",
            "class M: pass\nm = M(); m.v = 2\ndef f(): return m",
            {"global m"},
        ),
        (
            "import math\ndef f(): return math",
            "import cmath as math\ndef f(): return math",
            {"module math", "module cmath"},
        ),
        ("from math import sin as s\ndef f(): return s", "from math import cos as s\ndef f(): return s", {"global s"}),
        ("def f(): import math; return math.pi", "def f(): import cmath; return cmath.pi", {"body"}),
        ("def f():\n  'a'\n  return 'a'", "def f():\n  'b'\n  return 'b'", {"body"}),
        ("class f: k = 1", "class f: k = 2", {"body"}),
        (
            "import functools\nf = functools.partial(print, 1)",
            "import functools\nf = functools.partial(print, 2)",
            {"body"},
        ),
        (
            "class A:\n  @classmethod\n  def m(cls): return 1\nf = A.m",
            "class A:\n  @classmethod\n  def m(cls): return 2\nf = A.m",
            {"class A", "helper m"},
        ),
    ],
)
def test_a_change_is_named(before: str, after: str, named: set[str]) -> None:
    assert changed(before, after) == named


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def f(): return 1", "\n\ndef f():\n    # why\n    return (1)"),
        ("def f():\n  'a'\n  return 1", "def f():\n  'b'\n  return 1"),
        ("def f(): return f() + g()\ndef g(): return f()", "def g(): return f()\ndef f(): return f() + g()"),
        ("def f(): return h\nh = {'a': 1, 'b': 2}", "def f(): return h\nh = {'b': 2, 'a': 1}"),
        ("def f(): return k\nk = 1\nother = 2", "def f(): return k\nk = 1\nother = 3"),
        ("def g(): pass\ng.__name__ = 'f'\nf = g", "def f(): pass"),
    ],
)
def test_what_does_not_count(before: str, after: str) -> None:
    assert changed(before, after) == set()


def test_the_runner_counts() -> None:
    plain, run_by_bash = of("def f(): pass"), of("def f(): pass", runner=run)
    assert {label for label, _ in plain[1].items() ^ run_by_bash[1].items()} == {"runner"}
    assert len(plain[0]) == 16
    assert {len(part) for part in plain[1].values()} == {8}


def test_an_app_counts_with_its_function() -> None:
    notebook = Notebook()
    notebook.cell("def f(): return g(1)")
    found = []
    for body in ("x", "x + 1"):
        notebook.cell(f"def g(x): return {body}")
        notebook.names["g"] = python_app(notebook.names["g"])
        found.append(fingerprint(notebook.names["f"])[1])
    assert {label for label, _ in found[0].items() ^ found[1].items()} == {"app g"}


def test_versions_of_packages_count(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    source = "import numpy as np\nfrom numpy import zeros\ndef f(): return np, zeros"
    before = of(source)
    monkeypatch.setattr(np, "__version__", "0.1")
    after = of(source)
    assert {label for label, _ in before[1].items() ^ after[1].items()} == {"module numpy", "global zeros"}


def test_variable_without_identity_is_named() -> None:
    with pytest.raises(Unidentified, match=r"global lock: lock: cannot pickle '_thread.lock' object"):
        of("import threading\nlock = threading.Lock()\ndef f(): return lock")
    assert fingerprint(math.sqrt)[0] != fingerprint(math.cos)[0]


def test_a_function_without_fingerprint_is_known_by_a_digest_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook()
    notebook.cell("def f(): return thing")
    notebook.names["thing"] = Odd()
    pickled = notebook.app().current()
    assert (pickled.fingerprint, pickled.parts) == (b"", {})
    assert "no identity" in pickled.unknown
    monkeypatch.setattr(functions, "_UNKNOWN", b"another process")
    assert notebook.app().current().digest != pickled.digest
    with pytest.raises(Unidentified, match="no identity"):
        notebook.app().fingerprint()


class Odd:
    """Can be pickled, and has no identity."""

    def _parslab_identity(self, output_ref: bool, quick: bool) -> Any:
        raise Unidentified("it has no identity")


def test_lines_and_names_that_python_notes_in_a_class_do_not_count() -> None:
    """Python 3.13 stores both by code; here the code is made by hand."""
    source = "class C:\n  __firstlineno__ = {}\n  __static_attributes__ = {}\n  k = {}"
    one, other = (
        code_term(next(c for c in compile(source.format(*places, 5), "f", "exec").co_consts if hasattr(c, "co_code")))
        for places in [(1000, ("a", "b")), (2000, ("b", "a"))]
    )
    assert one == other
    kept = [
        code_term(next(c for c in compile(source.format(k, (), k), "f", "exec").co_consts if hasattr(c, "co_code")))
        for k in (1000, 2000)
    ]
    assert kept[0] != kept[1]


def test_imports_are_found_where_they_stand() -> None:
    source = "import a.b\nfrom j import *\ndef f():\n  from c import d, e\n  from . import g\n  from ..h import i"
    code = compile(source, "m", "exec")
    assert imported_names(code, "p.q") == ["a.b", "j", "c", "c.d", "c.e", "p.q", "p.q.g", "p.h", "p.h.i"]
    assert imported_names(code) == ["a.b", "j", "c", "c.d", "c.e"]


# --- modules beside the notebook -------------------------------------------------------------------------------------


class Folder:
    """Modules that are being edited; each version is another second's, as an editor would save it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved = 1_000_000_000

    def save(self, name: str, text: str) -> None:
        path = self.path / f"{name}.py"
        path.write_text(text)
        self._saved += 10
        os.utime(path, (self._saved, self._saved))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(functions, "_imported", {})
    before = set(sys.modules)
    workers.clear()
    yield Folder(tmp_path)
    for name in set(sys.modules) - before:
        del sys.modules[name]


def worker(function: AppFunction, *args: Any) -> Any:
    """What a worker makes of a call; it has modules of its own, and keeps them."""
    payload = function.current().payload
    kernel: dict[str, Any] = {name: sys.modules.pop(name) for name in ("edited", "deeper") if name in sys.modules}
    sys.modules.update(workers)
    try:
        return functions.load_function(payload)(*args)
    finally:
        for name in ("edited", "deeper"):
            workers.pop(name, None)
            if name in sys.modules:
                workers[name] = sys.modules.pop(name)
        sys.modules.update(kernel)


workers: dict[str, Any] = {}


WAYS = {
    "helper": "from edited import grow\ndef f(x): return grow(x)",
    "module": "import edited\ndef f(x): return edited.grow(x)",
    "captured": "import edited as m\ndef outer(m): return lambda x: m.grow(x)\nf = outer(m)",
    "held": "import edited\nways = [edited]\ndef f(x): return ways[0].grow(x)",
    "inside": "def f(x):\n  import edited\n  return edited.grow(x)",
    "from inside": "def f(x):\n  from edited import grow\n  return grow(x)",
}


@pytest.mark.parametrize("way", WAYS)
def test_an_edited_module_is_another_function_on_the_worker_too(folder: Folder, way: str) -> None:
    folder.save("deeper", "STEP = 1")
    folder.save("edited", "import deeper\ndef grow(x): return x + deeper.STEP")
    notebook = Notebook()
    notebook.cell(WAYS[way])
    function = notebook.app()
    first = function.current()
    assert worker(function, 1) == 2
    assert function.current() is first
    folder.save("deeper", "STEP = 10")
    second = function.current()
    assert {label for label, _ in first.parts.items() ^ second.parts.items()} == {"module deeper"}
    assert worker(function, 1) == 11
    folder.save("edited", "import deeper\n# a comment\ndef grow(x): return x + deeper.STEP")
    assert function.current().fingerprint == second.fingerprint


def test_a_function_of_an_edited_module(folder: Folder) -> None:
    folder.save("edited", "def grow(x): return x + 1")
    function = AppFunction(importlib.import_module("edited").grow)
    first = function.current()
    folder.save("edited", "def grow(x): return x + 2")
    second = function.current()
    assert first.payload != second.payload
    assert first.fingerprint != second.fingerprint
    assert {label for label, _ in first.parts.items() ^ second.parts.items()} == {"module edited"}


def test_a_half_written_module_counts_with_its_text(folder: Folder) -> None:
    folder.save("edited", "def grow(x): return x + 1")
    function = AppFunction(importlib.import_module("edited").grow)
    first = function.current()
    folder.save("edited", "def grow(x): return x +")
    assert function.current().fingerprint != first.fingerprint


def test_packages_count_with_the_parts_that_are_used(folder: Folder) -> None:
    (folder.path / "package").mkdir()
    folder.save("package/__init__", "")
    folder.save("package/one", "from . import two\nfrom .three import k\ndef grow(x): return x + two.STEP + k")
    folder.save("package/two", "STEP = 1")
    folder.save("package/three", "k = 1")
    folder.save("package/four", "k = 1")
    function = AppFunction(importlib.import_module("package.one").grow)
    labels = {label for label in function.current().parts if label.startswith("module")}
    assert labels == {"module package", "module package.one", "module package.two", "module package.three"}


def test_what_runs_here_runs_as_it_was_imported(folder: Folder) -> None:
    folder.save("edited", "def grow(x): return x + 1")
    module = importlib.import_module("edited")
    notebook = Notebook()
    notebook.cell(WAYS["module"])
    function = notebook.app()
    before = function.fingerprint()
    assert function.fingerprint() == before
    folder.save("edited", "def grow(x): return x + 2")
    between = function.fingerprint()
    importlib.reload(module)
    after = function.fingerprint()
    assert len({before, between, after}) == 3
    del sys.modules["edited"]
    notebook.cell(WAYS["module"])
    assert notebook.app().fingerprint() == after


def test_arguments_of_edited_modules_count_with_their_code(folder: Folder) -> None:
    folder.save("edited", "class Model:\n  rate = 1\ndef grow(x): return x")
    module = importlib.import_module("edited")
    things = (module, module.grow, module.Model, module.Model())
    before = [identify_arguments((value,), {}) for value in things]
    folder.save("edited", "class Model:\n  rate = 2\ndef grow(x): return x")
    after = [identify_arguments((value,), {}) for value in things]
    assert len({*before, *after}) == 8
    for thing in things:
        dependencies = ArgumentDependencies(lambda _: (0, None))
        pack_arguments((thing,), {}, dependencies, "fit")
        assert dependencies.needs_identity


def test_a_module_that_travels_by_value_counts_as_it_is(folder: Folder) -> None:
    import cloudpickle

    folder.save("edited", "step = 1\ndef grow(x): return x + step")
    module = importlib.import_module("edited")
    by_value(module)
    try:
        notebook = Notebook()
        notebook.cell(WAYS["module"])
        function = notebook.app()
        before = function.current()
        vars(module)["step"] = 2
        after = function.current()
        assert {label for label, _ in before.parts.items() ^ after.parts.items()} == {"module edited", "global step"}
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def test_many_files_are_looked_at_for_a_small_part_of_the_time(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    from parslab.serialize.code import captured_state, modules

    for number in range(20):
        folder.save(f"part{number}", "")
    folder.save("edited", "".join(f"import part{n}\n" for n in range(20)) + "def grow(x): return x + 1")
    function = AppFunction(importlib.import_module("edited").grow)
    now = [0.0]
    looked = []

    def stamp(path: str) -> Any:
        looked.append(now[0])
        now[0] += 0.05
        status = os.stat(path)
        return status.st_mtime_ns, status.st_size

    function.current()
    monkeypatch.setattr(captured_state, "perf_counter", lambda: now[0])
    monkeypatch.setattr(modules, "_stamp", stamp)
    for _ in range(100):
        function.current()
        now[0] += 1.0
    assert len(looked) <= 5 * 21


def test_a_fingerprint_is_made_once_for_each_change() -> None:
    notebook = Notebook()
    notebook.cell("def f(): return k\nk = 1")
    function = notebook.app()
    assert function.fingerprint() == function.current().fingerprint
    first = function.current()
    assert function.current() is first
    notebook.cell("k = 2")
    assert function.fingerprint() != first.fingerprint
    assert function.current().fingerprint == function.fingerprint()


def test_threads_may_ask_at_once() -> None:
    notebook = Notebook()
    notebook.cell("class C: pass\ndef f(): return C")
    function = notebook.app()
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(function.current().fingerprint)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {Fingerprint(notebook.names["f"]).digest}
    assert isinstance(notebook.names["f"], types.FunctionType)
