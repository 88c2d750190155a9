"""Carry out the commands of ``%parsl``: load, status, tasks, cancel, retry, blocks, wait, keep and others.

``magics`` calls this in the kernel's main thread. All commands except load and shutdown use the panel protocol, so that
the magic and the panel show the same.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import MagicArgumentParser

from parslab.client import session
from parslab.clock import steady_time
from parslab.errors import ConfigurationError, ParslabError
from parslab.jupyter.display import pacer
from parslab.jupyter.text import TextTable, block_lines, duration, say, shortened
from parslab.records import panel
from parslab.records.durations import format_duration, parse_duration
from parslab.records.states import ENDED, FINAL, TaskState
from parslab.records.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.config import Config
    from parslab.executors import Executor

__all__ = ["run_command"]

SHOWN = 20
"""The number of tasks that ``%parsl tasks`` shows without ``--limit``."""
_PAINT = 1.0
"""Seconds for which a command that ends tasks waits until their cells show the last state."""


def run_command(line: str, namespace: dict[str, Any]) -> None:
    """Carry out one ``%parsl`` line."""
    __tracebackhide__ = True
    # The rest of a load is Python or a path, in which shlex would remove quotes and backslashes.
    word, _, rest = line.strip().partition(" ")
    if word == "load":
        _load(rest.strip(), namespace)
    elif word in _COMMANDS:
        _COMMANDS[word](_words(rest))
    else:
        known = ", ".join(["load", *_COMMANDS])
        problem = f"%parsl {word}: unknown command; there are {known}." if word else f"%parsl COMMAND: {known}."
        raise UsageError(f"{problem} `%parsl?` explains them.")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{text}: {error}.") from None


def _loaded() -> DataFlowKernel:
    try:
        return session.dfk()
    except ConfigurationError as error:
        raise UsageError(printable(str(error))) from None


def _ask(message: panel.Request, timeout: float | None = 10.0) -> panel.Reply:
    """Ask the run, and return its reply; raise UsageError if it has none."""
    try:
        answer = _loaded().ask(message, timeout)
    except (TimeoutError, ParslabError) as error:
        raise UsageError(printable(str(error))) from None
    if isinstance(answer, panel.ErrorReply):
        raise UsageError(printable(answer.text))
    return answer


# ----- load, shutdown


def _load(text: str, namespace: dict[str, Any]) -> None:
    __tracebackhide__ = True
    config: Config | str | None
    bare = text.strip("'\"")
    if not text:
        config = None
    elif text.startswith("-"):
        config = _config_of_options(_words(text))
    # A name in the notebook has priority over a ready configuration of that name, see _is_ready().
    elif text.endswith(".py") or os.path.isfile(os.path.expanduser(bare)) or _is_ready(bare, namespace):
        config = bare
    else:
        config = _config_of_expression(text, namespace)
    before = session.current_run()
    try:
        dfk = session.load(config)
    except ConfigurationError as error:
        raise UsageError(printable(str(error))) from None
    if dfk is not before and dfk.prior_tasks is not None:
        return  # load() has printed what the run still has
    _introduce(dfk)


def _introduce(dfk: DataFlowKernel) -> None:
    executors = ", ".join(map(_described, dfk.config.executors)) if dfk.config else ", ".join(dfk.labels)
    say(f"Run {dfk.run} on {executors}; its files are in {dfk.run_dir}")


def _attach(words: list[str]) -> None:
    options = _parsed("attach", words, lambda p: p.add_argument("run", nargs="?", metavar="RUN"))
    try:
        dfk = session.attach(options.run)
    except ConfigurationError as error:
        raise UsageError(printable(str(error))) from None
    say(f"Attached to run {dfk.run} on {', '.join(dfk.labels)}; its files are in {dfk.run_dir}")


# ----- how long the run stays


def _keep(words: list[str]) -> None:
    text = " ".join(words)
    if not text:
        say(_lease(_loaded().linger))
        return
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"%parsl keep {error}.") from None
    _ordered(lambda dfk: dfk.keep(seconds))


def _handover(words: list[str]) -> None:
    options = _parsed(
        "handover",
        words,
        lambda p: (
            p.add_argument("--wait", default="60s", metavar="TIME"),
            p.add_argument("--keep", default="30min", metavar="TIME"),
        ),
    )
    try:
        wait, keep = parse_duration(options.wait), parse_duration(options.keep)
    except ValueError as error:
        raise UsageError(f"%parsl handover {error}.") from None
    running = session.current_run()
    try:
        if running is not None:
            say(running.handover(wait, keep))
        else:
            session.handover(wait, keep)  # load() prints what is there
    except (TimeoutError, ParslabError) as error:
        raise UsageError(printable(str(error))) from None


def _lease(linger: float) -> str:
    if not linger:
        return "The run ends with the kernel of its notebook (%parsl keep 8h lets it stay)."
    stay = format_duration(linger)
    return f"The run stays for {stay} after the last notebook or script has left it (%parsl keep, release)."


def _described(executor: Executor) -> str:
    """Return the call that makes an executor, or only its type and label if the call is too long for a line."""
    text = repr(executor)
    return text if len(text) <= 100 else f"{type(executor).__name__}(label={executor.label!r}, ...)"


def _config_of_options(words: list[str]) -> Config:
    from parslab.config import Config
    from parslab.executors import LowLatencyExecutor

    options = _parsed(
        "load",
        words,
        lambda p: (p.add_argument("--workers", type=int, metavar="N"), p.add_argument("--run-dir", metavar="DIR")),
    )
    try:
        given: dict[str, Any] = {}
        if options.workers is not None:
            given["executors"] = [LowLatencyExecutor(workers=options.workers)]
        if options.run_dir is not None:
            given["run_dir"] = options.run_dir
        return Config(**given)
    except ConfigurationError as error:
        raise UsageError(printable(str(error))) from None


def _is_ready(name: str, namespace: dict[str, Any]) -> bool:
    """Return whether ``name`` is a ready configuration, and not also a name of the notebook."""
    from parslab.sites import names

    return name not in namespace and name in names()


def _config_of_expression(text: str, namespace: dict[str, Any]) -> Config:
    __tracebackhide__ = True
    import parslab
    from parslab.config import Config

    code = compile(text, "<%parsl load>", "eval")
    # Users may write Config and the executors without an import. Their own names have priority.
    known = {name: getattr(parslab, name) for name in code.co_names if name in parslab.__all__}
    try:
        config = eval(code, {**known, **namespace})
    except NameError as error:
        if text.isidentifier() and error.name == text:
            raise UsageError(_unknown_name(text)) from None
        raise
    except ConfigurationError as error:
        raise UsageError(printable(str(error))) from None
    if not isinstance(config, Config):
        raise UsageError(f"{text} is a {type(config).__name__}, and a Config is needed: Config(executors=[...]).")
    return config


def _unknown_name(name: str) -> str:
    from parslab.sites import names

    return (
        f"{name} is neither a name in this notebook nor a ready configuration; these are ready: {', '.join(names())}."
    )


def _shutdown(words: list[str]) -> None:
    _parsed("shutdown", words)
    dfk = _loaded()
    unfinished = dfk.unfinished
    dfk.cleanup()
    pacer.settle(_PAINT)  # the futures have just failed, and their cells must show it
    left = f"; {_count(unfinished)} given up unfinished" if unfinished else ""
    say(f"Run {dfk.run} is over{left}. Its files are in {dfk.run_dir}")


# ----- questions


def _status(words: list[str]) -> None:
    _parsed("status", words)
    answer = _ask(panel.SnapshotRequest(subscribe=False))
    if not isinstance(answer, panel.Snapshot):
        raise UsageError("The run gave no status.")
    run, now = answer.run, answer.overview
    head = (
        f"Run {run.run}, up {duration(now.now - run.started)}: {now.workers_busy} of {now.workers_total} workers busy, "
        f"{now.tasks_total} tasks, {now.rate:.3g} finished per second"
    )
    states = [state.name for state in TaskState if now.counts.get(state.name)]
    rows = [[app, *(counts.get(state, 0) for state in states)] for app, counts in sorted(now.apps.items())]
    if len(rows) > 1:
        rows.append(["all", *(now.counts[state] for state in states)])
    notices = [f"{notice.level}: {notice.text}" for notice in answer.notices[-5:]]
    foot = [*block_lines(answer.blocks), *notices, *_own_job(run, now.now), _lease(run.linger), f"Files: {run.run_dir}"]
    _show(TextTable(head, ["app", *states], rows, foot))


def _own_job(run: panel.RunInfo, now: float) -> list[str]:
    """Say when the job ends in which the run's host is."""
    if run.job_ends is None:
        return []
    left = format_duration(max(0.0, run.job_ends - now))
    return [f"{run.job}, in which this run is, ends in {left} (%parsl handover moves the run to the next job)."]


