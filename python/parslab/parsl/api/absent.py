"""Executors, providers and channels that parslab does not have: programs can import them, but not make one.

A program that imports a configuration module with such a class works as long as it does not use it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from parslab.errors import ConfigurationError

__all__ = [
    "AWSProvider",
    "AdHocProvider",
    "AzureProvider",
    "FluxExecutor",
    "GlobusComputeExecutor",
    "GoogleCloudProvider",
    "KubernetesProvider",
    "LocalChannel",
    "MPIExecutor",
    "OAuthSSHChannel",
    "RadicalPilotExecutor",
    "ResourceConfig",
    "SSHChannel",
    "SSHInteractiveLoginChannel",
    "TaskVineExecutor",
    "TaskVineFactoryConfig",
    "TaskVineManagerConfig",
    "WorkQueueExecutor",
]


class AbsentClass:
    """Base of the classes of Parsl that parslab does not have."""

    instead: ClassVar[str] = ""
    """What to use in its place."""

    def __init__(self, *values: Any, **options: Any) -> None:
        raise ConfigurationError(f"parslab has no {type(self).__name__} yet: {self.instead}.")


class WorkQueueExecutor(AbsentClass):
    """Parsl: workers of Work Queue."""

    instead = "use HighThroughputExecutor, whose tasks may ask for cores and memory"


class TaskVineExecutor(AbsentClass):
    """Parsl: workers of TaskVine."""

    instead = "use HighThroughputExecutor, whose tasks may ask for cores and memory"


class TaskVineManagerConfig(AbsentClass):
    """Parsl: options of TaskVineExecutor."""

    instead = TaskVineExecutor.instead


class TaskVineFactoryConfig(AbsentClass):
    """Parsl: options of TaskVineExecutor."""

    instead = TaskVineExecutor.instead


class FluxExecutor(AbsentClass):
    """Parsl: jobs of Flux."""

    instead = "use HighThroughputExecutor"


class GlobusComputeExecutor(AbsentClass):
    """Parsl: endpoints of Globus Compute."""

    instead = "use HighThroughputExecutor on a host that can submit jobs"


class RadicalPilotExecutor(AbsentClass):
    """Parsl: pilots of RADICAL."""

    instead = "use HighThroughputExecutor"


class ResourceConfig(AbsentClass):
    """Parsl: options of RadicalPilotExecutor."""

    instead = RadicalPilotExecutor.instead


class MPIExecutor(AbsentClass):
    """Parsl: MPI programs on several nodes of a block."""

    instead = "use HighThroughputExecutor, and start mpiexec or srun in a bash_app"


class KubernetesProvider(AbsentClass):
    """Parsl: pods of Kubernetes."""

    instead = "use LocalProvider, or the provider of a scheduler"


class AWSProvider(AbsentClass):
    """Parsl: instances of Amazon EC2."""

    instead = "use LocalProvider on an instance"


class AzureProvider(AbsentClass):
    """Parsl: machines of Azure."""

    instead = "use LocalProvider on a machine"


class GoogleCloudProvider(AbsentClass):
    """Parsl: machines of Google Cloud."""

    instead = "use LocalProvider on a machine"


class AdHocProvider(AbsentClass):
    """Parsl (until 2024): hosts that are reached by ssh."""

    instead = "use LocalProvider with GnuParallelLauncher"


class SSHChannel(AbsentClass):
    """Parsl (until 2024): schedulers of another host."""

    instead = "load the run on a host where jobs are submitted"


class OAuthSSHChannel(AbsentClass):
    """Parsl (until 2024): as SSHChannel."""

    instead = SSHChannel.instead


class SSHInteractiveLoginChannel(AbsentClass):
    """Parsl (until 2024): as SSHChannel."""

    instead = SSHChannel.instead


class LocalChannel:  # providers.base knows it by its name
    """Parsl (until 2024): commands of this host, as every provider of parslab runs them."""

    def __init__(self, *values: Any, **options: Any) -> None:
        self.options = options
