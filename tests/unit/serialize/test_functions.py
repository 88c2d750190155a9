"""Functions travel as they are at the moment of the call: whatever a cell changed, the next call sees."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import linecache
import re
import sys
import threading
import traceback
import tracemalloc
import types
import warnings
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy
import pytest

from parslab.app.decorators import python_app
from parslab.errors import NoDataFlowKernelError, SerializationError
from parslab.serialize import functions, import_path
from parslab.serialize.cells import cell_title
from parslab.serialize.failures import failure_of
from parslab.serialize.functions import AppFunction, load_function
from tests.unit.serialize.notebook import Notebook, on_worker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


def changes(notebook: Notebook, function: AppFunction, cell: str) -> bool:
    """Whether a cell makes the function another one; what nothing has changed is the very same pickle."""
    before = function.current()
    assert function.current() is before
    notebook.cell(cell)
    after = function.current()
    assert function.current() is after
    assert (after is before) == (after.digest == before.digest)
    return after is not before


# --- what the next call sees -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "change", "first", "then"),
    [
        ("k = 1\ndef f(): return k", "k = 2", 1, 2),
        ("def g(): return 1\ndef f(): return g()", "def g(): return 2", 1, 2),
        ("def h(): return 1\ndef g(): return h()\ndef f(): return g()", "def h(): return 2", 1, 2),
        ("xs = [1]\ndef f(): return xs", "xs.append(2)", [1], [1, 2]),
        ("d = {'a': [1]}\ndef f(): return d['a']", "d['a'].append(2)", [1], [1, 2]),
        ("ts = ([1],)\ndef f(): return ts[0]", "ts[0].append(2)", [1], [1, 2]),
        ("s = {1}\ndef f(): return s", "s.add(2)", {1}, {1, 2}),
        ("def f(): return [k for k in ks]\nks = (1,)", "ks = (1, 2)", [1], [1, 2]),
        ("def f():\n  def g():\n    return k\n  return g()\nk = 1", "k = 2", 1, 2),
        ("f = lambda: k\nk = 1", "k = 2", 1, 2),
        ("g = lambda: 1\ndef f(h=g): return h()", "g.__code__ = (lambda: 2).__code__", 1, 2),
        ("def f(xs=[1]): return xs", "f.__defaults__[0].append(2)", [1], [1, 2]),
        ("def f(x=1): return x", "f.__defaults__ = (2,)", 1, 2),
        ("def f(*, x=1): return x", "f.__kwdefaults__ = {'x': 2}", 1, 2),
        ("def f(*, x=[1]): return x", "f.__kwdefaults__['x'].append(2)", [1], [1, 2]),
        ("def f(): return f.table[0]\nf.table = [1]", "f.table = [2]", 1, 2),
        ("def f(): return g.table[0]\ndef g(): pass\ng.table = [1]", "g.table[0] = 2", 1, 2),
        ("def f(): return 1", "f.__code__ = (lambda: 2).__code__", 1, 2),
        ("class C:\n  def m(self): return 1\ndef f(): return C().m()", "C.m = lambda self: 2", 1, 2),
        ("class C:\n  pass\ndef f(): return getattr(C, 'k', 1)", "C.k = 2", 1, 2),
        ("def f(): return getattr(g, 'k', 1)\ndef g(): pass", "g.k = 2", 1, 2),
        ("class C:\n  k = 1\ndef f(): return C.k", "class C:\n  k = 2", 1, 2),
        ("class B:\n  k = 1\nclass C(B): pass\ndef f(): return C.k", "B.k = 2", 1, 2),
        ("class C:\n  @staticmethod\n  def m(): return k\ndef f(): return C.m()\nk = 1", "k = 2", 1, 2),
        ("class C:\n  @property\n  def p(self): return k\ndef f(): return C().p\nk = 1", "k = 2", 1, 2),
        ("class C:\n  def __init__(self): self.v = 1\nc = C()\ndef f(): return c.v", "c.v = 2", 1, 2),
        ("def outer():\n  n = 1\n  def g(): return n\n  def s(v):\n    nonlocal n\n    n = v\n  return g, s\n"
         "f, s = outer()", "s(2)", 1, 2),
        ("def outer(xs):\n  return lambda: xs\nxs = [1]\nf = outer(xs)", "xs.append(2)", [1], [1, 2]),
        ("import functools\ndef g(a, b): return a + b + k\nf = functools.partial(g, 1, 0)\nk = 0", "k = 1", 1, 2),
        ("class C:\n  def m(self): return self.v\nc = C()\nc.v = 1\nf = c.m", "c.v = 2", 1, 2),
    ],
    ids=lambda value: value.splitlines()[0][:24] if isinstance(value, str) else None,
)  # fmt: skip
def test_the_next_call_sees_a_change(notebook: Notebook, before: str, change: str, first: Any, then: Any) -> None:
    notebook.cell(before)
    function = notebook.app()
    assert on_worker(function)() == first
    assert changes(notebook, function, change)
    assert on_worker(function)() == then


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ("def f(): return 1", "other = 2"),
        ("k = 1\ndef f(): return k", "k = 1"),
        ("def f(k): return k\nk = 1", "k = 2"),
        ("import math\ndef f(): return math.pi", "math.tau"),
        ("xs = [1]\ndef f(): return xs", "xs.append(2); xs.pop()"),
        ("xs = [1]\ndef f(): return xs", "xs = [1]"),
    ],
)
def test_what_does_not_matter_changes_nothing(notebook: Notebook, before: str, change: str) -> None:
    notebook.cell(before)
    assert not changes(notebook, notebook.app(), change)


def test_a_global_that_is_defined_later(notebook: Notebook) -> None:
    notebook.cell("def f(): return later()")
    function = notebook.app()
    with pytest.raises(NameError, match="later"):
        on_worker(function)()
    assert changes(notebook, function, "def later(): return 3")
    assert on_worker(function)() == 3


def test_a_global_that_is_deleted(notebook: Notebook) -> None:
    notebook.cell("k = 1\ndef f(): return k")
    function = notebook.app()
    assert changes(notebook, function, "del k")
    with pytest.raises(NameError, match="k"):
        on_worker(function)()


def test_a_builtin_that_is_shadowed(notebook: Notebook) -> None:
    notebook.cell("def f(): return len('abc')")
    function = notebook.app()
    assert on_worker(function)() == 3
    assert changes(notebook, function, "def len(x): return 42")
    assert on_worker(function)() == 42


def test_a_captured_variable_that_has_no_value_yet(notebook: Notebook) -> None:
    """The census stopped with 'Cell is empty' where plain Python only fails if the variable is used."""
    notebook.cell(
        "def outer():\n  def f(): return helper()\n  yield f\n  def helper(): return 5\n  yield f\n"
        "steps = outer()\nf = next(steps)"
    )
    function = notebook.app()
    with pytest.raises(NameError, match="helper"):
        on_worker(function)()
    assert changes(notebook, function, "next(steps)")
    assert on_worker(function)() == 5


def test_recursion_and_mutual_recursion(notebook: Notebook) -> None:
    notebook.cell("def f(n): return 1 if n < 2 else n * f(n - 1)")
    assert on_worker(notebook.app())(5) == 120
    notebook.cell("def f(n): return n == 0 or g(n - 1)\ndef g(n): return n != 0 and f(n - 1)")
    assert on_worker(notebook.app())(10) is True


def test_functools_wraps(notebook: Notebook) -> None:
    notebook.cell(
        "import functools\n"
        "def twice(g):\n  @functools.wraps(g)\n  def inner(*a): return 2 * g(*a)\n  return inner\n"
        "@twice\ndef f(x): return x + k\nk = 1"
    )
    function = notebook.app()
    assert on_worker(function)(3) == 8
    assert changes(notebook, function, "k = 2")
    assert on_worker(function)(3) == 10


def test_importable_functions_go_by_name() -> None:
    function = AppFunction(functools.reduce)
    assert len(function.current().payload) < 200
    assert on_worker(function)(lambda a, b: a + b, [1, 2, 3]) == 6


def test_objects_with_strange_attributes_are_only_pickled(notebook: Notebook) -> None:
    """The census asked every global for `__wrapped__`, and some objects take offence."""
    notebook.cell(
        "class Touchy:\n  def __getattr__(self, name):\n    if name.startswith('__'): raise KeyError(name)\n"
        "    raise AttributeError(name)\n  def __reduce__(self): return (Touchy, ())\nt = Touchy()\n"
        "def f(): return type(t).__name__"
    )
    assert on_worker(notebook.app())() == "Touchy"


# --- runners, names, sources -----------------------------------------------------------------------------------------


def runner(function: Any, *args: Any, **kwargs: Any) -> Any:
    return "run", function(*args, **kwargs)


def test_a_runner_calls_the_function_on_the_worker(notebook: Notebook) -> None:
    notebook.cell("def f(a, b=0): return a + b")
    function = notebook.app(runner=runner)
    assert on_worker(function)(1, b=2) == ("run", 3)


def test_names() -> None:
    assert AppFunction(len).name == "len"
    assert AppFunction(functools.partial(len)).name == "partial"
    assert AppFunction(len, name="size").name == "size"


def test_the_same_function_has_the_same_digest(notebook: Notebook) -> None:
    notebook.cell("def f(): return 1")
    assert notebook.app().current().digest == notebook.app().current().digest


def test_a_worker_knows_the_source_of_cells(notebook: Notebook) -> None:
    notebook.cell("def helper(x):\n    return 1 / x\n\ndef f(x):\n    return helper(x)  # here\n")
    payload = notebook.app().current().payload
    for name in [name for name in linecache.cache if name.startswith("<ipython-input")]:
        del linecache.cache[name]  # a worker has never seen them
    with pytest.raises(ZeroDivisionError) as raised:
        load_function(payload)(0)
    text = "".join(traceback.format_exception(raised.value))
    assert "return helper(x)  # here" in text
    assert "return 1 / x" in text


def test_tracebacks_name_the_cell_as_the_notebook_does(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook.cell("def f(x):\n    return 1 / x\n")
    filename = notebook.names["f"].__code__.co_filename
    numbers = {filename: 7}

    class Compiler:
        def format_code_name(self, name: str) -> tuple[str, str] | None:
            return ("Cell", f"In[{numbers[name]}]") if name in numbers else None

    shell = types.SimpleNamespace(initialized=lambda: True, instance=lambda: types.SimpleNamespace(compile=Compiler()))
    ipython = types.SimpleNamespace(InteractiveShell=shell)
    monkeypatch.setitem(sys.modules, "IPython.core.interactiveshell", ipython)
    payload = notebook.app().current().payload
    assert cell_title(filename) == "In [7]"
    assert cell_title(__file__) == ""
    monkeypatch.delitem(sys.modules, "IPython.core.interactiveshell")  # a worker has none
    monkeypatch.delitem(linecache.cache, filename)
    with pytest.raises(ZeroDivisionError) as raised:
        load_function(payload)(0)
    text = failure_of(raised.value).traceback
    assert "Cell In [7], line 2, in f\n    return 1 / x" in text
    assert filename not in text
    assert f'File "{__file__}", line' in text


def test_an_app_inside_a_function_says_that_it_cannot_be_called_there(notebook: Notebook) -> None:
    notebook.cell("def inner(): return 1\ndef f(): return g()")
    notebook.names["g"] = python_app(notebook.names["inner"])
    with pytest.raises(NoDataFlowKernelError, match="inner was called inside a task"):
        on_worker(notebook.app())()


# --- what cannot travel ----------------------------------------------------------------------------------------------


def test_a_global_that_cannot_travel_is_named(notebook: Notebook) -> None:
    notebook.names["lock"] = threading.Lock()
    notebook.cell("def g(): return lock\ndef f(): return g()")
    with pytest.raises(
        SerializationError, match=r"global 'lock' \(lock\), which app f uses, .*cannot pickle"
    ) as raised:
        notebook.app().current()
    assert isinstance(raised.value.__cause__, TypeError)


def test_a_captured_variable_that_cannot_travel_is_named(notebook: Notebook) -> None:
    notebook.cell("import threading\ndef outer():\n  lock = threading.Lock()\n  return lambda: lock\nf = outer()")
    with pytest.raises(SerializationError, match="captured variable 'lock'"):
        notebook.app().current()


def test_it_travels_again_once_the_culprit_is_gone(notebook: Notebook) -> None:
    notebook.names["k"] = threading.Lock()
    notebook.cell("def f(): return k")
    function = notebook.app()
    for _ in range(2):
        with pytest.raises(SerializationError):
            function.current()
    notebook.cell("k = 7")
    assert on_worker(function)() == 7


def test_a_default_that_cannot_travel(notebook: Notebook) -> None:
    notebook.cell("import threading\ndef f(lock=threading.Lock()): return 1")
    with pytest.raises(SerializationError, match="app f cannot be sent to a worker: TypeError"):
        notebook.app().current()


# --- modules that travel by value ------------------------------------------------------------------------------------


def test_a_module_registered_to_go_by_value(
    notebook: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "edited_beside.py"
    file.write_text("SCALE = 1\ndef helper(): return SCALE\ndef compute(): return helper()\n")
    module = importlib.import_module("edited_beside")
    cloudpickle.register_pickle_by_value(module)
    try:
        notebook.cell("import edited_beside\ndef f(): return edited_beside.compute()")
        direct, through = AppFunction(module.compute), notebook.app()
        for function in (direct, through):
            assert function.current() is function.current()
        old = direct.current(), through.current()
        assert on_worker(direct)() == 1
        file.write_text("SCALE = 22\ndef helper(): return SCALE + 1\ndef compute(): return helper()\n")
        importlib.reload(module)
        assert on_worker(AppFunction(module.compute))() == 23
        assert through.current().digest != old[1].digest
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        del sys.modules["edited_beside"]


# --- large globals ---------------------------------------------------------------------------------------------------


def test_a_large_global_is_named_once_in_a_warning(notebook: Notebook) -> None:
    notebook.names |= {"big": numpy.ones(10**6), "text": "x" * 5_000_000, "fixed": numpy.ones(10**6), "small": [1]}
    notebook.names["fixed"].flags.writeable = False
    notebook.cell("def f(): return big, text, fixed, small")
    function = notebook.app()
    with pytest.warns(UserWarning, match="as an argument") as warned:
        function.current()
    texts = sorted(str(warning.message) for warning in warned)
    assert [text.partition(". ")[0] for text in texts] == [
        "App f uses global 'big' of 8 MB",
        "App f uses global 'fixed' of 8 MB",
        "App f uses global 'text' of 5 MB",
    ]
    assert all("Pass it to the app as an argument." in text for text in texts)
    assert {warning.filename for warning in warned} == {__file__}
    notebook.names["big"][0] = 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert on_worker(function)()[0][0] == 2


def test_an_unchanged_array_is_neither_pickled_nor_copied(notebook: Notebook) -> None:
    """Each call made a pickle of it: 3 s a call for 320 MB."""
    notebook.names["big"] = [numpy.ones((200, 1000)), numpy.ones((1000, 200)).T]
    notebook.cell("def f(): return big")
    function = notebook.app()
    pickled = function.current()
    tracemalloc.start()
    try:
        assert function.current() is pickled
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    notebook.names["big"][1][7, 7] = 3
    assert function.current() is not pickled
    assert on_worker(function)()[1][7, 7] == 3


def test_an_unchanged_array_is_not_hashed_again(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call hashed it: 0.17 s a call for 80 MB."""
    notebook.names |= {
        "big": {"ones": numpy.ones(20_000), "again": numpy.ones(20_000), "small": numpy.ones(10)},
        "lines": numpy.arange(40_000.0).reshape(200, 200).T,
        "fixed": numpy.frombuffer(bytearray(100_000), numpy.uint8),
    }
    notebook.cell("def f(): return big, lines, fixed")
    function = notebook.app()
    pickled = function.current()
    hashed: list[int] = []
    original = hashlib.blake2b

    class Counting:
        def __init__(self, data: Any, **options: Any) -> None:
            self._hash = original(data, **options)
            hashed.append(len(data))

        def update(self, data: Any) -> None:
            self._hash.update(data)
            hashed.append(len(data))

        def digest(self) -> bytes:
            return self._hash.digest()

    monkeypatch.setattr(hashlib, "blake2b", Counting)
    assert function.current() is pickled
    assert 0 < sum(hashed) < 5000


