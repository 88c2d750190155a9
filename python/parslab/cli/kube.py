"""``parslab kube template``: prints what a configuration would create in a Kubernetes cluster, and creates nothing."""

from __future__ import annotations

import sys

from parslab.errors import ConfigurationError
from parslab.executors.high_throughput import HighThroughputExecutor
from parslab.providers.base import Job
from parslab.providers.kube.provider import KubernetesProvider
from parslab.sites import default_config, named_config

__all__ = ["show_template"]


def show_template(name: str, label: str) -> None:
    """Print the pods and the secret of one block of each executor, in the form that ``kubectl`` takes.

    Parameters
    ----------
    name
        A ready configuration or a file; an empty text means the configuration of ``load()``.
    label
        The executor; an empty text means all.

    Raises
    ------
    ConfigurationError
        There is no such configuration or executor, or it has no pods.
    """
    config = named_config(name) if name else default_config()
    shown = [
        executor
        for executor in config.executors
        if isinstance(executor, HighThroughputExecutor)
        and isinstance(executor.provider, KubernetesProvider)
        and label in ("", executor.label)
    ]
    if not shown:
        which = f"executor {label}" if label else "executor"
        raise ConfigurationError(f"This configuration has no {which} with a KubernetesProvider.")
    for executor in shown:
        job = Job(
            name=f"parslab.RUN.{executor.label}.0",
            command=f'{executor.python or "python3"} -m parslab.remote.manager "$PARSLAB_INVITATION" 0',
            script="",
            stdout="",
            stderr="",
            invitation="(the run writes it)",
        )
        sys.stdout.write(executor.provider.script(job))
