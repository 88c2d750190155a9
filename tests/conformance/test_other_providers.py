"""The providers of schedulers that are rarely at hand, in the family's suite on recorded answers."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, ClassVar

import pytest

from parslab import description
from parslab.errors import ConfigurationError, IgnoredOption
from parslab.launchers import SrunLauncher
from parslab.providers.batch.cobalt import CobaltProvider
from parslab.providers.batch.condor import CondorProvider
from parslab.providers.batch.lsf import LSFProvider
from parslab.providers.batch.torque import TorqueProvider
from parslab.testing.conformance.batch_schedulers import BatchSuite
from parslab.testing.conformance.jobs import a_job

RECORDED = Path(__file__).parent / "schedulers" / "recorded"
SHARED: dict[str, tuple[Any, str]] = {
    "worker_init": ("module load odd", r"^module load odd$"),
    "launcher": (SrunLauncher(), r"^srun "),
}


class TestTorque(BatchSuite):
    recordings = RECORDED / "torque"
    shown: ClassVar[dict[str, tuple[Any, str]]] = {
        **SHARED,
        "account": ("astro", r"^#PBS -A astro$"),
        "queue": ("batch", r"^#PBS -q batch$"),
        "cpus_per_node": (16, r"^#PBS -l nodes=1:ppn=16$"),
        "walltime": ("26:30:30", r"^#PBS -l walltime=26:30:30$"),
        "scheduler_options": ("-l feature=ib", r"^#PBS -l feature=ib$"),
    }

    def provider(self, **options: Any) -> TorqueProvider:
        return TorqueProvider(**options)

    def test_nodes(self, tmp_path: Path) -> None:
        provider = self.provider(nodes_per_block=3, launcher=SrunLauncher())
        assert "#PBS -l nodes=3:ppn=1\n" in provider.script(a_job(tmp_path))


class TestLSF(BatchSuite):
    recordings = RECORDED / "lsf"
    shown: ClassVar[dict[str, tuple[Any, str]]] = {
        **SHARED,
        "project": ("chem1", r"^#BSUB -P chem1$"),
        "queue": ("normal", r"^#BSUB -q normal$"),
        "cores_per_node": (42, r"^export PARSLAB_CORES=42$"),
        "walltime": ("26:30:30", r"^#BSUB -W 26:31$"),
        "scheduler_options": ("-alloc_flags smt4", r"^#BSUB -alloc_flags smt4$"),
    }

    def provider(self, **options: Any) -> LSFProvider:
        return LSFProvider(**options)

    def test_nodes_or_cores(self, tmp_path: Path) -> None:
        """Both ways of asking for two nodes."""
        job = a_job(tmp_path)
        two: dict[str, Any] = {"nodes_per_block": 2, "launcher": SrunLauncher()}
        assert "#BSUB -nnodes 2\n" in self.provider(**two).script(job)
        cores = self.provider(**two, request_by_nodes=False, cores_per_node=16).script(job)
        assert '#BSUB -n 32\n#BSUB -R "span[ptile=16]"\n' in cores
        assert "nnodes" not in cores
        odd = self.provider(**two, request_by_nodes=False, cores_per_node=16, cores_per_block=20).script(job)
        assert "#BSUB -n 20\n" in odd

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"request_by_nodes": False}, "needs cores_per_node"),
            (
                {"request_by_nodes": False, "cores_per_node": 4, "cores_per_block": 8, "nodes_per_block": 1},
                "is 2 nodes, but nodes_per_block",
            ),
        ],
    )
    def test_what_does_not_go_together(self, options: dict[str, Any], says: str) -> None:
        with pytest.raises(ConfigurationError, match=says):
            self.provider(**options)

    def test_parsl_counts_nodes_in_cores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(description, "_warned", set())
        with pytest.warns(IgnoredOption, match="cores_per_block has no effect without request_by_nodes=False"):
            assert self.provider(cores_per_block=4).nodes_per_block == 1
        two = self.provider(request_by_nodes=False, cores_per_node=4, cores_per_block=8, launcher=SrunLauncher())
        assert two.nodes_per_block == 2

    def test_the_script_is_read_or_named(self) -> None:
        assert (self.provider().submit_command("s"), self.provider().submit_input("s")) == (["bsub"], "s")
        named = self.provider(bsub_redirection=False)
        assert (named.submit_command("s"), named.submit_input("s")) == (["bsub", "s"], None)


class TestCobalt(BatchSuite):
    recordings = RECORDED / "cobalt"
    shown: ClassVar[dict[str, tuple[Any, str]]] = {
        **SHARED,
        "account": ("Chem", r"^#COBALT -A Chem$"),
        "queue": ("debug", r"^#COBALT -q debug$"),
        "walltime": ("26:30:30", r"^#COBALT -t 1591$"),
        "scheduler_options": ("--attrs mcdram=flat", r"^#COBALT --attrs mcdram=flat$"),
    }

    def provider(self, **options: Any) -> CobaltProvider:
        return CobaltProvider(**options)

    def test_recordings_show_the_whole_life_of_a_job(self) -> None:
        """Its qstat names no job that has ended, so recordings cannot either."""


class TestCondor(BatchSuite):
    recordings = RECORDED / "condor"
    shown: ClassVar[dict[str, tuple[Any, str]]] = {
        **SHARED,
        "cores_per_slot": (4, r"^request_cpus = 4$"),
        "mem_per_slot": (1.5, r"^request_memory = 1536$"),
        "environment": ({"A": "x 'y'", "B": 'say "z"'}, r"""^environment = "A='x ''y''' B='say ""z""'"$"""),
        "project": ("chem", r'^\+ProjectName = "chem"$'),
        "requirements": ("(OpSysMajorVer == 12)", r"^requirements = \(OpSysMajorVer == 12\)$"),
        "transfer_input_files": (["/a/b", "c$d"], r"^transfer_input_files = /a/b, c\$\(DOLLAR\)d$"),
        "walltime": (90, r"EnteredCurrentStatus > 90\)$"),
        "scheduler_options": ("accounting_group = g", r"^accounting_group = g$"),
    }

    def provider(self, **options: Any) -> CondorProvider:
        return CondorProvider(**options)

    def test_script(self, tmp_path: Path) -> None:
        """What HTCondor reads is a file of its own."""
        provider = self.provider(worker_init="export A=1", scheduler_options="odd = 1\n# note", cores_per_slot=2)
        job = a_job(tmp_path, command="start-manager 'x y'")
        files = provider.files(job)
        script, submit = files[job.script], files[f"{job.script}.submit"]
        assert script.startswith("#!/bin/bash\n")
        assert script.index("export PARSLAB_CORES=2") < script.index("export A=1") < script.index(job.command)
        assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).stderr == ""
        lines = submit.splitlines()
        assert lines[lines.index("odd = 1") + 1] == "# note"
        assert lines[-3:] == [f"output = {job.stdout}", f"error = {job.stderr}", "queue"]
        assert provider.submit_command(job.script) == ["condor_submit", f"{job.script}.submit"]

    def test_slots(self, tmp_path: Path) -> None:
        """A block of two slots is two processes, each with one manager and words of its own."""
        job, provider = a_job(tmp_path), self.provider(nodes_per_block=2)
        files = provider.files(job)
        assert files[job.script].count(job.command) == self.provider().files(job)[job.script].count(job.command)
        assert files[f"{job.script}.submit"].splitlines()[-6:] == [
            f"output = {tmp_path}/$(out)",
            f"error = {tmp_path}/$(err)",
            "queue out, err from (",
            "block-1.stdout, block-1.stderr",
            "block-1.stdout.1, block-1.stderr.1",
            ")",
        ]
