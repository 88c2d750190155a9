"""The configurations of Parsl's modules ``parsl.configs``, for programs that import them.

Those of clusters are starting points, as in Parsl: copy one and write your own account and partition into it.
``parslab config list`` shows parslab's own configurations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.config import Config
from parslab.executors import ThreadPoolExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.executors import Executor

__all__: list[str] = []

_ACCOUNT = "YOUR_ACCOUNT"
_PARTITION = "YOUR_PARTITION"
_HALF_HOUR = "00:30:00"


def _htex(label: str, provider: Any, **options: Any) -> Executor:
    from parslab.executors.high_throughput import HighThroughputExecutor

    return HighThroughputExecutor(label=label, provider=provider, **options)


def _slurm(nodes: int, **options: Any) -> Any:
    from parslab.launchers import SrunLauncher
    from parslab.providers import SlurmProvider

    return SlurmProvider(nodes_per_block=nodes, launcher=SrunLauncher(), **{"partition": _PARTITION, **options})


def _pbs(nodes: int, **options: Any) -> Any:
    from parslab.launchers import MpiRunLauncher
    from parslab.providers import PBSProProvider

    return PBSProProvider(nodes_per_block=nodes, **{"launcher": MpiRunLauncher(), **options})


def _local_threads() -> Executor:
    return ThreadPoolExecutor()


def _htex_local() -> Executor:
    from parslab.providers.local import LocalProvider

    return _htex("htex_local", LocalProvider(init_blocks=1, max_blocks=1), cores_per_worker=1)


def _aspire1() -> Executor:
    provider = _pbs(3, min_blocks=3, max_blocks=5, cpus_per_node=24, walltime="24:00:00")
    return _htex("htex", provider, max_workers_per_node=4, address="ib0")


def _anvil() -> Executor:
    provider = _slurm(
        1, account=_ACCOUNT, partition="gpu", cores_per_node=4, mem_per_node=50, gres="gpu:1", exclusive=False,
        walltime=_HALF_HOUR,
    )  # fmt: skip
    return _htex("Anvil_GPU_Executor", provider, max_workers_per_node=1)


def _bridges() -> Executor:
    return _htex("Bridges_HTEX_multinode", _slurm(2), max_workers_per_node=1, address="ens3f0")


def _cc_in2p3() -> Executor:
    from parslab.providers import GridEngineProvider

    provider = GridEngineProvider(init_blocks=2, max_blocks=2, walltime="00:20:00")
    return _htex("cc_in2p3_htex", provider, max_workers_per_node=2)


def _delta() -> Executor:
    provider = _slurm(
        1, account=_ACCOUNT, partition="gpuA100x4", constraint="scratch", cores_per_node=32, mem_per_node=220,
        gpus_per_node=1, exclusive=False, walltime=_HALF_HOUR,
    )  # fmt: skip
    return _htex("Delta_GPU_Executor", provider, max_workers_per_node=1)


def _expanse() -> Executor:
    provider = _slurm(2, account=_ACCOUNT, partition="compute", walltime="01:00:00")
    return _htex("Expanse_CPU_Multinode", provider, max_workers_per_node=32)


def _frontera() -> Executor:
    provider = _slurm(2, account=_ACCOUNT, partition="normal", min_blocks=1, cmd_timeout=60)
    return _htex("frontera_htex", provider, max_workers_per_node=1)


def _illinoiscluster() -> Executor:
    return _htex("CC_htex", _slurm(2, partition="secondary-fdr", cmd_timeout=60), cores_per_worker=16)


def _improv() -> Executor:
    provider = _pbs(2, account=_ACCOUNT, queue="compute", walltime="00:10:00")
    return _htex("Improv_multinode", provider, max_workers_per_node=32)


def _midway() -> Executor:
    provider = _slurm(2, min_blocks=1, walltime=_HALF_HOUR)
    return _htex("Midway_HTEX_multinode", provider, max_workers_per_node=2, address="bond0")


def _osg() -> Executor:
    from parslab.providers import CondorProvider

    provider = CondorProvider(init_blocks=4, max_blocks=4, requirements="HAS_MODULES =?= TRUE", walltime="00:20:00")
    return _htex("OSG_HTEX", provider, max_workers_per_node=1, port=31000)


def _polaris() -> Executor:
    from parslab.launchers import MpiExecLauncher

    launcher = MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--depth=64 --ppn 1")
    provider = _pbs(128, account=_ACCOUNT, queue="prod", select_options="ngpus=4", cpus_per_node=64, launcher=launcher)
    return _htex("polaris", provider, available_accelerators=4, cpu_affinity="alternating", address="bond0")


def _stampede2() -> Executor:
    provider = _slurm(2, min_blocks=1, walltime=_HALF_HOUR)
    return _htex("Stampede2_HTEX", provider, max_workers_per_node=2, address="em3")


def _summit() -> Executor:
    from parslab.launchers import JsrunLauncher
    from parslab.providers import LSFProvider

    provider = LSFProvider(nodes_per_block=2, launcher=JsrunLauncher(), project=_ACCOUNT, cmd_timeout=60)
    return _htex("Summit_HTEX", provider, address="ib0")


def _toss3_llnl() -> Executor:
    from parslab.parsl.stand_ins.executors import FluxExecutor

    return FluxExecutor(provider=_slurm(1, account=_ACCOUNT, min_blocks=1, walltime=_HALF_HOUR, cmd_timeout=120))


def _wqex_local() -> Executor:
    from parslab.parsl.stand_ins.executors import WorkQueueExecutor

    return WorkQueueExecutor(label="parsl-wq", shared_fs=True)


def _vineex_local() -> Executor:
    from parslab.parsl.stand_ins.executors import TaskVineExecutor

    return TaskVineExecutor(label="parsl-vine-example")


def _ec2() -> Executor:
    from parslab.providers import AWSProvider

    provider = AWSProvider("YOUR_AMI_ID", "YOUR_KEY_NAME", region="us-east-1", walltime="01:00:00", nodes_per_block=1)
    return _htex("ec2_single_node", provider, max_workers_per_node=1)


def _kubernetes() -> Executor:
    from parslab.providers import KubernetesProvider

    provider = KubernetesProvider("YOUR_IMAGE", namespace="default", max_cpu=2, max_mem="500Mi")
    return _htex("kube-htex", provider, cores_per_worker=1, max_workers_per_node=1)


def _cloud(name: str) -> Executor:
    from parslab.parsl.stand_ins import providers

    return _htex(name, getattr(providers, name)())


def _endpoint() -> Executor:
    from parslab.parsl.stand_ins.executors import GlobusComputeExecutor

    return GlobusComputeExecutor()


_MAKERS: dict[str, Callable[[], Executor]] = {
    "ASPIRE1": _aspire1,
    "Azure": lambda: _cloud("AzureProvider"),
    "anvil": _anvil,
    "bridges": _bridges,
    "cc_in2p3": _cc_in2p3,
    "delta": _delta,
    "ec2": _ec2,
    "expanse": _expanse,
    "frontera": _frontera,
    "gc_multisite": _endpoint,
    "gc_tutorial": _endpoint,
    "htex_local": _htex_local,
    "illinoiscluster": _illinoiscluster,
    "improv": _improv,
    "kubernetes": _kubernetes,
    "local_threads": _local_threads,
    "midway": _midway,
    "osg": _osg,
    "polaris": _polaris,
    "stampede2": _stampede2,
    "summit": _summit,
    "toss3_llnl": _toss3_llnl,
    "vineex_local": _vineex_local,
    "wqex_local": _wqex_local,
}
"""What makes the executor of each configuration."""


def __getattr__(name: str) -> Config:
    # Made on access, because a configuration reads the settings of the site, and an import must not.
    maker = _MAKERS.get(name)
    if maker is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return Config(executors=[maker()])