def _tasks(words: list[str]) -> None:
    options = _parsed(
        "tasks",
        words,
        lambda p: (
            p.add_argument(
                "-s",
                "--state",
                action="append",
                choices=[state.name for state in TaskState],
                default=[],
                metavar="STATE",
            ),
            p.add_argument("-a", "--app", action="append", default=[]),
            p.add_argument("-l", "--limit", type=int, default=SHOWN, metavar="N"),
        ),
    )
    answer = _ask(panel.TaskPageRequest("", states=options.state, apps=options.app, limit=max(options.limit, 1)))
    if not isinstance(answer, panel.TaskPage):
        raise UsageError("The run gave no tasks.")
    # Not the wall clock, because the times of tasks are those of the clock of a run.
    rows = [_task_row(row, steady_time()) for row in answer.rows]
    head = _count(answer.total) + (f", the newest {len(rows)}:" if len(rows) < answer.total else ":" if rows else "")
    _show(TextTable(head, ["task", "app", "state", "time", "cell", "arguments", "error"], rows))


def _task_row(row: panel.TaskRow, now: float) -> list[object]:
    took = "" if row.started is None else duration((row.ended or now) - row.started)
    return [row.id, row.app, row.state, took, row.cell, shortened(row.shown, 40), shortened(row.error, 60)]


