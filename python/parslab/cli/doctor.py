"""``parslab doctor``: tries a configuration step by step, as a run uses it, and stops at the first fault.

For an executor with blocks the doctor first looks for the scheduler's commands.  Then it submits a job of one node
that runs ``probe.py``, and at last it runs a task in a real run with one block.  The probe reports that it has
started, which Python and packages the node has, and whether the node reaches this host.  For hosts that are reached by
ssh the probe runs through ssh, and tries both ways back.  On a login host (``channel=SSH(...)``) the doctor looks for
the commands, for a folder that can be written, and for a relay.  Other executors only run the task.  The doctor cancels
each job that it has submitted, also when the user interrupts.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import socket
import sys
import tempfile
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parslab.addresses import candidate_addresses
from parslab.cli.findings import address_trouble, ended_trouble, python_trouble, tail
from parslab.cli.login_hosts import examine_login_host
from parslab.cli.ssh_hosts import examine_hosts
from parslab.errors import ConfigurationError
from parslab.executors.base import checked_settings
from parslab.executors.high_throughput import HighThroughputExecutor
from parslab.paths import python_path_prefix
from parslab.providers.base import Job, SubmitError
from parslab.providers.batch.base import BatchProvider
from parslab.providers.kube.provider import KubernetesProvider
from parslab.providers.ssh.provider import SSHProvider
from parslab.providers.user_provider import portable
from parslab.records.executor_settings import HighThroughputSettings
from parslab.records.states import ENDED, BlockState
from parslab.records.text import printable
from parslab.scaling.strategies import strategy_named
from parslab.sites import check_site, default_config, named_config
from parslab.version import version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parslab.config import Config
    from parslab.executors.base import Executor
    from parslab.providers.base import JobStatus, Runner

__all__ = ["Probe", "Trouble", "examine"]

_GRACE = 20.0
"""Seconds until a report is visible here after its job is over, because shared file systems are slow."""

_PROBE_LIMIT = 60.0
"""Seconds that the probe may run: it imports a few modules and opens a few connections."""

_ONE_BLOCK = {"nodes_per_block": 1, "init_blocks": 1, "min_blocks": 0, "max_blocks": 1}
"""The doctor tries one block of one node, whatever the configuration asks for."""


class Trouble(Exception):
    """A step failed; the text says what is wrong, and what the user can do."""


def examine(name: str, label: str, dry_run: bool, timeout: float) -> int:
    """Try a configuration, and print each step; returns the exit status.

    Parameters
    ----------
    name
        A ready configuration or a file; an empty text means the configuration of ``load()``.
    label
        The executor to try; an empty text means all.
    dry_run
        Show the job script, and submit nothing.
    timeout
        Seconds that a job may wait in a queue.
    """
    try:
        check_site()
        config = named_config(name) if name else default_config()
        executors = [executor for executor in config.executors if label in ("", executor.label)]
        if not executors:
            have = ", ".join(executor.label for executor in config.executors)
            raise Trouble(f"There is no executor {label!r}; this configuration has {have}.")
        if any(getattr(executor, "provider", None) is not None for executor in executors):
            strategy_named(config.strategy)
        _good("configuration", repr(config))
        for executor in executors:
            _examine_executor(config, executor, dry_run, timeout)
    except (Trouble, ConfigurationError) as error:
        print(printable(f"[FAIL] {error}"))
        return 1
    print("All is well." if not dry_run else "Nothing was submitted.")
    return 0


def _examine_executor(config: Config, executor: Executor, dry_run: bool, timeout: float) -> None:
    settings = checked_settings(executor)
    _good(f"executor {executor.label}", str(settings.__struct_config__.tag).replace("_", " "))
    if isinstance(executor, HighThroughputExecutor) and isinstance(settings, HighThroughputSettings):
        _examine_provider(config, executor, settings, dry_run, timeout)
    if not dry_run:
        _try_ways(config, executor, timeout)


def _try_ways(config: Config, executor: Executor, timeout: float) -> None:
    """Run a task; where pods may take several ways to this host, one by each of them, and one must do."""
    provider = getattr(executor, "provider", None)
    if not isinstance(provider, KubernetesProvider) or provider.route != "auto":
        _run_task(config, executor, timeout)
        return
    troubles = {}
    for route, words in (("direct", "directly"), ("relay", "through a relay")):
        try:
            _run_task(config, executor.replaced(provider=provider.replaced(route=route)), timeout)
            _good("pods reach this host", f"{words} (route={route!r})")
        except Trouble as trouble:
            troubles[words] = str(trouble)
            print(printable(f"[ no ] pods reach this host {words}: {trouble}"), flush=True)
    if len(troubles) > 1:
        raise Trouble("Pods reach this host neither directly nor through a relay: see the reasons above.")


# ----- a job that probes its node


def _examine_provider(
    config: Config, executor: HighThroughputExecutor, settings: HighThroughputSettings, dry_run: bool, timeout: float
) -> None:
    provider = portable(executor.provider)
    folder = _doctor_folder(config)
    if isinstance(provider, BatchProvider) and provider.channel is not None:
        trouble = "" if dry_run else examine_login_host(provider, folder, _good)
        if trouble:
            raise Trouble(trouble)
    else:
        _examine_commands(provider, dry_run)
    with _listening(settings) as addresses:
        if dry_run:
            print(printable(Probe(executor, folder, addresses).script()))
        elif isinstance(provider, SSHProvider):
            trouble = examine_hosts(provider, settings.python, addresses, timeout, _good)
            if trouble:
                raise Trouble(trouble)
        elif provider.remote:
            # Its nodes cannot write a report into a folder of this host; the task shows whether they work.
            _good("a block", "is tried by a task")
        else:
            _examine_node(Probe(executor, folder, addresses).run(timeout))
    # After a failure the folder stays, because the user needs its scripts and outputs.
    shutil.rmtree(folder, ignore_errors=True)


def _examine_commands(provider: Any, dry_run: bool) -> None:
    """Look for the programs of the scheduler on this host."""
    missing = [command for command in getattr(provider, "commands", ()) if shutil.which(command) is None]
    if missing and not dry_run:
        raise Trouble(
            f"{' and '.join(missing)} cannot be found on PATH: run this where jobs are submitted from, load the "
            "module that brings the scheduler's commands, or name the login host with channel=SSH(...)."
        )
    if getattr(provider, "commands", ()):
        _good("scheduler commands", ", ".join(shutil.which(c) or f"{c} (not here)" for c in provider.commands))


def _doctor_folder(config: Config) -> Path:
    """Return a new folder for the files of a probe."""
    root = Path(config.run_dir).expanduser().absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="doctor-", dir=root))
    except OSError as error:
        raise Trouble(
            f"The run folder {root} cannot be written ({error.strerror}): choose another one with Config(run_dir=...)."
        ) from error


def _examine_node(report: dict[str, Any]) -> None:
    """Show what the report of a probe says; raises Trouble if a manager could not run on that node."""
    trouble = python_trouble(report, sys.version_info[:3], version())
    if trouble:
        raise Trouble(trouble)
    _good("Python on the node", f"{report['executable']}, parslab {version()}")
    trouble = address_trouble(report)
    if trouble:
        raise Trouble(trouble)
    _good("the node reaches this host", f"at {report['reached']}")


@contextlib.contextmanager
def _listening(settings: HighThroughputSettings) -> Iterator[list[str]]:
    """Accept connections as the port for managers does; yields the addresses that managers would try."""
    # The run listens at the same addresses, so a firewall that stops the probe would also stop managers.
    hosts = [settings.address] if settings.address else candidate_addresses()
    if (settings.provider.local or settings.provider.tunnelled) and not settings.address:
        hosts = ["127.0.0.1"]
    family = socket.AF_INET6 if all(":" in host for host in hosts) else socket.AF_INET
    hosts = [host for host in hosts if (":" in host) == (family == socket.AF_INET6)]
    bound = hosts[0] if len(hosts) == 1 else ""
    try:
        listener = socket.create_server((bound, settings.port), family=family)
    except OSError as error:
        raise Trouble(
            f"Nothing can listen at {bound or 'this host'}, port {settings.port} ({error.strerror}): choose another "
            "port, or 0 for any free one."
        ) from error

    def accept() -> None:
        with contextlib.suppress(OSError):  # raised when the listener is closed at the end of the probe
            while True:
                listener.accept()[0].close()

    threading.Thread(target=accept, name="parslab-doctor", daemon=True).start()
    port = listener.getsockname()[1]
    try:
        yield [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts]
    finally:
        # Closing alone would not wake a thread that waits in accept().
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


class Probe:
    """A job of one node that runs ``probe.py`` there.

    Parameters
    ----------
    executor
        The executor, whose provider submits the job.
    folder
        The folder for its files.
    addresses
        Addresses ``HOST:PORT`` of this host that the node tries.
    sleep, clock
        The functions for waiting and for the time; only tests pass them.
    """

    def __init__(
        self,
        executor: HighThroughputExecutor,
        folder: Path,
        addresses: list[str],
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self._sleep, self._clock = sleep, clock
        provider = portable(executor.provider)
        small = {name: number for name, number in _ONE_BLOCK.items() if name in provider.option_names()}
        self.provider = provider.replaced(**small)
        # The node may not have parslab, so the probe is a file that needs only the standard library.
        program = folder / "probe.py"
        shutil.copyfile(Path(__file__).with_name("probe.py"), program)
        words = [executor.settings().python, str(program), str(folder), *addresses]
        self.job = Job(
            name=f"parslab.doctor.{executor.label}",
            command=python_path_prefix() + shlex.join(words),
            script=str(folder / "doctor.sh"),
            stdout=str(folder / "doctor.out"),
            stderr=str(folder / "doctor.err"),
        )

    def script(self) -> str:
        """Return the job's script, as the provider writes it."""
        return str(self.provider.script(self.job))

    def run(self, timeout: float) -> dict[str, Any]:
        """Submit the job, wait for its report, and cancel the job.

        Raises
        ------
        Trouble
            The job was not accepted, did not start in time, or ended without a report.
        """
        runner = self.provider.runner(self.folder)
        submitted = []
        try:
            submitted.append(runner.submit(self.job))
            _good("submitted", f"job {submitted[0]}, script {self.job.script}")
            return self._watch(runner, submitted[0], timeout)
        except SubmitError as error:
            words = str(error).rstrip(".")
            raise Trouble(f"The job was not accepted: {words}. Its script is {self.job.script}.") from error
        finally:
            if submitted:
                with contextlib.suppress(OSError):
                    runner.cancel(submitted)
            runner.close()

    def _watch(self, runner: Runner, number: str, timeout: float) -> dict[str, Any]:
        begun = self._clock()
        shown: tuple[str, str] = ("", "")
        over: float | None = None
        asked = float("-inf")
        status: JobStatus | None = None
        while True:
            now = self._clock()
            report = self._report()
            if report is not None:
                _good("started", f"on {report['host']} ({report['cores']} cores) after {now - begun:.0f} s")
                return report
            if over is None and now - asked >= max(runner.period, 0.5):
                asked = now
                with contextlib.suppress(OSError):  # the scheduler does not answer now
                    status = runner.status([number]).get(number, status)
            if status is not None and (status.state.value, status.reason) != shown:
                shown = (status.state.value, status.reason)
                print(printable(f"[ .. ] {shown[0]}{f' ({shown[1]})' if shown[1] else ''}"))
            if status is not None and status.state in ENDED and over is None:
                over = now
            if over is not None and status is not None and now - over >= self._patience():
                raise Trouble(self._ended(status))
            if over is None and now - begun > timeout and (status is None or status.state is not BlockState.running):
                why = f" ({shown[1]})" if shown[1] else ""
                raise Trouble(
                    f"The job is still {shown[0] or 'unknown to the scheduler'}{why} after {timeout:g} s: wait longer "
                    "with --timeout, or ask for less time or fewer cores."
                )
            # The job runs, so the limit for the queue does not apply, but a probe that hangs must not keep the user.
            if over is None and now - begun > timeout + _PROBE_LIMIT:
                raise Trouble(f"The job runs, but it has sent no report for {_PROBE_LIMIT:g} s; {self._ended(status)}")
            self._sleep(0.2)

    def _patience(self) -> float:
        """Return how long to wait for the report of an ended job: not long, if its output is already visible."""
        return _GRACE / 5 if _text(self.job.stdout) or _text(self.job.stderr) else _GRACE

    def _report(self) -> dict[str, Any] | None:
        for path in sorted(self.folder.glob("report-*.json")):
            report: dict[str, Any] = json.loads(path.read_text())
            return report
        return None

    def _ended(self, status: JobStatus | None) -> str:
        state, reason = (status.state.value, status.reason) if status is not None else ("unknown", "")
        return ended_trouble(state, reason, _text(self.job.stdout), _text(self.job.stderr), str(self.folder))


