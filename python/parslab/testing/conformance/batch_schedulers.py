"""The test suite that every provider for a batch scheduler must pass, on recorded answers of the scheduler.

A member of the family makes a subclass in a test file of its own; pytest finds the rest::

    class TestMine(BatchSuite):
        recordings = Path(__file__).parent / "recorded" / "mine"

        def provider(self, **options):
            return MyProvider(queue="all", **options)

A recording is a text file: a title, the expected results, a line ``---``, and then the original answer::

    Slurm 22.05: squeue
    reads: parse_statuses
    job: 11 running
    job: 12 queued Resources
    ---
    11|RUNNING|None|n1
    12|PENDING|Resources|

``reads`` names the method that gets the text.  ``job`` gives an id, its state (also ``stuck``, ``unclear`` or
``absent``) and a regular expression for its reason.  ``gives`` is what a method with one result returns.  This module
needs pytest.
"""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from parslab.description import decoded, encoded
from parslab.providers.base import JobStatus, SubmitError, exit_file
from parslab.providers.batch.job_status import StuckJob, UnclearJob
from parslab.providers.batch.runner import PATIENCE, BatchRunner, KnownJobs
from parslab.providers.commands import CommandHung, CommandResult
from parslab.records.states import BlockState
from parslab.testing.conformance.jobs import a_job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.providers.batch.base import BatchProvider

__all__ = ["BatchSuite", "FakeCommands", "Recording"]


