"""Providers describe the source of blocks: this host, a scheduler, hosts by ssh, pods, a cloud [HPDC19 §4.2.1].

Names are imported lazily, so a configuration for one scheduler loads nothing of the others.  A provider of another
package is found here too, if the package has an entry point for it (see :mod:`parslab.plugins`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parslab.providers.base import Job, JobStatus, Provider, Runner, SubmitError
    from parslab.providers.batch.cobalt import CobaltProvider
    from parslab.providers.batch.condor import CondorProvider
    from parslab.providers.batch.grid_engine import GridEngineProvider
    from parslab.providers.batch.lsf import LSFProvider
    from parslab.providers.batch.pbspro import PBSProProvider
    from parslab.providers.batch.slurm import SlurmProvider
    from parslab.providers.batch.torque import TorqueProvider
    from parslab.providers.channel.ssh import SSH
    from parslab.providers.cloud.aws import AWSProvider
    from parslab.providers.cloud.google import GoogleCloudProvider
    from parslab.providers.cloud.openstack import OpenStackProvider
    from parslab.providers.kube.provider import KubernetesProvider
    from parslab.providers.local import LocalProvider
    from parslab.providers.ssh.provider import SSHProvider

__all__ = [
    "SSH",
    "AWSProvider",
    "CobaltProvider",
    "CondorProvider",
    "GoogleCloudProvider",
    "GridEngineProvider",
    "Job",
    "JobStatus",
    "KubernetesProvider",
    "LSFProvider",
    "LocalProvider",
    "OpenStackProvider",
    "PBSProProvider",
    "Provider",
    "Runner",
    "SSHProvider",
    "SlurmProvider",
    "SubmitError",
    "TorqueProvider",
]

_WHERE = {
    "AWSProvider": "cloud.aws",
    "CobaltProvider": "batch.cobalt",
    "CondorProvider": "batch.condor",
    "GridEngineProvider": "batch.grid_engine",
    "Job": "base",
    "JobStatus": "base",
    "KubernetesProvider": "kube.provider",
    "LSFProvider": "batch.lsf",
    "LocalProvider": "local",
    "GoogleCloudProvider": "cloud.google",
    "OpenStackProvider": "cloud.openstack",
    "PBSProProvider": "batch.pbspro",
    "Provider": "base",
    "Runner": "base",
    "SSH": "channel.ssh",
    "SSHProvider": "ssh.provider",
    "SlurmProvider": "batch.slurm",
    "SubmitError": "base",
    "TorqueProvider": "batch.torque",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        from importlib import import_module

        value = getattr(import_module(f"parslab.providers.{_WHERE[name]}"), name)
        globals()[name] = value  # later accesses find the name without this function
        return value
    from parslab.plugins import PROVIDERS, find_plugin
    from parslab.providers.base import Provider

    plugin = find_plugin(PROVIDERS, name, Provider)
    if plugin is not None:
        return plugin
    from parslab.compat.modules import look_up

    return look_up("providers", name)


def __dir__() -> list[str]:
    return sorted(__all__)
