"""Define the magics of ``%load_ext parslab``: ``%%parsl`` makes a task of a cell, ``%parsl`` carries out commands.

All of it runs in the kernel's main thread. Mistakes of the user raise a UsageError or an ordinary Python error, which
IPython shows under the cell as any other.
"""

from __future__ import annotations

import atexit
import sys
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import MAGIC_NO_VAR_EXPAND_ATTR
from IPython.core.magic_arguments import MagicArgumentParser
from traitlets import Bool
from traitlets.config import Configurable

from parslab.app.origin import calling_cell
from parslab.client import session
from parslab.client.process.notebook import notebook_path
from parslab.errors import ConfigurationError
from parslab.jupyter import display, relay
from parslab.jupyter.bash_cells.task import BashCellTask
from parslab.jupyter.celltask import (
    CellOptions,
    CellSource,
    CellTask,
    UserNames,
    cell_id,
    define_apps,
    raise_in_cell,
)
from parslab.jupyter.commands import run_command
from parslab.jupyter.headless import is_last_cell
from parslab.jupyter.interrupts import interrupted_cell
from parslab.jupyter.text import say
from parslab.records.text import printable

if TYPE_CHECKING:
    from parslab.client.futures.app_future import AppFuture
    from parslab.client.handle.dfk import DataFlowKernel

__all__ = ["ParslMagics", "loaded", "register"]


def register(shell: Any) -> None:
    """Add the magics to an IPython shell, and let it display futures."""
    magics = ParslMagics(parent=shell, shell=shell)
    shell.register_magic_function(magics.line, "line", "parsl")
    shell.register_magic_function(magics.cell, "cell", "parsl")
    # `%config` needs exactly one of these objects, also after a reload of the extension. The class may then be another
    # object, so its name is compared.
    known = [one for one in shell.configurables if type(one).__name__ == ParslMagics.__name__]
    for old in known:
        magics.cancel_on_interrupt = old.cancel_on_interrupt
        shell.events.unregister("post_run_cell", old.after_cell)
        shell.configurables.remove(old)
    shell.configurables.append(magics)
    shell.events.register("post_run_cell", magics.after_cell)
    relay.join_sessions()
    display.install(shell)


def loaded() -> DataFlowKernel:
    """Return the loaded run; raise a UsageError, which is one line and no traceback, if there is none."""
    try:
        return session.dfk()
    except ConfigurationError as error:
        raise UsageError(printable(str(error))) from None


def _cell_parser() -> Any:
    make: Any = MagicArgumentParser
    parser = make("%%parsl", add_help=False)
    add = parser.add_argument
    add("-e", "--executor", action="append", metavar="LABEL", help="run on this executor (may be repeated)")
    add("-n", "--name", default="", help="the name that the panel shows instead of 'cell'")
    add(
        "-o",
        "--outputs",
        nargs="*",
        metavar="NAME",
        help="names that become futures; without it: all that the cell assigns, except private and imported names and "
        "those of for and with; with no name: none",
    )
    add(
        "-r",
        "--retries",
        type=int,
        default=0,
        metavar="N",
        help="try the cell again so often when it fails; without it: never, whatever Config(retries=...) says",
    )
    add(
        "--environment",
        action="append",
        metavar="REQUIREMENT",
        help="run in a Python environment with this package, such as 'numpy<2' (may be repeated)",
    )
    add("--container", metavar="IMAGE", help="run in a container of this image")
    add("-w", "--wait", action="store_true", help="wait for the end; raise the task's error here")
    add("-b", "--bash", action="store_true", help="the cell is a script for bash; {name} is the notebook's name")
    add("-a", "--app", action="store_true", help="run the cell here and make apps of the functions it defines")
    return parser


