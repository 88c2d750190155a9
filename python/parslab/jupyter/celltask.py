"""Make a task of a ``%%parsl`` cell: its source, the names that it sends to the worker, and those that it returns.

``magics`` calls this in the kernel's main thread. Some mistakes can be found before the task runs: syntax, unknown
names, lines that need the IPython shell. This module raises an error for them, so that IPython shows it under the cell.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import contextlib
import functools
import operator
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from parslab.app.software import software
from parslab.bodies.cell import Cell, run_cell
from parslab.jupyter.cells import CellNames, names_of, shell_calls
from parslab.jupyter.name_futures import MISSING, NameFuture, value_before
from parslab.serialize.arguments import why_unpicklable
from parslab.serialize.cells import cell_title
from parslab.serialize.failures import remote_traceback
from parslab.serialize.functions import AppFunction
from parslab.serialize.future_types import is_future
from parslab.serialize.values import ATOMS
from parslab.wire.messages.base import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.client.futures.app_future import AppFuture
    from parslab.client.handle.dfk import DataFlowKernel

__all__ = [
    "CellOptions",
    "CellSource",
    "CellSyntaxError",
    "CellTask",
    "UserNames",
    "cell_id",
    "define_apps",
    "raise_in_cell",
]

# The compiler of the shell has other flags, too, such as that for ``await`` at the top level, which no task has.
_FUTURE_FLAGS = functools.reduce(
    operator.or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)
# The worker's module has these names itself.
_WORKERS_OWN = frozenset(
    {"__name__", "__builtins__", "__builtin__", "__doc__", "__loader__", "__spec__", "__package__"}
)

_SMALL = 1024
"""Largest size in bytes of a value that is sent only because the cell may end without assigning its name."""

_cells = AppFunction(run_cell, name="cell")


class CellSyntaxError(Exception):
    """The cell is not valid Python.

    IPython shows this error like a syntax error of an ordinary cell. For a SyntaxError that a magic raises, IPython
    would first show the frames of the magic and its own.
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
    """The body of a cell, stored where IPython's tracebacks find it.

    Attributes
    ----------
    text
        The cell with as many lines as in the notebook, so that tracebacks name the right line. The lines of the magic
        are comments.
    filename
        IPython's name for the cell.
    flags
        The ``__future__`` features that are on in the notebook.
    raw
        The cell as the notebook has it.
    ahead
        The number of lines above the body.
    """

    text: str
    filename: str
    flags: int
    raw: str = ""
    ahead: int = 1

    @classmethod
    def of(cls, shell: Any, line: str, body: str) -> CellSource:
        """Return the source of the cell that runs now, and store its lines with IPython."""
        raw = f"%%parsl {line}\n{body}"
        # IPython gives a magic only the body. The cell may have empty lines and comments above the magic, which count
        # in the line numbers of tracebacks.
        history = shell.history_manager.input_hist_raw
        if history and history[-1].rstrip().endswith(body.rstrip()) and "%%parsl" in history[-1]:
            raw = history[-1]
        ahead = raw.rstrip()[: len(raw.rstrip()) - len(body.rstrip())].splitlines()
        text = "".join(f"# {line}\n" for line in ahead) + shell.transform_cell(body)
        filename = shell.compile.cache(text, shell.displayhook.prompt_count, raw_code=raw)
        return cls(text, filename, shell.compile.flags & _FUTURE_FLAGS, raw, len(ahead))

    def parse(self) -> ast.Module:
        """Return the syntax tree; raise CellSyntaxError for everything that Python's compiler finds."""
        __tracebackhide__ = True
        try:
            # The parser accepts code that only the compiler refuses, such as ``return`` outside of a function.
            tree = ast.parse(self.text, self.filename)
            compile(self.text, self.filename, "exec", self.flags, dont_inherit=True)
        except SyntaxError as error:
            raise CellSyntaxError(error) from None
        return tree


