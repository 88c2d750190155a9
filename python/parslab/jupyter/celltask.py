"""A ``%%parsl`` cell becomes a task: its source as the notebook numbers it, what travels, what comes back.

Called by ``magics`` in the kernel's main thread.  Mistakes that can be seen before anything runs (syntax, names that do
not exist, lines that need the IPython shell) are raised here, so that IPython shows them under the cell.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import functools
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from parslab.bodies.cell import Cell, run_cell
from parslab.jupyter.cells import CellNames, names_of, shell_calls
from parslab.serialize.cells import cell_title
from parslab.serialize.failures import remote_traceback
from parslab.serialize.functions import AppFunction
from parslab.wire.messages.base import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from parslab.client.futures.app_future import AppFuture
    from parslab.client.handle.dfk import DataFlowKernel

__all__ = ["CellSource", "CellSyntaxError", "define_apps", "raise_in_cell", "submit_cell", "user_names"]

_FUTURE_FLAGS = functools.reduce(
    operator.or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)
_WORKERS_OWN = frozenset(
    {"__name__", "__builtins__", "__builtin__", "__doc__", "__loader__", "__spec__", "__package__"}
)

_cells = AppFunction(run_cell, name="cell")


class CellSyntaxError(Exception):
    """The cell is not valid Python.

    Shown by IPython as a syntax error of an ordinary cell is: a SyntaxError raised by a magic would be shown below the
    frames of the magic and of IPython.
    """

    def __init__(self, error: SyntaxError) -> None:
        super().__init__(str(error))
        self.error = error

    def _render_traceback_(self) -> list[str]:
        shell: Any = InteractiveShell.instance()
        lines: list[str] = shell.SyntaxTB.structured_traceback(type(self.error), self.error, [])
        return lines


@dataclass(frozen=True)
class CellSource:
    """The body of a cell, where IPython's tracebacks will find it.

    Attributes
    ----------
    text
        As many lines as the cell has in the notebook; the magic's own are comments.
    filename
        IPython's name for the cell.
    flags
        The ``__future__`` features in force.
    raw
        The cell as the notebook has it.
    """

    text: str
    filename: str
    flags: int
    raw: str = ""

    @classmethod
    def of(cls, shell: Any, line: str, body: str) -> CellSource:
        """The source of the cell that runs now; IPython learns its lines by the way."""
        raw = f"%%parsl {line}\n{body}"
        history = shell.history_manager.input_hist_raw
        if history and history[-1].rstrip().endswith(body.rstrip()) and "%%parsl" in history[-1]:
            raw = history[-1]
        ahead = raw.rstrip()[: len(raw.rstrip()) - len(body.rstrip())].splitlines()
        text = "".join(f"# {line}\n" for line in ahead) + shell.transform_cell(body)
        filename = shell.compile.cache(text, shell.displayhook.prompt_count, raw_code=raw)
        return cls(text, filename, shell.compile.flags & _FUTURE_FLAGS, raw)

    def parse(self) -> ast.Module:
        """The syntax tree; raises CellSyntaxError for everything that Python's compiler finds."""
        __tracebackhide__ = True
        try:
            tree = ast.parse(self.text, self.filename)
            compile(self.text, self.filename, "exec", self.flags, dont_inherit=True)
        except SyntaxError as error:
            raise CellSyntaxError(error) from None
        return tree