@pytest.mark.parametrize("place", [0, 1, 9_999, 10_000, 19_998, 19_999])
@pytest.mark.parametrize("name", ["one", "two", "small"])
def test_a_change_of_any_item_of_an_array_is_noticed(notebook: Notebook, name: str, place: int) -> None:
    arrays = {"one": numpy.ones(20_000), "two": numpy.ones((100, 200)).T, "small": numpy.ones(100)}
    notebook.names["arrays"] = arrays
    notebook.cell("def f(): return arrays")
    function = notebook.app()
    pickled = function.current()
    assert function.current() is pickled
    array = arrays[name]
    place %= array.size
    array.flat[place] = 2
    changed = function.current()
    assert changed is not pickled
    assert on_worker(function)()[name].flat[place] == 2
    array.flat[place] = 1
    assert function.current() is not changed
    assert on_worker(function)()[name].flat[place] == 1


def test_an_array_that_becomes_another_kind_of_array_is_noticed(notebook: Notebook) -> None:
    """The bytes of its buffer stay the same."""
    array = notebook.names["array"] = numpy.zeros((100, 200))
    notebook.cell("def f(): return array")
    function = notebook.app()
    for change in (("shape", (200, 100)), ("dtype", numpy.int64)):
        pickled = function.current()
        assert function.current() is pickled
        setattr(array, *change)
        assert function.current() is not pickled
    found = on_worker(function)()
    assert (found.shape, found.dtype) == ((200, 100), numpy.int64)