def _cancel(words: list[str]) -> None:
    options = _parsed(
        "cancel",
        words,
        lambda p: (
            p.add_argument("tasks", nargs="*", type=int, metavar="TASK"),
            p.add_argument("-a", "--all", action="store_true"),
            p.add_argument("--app", default="", metavar="NAME"),
            p.add_argument("-c", "--cell", nargs="?", type=int, const=-1, metavar="N"),
        ),
    )
    cell = "" if options.cell is None else f"In [{options.cell}]" if options.cell >= 0 else _loaded().last_cell
    if options.cell is not None and not cell:
        raise UsageError("No cell of this notebook has called an app yet, so there is nothing to cancel.")
    if sum(map(bool, (options.tasks, options.all, options.app, cell))) != 1:
        raise UsageError("%parsl cancel TASK..., --all, --app NAME or --cell [N] (the last one that called an app).")
    answer = _ask(panel.CancelRequest("", options.tasks, everything=options.all, app=options.app, cell=cell))
    pacer.settle(_PAINT)
    text = getattr(answer, "text", "")
    say(f"{text[:1].upper()}{text[1:]}{f' ({cell})' if options.cell == -1 else ''}.")


def _retry(words: list[str]) -> None:
    options = _parsed(
        "retry",
        words,
        lambda p: (
            p.add_argument("tasks", nargs="*", type=int, metavar="TASK"),
            p.add_argument("-f", "--failed", action="store_true"),
            p.add_argument("--app", default="", metavar="NAME"),
        ),
    )
    if bool(options.tasks) == options.failed:
        raise UsageError("%parsl retry TASK... or %parsl retry --failed, each with --app NAME for tasks of that app.")
    answer = _ask(panel.RetryRequest("", options.tasks, everything=options.failed, app=options.app), None)
    say(getattr(answer, "text", ""))


def _explain(words: list[str]) -> None:
    tasks = _parsed("explain", words, lambda p: p.add_argument("tasks", nargs="+", type=int, metavar="TASK")).tasks
    for task in tasks:
        say(getattr(_ask(panel.ExplainRequest("", task)), "text", ""))


# ----- blocks


def _scale(words: list[str]) -> None:
    options = _parsed(
        "scale",
        words,
        lambda p: (
            p.add_argument("label", nargs="?", default="", metavar="LABEL"),
            p.add_argument("blocks", type=int, metavar="N"),
        ),
    )
    if options.blocks < 0:
        raise UsageError(f"%parsl scale {options.label}: the number of blocks must be at least 0.")
    _ordered(lambda dfk: dfk.scale(options.label, options.blocks))


def _blocks(words: list[str]) -> None:
    options = _parsed("blocks", words, lambda p: p.add_argument("-a", "--all", action="store_true"))
    answer = _ask(panel.SnapshotRequest(subscribe=False))
    if not isinstance(answer, panel.Snapshot):
        raise UsageError("The run gave no blocks.")
    over = {state.name for state in ENDED}
    shown = [row for row in answer.blocks if options.all or row.state not in over]
    left_out = len(answer.blocks) - len(shown)
    head = f"{len(shown) or 'No'} block{'s' if len(shown) != 1 else ''}"
    head += f" ({left_out} more {'is' if left_out == 1 else 'are'} over: %parsl blocks --all)" if left_out else ""
    rows = [_block_row(row) for row in shown]
    _show(
        TextTable(f"{head}:" if rows else f"{head}.", ["block", "state", "job", "nodes", "busy workers", "why"], rows)
    )


def _block_row(row: panel.BlockRow) -> list[object]:
    state = row.state.replace("_", " ") + (", held" if row.held else "")
    return [f"{row.executor}/{row.block}", state, row.job, row.managers, f"{row.busy} of {row.workers}", row.reason]


