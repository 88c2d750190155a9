"""Makes the environment of a scheduler's commands, without the variables of the notebook's own job [pure].

A notebook often runs inside a job.  With the variables of that job (id, nodes, tasks), ``sbatch`` would inherit its
sizes.  ``srun`` in the new job would use the nodes of the old one.  Variables that a user or a site sets for the
commands themselves stay, such as the address of the server or the default account.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["clean_environment"]

_OF_A_JOB = re.compile(
    r"""
    SLURM_ | SLURMD_ | SRUN_ | SQUEUE_ | SACCT_ | SCANCEL_      # the last three would filter or reshape the answers
    | PBS_ | PBS_O_ | COBALT_ | QSTAT_ | PALS_ | ALPS_ | APRUN_
    | LSB_ | LS_(JOBPID|SUBCWD|EXEC_T)$ | LSF_(PM_|VCPU) | LSFUSER$ | JSM_ | CSM_
    | SGE_ | PMI_ | PMI[12]?_ | PMIX_ | HYDRA_ | HYDI_ | MPIR_ | MPI_LOCAL | MPIEXEC_
    | OMPI_COMM_ | OMPI_UNIVERSE_ | OMPI_MCA_(ess|orte|pmix|prte)_ | PRTE_LAUNCHED | I_MPI_HYDRA_
    | _CONDOR_(SCRATCH_DIR|SLOT|JOB_AD|MACHINE_AD|JOB_IWD|JOB_PIDS|CHIRP_CONFIG|WRAPPER_ERROR_FILE|CREDS|EXECUTE)$
    | _CONDOR_(ANCESTOR_|AssignedGPUs) | _CHIRP_ | CONDOR_(ID|JOB_ID|PROCNO|NPROCS|JOB_AD)$
    """,
    re.VERBOSE,
)

_SETTINGS = re.compile(
    r"""
    SLURM_(CONF|CONF_SERVER|CLUSTERS|SACK_.*)$ | PBS_(CONF_FILE|EXEC|HOME|DEFAULT|SERVER|AUTH_METHOD)$
    | COBALT_CONFIG_FILES$ | LSB_DEFAULT(QUEUE|PROJECT|_USERGROUP)$
    | SGE_(ROOT|CELL|ARCH|CLUSTER_NAME|QMASTER_PORT|EXECD_PORT|ENABLE_COREDUMP)$
    """,
    re.VERBOSE,
)

_SGE_WORDS = frozenset(
    [
        "ARC",
        "ENVIRONMENT",
        "HOSTNAME",
        "JOB_ID",
        "JOB_NAME",
        "JOB_SCRIPT",
        "NHOSTS",
        "NQUEUES",
        "NSLOTS",
        "PE",
        "PE_HOSTFILE",
        "QUEUE",
        "REQNAME",
        "REQUEST",
        "RESTARTED",
    ]
)
"""Variables that Grid Engine sets in its jobs; outside of such a job other programs may use these names."""

_DEVICES = frozenset(["CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"])

_JOB_IDS = ("SLURM_JOB_ID", "SLURM_JOBID", "PBS_JOBID", "LSB_JOBID", "COBALT_JOBID", "_CONDOR_SLOT")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a command of a scheduler may see.

    Examples
    --------
    >>> clean_environment({"SLURM_JOB_ID": "7", "SLURM_CONF": "/etc/slurm.conf", "PATH": "/bin"})
    {'SLURM_CONF': '/etc/slurm.conf', 'PATH': '/bin'}
    """
    sge = "JOB_ID" in environment and "SGE_TASK_ID" in environment
    ids = [environment[name] for name in _JOB_IDS if environment.get(name)]
    if sge:
        ids.append(environment["JOB_ID"])
    drop = set(_SGE_WORDS) if sge else set()
    if ids:
        drop |= _DEVICES  # the devices of the present job are not those of the next one
        # A scratch folder that is named after the job disappears with the job.
        drop |= {name for name in ("TMPDIR", "TMP", "TEMP") if any(i in environment.get(name, "") for i in ids)}
    return {
        name: text
        for name, text in environment.items()
        if name not in drop and (_SETTINGS.match(name) or not _OF_A_JOB.match(name))
    }
