"""[pure] Find the names that a notebook cell reads and assigns, from its syntax tree alone.

``celltask`` calls this for ``%%parsl`` cells. A name is *read* when the cell may use it before the cell has certainly
bound it: ``x = 1; print(x)`` reads only ``print``, and ``x += 1`` reads ``x``. If one branch of an ``if`` binds a name,
later code reads it *perhaps*: on the other path the cell uses its own value. Python looks up the names in the body of a
function when the function is called, so they are counted separately.

Invariants: ``certain`` is a subset of ``bound``, ``perhaps`` of ``reads``. Scopes of comprehensions and classes,
arguments and type parameters never appear as read or bound.
"""

from __future__ import annotations

import ast
import contextlib
import re
import symtable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["CellNames", "names_of", "shell_calls"]

Function = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass
class CellNames:
    """The names of a cell."""

    reads: dict[str, ast.Name] = field(default_factory=dict)
    """Read by the cell's own flow, with the first place of each; in the order of these places."""
    perhaps: set[str] = field(default_factory=set)
    """Those of the names read that the cell itself may have bound at every place where it reads them."""
    later: set[str] = field(default_factory=set)
    """Read in bodies of functions that the cell defines, or in strings for ``eval``, ``exec`` or ``query``."""
    assigned: dict[str, None] = field(default_factory=dict)
    """Bound by assignment, ``def`` or ``class``, in order: the outputs of a cell."""
    bound: set[str] = field(default_factory=set)
    """Bound in any way: also imported, loop variables, ``with ... as``, ``except ... as``, patterns."""
    certain: set[str] = field(default_factory=set)
    """Bound on every path on which the cell ends without an exception."""
    functions: list[str] = field(default_factory=list)
    """Functions defined at the top level, in order."""
    unknown_bound: bool = False
    """Whether ``from ... import *`` is among the statements."""
    imports: list[ast.Import | ast.ImportFrom] = field(default_factory=list)
    """Import statements at the top level, in order."""

    def outputs(self) -> tuple[str, ...]:
        """Return the default outputs: assigned names that are not private."""
        return tuple(name for name in self.assigned if not name.startswith("_"))


def names_of(tree: ast.Module) -> CellNames:
    """Analyse a cell.

    Examples
    --------
    >>> names = names_of(ast.parse("y = [x * k for k in range(n)]; total = sum(y)"))
    >>> list(names.reads), list(names.assigned)
    (['range', 'n', 'x', 'sum'], ['y', 'total'])
    """
    names = CellNames()
    flow = _Flow(names)
    flow.block(tree.body)
    names.certain = flow.certain & names.bound
    names.perhaps -= flow.needed
    names.imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names.functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return names


