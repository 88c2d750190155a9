"""Every provider in the family's suites: recorded answers of all schedulers, and real jobs on this host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from parslab.launchers import SrunLauncher
from parslab.providers.batch.grid_engine import GridEngineProvider
from parslab.providers.batch.pbspro import PBSProProvider
from parslab.providers.batch.slurm import SlurmProvider
from parslab.providers.local import LocalProvider
from parslab.testing.conformance.batch_schedulers import BatchSuite
from parslab.testing.conformance.jobs import a_job
from parslab.testing.conformance.providers import ProviderSuite

RECORDED = Path(__file__).parent / "schedulers" / "recorded"
SHARED: dict[str, tuple[Any, str]] = {
    "worker_init": ("module load odd", r"^module load odd$"),
    "launcher": (SrunLauncher(), r"^srun "),
}


class TestSlurm(BatchSuite):
    recordings = RECORDED / "slurm"
    shown: ClassVar[dict[str, tuple[Any, str]]] = {
        **SHARED,
        "partition": ("debug", r"^#SBATCH --partition=debug$"),
        "account": ("astro", r"^#SBATCH --account=astro$"),
        "qos": ("high", r"^#SBATCH --qos=high$"),
        "constraint": ("a&b", r'^#SBATCH --constraint="a&b"$'),
        "clusters": ("big", r"^#SBATCH --clusters=big$"),
        "cores_per_node": (4, r"^#SBATCH --cpus-per-task=4$"),
        "mem_per_node": (16, r"^#SBATCH --mem=16g$"),
        "gpus_per_node": (2, r"^#SBATCH --gpus-per-node=2$"),
        "gres": ("gpu:a100:2", r"^#SBATCH --gres=gpu:a100:2$"),
        "walltime": ("01:30:30", r"^#SBATCH --time=91$"),
        "scheduler_options": ("--nice=5", r"^#SBATCH --nice=5$"),
    }

    def provider(self, **options: Any) -> SlurmProvider:
        return SlurmProvider(**options)


class TestGridEngine(BatchSuite):
    recordings = RECORDED / "grid_engine"
    shown: ClassVar[dict[str, tuple[Any, str]]] = {
        **SHARED,
        "queue": ("all.q", r"^#\$ -q all.q$"),
        "walltime": ("26:30:30", r"^#\$ -l h_rt=26:30:30$"),
        "scheduler_options": ("-pe smp 8", r"^#\$ -pe smp 8$"),
    }

    def provider(self, **options: Any) -> GridEngineProvider:
        return GridEngineProvider(**options)


class TestPBSPro(BatchSuite):
    recordings = RECORDED / "pbspro"
    shown: ClassVar[dict[str, tuple[Any, str]]] = {
        **SHARED,
        "account": ("astro", r"^#PBS -A astro$"),
        "queue": ("workq", r"^#PBS -q workq$"),
        "cpus_per_node": (32, r"^#PBS -l select=1:ncpus=32$"),
        "select_options": ("ngpus=4:mem=8gb", r"^#PBS -l select=1:ncpus=1:ngpus=4:mem=8gb$"),
        "walltime": (90, r"^#PBS -l walltime=00:01:30$"),
        "scheduler_options": ("#PBS -l filesystems=home", r"^#PBS -l filesystems=home$"),
    }

    def provider(self, **options: Any) -> PBSProProvider:
        return PBSProProvider(**options)


class TestLocal(ProviderSuite):
    def provider(self, **options: Any) -> LocalProvider:
        return LocalProvider(**options)

    @pytest.mark.skipif(sys.platform != "linux", reason="reads the process table of Linux")
    def test_nothing_of_a_block_is_left(self, folder: Path) -> None:
        """Wherever it went: into sessions of its own, or away from its parent."""
        with self.running(folder) as runner:
            away = "for n in 1 2 3; do setsid sleep 3003 & done; (setsid nohup sleep 3003 &)"
            ends = runner.submit(a_job(folder, "ends", away))
            stays = runner.submit(a_job(folder, "stays", f"{away}; sleep 3003"))
            self.until(runner, ends)
            runner.cancel([stays])
            assert not [line for line in _command_lines() if b"sleep\x003003" in line]


def _command_lines() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue
    return found