class ParslMagics(Configurable):
    """The magics of one IPython shell, and what happens after each cell."""

    cancel_on_interrupt = Bool(
        False,
        help="Interrupting a cell also cancels the tasks that it has called. Otherwise they go on, as those of all "
        "other cells do, and `%parsl cancel --cell` ends them.",
    ).tag(config=True)

    def __init__(self, *, shell: Any, **options: Any) -> None:
        super().__init__(**options)
        self.shell = shell
        self._parser = _cell_parser()
        self._unfinished: dict[AppFuture, display.CellOutput] = {}
        """The unfinished tasks of ``%%parsl`` cells, and their output areas."""

    def after_cell(self, result: Any) -> None:
        """Report the tasks of an interrupted cell; wait for the tasks of cells when the notebook ends."""
        report = interrupted_cell(result, self.cancel_on_interrupt)
        if report:
            say(report)
        elif result.success and is_last_cell(getattr(result.info, "raw_cell", None) or ""):
            self._wait_for_cells()

    def _wait_for_cells(self) -> None:
        """Wait until every task of a cell has ended and its output is shown."""
        for future in list(self._unfinished):
            _outcome(future)
        display.settle()

    def _name_cancelled_cells(self) -> None:
        """Name the cells whose tasks are cancelled because the kernel of a notebook without a front end ends."""
        cells = [output.label for future, output in self._unfinished.items() if not future.done()]
        if cells and not notebook_path():
            print(
                f"parslab: the notebook ended before the tasks of {', '.join(cells)}: they are cancelled. "
                "End the notebook with `%parsl wait` to wait for them.",
                file=sys.__stderr__,  # nobody reads the messages of a kernel that ends
            )

    def line(self, text: str) -> None:
        """Load, watch and end runs.

        ::

            %parsl load                    the site's configuration, else a worker for every usable core
            %parsl load --workers N        so many workers on this host; --run-dir DIR: where its files go
            %parsl load FILE.py            a file that makes a Config (named config, or the only one)
            %parsl load NAME               a ready configuration: laptop, big_node, slurm, pbs, ...
            %parsl load EXPRESSION         e.g. Config(executors=[...]), or the name of one
            %parsl attach [RUN]            use a run of another notebook or script of yours; by default the newest
            %parsl status                  the run in a few lines
            %parsl tasks                   the newest tasks; [--state STATE] [--app APP] [--limit N]
            %parsl cancel TASK...          cancel these tasks, by their numbers; --all: all that are not finished;
                                           --app NAME: those of an app; --cell: those that the last cell has called
                                           that called any (--cell 5: In [5])
            %parsl retry TASK...           run these tasks again, and all that failed because of them, after a cell has
                                           corrected their app; --failed: all that failed; --app NAME: those of an app
            %parsl explain TASK...         why a task ran, or from which task it has its result
            %parsl blocks                  blocks that run or that are requested; --all: also those that have ended
            %parsl scale [LABEL] N         bring an executor to N blocks; its strategy goes on from there
            %parsl hold BLOCK              give a block (LABEL/3, or 3) no new tasks
            %parsl release BLOCK           give it tasks again
            %parsl drain BLOCK             let a block finish its tasks, then end it
            %parsl report [RUN]            write a page and a JSON summary of the run, or of another run by its folder;
                                           -o FOLDER: where to, by default into the folder of the run
            %parsl compare RUN [RUN]       two runs side by side, or another one and this: times and failures of apps
            %parsl wait [TASK...]          wait until these tasks, or all, are finished
            %parsl handover [--wait 60s]   let the notebook's next job go on with the run; there: take the run over
            %parsl keep [8h]               how long the run stays after every kernel has left it (30s, 10min, 8h, 2d)
            %parsl release                 let the run end with the kernel of its notebook
            %parsl shutdown                end the run, its blocks and its unfinished tasks

        An interrupt ends a cell, not the tasks that it has called: they go on. With
        ``%config ParslMagics.cancel_on_interrupt = True`` an interrupt cancels them too.
        """
        __tracebackhide__ = True
        run_command(text, self.shell.user_ns)

    def cell(self, line: str, body: str) -> AppFuture | None:
        """Run the cell as a task.

        Names that the cell reads travel to the worker; the task waits for futures among them. Names that the cell
        assigns become futures in the notebook, and what it imports is imported there as well. What the cell prints, and
        the value of its last line, appear under it, live. A comment may end the line (``%%parsl -w  # slow``).

        With ``--bash`` the cell is a script. ``{name}`` is the value of a name of the notebook: a text, a number, a
        path, or a list of these, which becomes several words. It is quoted, so no value can run a command. Braces of
        bash are doubled: ``${{HOME}}``.
        """
        __tracebackhide__ = True
        options = self._parser.parse_argstring(_without_comment(line))
        executors = tuple(options.executor) if options.executor else "all"
        source = CellSource.of(self.shell, line, body)
        if options.bash and (options.app or options.outputs is not None):
            raise UsageError("--bash goes neither with --app nor with --outputs.")
        if options.app:
            if options.name or options.wait or options.retries or options.outputs is not None or options.container:
                raise UsageError("--app goes with no other option than --executor and --environment.")
            names = define_apps(source, self.shell.user_ns, executors, _unquoted(options.environment))
            say(f"{'Apps' if len(names) > 1 else 'App'}: {', '.join(names)}")
            return None
        return self._run(source, body, options, executors)

    def _run(self, source: CellSource, body: str, options: Any, executors: str | tuple[str, ...]) -> AppFuture:
        __tracebackhide__ = True
        dfk = loaded()
        unknown = [label for label in executors if label not in dfk.labels] if executors != "all" else []
        if unknown:
            raise UsageError(f"There is no executor {unknown[0]!r}; this run has {', '.join(dfk.labels)}.")
        origin = calling_cell()
        output = display.CellOutput(origin, live=getattr(self.shell, "kernel", None) is not None)
        asked = CellOptions(
            outputs=None if options.outputs is None else _split(options.outputs),
            executors=executors,
            name=options.name,
            retries=max(0, options.retries),
            environment=_unquoted(options.environment),
            container=options.container,
        )
        if options.bash:
            script = BashCellTask(body, source.ahead, UserNames(self.shell))
            future = script.submit(dfk, asked, origin=origin, follow=output.follow)
        else:
            task = CellTask(source, UserNames(self.shell), asked, cell_id(self.shell))
            future = task.submit(dfk, origin=origin, follow=output.follow)
            # Only after submit(): a call that fails must leave the names of the notebook as they were.
            self.shell.user_ns.update(task.futures(future))
            task.bind_imports(self.shell.user_ns)
        self._show(future, output, source, options.wait)
        return future

    def _show(self, future: AppFuture, output: display.CellOutput, source: CellSource, wait: bool) -> None:
        """Show a task under its cell; wait for it if the user or a program without a front end wants that."""
        __tracebackhide__ = True
        output.open(future)
        if not self._unfinished:
            atexit.unregister(self._name_cancelled_cells)
            atexit.register(self._name_cancelled_cells)  # atexit runs the newest first: before the end of the run
        self._unfinished[future] = output
        future.add_done_callback(lambda done: self._unfinished.pop(done, None))
        # A program without a front end saves the outputs and ends the kernel when the last cell has ended.
        if wait or is_last_cell(source.raw):
            error = _outcome(future)
            output.close()
            if error is not None:
                raise_in_cell(error, source)