def submit_cell(
    dfk: DataFlowKernel,
    source: CellSource,
    namespace: Mapping[str, Any],
    *,
    outputs: Sequence[str] | None,
    executors: str | Sequence[str],
    name: str,
    origin: str,
    follow: Callable[[str, str], None],
    retries: int = 0,
) -> tuple[AppFuture, tuple[str, ...]]:
    """Submit the cell; its future, and the names that the cell gives back.

    Parameters
    ----------
    outputs
        What the user asked for; None: everything that the cell assigns and that is not private.
    retries
        How often it is tried again after it failed, whatever the run's configuration says: what a cell has done before
        it failed, a file that it has appended to, would be done twice.
    """
    __tracebackhide__ = True
    tree = source.parse()
    for line in shell_calls(tree):
        raise UsageError(
            f"Line {line} of the cell needs the IPython shell (a %magic, !command or get_ipython()), which a task does "
            "not have: run it in a cell of its own, or use subprocess or a bash_app."
        )
    names = names_of(tree)
    _check_names(names, namespace, source)
    wanted = names.outputs() if outputs is None else tuple(dict.fromkeys(outputs))
    _check_outputs(names, wanted)
    cell = Cell(
        source.text,
        source.filename,
        wanted,
        required=outputs is not None,
        shown=not _silenced(source.text),
        flags=source.flags,
        title=cell_title(source.filename),
    )
    values = travelling(names, wanted, namespace)
    future = dfk.submit(
        _cells,
        (cell,),
        values,
        executors=executors,
        name=name,
        cell=origin,
        follow=follow,
        spec=TaskSpec(retries=retries),
    )
    return future, wanted


def travelling(names: CellNames, outputs: Sequence[str], namespace: Mapping[str, Any]) -> dict[str, Any]:
    """What of the namespace the cell gets: what it reads, and outputs that it may leave as they are."""
    unsure = [name for name in outputs if name not in names.certain]
    candidates = dict.fromkeys([*names.reads, *sorted(names.later - names.certain), *unsure])
    return {name: namespace[name] for name in candidates if name in namespace and name not in _WORKERS_OWN}


def user_names(shell: Any) -> dict[str, Any]:
    """The notebook's namespace, without what IPython put there in place of builtins (its own ``open``, ``exit``)."""
    hidden = shell.user_ns_hidden
    return {
        name: value
        for name, value in shell.user_ns.items()
        if not (hasattr(builtins, name) and name in hidden and hidden[name] is value)
    }


def raise_in_cell(error: BaseException, source: CellSource) -> NoReturn:
    """Raise the error of a task where it came from: at the line of the cell that the remote traceback names."""
    __tracebackhide__ = True
    remote = remote_traceback(error)
    title = re.escape(cell_title(source.filename) or source.filename)
    found = re.search(rf'(?:Cell |File "){title}"?, line (\d+), in <module>', remote)
    line = int(found.group(1)) if found else 1
    padded = "\n" * (line - 1) + "raise error"
    exec(compile(padded, source.filename, "exec", dont_inherit=True), {"error": error.with_traceback(None)})
    raise error


def _check_names(names: CellNames, namespace: Mapping[str, Any], source: CellSource) -> None:
    """Raise NameError, at its place in the cell, for the first name that cannot exist."""
    __tracebackhide__ = True
    if names.unknown_bound:
        return
    for name, node in names.reads.items():
        if name not in namespace and name not in names.bound and not hasattr(builtins, name):
            place = ast.copy_location(ast.Name(name, ast.Load()), node)
            code = compile(ast.Expression(place), source.filename, "eval", dont_inherit=True)
            eval(code, {"__builtins__": builtins})


def _check_outputs(names: CellNames, outputs: Sequence[str]) -> None:
    if names.unknown_bound:
        return
    for name in outputs:
        if name not in names.bound and name not in names.reads:
            raise UsageError(f"The cell neither assigns nor uses {name!r}, which --outputs names.")


def _silenced(text: str) -> bool:
    """Whether the last line ends with a semicolon: IPython's way to say that its value is not to be shown."""
    from IPython.core.displayhook import DisplayHook

    asked: Any = DisplayHook.semicolon_at_end_of_expression
    return bool(asked(text))


def define_apps(source: CellSource, namespace: dict[str, Any], executors: str | Sequence[str]) -> list[str]:
    """Run the cell here and make apps of the functions it defines; their names."""
    __tracebackhide__ = True
    from parslab.app.base import App
    from parslab.app.python import PythonApp

    tree = source.parse()
    functions = names_of(tree).functions
    if not functions:
        raise UsageError("The cell defines no function that --app could make an app of.")
    exec(compile(source.text, source.filename, "exec", source.flags, dont_inherit=True), namespace)
    for name in functions:
        if not isinstance(namespace.get(name), App):
            namespace[name] = PythonApp(namespace[name], executors=executors)
    return functions
