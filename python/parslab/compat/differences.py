"""Sentences about names of Parsl that behave differently here, for the page of names and for ``parslab migrate``."""

from __future__ import annotations

__all__ = ["ATTRIBUTES", "DIFFERENCES", "difference"]

_NOT_YET = "parslab does not have it yet: it can be described with any options, and `load()` says what to use"
_OURS = "its tasks run on the workers of HighThroughputExecutor"
_NOT_RAISED = "parslab never raises it"
_NO_EFFECT = "accepted, without effect"

_MODULES = {
    "channels": "the user's own ssh logs in, without a password: `SSH(host)` for the provider of a scheduler",
    "configs": "a starting point, as in Parsl: `parslab config list` shows parslab's own",
    "executors.flux": _OURS,
    "executors.globus_compute": _NOT_YET,
    "executors.radical": _NOT_YET,
    "executors.taskvine.errors": _NOT_RAISED,
    "executors.taskvine": _OURS,
    "executors.workqueue.errors": _NOT_RAISED,
    "executors.workqueue.executor": _OURS,
    "jobs.error_handlers": "called for a BlockProviderExecutor of the user; parslab's own executors have a rule",
    "jobs.job_status_poller": "accepted, without effect: the DataFlowKernel process scales blocks",
    "jobs.strategy": 'accepted, without effect: name a strategy by Config(strategy="module:Class")',
    "logconfigs.base": _NO_EFFECT,
    "logconfigs.file": _NO_EFFECT,
    "logconfigs.json": _NO_EFFECT,
    "logconfigs.noop": _NO_EFFECT,
    "monitoring": "accepted, without effect: every run is monitored, in its own folder",
    "monitoring.errors": _NOT_RAISED,
    "monitoring.message_type": _NO_EFFECT,
    "monitoring.monitoring": "accepted, without effect: every run is monitored, in its own folder",
    "monitoring.radios.base": _NO_EFFECT,
    "monitoring.radios.filesystem": _NO_EFFECT,
    "monitoring.radios.htex": _NO_EFFECT,
    "monitoring.radios.multiprocessing": _NO_EFFECT,
    "monitoring.radios.udp": _NO_EFFECT,
    "providers.azure": _NOT_YET,
    "serialize.concretes": "all of them pickle with cloudpickle",
    "serialize.proxystore": _NO_EFFECT,
    "usage_tracking.api": "accepted, without effect: reports name the classes of parslab's components only",
    "usage_tracking.levels": "nothing is sent without usage_address, which has no default",
}
_NAMES = {
    "ExtremeScaleExecutor": "Parsl had it until 2023; a rank that is lost costs its pool, a task that dies its worker",
    "FluxExecutor": _OURS,
    "GlobusComputeExecutor": _NOT_YET,
    "MPIExecutor": "max_workers_per_block has no limit by default; tasks may share a node (`cores`, `num_ranks`)",
    "WorkQueueExecutor": _OURS,
    "AWSProvider": "takes the default network, or `subnet_id` and `security_group_ids`; `walltime` ends the instance",
    "AdHocProvider": "it can be described with any options, and `load()` says how to write `SSHProvider(hosts=[...])`",
    "RadicalPilotExecutor": _NOT_YET,
    "AzureProvider": _NOT_YET,
    "GoogleCloudProvider": "an instance ends itself at its lease (`walltime`), and Google ends it then, too",
    "KubernetesProvider": "the image needs parslab; pods share no disk with this host; ended pods are deleted",
    "MonitoringHub": "accepted, without effect: every run is monitored, in its own folder",
}
DIFFERENCES: dict[str, str] = {
    "addresses.address_by_query": "asks no web site: the same as address_by_route",
    "app.python.timeout": "the exception never comes after the function; walltime=... stops C functions, too",
    "concurrent.ParslPoolExecutor": "its shutdown can cancel tasks",
    "data_provider.data_manager.DataManager": "a run fetches each URL once for each working folder",
    "data_provider.data_manager.default_staging": "also s3, gs, az, sftp and other URLs, through fsspec",
    "data_provider.files.File": "without working_dir, copies of remote files lie in the folder of the run",
    "data_provider.ftp.FTPInTaskStaging": "also ftps, and it stores files",
    "data_provider.ftp.FTPSeparateTaskStaging": "also ftps, and it stores files",
    "data_provider.globus.GlobusStaging": "`GlobusAuth` logs in with the application of GLOBUS_CLIENT_ID",
    "app.errors.RemoteExceptionWrapper": "only `wrap_error` makes one",
    "dataflow.dflow.make_rundir": "returns the folder of the loaded run; to replace it has no effect",
    "dataflow.dependency_resolvers.SHALLOW_DEPENDENCY_RESOLVER": "not the default, which is any depth",
    "dataflow.dependency_resolvers.DependencyResolver": "traverse_to_unwrap runs on the worker",
    "dataflow.errors.BadCheckpoint": "parslab logs that a checkpoint cannot be read, and runs the tasks",
    "dataflow.taskrecord.TaskRecord": (
        "`args`, `kwargs` and `func` only with Config(garbage_collect=False), or in a program that runs unchanged"
    ),
    "dataflow.futures.AppFuture": "`future.name` is no task; `future[key]` is a part of the result, without a task",
    "dataflow.memoization.Memoizer": "memoizers of users are not called",
    "dataflow.rundirs.make_rundir": "returns the folder of the loaded run",
    "dataflow.states.States": "task_status() may also say ready, staging and cancelled",
    "executors.errors.BadMessage": _NOT_RAISED,
    "executors.errors.ScalingFailed": _NOT_RAISED,
    "executors.errors.UnsupportedFeatureError": _NOT_RAISED,
    "executors.errors.InvalidResourceSpecification": "raised at the call, not by the future",
    "executors.high_throughput.errors.CommandClientBadError": _NOT_RAISED,
    "executors.high_throughput.errors.CommandClientTimeoutError": _NOT_RAISED,
    "executors.high_throughput.errors.VersionMismatch": "the block fails, with a sentence about the versions",
    "executors.high_throughput.manager_selector.ManagerSelector": "rules of users are not called",
    "jobs.errors.TooManyJobFailuresError": _NOT_RAISED,
    "launchers.errors.BadLauncher": "ConfigurationError instead",
    "providers.base.ExecutionProvider": "runs in a process of its own, so it shares no objects with the program",
    "serialize.base.SerializerBase": "values are always pickled",
    "serialize.errors.DeserializerPluginError": _NOT_RAISED,
    "serialize.facade.register_method_for_code": _NO_EFFECT,
    "serialize.facade.register_method_for_data": _NO_EFFECT,
}
"""What differs, by the full name without ``parsl.``; :func:`difference` adds what holds for whole modules."""

ATTRIBUTES: dict[str, str] = {
    "add_executors": "give all executors to Config",
    "exec_fu": "use history() of the future",
    "hashsum": "use explain() of the future",
    "job_status_poller": "the DataFlowKernel process scales blocks",
    "submit_payload": "call an app",
}
"""Attributes of Parsl's executors, futures and DataFlowKernel that objects of parslab lack, with what to use."""


def difference(module: str, name: str) -> str:
    """Return a sentence about what differs for a name of Parsl; empty if nothing does.

    Examples
    --------
    >>> difference("dataflow.states", "States")
    'task_status() may also say ready, staging and cancelled'
    >>> difference("dataflow.errors", "JoinError")
    ''
    """
    full = f"{module}.{name}".strip(".")
    if full in DIFFERENCES:
        return DIFFERENCES[full]
    if name == "LocalChannel":
        return ""
    parts = module.split(".")
    whole = next((_MODULES[path] for n in range(len(parts), 0, -1) if (path := ".".join(parts[:n])) in _MODULES), "")
    return _NAMES.get(name, whole)