@dataclass(frozen=True)
class CellOptions:
    """The options in the line of a ``%%parsl`` cell.

    Attributes
    ----------
    outputs
        Names that become futures; None: everything that the cell assigns and that is not private.
    executors
        Labels of executors, or ``"all"``.
    name
        The name that the panel shows.
    retries
        How often a cell that failed is tried again; the run's configuration does not change this. A retry repeats the
        effects that the cell had before it failed, such as a line that it appended to a file.
    environment
        Requirements of the Python environment in which the cell runs; None: that of the executor.
    container
        The image of the container in which the cell runs; None: as the executor says.
    """

    outputs: Sequence[str] | None = None
    executors: str | Sequence[str] = "all"
    name: str = ""
    retries: int = 0
    environment: Sequence[str] | None = None
    container: str | None = None

    def spec(self) -> TaskSpec:
        """Return the specification of the cell's task."""
        return TaskSpec(retries=self.retries, software=software("This cell", self.environment, self.container))


class CellTask:
    """A cell that is about to become a task.

    Parameters
    ----------
    source
        The body of the cell.
    namespace
        The names of the notebook.
    options
        The options in the line of the cell.
    cell_id
        The front end's name for the cell, which stays when its text changes; empty when there is none.

    Raises
    ------
    CellSyntaxError, NameError, UsageError
        The cell cannot be executed as a task.
    """

    def __init__(
        self, source: CellSource, namespace: Mapping[str, Any], options: CellOptions, cell_id: str = ""
    ) -> None:
        __tracebackhide__ = True
        tree = source.parse()
        for line in shell_calls(tree):
            raise UsageError(
                f"Line {line} of the cell needs the IPython shell (a %magic, !command or get_ipython()), which a task "
                "does not have: run it in a cell of its own, or use subprocess or a bash_app."
            )
        self._source, self._namespace, self._options = source, namespace, options
        self._names = names = names_of(tree)
        _check_names(names, namespace, source)
        self.outputs = names.outputs() if options.outputs is None else tuple(dict.fromkeys(options.outputs))
        _check_outputs(names, self.outputs)
        # Without an id the outputs identify the cell, because a corrected cell usually assigns the same names.
        self._key = cell_id or self.outputs

    def submit(self, dfk: DataFlowKernel, *, origin: str, follow: Callable[[str, str], None]) -> AppFuture:
        """Submit the cell and return its future."""
        source, options = self._source, self._options
        cell = Cell(
            source=source.text,
            filename=source.filename,
            outputs=self.outputs,
            required=options.outputs is not None,
            shown=not _silenced(source.text),
            flags=source.flags,
            title=cell_title(source.filename),
        )
        return dfk.submit(
            _cells,
            (cell,),
            self.inputs(),
            executors=options.executors,
            name=options.name,
            cell=origin,
            follow=follow,
            spec=options.spec(),
        )

    def inputs(self) -> dict[str, Any]:
        """Return the names that the worker gets, with their values.

        - A name that the cell reads before it can bind it: its value is sent. If the value is a future of an earlier
          execution of this cell that failed, the value before that execution is sent.
        - A name that the cell itself may have bound: its value is sent if it can be pickled. If the value is a future
          of an earlier execution of this cell, the value before that execution is sent.
        - A name that the cell only assigns: its value is sent if it is small or the user names it. The worker returns
          it if the cell ends without assigning it.
        """
        names, values = self._names, {}
        for name in dict.fromkeys([*names.reads, *sorted(names.later - names.certain)]):
            perhaps = name in names.perhaps or (name not in names.reads and name in names.bound)
            value = self._value(name, only_lost=not perhaps)
            if value is not MISSING and not (perhaps and _cannot_travel(value)):
                values[name] = value
        for name in self.outputs:
            if name not in names.certain and name not in values:
                value = self._value(name, only_lost=False)
                small = type(value) in ATOMS and sys.getsizeof(value) <= _SMALL
                asked_for = self._options.outputs is not None and value is not MISSING and not _cannot_travel(value)
                if small or asked_for:
                    values[name] = value
        return values

    def _value(self, name: str, only_lost: bool) -> Any:
        value = MISSING if name in _WORKERS_OWN else self._namespace.get(name, MISSING)
        return value_before(value, self._key, only_lost)

    def futures(self, task: AppFuture) -> dict[str, NameFuture]:
        """Return a future for each name that the cell assigns."""
        return {
            name: NameFuture(
                task,
                name,
                cell=self._key,
                certain=name in self._names.certain,
                previous=self._value(name, only_lost=True),
            )
            for name in self.outputs
        }

    def bind_imports(self, namespace: dict[str, Any]) -> None:
        """Import in the notebook what the cell imports at its top level, as later cells expect."""
        for statement in self._names.imports:
            # An import that fails here is no error of the cell: the module may be installed on the workers only.
            with contextlib.suppress(Exception):
                code = compile(ast.Module([statement], []), self._source.filename, "exec", dont_inherit=True)
                exec(code, namespace)