def _text(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(errors="replace")
    return ""


# ----- a task


def _run_task(config: Config, executor: Executor, timeout: float) -> None:
    """Load the executor alone, with one block, and run a task on it."""
    from parslab.app.decorators import python_app
    from parslab.client.session import load

    provider = getattr(executor, "provider", None)
    if provider is not None:
        small = {name: number for name, number in _ONE_BLOCK.items() if name in provider.option_names()}
        executor = executor.replaced(provider=provider.replaced(**small))
    begun = time.monotonic()
    run = load(config.replaced(executors=[executor]))
    try:
        where = python_app(socket.gethostname)()
        try:
            host = where.result(timeout)
        except FutureTimeout:
            words = "; ".join(notice.text for notice in _notices(run)) or "the run says nothing about it"
            raise Trouble(
                f"A task did not end within {timeout:g} s: {words} Its log is {run.run_dir}/dfk.log."
            ) from None
        except Exception as error:
            raise Trouble(f"A task failed: {type(error).__name__}: {tail(str(error))}") from error
        _good("a task", f"ran on {host}, {time.monotonic() - begun:.1f} s after load()")
    finally:
        run.cleanup()


def _notices(run: Any) -> list[Any]:
    from parslab.records import panel

    with contextlib.suppress(TimeoutError, Exception):
        return list(run.ask(panel.SnapshotRequest(subscribe=False)).notices[-3:])
    return []


def _good(step: str, detail: str) -> None:
    print(printable(f"[ ok ] {step}: {detail}"), flush=True)