@dataclass(frozen=True)
class Recording:
    """One answer of a scheduler, and how the provider must read it."""

    path: Path
    title: str
    reads: str
    text: str
    jobs: tuple[tuple[str, str, str], ...] = ()
    gives: str | None = None

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Read the recording from a file."""
        head, found, text = path.read_text(encoding="utf-8").partition("\n---\n")
        assert found, f"{path} has no line ---"
        title, *lines = head.splitlines()
        jobs, given = [], {}
        for line in lines:
            name, _, value = line.partition(":")
            if name == "job":
                number, state, *reason = value.split(None, 2)
                jobs.append((number, state, reason[0] if reason else ""))
            else:
                given[name] = value.strip()
        assert given.keys() <= {"reads", "gives"}, f"{path}: {sorted(given)}"
        return cls(path, title, given["reads"], text, tuple(jobs), given.get("gives") or None)

    @property
    def ids(self) -> list[str]:
        """The jobs that the recording asks for."""
        return [number for number, _, _ in self.jobs]


def _state(status: JobStatus | None) -> str:
    if status is None:
        return "absent"
    if isinstance(status, StuckJob):
        return "stuck"
    return "unclear" if isinstance(status, UnclearJob) else status.state.value


@dataclass
class FakeCommands:
    """Replaces the scheduler's commands; each call takes the next answer for its program.

    Attributes
    ----------
    answers : dict
        The answers of each program, or errors to raise; the last one repeats.
    calls : list
        The command lines that were run.
    """

    answers: dict[str, list[CommandResult | OSError]] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)

    def __call__(self, command: Sequence[str], limit: float, stdin: str | None = None) -> CommandResult:
        """Run a command as :func:`parslab.providers.commands.run` does."""
        self.calls.append(list(command))
        waiting = self.answers.get(command[0], [CommandResult(1, "", "this program says nothing here")])
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    def count(self, program: str) -> int:
        """Return how often a program was run."""
        return sum(call[0] == program for call in self.calls)


class BatchSuite:
    """The suite of a provider for a batch scheduler.

    Attributes
    ----------
    recordings : Path
        The folder of its recordings; they must show jobs that are queued, running and finished, and one in an
        unknown state.
    shown : dict
        Options, and the text that each must add to the script.
    """

    recordings: ClassVar[Path]
    shown: ClassVar[dict[str, tuple[Any, str]]] = {}

    def provider(self, **options: Any) -> BatchProvider:
        """Return the provider to test."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one test for each recording."""
        if "recording" in metafunc.fixturenames:
            found = [Recording.read(path) for path in sorted(self.recordings.glob("*.txt"))]
            metafunc.parametrize("recording", found, ids=[recording.path.stem for recording in found])
        if "option" in metafunc.fixturenames:
            metafunc.parametrize("option", sorted(self.shown))

    # ----- answers

    def test_recorded_answer(self, recording: Recording) -> None:
        """The provider reads each recorded answer as the recording says."""
        read = getattr(self.provider(), recording.reads)
        if recording.reads in ("parse_statuses", "parse_accounting"):
            found = read(recording.text, recording.ids)
            assert {number: _state(found.get(number)) for number in recording.ids} == {
                number: state for number, state, _ in recording.jobs
            }
            assert set(found) <= set(recording.ids)
            assert read(recording.text, ["987654321"]) == {}, "a user's other jobs are none of ours"
            for number, _, reason in recording.jobs:
                assert not reason or re.search(reason, found[number].reason), found[number]
        else:
            arguments = (recording.ids[0],) if recording.reads == "parse_found" else ()
            assert (read(recording.text, *arguments) or None) == recording.gives

    def test_damaged_answers_raise_no_error(self) -> None:
        """A damaged answer never raises, and never gives a status to a job that was not asked for."""
        for path in self.recordings.glob("*.txt"):
            self._damage(Recording.read(path))

    def _damage(self, recording: Recording) -> None:
        provider, text = self.provider(), recording.text
        lines = text.splitlines(keepends=True)
        # Answers that are cut off, that lack a line, that contain a warning, and that have other characters.
        odd = [text[:at] for at in range(0, len(text), max(1, len(text) // 50))]
        odd += ["".join(lines[:n] + lines[n + 1 :]) for n in range(min(len(lines), 60))]
        odd += ["".join([*lines[:n], "\x00|slurm: a warning, 12 of 3%|\t<&\n", *lines[n:]]) for n in range(0, 60, 7)]
        odd += [re.sub(pattern, new, text) for pattern, new in ((r"\S", "?"), (r"\d", "9"), (r"[|:=]", " "), (" ", ""))]
        for answer in odd:
            if recording.reads in ("parse_statuses", "parse_accounting"):
                found = getattr(provider, recording.reads)(answer, recording.ids)
                assert set(found) <= set(recording.ids)
                assert all(isinstance(status, JobStatus) for status in found.values())
            else:
                arguments = (recording.ids[0],) if recording.reads == "parse_found" else ()
                read = getattr(provider, recording.reads)(answer, *arguments)
                assert read is None or isinstance(read, str)

    def test_recordings_show_the_whole_life_of_a_job(self) -> None:
        """The recordings show the states queued, running, finished and failed, and an unknown state with its name."""
        states = {state for path in self.recordings.glob("*.txt") for _, state, _ in Recording.read(path).jobs}
        assert {"queued", "running", "finished", "failed", "unclear"} <= states
        for path in self.recordings.glob("*.txt"):
            recording = Recording.read(path)
            for number, state, reason in recording.jobs:
                assert state not in ("stuck", "unclear", "failed") or reason, f"{path}: what does {number} say?"

    # ----- scripts

    def test_script(self, tmp_path: Path) -> None:
        """The scheduler's lines are first, the user's are before the launcher's, and the script is valid bash."""
        provider = self.provider(worker_init="module load 'python'\nexport A=1", scheduler_options="--odd=1\n# comment")
        job = a_job(tmp_path, command="env A=${A:-2} start-manager 'x y'")
        text = provider.script(job)
        lines = text.splitlines()
        assert lines[0] == "#!/bin/bash"
        first = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
        assert all(not line.startswith(provider.prefix) for line in lines[first:])
        files = "\n".join(provider.files(job).values())
        assert f"{provider.prefix} --odd=1".strip("# ") in files
        assert text.index("module load 'python'\nexport A=1") < text.index(job.command)
        assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""

    def test_options_are_shown_in_the_files(self, option: str, tmp_path: Path) -> None:
        """Each option changes the files for the scheduler."""
        value, shown = self.shown[option]
        job = a_job(tmp_path)
        files = "\n".join(self.provider(**{option: value}).files(job).values())
        assert re.search(shown, files, re.MULTILINE), files
        assert not re.search(shown, "\n".join(self.provider().files(job).values()), re.MULTILINE)

    @pytest.mark.parametrize(("status", "state"), [(0, "finished"), (3, "failed")])
    def test_script_writes_its_exit_status(self, status: int, state: str, tmp_path: Path) -> None:
        """The script ends with the launcher's status, and its output is in the files that the job names."""
        job = a_job(tmp_path, command=f"(echo $A; echo no >&2; exit {status})")
        provider = self.provider(worker_init="A=yes")
        script = tmp_path / "run.sh"
        script.write_text(provider.script(job))
        with open(job.stdout, "w") as out, open(job.stderr, "w") as err:
            to: Any = (None, None) if provider.redirects else (out, err)
            ended = subprocess.run(["bash", script], stdout=to[0], stderr=to[1])
        assert ended.returncode == status
        assert Path(exit_file(job.script)).read_text() == f"{status}\n"
        assert Path(job.stdout).read_text() == "yes\n"
        assert Path(job.stderr).read_text() == "no\n"

    def test_managers_read_when_the_walltime_is_over(self, tmp_path: Path) -> None:
        """The script exports the walltime, so that a manager that the scheduler ends can report it."""
        job = a_job(tmp_path, command='echo "$PARSLAB_WALLTIME $PARSLAB_JOB_ENDS"')
        script = tmp_path / "run.sh"
        script.write_text(self.provider(walltime=120).script(job))
        done = subprocess.run(["bash", script], capture_output=True, text=True, check=True)
        walltime, ends = (Path(job.stdout).read_text() if self.provider().redirects else done.stdout).split()
        assert walltime == "120"
        assert abs(float(ends) - time.time() - 120) < 30

    def test_description_survives_encoding(self) -> None:
        """A description that is encoded and decoded is equal to the original, and readable."""
        provider = self.provider(worker_init="x")
        assert decoded(encoded(provider)) == provider
        assert repr(provider).startswith(f"{type(provider).__name__}(")

    # ----- the runner

    def runner(self, commands: FakeCommands, now: Callable[[], float] = lambda: 0.0, **options: Any) -> BatchRunner:
        """Make a runner that shares no state with the runners of other tests."""
        return BatchRunner(self.provider(**options), commands, now, KnownJobs())

    def answer(self, reads: str, state: str) -> tuple[str, str]:
        """Return a recorded answer that reports a job in this state, and the job."""
        for path in sorted(self.recordings.glob("*.txt")):
            recording = Recording.read(path)
            for number, known, _ in recording.jobs:
                if recording.reads == reads and known == state:
                    return recording.text, number
        pytest.skip(f"no recording of {reads} shows a job that is {state}")

    def submission(self) -> tuple[str, str]:
        """Return a recorded answer of the submit command, and the job that it names."""
        for path in sorted(self.recordings.glob("*.txt")):
            recording = Recording.read(path)
            if recording.reads == "parse_job_id" and recording.gives:
                return recording.text, recording.gives
        pytest.fail("there is no recording of a submission")

    def test_submit(self, tmp_path: Path) -> None:
        """The files exist before the command runs, and no other user may read them."""
        text, number = self.submission()
        job, provider = a_job(tmp_path), self.provider()
        commands = FakeCommands({provider.submit_command(job.script)[0]: [CommandResult(0, text)]})
        assert self.runner(commands).submit(job) == number
        assert commands.calls == [provider.submit_command(job.script)]
        assert Path(job.script).read_text() == provider.files(job)[job.script]
        assert Path(job.script).stat().st_mode & 0o777 == 0o700
        assert sorted(str(path) for path in tmp_path.iterdir()) == sorted(provider.files(job))

    @pytest.mark.parametrize(
        ("answer", "says"),
        [
            (CommandResult(1, "", "no such account: astro"), "refused the job .*no such account: astro"),
            (CommandResult(0, "have a nice day"), "without naming it: have a nice day"),
            (FileNotFoundError("command not found: it"), "command not found: it on .*PATH"),
            (CommandHung("it did not answer within 3 s"), "did not answer within 3 s.*cmd_timeout"),
        ],
    )
    def test_refusals_have_the_words_of_the_scheduler(
        self, answer: CommandResult | OSError, says: str, tmp_path: Path
    ) -> None:
        """A refusal raises SubmitError with the words of the scheduler."""
        job = a_job(tmp_path)
        commands = FakeCommands({self.provider().submit_command(job.script)[0]: [answer]})
        with pytest.raises(SubmitError, match=says):
            self.runner(commands).submit(job)

    def test_missing_folder_is_reported(self, tmp_path: Path) -> None:
        """A missing folder is reported before any command runs."""
        commands = FakeCommands()
        with pytest.raises(SubmitError, match=r"needs the folder .*none for .* is gone"):
            self.runner(commands).submit(a_job(tmp_path / "none"))
        assert commands.calls == []

    def test_unreachable_scheduler_ends_no_job(self) -> None:
        """A scheduler that does not answer raises OSError, and the next call tries again."""
        provider = self.provider()
        text, number = self.answer("parse_statuses", "running")
        program = provider.status_command([number])[0]
        answers: list[CommandResult | OSError] = [
            CommandResult(1, "", "cannot connect"),
            CommandHung("slow"),
            CommandResult(0, text),
        ]
        runner = self.runner(FakeCommands({program: answers}))
        with pytest.raises(OSError, match="cannot connect"):
            runner.status([number])
        with pytest.raises(OSError, match="slow"):
            runner.status([number])
        assert runner.status([number])[number].state is BlockState.running

    def test_forgotten_job_without_exit_status_is_missing(self, tmp_path: Path) -> None:
        """The exit status of a forgotten job counts; without one the job is missing after some time."""
        provider = self.provider()
        text, number = self.submission()
        job, clock = a_job(tmp_path), [0.0]
        commands = FakeCommands({provider.submit_command(job.script)[0]: [CommandResult(0, text)]})
        runner = self.runner(commands, lambda: clock[0])
        assert runner.submit(job) == number
        commands.answers = {provider.status_command([number])[0]: [CommandResult(0, "")]}
        assert runner.status([number]) == {}
        clock[0] = PATIENCE
        assert runner.status([number])[number].state is BlockState.missing
        asked = len(commands.calls)
        assert runner.status([number])[number].state is BlockState.missing
        assert len(commands.calls) == asked, "what has ended is never asked for again"

    def test_the_exit_status_is_read(self, tmp_path: Path) -> None:
        """The runner reads the exit status at once if there is one."""
        provider = self.provider()
        text, number = self.submission()
        job = a_job(tmp_path)
        commands = FakeCommands({provider.submit_command(job.script)[0]: [CommandResult(0, text)]})
        runner = self.runner(commands)
        runner.submit(job)
        commands.answers = {provider.status_command([number])[0]: [CommandResult(0, "")]}
        Path(exit_file(job.script)).write_text("127\n")
        status = runner.status([number])[number]
        assert (status.state, status.reason) == (BlockState.failed, "exit status 127 (command not found)")

    def test_the_accounting_is_asked_for_forgotten_jobs(self) -> None:
        """The accounting reports the end of a forgotten job, if the scheduler has an accounting."""
        provider = self.provider()
        text, number = self.answer("parse_accounting", "failed")
        (command, *_) = provider.accounting_commands([number]) or [[]]
        status_program = provider.status_command([number])[0]
        answers: dict[str, list[CommandResult | OSError]] = {
            status_program: [CommandResult(0, ""), CommandResult(0, text)]
        }
        if command[0] != status_program:
            answers = {status_program: [CommandResult(0, "")], command[0]: [CommandResult(0, text)]}
        commands = FakeCommands(answers)
        assert self.runner(commands).status([number])[number].state is BlockState.failed
        assert command in commands.calls

    def test_a_job_that_never_can_run_is_cancelled(self) -> None:
        """A job that can never run is cancelled, and has failed with the reason."""
        provider = self.provider()
        text, number = self.answer("parse_statuses", "stuck")
        cancel = provider.cancel_command([number])
        commands = FakeCommands(
            {provider.status_command([number])[0]: [CommandResult(0, text)], cancel[0]: [CommandResult(0)]}
        )
        status = self.runner(commands).status([number])[number]
        assert status.state is BlockState.failed
        assert status.reason
        assert cancel in commands.calls

    def test_unknown_state_changes_nothing(self) -> None:
        """An unknown word becomes the reason, and the state stays the same."""
        provider = self.provider()
        text, number = self.answer("parse_statuses", "unclear")
        status = self.runner(FakeCommands({provider.status_command([number])[0]: [CommandResult(0, text)]})).status(
            [number]
        )
        assert status[number].state is BlockState.queued
        assert "not known here" in status[number].reason

    def test_cancel(self) -> None:
        """One command cancels all jobs; a command that fails raises OSError."""
        provider = self.provider()
        command = provider.cancel_command(["1", "2"])
        commands = FakeCommands({command[0]: [CommandResult(0), CommandResult(1, "", "cannot connect")]})
        runner = self.runner(commands)
        runner.cancel([])
        assert commands.calls == []
        runner.cancel(["1", "2"])
        assert commands.calls == [command]
        with pytest.raises(OSError, match="cannot connect"):
            runner.cancel(["1"])

    def test_a_job_is_found_by_its_name(self) -> None:
        """A job of another process is found by its name; a scheduler that cannot look for names raises OSError."""
        provider = self.provider()
        command = provider.find_command("parslab.run.label.1")
        assert command, "jobs whose number is not known can be found by their names only"
        text, name, number = self.named()
        answers: list[CommandResult | OSError] = [
            CommandResult(0, text),
            CommandResult(0, ""),
            CommandResult(1, "", "cannot connect"),
            CommandHung("slow"),
        ]
        commands = FakeCommands({command[0]: answers})
        runner = self.runner(commands)
        assert runner.find(name) == number
        assert commands.calls == [provider.find_command(name)]
        assert runner.find(name) is None
        for says in ("cannot connect", "slow"):
            with pytest.raises(OSError, match=says):
                runner.find(name)

    def named(self) -> tuple[str, str, str]:
        """Return a recorded answer of the command that finds a job, and the job's name and number."""
        for path in sorted(self.recordings.glob("*.txt")):
            recording = Recording.read(path)
            if recording.reads == "parse_found" and recording.gives:
                return recording.text, recording.ids[0], recording.gives
        pytest.fail("there is no recording of a job that was found by its name")

    def test_job_of_a_killed_process_is_adopted(self, tmp_path: Path) -> None:
        """The runner reads the exit file of an adopted job, as for a job that it has submitted."""
        provider, job = self.provider(), a_job(tmp_path)
        _, number = self.submission()
        runner = self.runner(FakeCommands({provider.status_command([number])[0]: [CommandResult(0, "")]}))
        runner.adopt(number, job)
        Path(exit_file(job.script)).write_text("127\n")
        status = runner.status([number])[number]
        assert (status.state, status.reason) == (BlockState.failed, "exit status 127 (command not found)")

    def test_one_status_call_serves_all_jobs(self) -> None:
        """One command asks for all jobs, also for hundreds."""
        provider = self.provider()
        numbers = [str(number) for number in range(100)]
        program = provider.status_command(numbers)[0]
        commands = FakeCommands({program: [CommandResult(0, "")]})
        self.runner(commands).status(numbers)
        assert commands.calls[0] == provider.status_command(numbers)
        assert sum(call == commands.calls[0] for call in commands.calls) == 1
