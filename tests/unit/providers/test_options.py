"""What descriptions of providers refuse, and the texts that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from parslab.errors import ConfigurationError
from parslab.launchers import MpiExecLauncher, SingleNodeLauncher
from parslab.providers import (
    GridEngineProvider,
    LocalProvider,
    PBSProProvider,
    Provider,
    SlurmProvider,
)
from parslab.providers.base import JobStatus, ended
from parslab.providers.batch.base import directives
from parslab.providers.batch.job_status import StuckJob, merged
from parslab.providers.batch.script import clock, short_name
from parslab.records.states import BlockState
from parslab.testing.conformance.jobs import a_job

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (
            LocalProvider,
            {"min_blocks": 2, "max_blocks": 1},
            "LocalProvider: min_blocks (2) must not be more than max_blocks (1).",
        ),
        (LocalProvider, {"init_blocks": 3, "max_blocks": 2}, "init_blocks (3) must not be more than max_blocks (2)."),
        (LocalProvider, {"max_blocks": -1}, "max_blocks must be a whole number of at least 0, not -1."),
        (LocalProvider, {"parallelism": 2}, "parallelism must be a number of at least 0 and of at most 1, not 2."),
        (LocalProvider, {"launcher": "srun"}, "launcher must be a Launcher, such as SingleNodeLauncher(), not 'srun'."),
        (LocalProvider, {"partition": "x"}, "LocalProvider has no option 'partition'; its options are nodes_per_block"),
        (SlurmProvider, {"walltime": "10"}, "walltime must be a time of at least 1 s: seconds, or a text 'HH:MM:SS'"),
        (SlurmProvider, {"nodes_per_block": 2}, "needs a launcher that starts a manager on each node"),
        (SlurmProvider, {"regex_job_id": "("}, "regex_job_id is no regular expression: missing )"),
        (SlurmProvider, {"regex_job_id": "job .*"}, "regex_job_id needs a group named id"),
        (SlurmProvider, {"exclusive": 1}, "exclusive must be True or False, not 1."),
        (
            GridEngineProvider,
            {"nodes_per_block": 2, "launcher": MpiExecLauncher()},
            "needs a parallel environment, such as scheduler_options='-pe mpi 2'; qconf -spl lists them.",
        ),
        (PBSProProvider, {"cpus_per_node": 0}, "cpus_per_node must be a whole number of at least 1, not 0."),
    ],
)
def test_mistakes_are_reported_in_one_sentence(kind: type[Provider], options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        kind(**options)
    text = str(caught.value)
    assert says in text
    assert text.startswith(kind.__name__)
    assert text.endswith(".")
    assert "\n" not in text


def test_a_grid_engine_job_of_two_nodes_names_its_environment() -> None:
    options = {"nodes_per_block": 2, "launcher": MpiExecLauncher()}
    for asked in ("-pe mpi1 2", "#$ -pe mpi1 2", "#$ -cwd -pe mpi1 2"):
        assert GridEngineProvider(scheduler_options=asked, **options).nodes_per_block == 2


def test_defaults_are_those_of_parsl() -> None:
    provider = LocalProvider()
    assert (provider.nodes_per_block, provider.init_blocks, provider.min_blocks, provider.max_blocks) == (1, 1, 0, 1)
    assert (provider.parallelism, provider.worker_init, provider.launcher) == (1.0, "", SingleNodeLauncher())
    assert SlurmProvider().walltime == 600.0
    assert SlurmProvider().exclusive is True


def test_the_script_of_a_local_block(tmp_path: Path) -> None:
    job = a_job(tmp_path, command="start-manager 1")
    assert LocalProvider(worker_init="\nmodule load python\n").script(job).splitlines() == [
        "#!/bin/bash",
        "",
        "(",
        "# A copy of what worker_init writes to stderr: parslab shows its mistakes although the block starts.",
        f"exec 9>&2 2> >(exec tee {job.script}.init >&9 9>&-)",
        "# The last words must arrive before the job ends, but a process in the background may hold the pipe open.",
        "parslab_tee=$!; trap 'exec 2>&-; for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 $parslab_tee || break; "
        "sleep 0.1; done' EXIT",
        "module load python",
        "exec 2>&9 9>&-",
        "",
        "start-manager 1",
        ")",
        "status=$?",
        "# parslab reads this when the scheduler has forgotten the job; a job that is killed leaves none.",
        f'echo "$status" > {job.script}.exit',
        'exit "$status"',
    ]


def test_nodes_of_pbs_are_different_ones(tmp_path: Path) -> None:
    options: dict[str, Any] = {"nodes_per_block": 2, "launcher": MpiExecLauncher()}
    assert "#PBS -l place=scatter" in PBSProProvider(**options).script(a_job(tmp_path))
    own = PBSProProvider(**options, scheduler_options="-l place=scatter:excl").script(a_job(tmp_path))
    assert "#PBS -l place=scatter\n" not in own
    assert "#PBS -l place=scatter:excl\n" in own
    assert "place" not in PBSProProvider().script(a_job(tmp_path))


def test_names_of_files_mean_themselves(tmp_path: Path) -> None:
    job = a_job(tmp_path / "50% of a run")
    assert f'#SBATCH --output="{tmp_path}/50%% of a run/block-1.stdout"' in SlurmProvider().script(job)
    assert "of a run/block-1.sh.exit'" in SlurmProvider().script(job)


def test_a_grid_engine_name_begins_with_a_letter(tmp_path: Path) -> None:
    provider = GridEngineProvider()
    job = a_job(tmp_path)
    assert f"#$ -N {job.name}\n" in provider.script(job)
    lines = provider.directives(type(job)("1@home", "", "", "", ""))
    assert "#$ -N p1_home" in lines


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (0, "finished", "exit status 0"),
        (1, "failed", "exit status 1"),
        (126, "failed", "exit status 126 (command cannot be executed)"),
        (127, "failed", "exit status 127 (command not found)"),
        (137, "failed", "exit status 137 (SIGKILL)"),
        (128 + 99, "failed", "exit status 227 (signal 99)"),
        (255, "failed", "exit status 255 (signal 127)"),
    ],
)
def test_exit_statuses_have_words(status: int, state: str, reason: str) -> None:
    assert ended(status) == JobStatus(BlockState(state), reason)


def test_short_names_distinguish_jobs() -> None:
    assert short_name("parslab.3f2a.htex.12", 230) == "parslab.3f2a.htex.12"
    assert short_name("parslab.3f2a.htex.12", 15) == "pl.3f2a.htex.12"
    assert short_name("parslab.3f2a.htex.12", 14) == "pl.htex.12"
    assert short_name("parslab.3f2a.a-very-long-label.12", 15) == "pl.12"
    assert len(short_name("parslab.3f2a.htex.a-very-long-block-name", 15)) == 15


def test_times_are_rounded_up() -> None:
    assert [clock(seconds) for seconds in (1, 59.2, 3600, 360000)] == ["00:00:01", "00:01:00", "01:00:00", "100:00:00"]


def test_free_options_are_directives() -> None:
    assert directives("#$", " -pe smp 2\n\n#$ -cwd\n# a note") == ["#$ -pe smp 2", "#$ -cwd", "# a note"]


def test_a_block_is_what_its_parts_are() -> None:
    def status(state: str, hosts: str = "") -> JobStatus:
        return JobStatus(BlockState(state), state, hosts)

    assert merged([status("finished", "n1"), status("running", "n2")]) == status("running", "n1,n2")
    assert merged([status("finished"), status("failed")]).state is BlockState.failed
    assert merged([status("queued"), status("finished")]).state is BlockState.queued
    assert isinstance(merged([status("running"), StuckJob(BlockState.failed, "never")]), StuckJob)