def _cannot_travel(value: Any) -> bool:
    return type(value) not in ATOMS and not is_future(value) and bool(why_unpicklable(value))


class UserNames(Mapping[str, Any]):
    """The names of the notebook, without those that IPython puts in place of builtins (its own ``open``, ``exit``)."""

    def __init__(self, shell: Any) -> None:
        self._names: Mapping[str, Any] = shell.user_ns
        self._hidden: Mapping[str, Any] = shell.user_ns_hidden

    def __getitem__(self, name: str) -> Any:
        value = self._names[name]
        if name in self._hidden and self._hidden[name] is value and hasattr(builtins, name):
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        # A copy, because other threads of the notebook may bind names meanwhile.
        return (name for name in list(self._names) if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def cell_id(shell: Any) -> str:
    """Return the front end's id of the cell that runs now; empty where there is none, as in a terminal."""
    try:
        return str(shell.kernel.get_parent("shell")["metadata"]["cellId"])
    except (AttributeError, KeyError, TypeError):
        return ""


def raise_in_cell(error: BaseException, source: CellSource) -> NoReturn:
    """Raise the error of a task at the line of the cell that the remote traceback names."""
    __tracebackhide__ = True
    remote = remote_traceback(error)
    title = re.escape(cell_title(source.filename) or source.filename)
    found = re.search(rf'(?:Cell |File "){title}"?, line (\d+), in <module>', remote)
    line = int(found.group(1)) if found else 1
    # Python takes the place of an error from the code that raises it. So code with the file name of the cell raises it,
    # at the same line, and IPython shows that line of the cell.
    padded = "\n" * (line - 1) + "raise error"
    exec(compile(padded, source.filename, "exec", dont_inherit=True), {"error": error.with_traceback(None)})
    raise error


def _check_names(names: CellNames, namespace: Mapping[str, Any], source: CellSource) -> None:
    """Raise NameError, at its place in the cell, for the first name that does not exist."""
    __tracebackhide__ = True
    if names.unknown_bound:
        return
    for name, node in names.reads.items():
        if name not in namespace and name not in names.bound and not hasattr(builtins, name):
            # Python itself makes the error, with its usual text and the place in the cell.
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
    """Return whether the last line ends with a semicolon, by which users of IPython hide its value."""
    from IPython.core.displayhook import DisplayHook

    asked: Any = DisplayHook.semicolon_at_end_of_expression
    return bool(asked(text))


def define_apps(
    source: CellSource,
    namespace: dict[str, Any],
    executors: str | Sequence[str],
    environment: Sequence[str] | None = None,
) -> list[str]:
    """Run the cell here, make apps of the functions that it defines, and return their names."""
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
            namespace[name] = PythonApp(namespace[name], executors=executors, environment=environment)
    return functions