ParslMagics.cell.__doc__ = f"{ParslMagics.cell.__doc__}\n{_cell_parser().format_help()}"
for _magic in (ParslMagics.line, ParslMagics.cell):
    # IPython must not expand braces and dollars in the user's Python.
    setattr(_magic, MAGIC_NO_VAR_EXPAND_ATTR, True)


def _outcome(future: AppFuture) -> BaseException | None:
    """Wait for a task, and return its error. An interrupt ends the wait, not the task."""
    from concurrent.futures import CancelledError

    try:
        return future.exception()
    except CancelledError as cancelled:
        return cancelled


def _without_comment(line: str) -> str:
    """Return a line without the comment at its end; a ``#`` inside of quotes or of a word begins no comment."""
    quote = ""
    for at, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#" and (at == 0 or line[at - 1].isspace()):
            return line[:at]
    return line


def _unquoted(words: list[str] | None) -> list[str] | None:
    """Return words without the quotes that a shell would need around them; IPython keeps these."""
    return None if words is None else [word.strip("'\"") for word in words]


def _split(words: list[str]) -> list[str]:
    names = [name for word in words for name in word.split(",") if name]
    for name in names:
        if not name.isidentifier():
            raise UsageError(f"{name!r}, which --outputs names, is not a name.")
    return names
