"""What a cell reads and assigns; the answers are checked against what really happens when it runs."""

from __future__ import annotations

import ast
import builtins
import sys

import pytest

from parslab.jupyter.cells import names_of, shell_calls

# (source, names read by the flow, names read later, assigned, otherwise bound)
CASES = [
    ("x = 1\ny = x", "", "", "x y", ""),
    ("x = x + 1", "x", "", "x", ""),
    ("x += 1", "x", "", "x", ""),
    ("x: int = 1\ny: T", "", "int T", "x", ""),
    ("a, (b, *c) = f()", "f", "", "a b c", ""),
    ("a.b = c\nd[e] = g", "c a g d e", "", "", ""),
    ("if c:\n x = 1\nelse:\n x = 2\nx", "c", "", "x", ""),
    ("if c:\n x = 1\nx", "c x", "", "x", ""),
    ("if c:\n x = 1\nelse:\n raise E\nx", "c E", "", "x", ""),
    ("for i in xs:\n t = i\ni, t", "xs i t", "", "t", "i"),
    ("for i in xs: pass\nelse:\n t = 1\nt", "xs t", "", "t", "i"),
    ("while c:\n x = 1\nx", "c x", "", "x", ""),
    ("[a * k for a in A for b in a if b if k]", "A k", "", "", ""),
    ("{k: v for k, v in d.items()}", "d", "", "", ""),
    ("[(w := q) for q in xs]\nw", "xs w", "", "w", ""),
    ("(y := f(x)) + y", "f x", "", "y", ""),
    ("a and (z := b)\nz", "a b z", "", "z", ""),
    ("f'{x!r:{w}}'", "x w", "", "", ""),
    ("g = (lambda i: i * j for i in I)", "I", "j", "g", ""),
    ("[lambda: i for i in I]", "I", "", "", ""),
    ("h = lambda q=d, *a: q + a + W", "d", "W", "h", ""),
    ("def f(a, b=d, *r: A) -> R:\n c = a\n return c + K + f(1)\nf(1)", "d", "A K R f", "f", ""),
    ("def f():\n global G\n G = H\nf()", "", "H", "G f", ""),
    ("def f():\n def g():\n  return x + y\n x = 1\n return g", "", "y", "f", ""),
    ("@deco\nasync def f(): pass", "deco", "", "f", ""),
    ("class A(B, metaclass=M):\n z = q\n w = z\n def m(self): return z + self.a\na = A()", "B M q", "z", "A a", ""),
    ("try:\n x = f()\nexcept E as e:\n e\nx, e", "f E x e", "", "x", "e"),
    ("try:\n x = f()\nexcept E as e:\n raise\nx", "f E", "", "x", "e"),
    ("try:\n x = 1\nfinally:\n y = 2\nx, y", "", "", "x y", ""),
    ("with open(p) as f, g() as (h, [i]):\n d = f.read(h, i)", "open p g", "", "d", "f h i"),
    ("import numpy as np, os.path\nfrom a import b as c\nnp, os, c", "", "", "", "np os c"),
    ("from m import *\nfoo", "foo", "", "", ""),
    ("del x\nx", "x", "", "", ""),
    ("x = 1\ndel x", "", "", "", "x"),
    ("x = 1 if c else d", "c d", "", "x", ""),
    ("assert c, m", "c m", "", "", ""),
    (
        "match v:\n case [a, *r]: z = a\n case {K.k: kk, **m}: z = m\n case P(x=xx) if g: z = xx\n case o: z = r\nz",
        "v K P g r",
        "",
        "z",
        "a r kk m xx o",
    ),
    ("match v:\n case 1: z = 1\nz", "v z", "", "z", ""),
]


@pytest.mark.parametrize(("source", "reads", "later", "assigned", "bound"), CASES)
def test_names(source: str, reads: str, later: str, assigned: str, bound: str) -> None:
    names = names_of(ast.parse(source))
    assert list(names.reads) == reads.split()
    assert names.later == set(later.split())
    assert sorted(names.assigned) == sorted(assigned.split())
    assert names.bound - set(names.assigned) == set(bound.split())
    assert names.certain <= names.bound