def _hold(words: list[str]) -> None:
    _block_order("hold", words)


def _release(words: list[str]) -> None:
    if words:
        _block_order("release", words)
    else:
        _ordered(lambda dfk: dfk.keep(0.0))


def _drain(words: list[str]) -> None:
    _block_order("drain", words)


def _block_order(action: str, words: list[str]) -> None:
    block = _parsed(action, words, lambda p: p.add_argument("block", metavar="BLOCK")).block
    _ordered(lambda dfk: getattr(dfk, action)(block))


def _ordered(order: Callable[[DataFlowKernel], str]) -> None:
    """Send an order to the run, and print the reply."""
    try:
        say(order(_loaded()))
    except (TimeoutError, ParslabError) as error:
        raise UsageError(printable(str(error))) from None


# ----- report


def _report(words: list[str]) -> None:
    options = _parsed(
        "report",
        words,
        lambda p: (
            p.add_argument("run", nargs="?", default="", metavar="RUN"),
            p.add_argument("-o", "--output", default="", metavar="FOLDER"),
        ),
    )
    run = options.run or _written_run()
    from parslab.client.reports import report_of

    try:
        report = report_of(run, options.output)
    except ConfigurationError as error:
        raise UsageError(printable(str(error))) from None
    say(f"The report of run {report.run} is {report.html}; the summary for programs is {report.json}")


def _compare(words: list[str]) -> None:
    options = _parsed("compare", words, lambda p: p.add_argument("runs", nargs="+", metavar="RUN"))
    if len(options.runs) > 2:
        raise UsageError("%parsl compare takes two runs, or one to which the run of this notebook is compared.")
    from parslab.client.reports import compare

    first, second = options.runs if len(options.runs) == 2 else (options.runs[0], _written_run())
    try:
        text = compare(first, second)
    except ConfigurationError as error:
        raise UsageError(printable(str(error))) from None
    for line in text.splitlines():
        say(line)


def _written_run() -> str:
    """Return the folder of the notebook's run, whose database has all that has happened up to now."""
    # The reply to a page of tasks comes after the store has written all that happened before.
    _ask(panel.TaskPageRequest("", limit=1), None)
    return str(_loaded().run_dir)


# ----- waiting


def _wait(words: list[str]) -> None:
    options = _parsed("wait", words, lambda p: p.add_argument("tasks", nargs="*", type=int, metavar="TASK"))
    dfk = _loaded()
    if not options.tasks:
        count = dfk.unfinished
        dfk.wait_for_current_tasks()
        pacer.settle(_PAINT)
        say(f"{_count(count)} finished." if count else "No task was unfinished.")
        return
    for task in options.tasks:
        _wait_for(dfk, task)
    pacer.settle(_PAINT)
    say(f"{_count(len(options.tasks))} finished.")


def _count(tasks: int) -> str:
    return "1 task" if tasks == 1 else f"{tasks} tasks"


def _wait_for(dfk: DataFlowKernel, task: int) -> None:
    # The future of this process costs no message, and wakes us at once.
    future = dfk.pending.unfinished.get(task)
    if future is not None:
        with contextlib.suppress(CancelledError):
            future.exception()
        return
    answer = _ask(panel.TaskDetailRequest("", task))
    if isinstance(answer, panel.TaskDetail) and TaskState[answer.row.state] not in FINAL:
        raise UsageError(f"Task {task} was started by another notebook or script; only that one can wait for it.")


def _parsed(command: str, words: list[str], add: Callable[[Any], object] | None = None) -> Any:
    make: Any = MagicArgumentParser
    parser = make(f"%parsl {command}", add_help=False)
    if add is not None:
        add(parser)
    try:
        return parser.parse_args(words)
    except UsageError as error:
        # IPython formats the usage as a reStructuredText block with a "%" of its own.
        usage = " ".join(parser.format_usage().split())
        raise UsageError(f"%{usage[usage.index('parsl ') :]}: {error}.") from None


def _show(table: TextTable) -> None:
    from IPython.display import display

    display(table)  # type: ignore[no-untyped-call,unused-ignore]


_COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "status": _status,
    "tasks": _tasks,
    "cancel": _cancel,
    "retry": _retry,
    "explain": _explain,
    "blocks": _blocks,
    "scale": _scale,
    "attach": _attach,
    "keep": _keep,
    "handover": _handover,
    "hold": _hold,
    "release": _release,
    "drain": _drain,
    "report": _report,
    "compare": _compare,
    "wait": _wait,
    "shutdown": _shutdown,
}
