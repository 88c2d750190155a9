"""What of the environment a scheduler's commands see."""

from __future__ import annotations

import pytest

from parslab.providers.environment import clean_environment

# fmt: off
LEAKS = [
    "SLURM_JOB_ID", "SLURM_JOBID", "SLURM_NTASKS", "SLURM_MEM_PER_NODE", "SLURM_CPUS_PER_TASK", "SLURM_EXPORT_ENV",
    "SLURMD_NODENAME", "SRUN_DEBUG", "SQUEUE_FORMAT", "SACCT_FEDERATION", "PBS_JOBID", "PBS_O_WORKDIR",
    "PBS_NODEFILE", "PBS_ENVIRONMENT", "COBALT_JOBID", "COBALT_NODEFILE", "LSB_JOBID", "LSB_HOSTS", "LSB_MCPU_HOSTS",
    "LS_JOBPID", "SGE_TASK_ID", "SGE_STDOUT_PATH", "PALS_RANKID", "ALPS_APP_PE", "PMI_RANK", "PMI_FD", "PMIX_RANK",
    "PMIX_NAMESPACE", "PMI2_RANK", "OMPI_COMM_WORLD_RANK", "OMPI_UNIVERSE_SIZE", "OMPI_MCA_ess_base_jobid",
    "HYDRA_BOOTSTRAP_EXEC", "MPI_LOCALNRANKS", "_CONDOR_SCRATCH_DIR", "_CONDOR_SLOT", "_CONDOR_JOB_AD",
    "JSM_NAMESPACE_RANK",
]
STAYS = [
    "PATH", "HOME", "USER", "PYTHONPATH", "LD_LIBRARY_PATH", "SLURM_CONF", "SLURM_CLUSTERS", "SBATCH_ACCOUNT",
    "SBATCH_PARTITION", "SALLOC_ACCOUNT", "SGE_ROOT", "SGE_CELL", "SGE_CLUSTER_NAME", "SGE_QMASTER_PORT",
    "SGE_EXECD_PORT", "SGE_ARCH", "CONDOR_CONFIG", "_CONDOR_COLLECTOR_HOST", "PBS_CONF_FILE", "PBS_EXEC",
    "PBS_DEFAULT", "PBS_SERVER", "LSF_ENVDIR", "LSF_SERVERDIR", "LSF_BINDIR", "LSB_DEFAULTQUEUE",
    "LSB_DEFAULTPROJECT", "OMPI_ALLOW_RUN_AS_ROOT", "OMPI_MCA_btl", "JOB_ID", "QUEUE", "HOSTNAME",
    "CUDA_VISIBLE_DEVICES", "TMPDIR", "PARSLAB_CORES",
]
# fmt: on


@pytest.mark.parametrize("name", LEAKS)
def test_variables_of_the_notebooks_own_job_are_dropped(name: str) -> None:
    assert clean_environment({name: "7", "PATH": "/bin"}) == {"PATH": "/bin"}


@pytest.mark.parametrize("name", STAYS)
def test_settings_stay(name: str) -> None:
    assert clean_environment({name: "7"}) == {name: "7"}


def test_words_of_grid_engine_leave_only_where_it_runs() -> None:
    job = {"JOB_ID": "12", "SGE_TASK_ID": "undefined", "QUEUE": "all.q", "NSLOTS": "4", "PE_HOSTFILE": "/x", "A": "b"}
    assert clean_environment(job) == {"A": "b"}


def test_what_was_given_to_one_job_is_not_what_the_next_one_gets() -> None:
    job = {"SLURM_JOB_ID": "4711", "CUDA_VISIBLE_DEVICES": "0", "TMPDIR": "/scratch/4711", "TMP": "/tmp"}
    assert clean_environment(job) == {"TMP": "/tmp"}
