"""``parslab attach``: shows the state of a run in one line, again and again, until the run ends or the user interrupts.

This is a client like any other: the run stays while the client is attached.  On a terminal each line replaces the
previous one.  Otherwise the command writes a new line when the state has changed.
"""

from __future__ import annotations

import sys
import threading

from parslab.client import session
from parslab.errors import ParslabError
from parslab.records import panel
from parslab.records.durations import format_duration
from parslab.records.text import printable

__all__ = ["line_of", "watch"]

_PERIOD = 1.0


def watch(run: str | None) -> int:
    """Attach to a run and show its state; returns the exit status."""
    dfk = session.attach(run)
    ended = threading.Event()
    dfk.on_end.append(lambda _: ended.set())
    print(printable(f"Attached to run {dfk.run} (interrupt to leave it); its files are in {dfk.run_dir}"), flush=True)
    over = sys.stdout.isatty()
    shown = ""
    try:
        while not ended.is_set():
            try:
                answer = dfk.ask(panel.SnapshotRequest(subscribe=False))
            except TimeoutError:
                continue  # the DataFlowKernel is busy
            except ParslabError:
                break
            if isinstance(answer, panel.Snapshot):
                shown = _show(printable(line_of(answer)), shown, over)
            ended.wait(_PERIOD)
        print("\n" * over + printable(str(dfk.state.lost_error())))
    except KeyboardInterrupt:
        linger = dfk.linger
        dfk.leave()
        stays = (
            f"stays for {format_duration(linger)} after the last one has left it" if linger else "ends with its owner"
        )
        print(f"{chr(10) if over else ''}Run {dfk.run} goes on; it {stays}.")
    return 0


def _show(line: str, shown: str, over: bool) -> str:
    if over:
        # The blanks cover the rest of a longer previous line.
        sys.stdout.write(f"\r{line:<{len(shown)}}")
    elif line != shown:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    return line


def line_of(picture: panel.Snapshot) -> str:
    """``3 blocks, 4 of 8 workers busy; 40 exec_done, 8 running; 2 clients``."""
    now = picture.overview
    blocks = sum(row.state == "running" for row in picture.blocks)
    parts = [f"{blocks} block{'s' if blocks != 1 else ''}"] if picture.blocks else []
    parts.append(f"{now.workers_busy} of {now.workers_total} workers busy")
    tasks = ", ".join(f"{count} {state}" for state, count in sorted(now.counts.items())) or "no tasks"
    return f"{', '.join(parts)}; {tasks}; {now.clients} client{'s' if now.clients != 1 else ''}"
