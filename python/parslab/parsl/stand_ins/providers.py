"""Parsl's providers and channels for sites that parslab does not reach: they can be described, but not loaded."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, ClassVar

from parslab.providers.base import Provider
from parslab.providers.channel.ssh import SSH

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AdHocProvider",
    "AzureProvider",
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


class AdHocProvider(_UnavailableProvider):
    """Parsl (until 2024): hosts that are reached by ssh."""

    unavailable: ClassVar[str] = "use SSHProvider(hosts=[...])"
    positional: ClassVar[tuple[str, ...]] = ("channels",)


class LocalChannel:  # providers.base knows it by its name
    """Parsl (until 2024): commands of this host, as every provider of parslab runs them."""

    def __init__(self, *values: Any, **options: Any) -> None:
        self.values = values
        self.options = options


class SSHChannel(SSH):
    """Parsl (until 2024): commands of another host; a login host that your own ``ssh`` reaches."""

    positional: ClassVar[tuple[str, ...]] = (
        "hostname",
        "username",
        "password",
        "script_dir",
        "envs",
        "gssapi_auth",
        "skip_auth",
        "port",
        "key_filename",
        "host_keys_filename",
    )
    ignored: ClassVar[dict[str, str]] = {
        "password": "your own ssh logs in: load a key with ssh-add, or open a connection in a terminal (ControlMaster)",
        "skip_auth": "your own ssh logs in",
    }
    expected: ClassVar[dict[str, Any]] = {"skip_auth": False}

    def translated(self, options: Mapping[str, Any]) -> dict[str, Any]:
        options = dict(options)
        given = {name: options.pop(name) for name in tuple(options) if name in _OF_SSH_CHANNEL}
        found = super().translated(options)
        if "hostname" in given:
            user = given.get("username")
            found["host"] = f"{user}@{given['hostname']}" if user else str(given["hostname"])
        if given.get("script_dir"):
            folder = str(given["script_dir"])
            found["folder"] = folder if folder.startswith(("/", "~/")) else f"~/{folder}"
        if given.get("envs"):
            found["init"] = "".join(f"export {name}={shlex.quote(text)}\n" for name, text in given["envs"].items())
        words = []
        if given.get("port") not in (None, 22):
            words += ["-p", str(given["port"])]
        if given.get("key_filename"):
            words += ["-i", str(given["key_filename"])]
        if given.get("host_keys_filename"):
            words += ["-o", f"UserKnownHostsFile={given['host_keys_filename']}"]
        if given.get("gssapi_auth"):
            words += ["-o", "GSSAPIAuthentication=yes"]
        if words:
            found["ssh_options"] = (*found.get("ssh_options", ()), *words)
        return found


_OF_SSH_CHANNEL = frozenset(
    ("hostname", "username", "script_dir", "envs", "gssapi_auth", "port", "key_filename", "host_keys_filename")
)


class OAuthSSHChannel(SSHChannel):
    """Parsl (until 2024): as SSHChannel."""


class SSHInteractiveLoginChannel(SSHChannel):
    """Parsl (until 2024): as SSHChannel; a connection that you open in a terminal (ControlMaster) may ask you."""