def test_an_array_that_changes_while_it_is_pickled_is_noticed(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may do so: the next call must send the new value."""
    array = notebook.names["array"] = numpy.zeros(20_000)
    notebook.cell("def f(): return array")
    function = notebook.app()
    original = functions.dumps_with_places  # type: ignore[attr-defined]

    def interfere(value: Any) -> Any:
        made = original(value)
        array[5] += 1
        return made

    monkeypatch.setattr(functions, "dumps_with_places", interfere)
    function.current()
    monkeypatch.undo()
    assert on_worker(function)()[5] == 1


# --- sys.path --------------------------------------------------------------------------------------------------------


def test_workers_follow_the_import_path(notebook: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = importlib.util.find_spec("numpy").submodule_search_locations[0].removesuffix("numpy")  # type: ignore[union-attr,index]
    monkeypatch.chdir(tmp_path)
    for name in ("first", "last"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "path", [installed])
    notebook.cell("def f(): return 1")
    function = notebook.app()
    before = function.current()
    sys.path.insert(0, "first")
    sys.path.append("last")
    after = function.current()
    assert after is not before
    assert function.current() is after
    monkeypatch.setattr(sys, "path", ["theirs", installed])
    for _ in range(2):
        assert load_function(after.payload)() == 1
        assert sys.path == [str(tmp_path / "first"), "theirs", installed, str(tmp_path / "last")]


def test_a_folder_that_a_worker_does_not_have_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_path, "_absent", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    import_path.follow(import_path.ImportPath([str(tmp_path), str(tmp_path / "lib")], []))
    error = ModuleNotFoundError("No module named 'mod'", name="mod")
    for _ in range(2):
        import_path.explain_missing(error)
        assert re.fullmatch(
            rf"No module named 'mod' \(the notebook also imports from {tmp_path}/lib, which host \S+ does not have\)",
            str(error),
        )
    (tmp_path / "lib").mkdir()
    other = ModuleNotFoundError("No module named 'x'")
    import_path.explain_missing(other)
    assert str(other) == "No module named 'x'"
