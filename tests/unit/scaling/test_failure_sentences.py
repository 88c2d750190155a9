"""Why blocks do not start, in words that help."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parslab.scaling.failure_sentences import CHARACTERS, advice, end_of_output, last_lines, mistakes, stop_sentence

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("/usr/bin/python3: No module named parslab", "Install parslab in the environment of the nodes"),
        ("ModuleNotFoundError: No module named 'numpy'", "Install that package"),
        ("executor pool: its factory raised ValueError: no address", "Correct the executor's factory"),
        ("the factory must return a concurrent.futures.Executor, not int (4)", "Correct the executor's factory"),
        ("host n1 runs Python 3.9, this notebook 3.11", "same environment as the notebook's"),
        ("script.sh: line 4: python3.11: command not found", "Load or activate Python"),
        ("script.sh: line 4: module: command not found", "module line in worker_init"),
        ("script.sh: line 4: condaa: command not found", "Correct that command in worker_init"),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination", "account"),
        ("sbatch: error: invalid partition specified: nosuch", "partition or queue"),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", "fewer of your jobs"),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", "fewer of your jobs"),
        ("sbatch: error: Invalid qos specification", "a QOS that you may use"),
        ("Requested time limit is invalid", "shorter walltime"),
        ("qsub did not answer within 30 s", "scheduler is well"),
        ("something else", "parslab doctor"),
    ],
)
def test_advice(words: str, what: str) -> None:
    assert what in advice(words)


@pytest.mark.parametrize(
    "words",
    [
        "Slurm would never start it: PartitionTimeLimit (the partition allows less time: lower walltime)",
        "command not found: sbatch on login1: load this where Slurm can be used, or add its folder to PATH",
        "sbatch did not answer within 30 s, so the job was given up; see whether Slurm is well, or raise cmd_timeout",
    ],
)
def test_advice_is_not_given_twice(words: str) -> None:
    assert advice(words) == ""
    assert stop_sentence(3, "2", "", f"{words}.", "/x").endswith(f"block 2: {words}.")


def test_the_end_of_an_output_is_one_line() -> None:
    text = "\n".join(f"line {n}" for n in range(20)) + "\n\n"
    assert last_lines(text) == " | ".join(f"line {n}" for n in range(14, 20))
    assert last_lines("one\ntwo\n", known="exit status 1: two") == "one"
    assert len(last_lines("x" * 5000)) == CHARACTERS + 3


def test_stderr_is_asked_before_stdout(tmp_path: Path) -> None:
    err, out = tmp_path / "e", tmp_path / "o"
    assert end_of_output(str(err), str(out)) == ""
    out.write_text("loading\n")
    assert end_of_output(str(err), str(out)) == "its output: loading"
    err.write_text("python: command not found\n")
    assert end_of_output(str(err), str(out)) == "its output: python: command not found"
    assert end_of_output(str(err), str(out), "python: command not found") == ""


def test_a_shells_complaint_begins_with_the_name_of_the_script(tmp_path: Path) -> None:
    err = tmp_path / "htex-0.stderr"
    err.write_text(f"{tmp_path}/htex-0.sh: line 4: condaa: command not found\n")
    assert end_of_output(str(err), "") == "its output: htex-0.sh: line 4: condaa: command not found"


def test_the_sentence_of_a_stopped_executor() -> None:
    said = stop_sentence(3, "2", "107", "exit status 127: python3: command not found.", "/run/blocks/big-2.stderr")
    assert said == (
        "3 blocks in a row could not start; the last, block 2 (job 107): exit status 127: python3: command not found. "
        "Load or activate Python in worker_init, or name its path with HighThroughputExecutor(python=...). "
        "Its whole output is in /run/blocks/big-2.stderr."
    )
    refused = stop_sentence(3, "2", "", "sbatch: Invalid account", "/run/blocks/big-2.stderr")
    assert "/run" not in refused, "a job that was never accepted has no output"


def test_the_mistakes_in_worker_init(tmp_path: Path) -> None:
    """News of module systems are no mistakes."""
    errors = tmp_path / "htex-0.sh.init"
    assert mistakes(str(errors)) == ""
    errors.write_text(f"Loading python/3.11\n{tmp_path}/htex-0.sh: line 6: modul: command not found\n")
    assert mistakes(str(errors)) == "htex-0.sh: line 6: modul: command not found"
    errors.write_text("Loading python/3.11\n  Loading requirement: gcc/12\n")
    assert mistakes(str(errors)) == ""
