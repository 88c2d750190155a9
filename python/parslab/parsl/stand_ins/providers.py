"""Parsl's providers and channels for sites that parslab does not reach: they can be described, but not loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from parslab.providers.base import Provider

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AdHocProvider",
    "AzureProvider",
    "GoogleCloudProvider",
    "KubernetesProvider",
    "LocalChannel",
    "OAuthSSHChannel",
    "SSHChannel",
    "SSHInteractiveLoginChannel",
]


class _UnavailableProvider(Provider):
    """Base of the providers that parslab does not have."""

    def translated(self, options: Mapping[str, Any]) -> dict[str, Any]:
        own = {name: value for name, value in options.items() if name in self.traits()}
        self.__dict__.update({name: value for name, value in options.items() if name not in own})
        return super().translated(own)


class KubernetesProvider(_UnavailableProvider):
    """Parsl: pods of Kubernetes."""

    unavailable: ClassVar[str] = "use LocalProvider, or the provider of a scheduler"
    positional: ClassVar[tuple[str, ...]] = (
        "image",
        "namespace",
        "nodes_per_block",
        "init_blocks",
        "min_blocks",
        "max_blocks",
        "max_cpu",
        "max_mem",
        "init_cpu",
        "init_mem",
        "extra_requests",
        "extra_limits",
        "parallelism",
        "worker_init",
        "pod_name",
        "user_id",
        "group_id",
        "run_as_non_root",
        "secret",
        "persistent_volumes",
        "service_account_name",
        "annotations",
    )


class AzureProvider(_UnavailableProvider):
    """Parsl: machines of Azure."""

    unavailable: ClassVar[str] = "use LocalProvider on a machine"
    positional: ClassVar[tuple[str, ...]] = (
        "vm_reference",
        "init_blocks",
        "min_blocks",
        "max_blocks",
        "parallelism",
        "worker_init",
        "location",
        "group_name",
        "key_name",
        "key_file",
        "vnet_name",
        "linger",
        "launcher",
    )


class GoogleCloudProvider(_UnavailableProvider):
    """Parsl: machines of Google Cloud."""

    unavailable: ClassVar[str] = "use LocalProvider on a machine"
    positional: ClassVar[tuple[str, ...]] = (
        "project_id",
        "key_file",
        "region",
        "os_project",
        "os_family",
        "google_version",
        "instance_type",
        "init_blocks",
        "min_blocks",
        "max_blocks",
        "launcher",
        "parallelism",
    )


class AdHocProvider(_UnavailableProvider):
    """Parsl (until 2024): hosts that are reached by ssh."""

    unavailable: ClassVar[str] = "use SSHProvider(hosts=[...])"
    positional: ClassVar[tuple[str, ...]] = ("channels",)


class LocalChannel:  # providers.base knows it by its name
    """Parsl (until 2024): commands of this host, as every provider of parslab runs them."""

    def __init__(self, *values: Any, **options: Any) -> None:
        self.values = values
        self.options = options


class SSHChannel(LocalChannel):
    """Parsl (until 2024): commands of another host; a provider that gets it warns that it runs them on this host."""


class OAuthSSHChannel(SSHChannel):
    """Parsl (until 2024): as SSHChannel."""


class SSHInteractiveLoginChannel(SSHChannel):
    """Parsl (until 2024): as SSHChannel."""