def shell_calls(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that call ``get_ipython()``, which IPython puts in place of ``%magic`` and ``!command``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "get_ipython":
            yield node.lineno


class _Flow(ast.NodeVisitor):
    """Walks over statements in the order of execution.

    At each point, ``certain`` holds the names that the cell has bound on every path to that point.  ``possible`` holds
    those that it has bound on some path.
    """

    def __init__(self, names: CellNames, searching: bool = False) -> None:
        self.names = names
        self.certain: set[str] = set()
        self.possible: set[str] = set()
        self.needed: set[str] = set()
        """Names read at a point where the cell cannot have bound them."""
        self.in_loop: set[str] = set()
        """Names that the loops around this point bind, and that may be bound from the second round on."""
        self.conditional = False
        """Whether this point is in a branch of the innermost loop, or of the cell."""
        self.searching = searching
        """Whether this walk only looks for the names that a loop binds."""
        self.local: list[set[str]] = []
        """Scopes of comprehensions and classes, the innermost last; their names hide those of the cell."""
        self.in_class = 0

    # ----- names

    def read(self, node: ast.Name) -> None:
        name = node.id
        if name in self.certain or any(name in scope for scope in self.local):
            return
        self.names.reads.setdefault(name, node)
        if name in self.possible or (self.conditional and name in self.in_loop):
            self.names.perhaps.add(name)
        else:
            self.needed.add(name)

    def bind(self, name: str, assigned: bool = True) -> None:
        if self.in_class:
            self.local[-1].add(name)
            return
        self.certain.add(name)
        self.possible.add(name)
        self.names.bound.add(name)
        if assigned:
            self.names.assigned.setdefault(name)

    def bind_targets(self, target: ast.AST, assigned: bool) -> None:
        """Bind the names of a target. An object that is indexed, or whose attribute is set, is read."""
        for node in _targets(target):
            if isinstance(node, ast.Name):
                self.bind(node.id, assigned)
            else:
                self.visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.read(node)
        elif isinstance(node.ctx, ast.Store):
            self.bind(node.id)
        else:  # ``del``: the name must exist, and does not exist afterwards
            self.read(node)
            self.certain.discard(node.id)
            self.possible.discard(node.id)
            self.names.assigned.pop(node.id, None)

    # ----- simple statements

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.bind_targets(target, True)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        # Unlike in a plain assignment, Python reads the target before it evaluates the value.
        if isinstance(node.target, ast.Name):
            self.read(ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target))
        self.visit(node.value)
        self.bind_targets(node.target, True)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.deferred([node.annotation])
        if node.value is not None:
            self.visit(node.value)
            self.bind_targets(node.target, True)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.names.bound.add(node.target.id)
        self.names.assigned.setdefault(node.target.id)
        self.certain.add(node.target.id)
        self.possible.add(node.target.id)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.bind(alias.asname or alias.name.partition(".")[0], assigned=False)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.names.unknown_bound = True
            else:
                self.bind(alias.asname or alias.name, assigned=False)

    def visit_Global(self, node: ast.Global) -> None:
        """Do nothing: at the top level the statement has no effect."""

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        self.names.later |= _names_in_string(node)

    # ----- code that may or may not run

    def branch(self, *parts: ast.AST) -> _State | None:
        """Walk over ``parts``, which may not run; return the state at their end, or None if the end is unreachable."""
        before = set(self.certain), set(self.possible), self.conditional
        self.conditional = True
        alive = self.block(parts)
        after = self.certain, self.possible
        self.certain, self.possible, self.conditional = before
        return after if alive else None

    def block(self, statements: Iterable[ast.AST]) -> bool:
        """Walk over statements in order; return whether their end can be reached."""
        alive = True
        for statement in statements:
            self.visit(statement)
            if isinstance(statement, (ast.Raise, ast.Return, ast.Continue, ast.Break)):
                alive = False
        return alive

    def join(self, *ends: _State | None) -> None:
        """Combine branches: a name is certain if it is so at all their ends, possible if it is so at any end."""
        arriving = [end for end in ends if end is not None]
        if arriving:
            self.certain = set.intersection(*(certain for certain, _ in arriving))
            self.possible = set.union(self.possible, *(possible for _, possible in arriving))

    def optional(self, *parts: ast.AST) -> None:
        """Walk over ``parts``, which may not run or may end early, so the names that they bind are only possible."""
        outer, before = self.conditional, set(self.certain)
        self.conditional = True
        self.block(parts)
        self.certain, self.conditional = before & self.certain, outer

    def loop(self, *body: ast.AST, target: ast.AST | None = None) -> None:
        """Walk over the body of a loop, which may be executed several times, or not at all."""
        outer = self.in_loop, self.conditional, set(self.certain)
        # From the second round on, the body may read names that it binds itself, so a first walk looks for these.  That
        # walk does not search again, or each level of nested loops would double the time.
        if not self.searching:
            search = _Flow(CellNames(), searching=True)
            search.block(body)
            self.in_loop = self.in_loop | search.names.bound
        self.conditional = False
        if target is not None:
            self.bind_targets(target, False)
        self.block(body)
        self.in_loop, self.conditional, certain = outer
        self.certain = certain & self.certain

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.join(self.branch(*node.body), self.branch(*node.orelse))

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self.join(self.branch(node.body), self.branch(node.orelse))

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        # The first operand always runs; it may decide the result, and then the others do not run.
        self.visit(node.values[0])
        self.optional(*node.values[1:])

    def visit_Compare(self, node: ast.Compare) -> None:
        self.visit(node.left)
        # ``a < b < c`` does not evaluate ``c`` if ``a < b`` is false.
        self.visit(node.comparators[0])
        self.optional(*node.comparators[1:])

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self.loop(*node.body, target=node.target)
        self.optional(*node.orelse)

    visit_AsyncFor = visit_For

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self.loop(*node.body)
        self.optional(*node.orelse)

    def visit_Try(self, node: ast.Try) -> None:
        before = set(self.certain)
        ends = [self.branch(*node.body, *node.orelse)]
        # A handler may begin after any statement of the body, so all names of the body are possible there.
        search = _Flow(CellNames(), searching=True)
        search.block(node.body)
        self.possible |= search.names.bound
        for handler in node.handlers:
            self.certain = set(before)
            if handler.type is not None:
                self.visit(handler.type)
            if handler.name:
                self.bind(handler.name, assigned=False)
            end = self.branch(*handler.body)
            # Python deletes the name of ``except ... as name`` at the end of the handler.
            ends.append(None if end is None else (end[0] - {handler.name or ""}, end[1]))
        self.certain = set(before)
        self.join(*ends)
        ended = self.certain
        self.certain = before & ended  # "finally" also runs when an exception leaves the body
        self.block(node.finalbody)
        self.certain |= ended - (before - self.certain)

    visit_TryStar = visit_Try

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars is not None:
                self.bind_targets(item.optional_vars, False)
        if any(_suppresses(item.context_expr) for item in node.items):
            self.optional(*node.body)
        else:
            self.block(node.body)

    visit_AsyncWith = visit_With

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        ends: list[_State | None] = []
        whatever = False
        for case in node.cases:
            before = set(self.certain)
            self.visit(case.pattern)
            if case.guard is not None:
                self.visit(case.guard)
            ends.append(self.branch(*case.body))
            self.certain = before
            # ``case x:`` and ``case _:`` match everything.  Without them, the statement may run no case.
            whatever |= case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
        self.join(*ends, *([] if whatever else [(set(self.certain), set(self.possible))]))

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self.generic_visit(node)
        if node.name:
            self.bind(node.name, assigned=False)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        if node.name:
            self.bind(node.name, assigned=False)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.generic_visit(node)
        if node.rest:
            self.bind(node.rest, assigned=False)

    # ----- scopes

    def comprehension(self, node: Comprehension) -> None:
        # Python evaluates the first iterable outside of the comprehension's own scope.
        first = node.generators[0]
        self.visit(first.iter)
        targets = {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
        self.local.append(targets)
        before = set(self.certain)
        for generator in node.generators:
            if generator is not first:
                self.visit(generator.iter)
            for target in _targets(generator.target):
                if not isinstance(target, ast.Name):
                    self.visit(target)
            for condition in generator.ifs:
                self.visit(condition)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.visit(part)
        self.certain = before  # the iterable may be empty
        self.local.pop()

    visit_ListComp = comprehension
    visit_SetComp = comprehension
    visit_DictComp = comprehension
    visit_GeneratorExp = comprehension

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in node.decorator_list:
            self.visit(part)
        self.local.append(_type_parameters(node))
        for part in (*node.bases, *(keyword.value for keyword in node.keywords)):
            self.visit(part)
        self.in_class += 1
        before = set(self.certain)
        self.block(node.body)
        self.certain = before  # the body binds names of the class only
        self.in_class -= 1
        self.local.pop()
        self.bind(node.name)

    def function(self, node: Function) -> None:
        arguments = node.args
        for part in (*node.decorator_list, *arguments.defaults, *filter(None, arguments.kw_defaults)):
            self.visit(part)
        every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
        annotations = [argument.annotation for argument in every if argument and argument.annotation]
        self.deferred([node, *annotations, *filter(None, [node.returns])], hidden=_type_parameters(node))
        self.bind(node.name)

    visit_FunctionDef = function
    visit_AsyncFunctionDef = function

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for part in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(part)
        self.deferred([node])

    def visit_TypeAlias(self, node: ast.AST) -> None:
        """Visit ``type X = ...`` (Python 3.12), whose value Python evaluates only on demand."""
        self.deferred([node])
        name = getattr(node, "name", None)
        if isinstance(name, ast.Name):
            self.bind(name.id)

    def deferred(self, nodes: Iterable[ast.AST], hidden: Iterable[str] = ()) -> None:
        """Collect the names of the cell that code which runs later reads, or binds by ``global``."""
        # Functions do not see the names of a class around them.
        hidden = set(hidden).union(*([] if self.in_class else self.local))
        for node in nodes:
            free, put = _free(node)
            for part in ast.walk(node):
                if isinstance(part, ast.Call):
                    free |= _names_in_string(part)
            self.names.later |= free - hidden
            self.names.bound |= put
            for name in sorted(put):
                self.names.assigned.setdefault(name)


_State: TypeAlias = tuple[set[str], set[str]]
"""Names that are certain, and names that are possible."""
_MARKED = re.compile(r"@([^\W\d]\w*)")


def _names_in_string(call: ast.Call) -> set[str]:
    """Return the names that a function looks up in a string: ``eval``, ``exec``, and ``query`` of pandas.

    The function does not find a string that the cell builds while it runs.
    """
    called = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if called not in ("eval", "exec", "query") or not call.args:
        return set()
    first = call.args[0]
    parts = first.values if isinstance(first, ast.JoinedStr) else [first]
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    names = {name for text in texts for name in _MARKED.findall(text)}
    for text in texts if called != "query" else ():  # in a query, names without "@" are columns
        with contextlib.suppress(SyntaxError, ValueError, RecursionError):
            names |= {part.id for part in ast.walk(ast.parse(text.strip())) if isinstance(part, ast.Name)}
    return names


def _suppresses(context: ast.expr) -> bool:
    """Return whether a context manager is ``suppress(...)``, after whose block the cell continues despite an error."""
    function = context.func if isinstance(context, ast.Call) else None
    return getattr(function, "id", getattr(function, "attr", "")) == "suppress"


def _targets(target: ast.AST) -> Iterator[ast.AST]:
    """Yield the single targets of an assignment, also those inside of tuples, lists and stars."""
    if isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            yield from _targets(element)
    elif isinstance(target, ast.Starred):
        yield from _targets(target.value)
    else:
        yield target


def _type_parameters(node: ast.AST) -> set[str]:
    return {parameter.name for parameter in getattr(node, "type_params", ())}


def _free(node: ast.AST) -> tuple[set[str], set[str]]:
    """Return names of the cell's namespace that deferred code reads, and those that it declares global and binds.

    Python's own compiler applies its rules of scopes: it makes a symbol table of the source, unparsed from the tree.
    """
    text = ast.unparse(node)
    # As the body of a lambda, an expression is a scope of its own, which the symbol table lists.
    if isinstance(node, ast.expr) and not isinstance(node, ast.Lambda):
        text = f"lambda: ({text})"
    free: set[str] = set()
    put: set[str] = set()
    tables = symtable.symtable(text, "<deferred>", "exec").get_children()
    while tables:
        table = tables.pop()
        tables.extend(table.get_children())
        for symbol in table.get_symbols():
            if symbol.is_global() and symbol.is_referenced():
                free.add(symbol.get_name())
            if symbol.is_declared_global() and symbol.is_assigned():
                put.add(symbol.get_name())
    return free, put