# (source, names that must have a value before the cell, names that perhaps need one)
PERHAPS = [
    ("if c:\n x = 1\nx", "c", "x"),
    ("if c:\n x = 1\nelse:\n x", "c x", ""),
    ("if c:\n x\nx = 1", "c x", ""),
    ("for i in xs:\n part = f(i)\npart", "xs f", "part"),
    ("for i in xs:\n part = f(i)\n out.append(part)\nraise E", "xs f out E", ""),
    ("for i in xs:\n total = total + i", "xs total", ""),
    ("for i in xs:\n total += i", "xs total", ""),
    ("for i in xs:\n if i:\n  use(prev)\n prev = i", "xs use", "prev"),
    ("for i in xs:\n for j in i:\n  if j:\n   use(prev)\n prev = i", "xs use", "prev"),
    ("while c:\n x = 1\nelse:\n x", "c", "x"),
    ("try:\n x = f()\nexcept E:\n x", "f E", "x"),
    ("try:\n x = f()\nfinally:\n x", "f", "x"),
    ("try:\n f()\nexcept E:\n x = 1\nelse:\n x = 2\nx", "f E", ""),
    ("try:\n y\nfinally:\n x = 1\nx, y", "y", ""),
    ("with suppress(E):\n x = f()\nx", "suppress E f", "x"),
    ("with contextlib.suppress(E):\n x = f()\nx", "contextlib E f", "x"),
    ("with open(p) as g:\n x = g.read()\nx", "open p", ""),
    ("if c:\n del x\nx = 1\nx", "c x", ""),
    ("x = 1\nif c:\n del x\nx", "c", "x"),
    ("del x\nx", "x", ""),
    ("if c:\n x = 1\nx += 1", "c", "x"),
    ("x += 1\nif c:\n x = 1\nx", "x c", ""),
    ("[x := i for i in xs]\nx", "xs", "x"),
    ("a < (y := b) < (z := d)\ny, z", "a b d", "z"),
    ("a and (z := b) and z\nz", "a b", "z"),
    ("y = (z := 1) if c else 2\nz", "c", "z"),
    ("match v:\n case 1: z = 1\nz", "v", "z"),
    ("if c:\n x = 1\nx\nfor i in xs:\n print(x)", "c xs print", "x"),
]


@pytest.mark.parametrize(("source", "needed", "perhaps"), PERHAPS)
def test_names_that_the_cell_has_bound_on_some_path(source: str, needed: str, perhaps: str) -> None:
    names = names_of(ast.parse(source))
    assert names.perhaps == set(perhaps.split())
    assert set(names.reads) - names.perhaps == set(needed.split())


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("df.query('a > @limit and b < @top.x')", "limit top"),
        ("df.eval(f'c = a * {k} + @shift')", "shift"),
        ("eval('x + 1'); exec('y = z')", "x y z"),
        ("def f(d):\n return d.query('a > @limit')", "limit"),
        ("db.query('select @a from t')", "a"),
        ("eval(text); df.query(text); eval('1 +')", ""),
        ("mail('me@home')", ""),
    ],
)
def test_names_in_strings_of_code(source: str, found: str) -> None:
    assert names_of(ast.parse(source)).later == set(found.split())


def test_imports_of_the_top_level() -> None:
    names = names_of(ast.parse("import a.b as c, d\nfrom e import *\nif x:\n    import f\ndef g():\n    import h"))
    assert [ast.unparse(node) for node in names.imports] == ["import a.b as c, d", "from e import *"]


def test_many_loops_in_loops_are_analysed_at_once() -> None:
    source = "".join(f"{' ' * n}for i{n} in x{n}:\n" for n in range(19)) + " " * 19 + "y = 1"
    names_of(ast.parse(source))


def test_places_are_those_of_the_first_use() -> None:
    node = names_of(ast.parse("a = 1\nb = (a,\n   missing)\nmissing")).reads["missing"]
    assert (node.lineno, node.col_offset) == (3, 3)


def test_what_is_certain_at_the_end() -> None:
    names = names_of(ast.parse("a = 1\nif a:\n    b = 2\nfor c in []: pass\nimport d\ndel a"))
    assert names.certain == {"d"}
    assert names.outputs() == ("b",)


def test_private_names_are_no_outputs() -> None:
    assert names_of(ast.parse("_a = 1\nb = 2")).outputs() == ("b",)


def test_only_functions_of_the_top_level_can_be_apps() -> None:
    names = names_of(ast.parse("def f(): pass\nif True:\n    def g(): pass\nasync def h(): pass\nclass C: pass"))
    assert names.functions == ["f"]


def test_lines_that_need_the_shell() -> None:
    assert list(shell_calls(ast.parse("x = 1\nget_ipython().system('ls')"))) == [2]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
def test_type_parameters_and_aliases() -> None:
    names = names_of(ast.parse("def f[T](x: T) -> U: return x\nclass C[S](B[S]): pass\ntype A = list[V]"))
    assert list(names.reads) == ["B"]
    assert names.later == {"U", "V", "list"}
    assert list(names.assigned) == ["f", "C", "A"]


@pytest.mark.parametrize(
    "source",
    [
        "y = [a * k for a in A for k in B]",
        "for i in A:\n    t = i\nz = t",
        "x = A\nx += B\ny = x",
        "if A:\n    y = B\nelse:\n    y = C\nz = y",
        "try:\n    y = A[7]\nexcept IndexError as e:\n    y = [B, e]\nz = y",
        "class K:\n    p = A\n    q = [p, B]\n    def m(self): return C\nz = K().m()",
        "(w := A) and B\nv = w",
        "def f(n=A):\n    return f([]) if n else B\nz = f()",
        "del A\nz = B",
        "z = sorted(A, key=lambda i: i * B[0])",
    ],
)
def test_a_cell_runs_with_nothing_but_what_it_reads(source: str) -> None:
    names = names_of(ast.parse(source))
    needed = set(names.reads) | names.later - names.certain
    namespace = {name: [1] for name in needed if not hasattr(builtins, name)}
    exec(source, namespace)
    assert needed - set(dir(builtins)) <= {"A", "B", "C"} | names.bound
    assert set(names.assigned) <= set(namespace)
