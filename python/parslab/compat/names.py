"""``MODULES`` lists the modules of Parsl's public API, and where parslab has each of their names.

The table holds text only, so that it imports nothing.  ``compat.modules`` makes modules from it, ``parslab.parsl.page``
makes the page of names, and ``parslab migrate`` reads it to examine programs.
"""

from __future__ import annotations

__all__ = ["MODULES", "TARGETS", "target"]

_API = "parslab.parsl.api"
_INTERNALS = "parslab.parsl.internals"
_STAND_INS = "parslab.parsl.stand_ins"

_EXECUTORS = {
    "parslab.executors": "ExtremeScaleExecutor HighThroughputExecutor MPIExecutor ThreadPoolExecutor",
    f"{_STAND_INS}.executors": "FluxExecutor GlobusComputeExecutor WorkQueueExecutor",
}
_LAUNCHERS = (
    "AprunLauncher GnuParallelLauncher JsrunLauncher MpiExecLauncher MpiRunLauncher SimpleLauncher "
    "SingleNodeLauncher SrunLauncher SrunMPILauncher WrappedLauncher"
)
_DECORATORS = {"parslab.app.decorators": "bash_app join_app python_app"}
_SERIALIZE = {f"{_API}.serialization": "deserialize pack_apply_message serialize unpack_apply_message"}
_PROVIDERS = {
    "slurm": ("slurm", "SlurmProvider"),
    "pbspro": ("pbspro", "PBSProProvider"),
    "torque": ("torque", "TorqueProvider"),
    "lsf": ("lsf", "LSFProvider"),
    "grid_engine": ("grid_engine", "GridEngineProvider"),
    "condor": ("condor", "CondorProvider"),
    "cobalt": ("cobalt", "CobaltProvider"),
    "aws": ("aws", "AWSProvider"),
    "googlecloud": ("googlecloud", "GoogleCloudProvider"),
    "kubernetes": ("kube", "KubernetesProvider"),
}
"""Parsl's folder of each provider for a scheduler or a cloud; the file in it has the same name."""
_ABSENT_PROVIDERS = {
    "ad_hoc": ("ad_hoc", "AdHocProvider"),
    "azure": ("azure", "AzureProvider"),
}
_CONFIGS = (
    "ASPIRE1 Azure anvil bridges cc_in2p3 delta ec2 expanse frontera gc_multisite gc_tutorial htex_local "
    "illinoiscluster improv kubernetes local_threads midway osg polaris stampede2 summit toss3_llnl "
    "vineex_local wqex_local"
)
"""Parsl's modules with a configuration; each has the name ``config``."""

MODULES: dict[str, dict[str, str]] = {
    "": {
        "logging": "NullHandler",
        "parslab.app.bash": "AUTO_LOGNAME",
        **_DECORATORS,
        "parslab.client.handle.dfk": "DataFlowKernel",
        "parslab.client.session": "clear dfk load wait_for_current_tasks",
        "parslab.config": "Config",
        "parslab.data_provider.files": "File",
        "parslab.executors": "HighThroughputExecutor ThreadPoolExecutor",
        "parslab.version": "VERSION",
        f"{_STAND_INS}.executors": "RadicalPilotExecutor WorkQueueExecutor",
        f"{_API}.loader": "DataFlowKernelLoader",
        f"{_API}.logs": "set_file_logger set_stream_logger",
        f"{_API}.monitoring": "MonitoringHub",
    },
    "addresses": {
        "parslab.addresses": (
            "address_by_hostname address_by_interface address_by_query address_by_route get_all_addresses "
            "get_any_address tcp_url"
        ),
    },
    "app": {},
    "app.app": {**_DECORATORS, "parslab.app.base": "AppBase=App"},
    "app.bash": {"parslab.app.bash": "BashApp"},
    "app.errors": {
        "parslab.errors": (
            "AppBadFormatting AppException AppTimeout BadStdStreamFile BashAppNoReturn BashExitFailure MissingOutputs "
            "ParslError"
        ),
        f"{_INTERNALS}.utilities": "RemoteExceptionWrapper wrap_error",
    },
    "app.futures": {
        "parslab.client.futures.app_future": "DataFuture",
        "parslab.data_provider.files": "File",
    },
    "app.python": {"parslab.app.python": "PythonApp timeout"},
    "channels": {f"{_STAND_INS}.providers": "LocalChannel OAuthSSHChannel SSHChannel SSHInteractiveLoginChannel"},
    "concurrent": {f"{_API}.pool_executor": "ParslPoolExecutor"},
    "config": {"parslab.config": "Config"},
    "configs": {},
    **{f"configs.{site}": {f"{_API}.configs": f"config={site}"} for site in _CONFIGS.split()},
    "data_provider": {},
    "data_provider.data_manager": {"parslab.app.data_manager": "DataManager default_staging"},
    "data_provider.file_noop": {"parslab.data_provider.file_noop": "NoOpFileStaging"},
    "data_provider.files": {"parslab.data_provider.files": "File"},
    "data_provider.ftp": {"parslab.data_provider.ftp": "FTPInTaskStaging FTPSeparateTaskStaging"},
    "data_provider.globus": {"parslab.data_provider.globus": "GlobusStaging"},
    "data_provider.http": {"parslab.data_provider.http": "HTTPInTaskStaging HTTPSeparateTaskStaging"},
    "data_provider.rsync": {"parslab.data_provider.rsync": "RSyncStaging"},
    "data_provider.staging": {"parslab.data_provider.staging": "Staging"},
    "data_provider.zip": {"parslab.data_provider.zip": "ZipAuthorityError ZipFileStaging"},
    "dataflow": {},
    "dataflow.dependency_resolvers": {
        "parslab.serialize.dependency_resolvers": "DEEP_DEPENDENCY_RESOLVER DependencyResolver "
        "SHALLOW_DEPENDENCY_RESOLVER deep_traverse_to_gather deep_traverse_to_unwrap shallow_traverse_to_gather "
        "shallow_traverse_to_unwrap",
    },
    "dataflow.dflow": {
        "parslab.client.handle.dfk": "DataFlowKernel",
        f"{_API}.loader": "DataFlowKernelLoader",
        f"{_INTERNALS}.utilities": "make_rundir",
    },
    "dataflow.errors": {
        "parslab.errors": "DependencyError JoinError PropagatedException=PropagatedError",
        f"{_API}.errors": "BadCheckpoint DataFlowException",
    },
    "dataflow.futures": {
        "concurrent.futures": "Future",
        "parslab.client.futures.app_future": "AppFuture DataFuture",
    },
    "dataflow.memoization": {
        "parslab.serialize.identity.calls": "id_for_memo",
        f"{_API}.memoization": "BasicMemoizer Memoizer",
    },
    "dataflow.rundirs": {f"{_INTERNALS}.utilities": "make_rundir"},
    "dataflow.states": {f"{_API}.states": "FINAL_FAILURE_STATES FINAL_STATES States"},
    "dataflow.taskrecord": {"parslab.client.futures.task_record": "TaskRecord"},
    "errors": {
        "parslab.errors": (
            "ConfigurationError InternalConsistencyError NoDataFlowKernelError OptionalModuleMissing ParslError"
        ),
    },
    "executors": _EXECUTORS,
    "executors.base": {"parslab.executors.base": "ParslExecutor"},
    "executors.errors": {
        f"{_API}.errors": "BadMessage ScalingFailed UnsupportedFeatureError",
        "parslab.errors": "BadStateException ExecutorError InvalidResourceSpecification",
    },
    "executors.execute_task": {f"{_INTERNALS}.utilities": "execute_task"},
    "executors.flux": {f"{_STAND_INS}.executors": "FluxExecutor"},
    "executors.flux.executor": {f"{_STAND_INS}.executors": "FluxExecutor"},
    "executors.globus_compute": {f"{_STAND_INS}.executors": "GlobusComputeExecutor"},
    "executors.high_throughput": {},
    "executors.high_throughput.errors": {
        "parslab.errors": "ManagerLost WorkerLost",
        f"{_API}.errors": "CommandClientBadError CommandClientTimeoutError VersionMismatch",
    },
    "executors.high_throughput.executor": {"parslab.executors": "HighThroughputExecutor"},
    "executors.high_throughput.manager_selector": {
        f"{_API}.rules": "BlockIdManagerSelector ManagerSelector RandomManagerSelector",
    },
    "executors.high_throughput.mpi_executor": {"parslab.executors": "MPIExecutor"},
    "executors.radical.executor": {f"{_STAND_INS}.executors": "RadicalPilotExecutor"},
    "executors.radical.rpex_resources": {f"{_STAND_INS}.executors": "ResourceConfig"},
    "executors.status_handling": {f"{_INTERNALS}.block_executor": "BlockProviderExecutor"},
    "executors.radical": {f"{_STAND_INS}.executors": "RadicalPilotExecutor ResourceConfig"},
    "executors.taskvine": {f"{_STAND_INS}.executors": "TaskVineExecutor TaskVineFactoryConfig TaskVineManagerConfig"},
    "executors.taskvine.errors": {f"{_API}.errors": "TaskVineManagerFailure TaskVineTaskFailure"},
    "executors.taskvine.executor": {f"{_STAND_INS}.executors": "TaskVineExecutor"},
    "executors.taskvine.factory_config": {f"{_STAND_INS}.executors": "TaskVineFactoryConfig"},
    "executors.taskvine.manager_config": {f"{_STAND_INS}.executors": "TaskVineManagerConfig"},
    "executors.threads": {"parslab.executors.threads": "ThreadPoolExecutor"},
    "executors.workqueue": {},
    "executors.workqueue.errors": {f"{_API}.errors": "WorkQueueFailure WorkQueueTaskFailure"},
    "executors.workqueue.executor": {f"{_STAND_INS}.executors": "WorkQueueExecutor"},
    "jobs": {},
    "jobs.error_handlers": {f"{_API}.states": "noop_error_handler simple_error_handler windowed_error_handler"},
    "jobs.errors": {f"{_API}.errors": "TooManyJobFailuresError"},
    "jobs.job_status_poller": {f"{_INTERNALS}.scaling": "JobStatusPoller"},
    "jobs.states": {f"{_API}.states": "JobState JobStatus=ParslJobStatus TERMINAL_STATES"},
    "jobs.strategy": {f"{_INTERNALS}.scaling": "Strategy=ParslStrategy"},
    "launchers": {"parslab.launchers": _LAUNCHERS},
    "launchers.base": {"parslab.launchers.base": "Launcher"},
    "launchers.errors": {f"{_API}.errors": "BadLauncher"},
    "launchers.launchers": {"parslab.launchers": _LAUNCHERS},
    "log_utils": {f"{_API}.logs": "DEFAULT_FORMAT set_file_logger set_stream_logger"},
    "logconfigs": {},
    "logconfigs.base": {f"{_API}.logs": "LogConfig"},
    "logconfigs.file": {f"{_API}.logs": "FileLogging"},
    "logconfigs.json": {f"{_API}.logs": "JSONLogging"},
    "logconfigs.noop": {f"{_API}.logs": "NoopLogging"},
    "monitoring": {f"{_API}.monitoring": "MonitoringHub"},
    "monitoring.errors": {f"{_API}.errors": "MonitoringRouterStartError RadioRequiredError"},
    "monitoring.message_type": {f"{_API}.monitoring": "MessageType"},
    "monitoring.monitoring": {f"{_API}.monitoring": "MonitoringHub"},
    "monitoring.radios": {},
    "monitoring.radios.base": {f"{_API}.monitoring": "MonitoringRadioReceiver MonitoringRadioSender RadioConfig"},
    "monitoring.radios.filesystem": {f"{_API}.monitoring": "FilesystemRadio"},
    "monitoring.radios.htex": {f"{_API}.monitoring": "HTEXRadio"},
    "monitoring.radios.multiprocessing": {f"{_API}.monitoring": "MultiprocessingQueueRadio"},
    "monitoring.radios.udp": {f"{_API}.monitoring": "UDPRadio"},
    "multiprocessing": {
        f"{_INTERNALS}.utilities": (
            "ForkContext ForkProcess SpawnContext SpawnEvent SpawnProcess SpawnQueue join_terminate_close_proc"
        ),
    },
    "process_loggers": {f"{_INTERNALS}.utilities": "wrap_with_logs"},
    "providers": {
        "parslab.providers": (
            "AWSProvider CobaltProvider CondorProvider GoogleCloudProvider GridEngineProvider KubernetesProvider "
            "LSFProvider LocalProvider PBSProProvider SlurmProvider TorqueProvider"
        ),
        f"{_STAND_INS}.providers": "AdHocProvider AzureProvider",
    },
    "providers.base": {"parslab.providers.base": "ExecutionProvider"},
    "providers.cluster_provider": {"parslab.providers.execution_provider": "ClusterProvider"},
    "providers.errors": {
        f"{_API}.errors": (
            "ExecutionProviderException ScaleOutFailed SchedulerMissingArgs ScriptPathError SubmitException"
        ),
    },
    "providers.local": {"parslab.providers": "LocalProvider"},
    "providers.local.local": {"parslab.providers": "LocalProvider"},
    **{f"providers.{folder}": {"parslab.providers": name} for folder, (_, name) in _PROVIDERS.items()},
    **{f"providers.{folder}.{file}": {"parslab.providers": name} for folder, (file, name) in _PROVIDERS.items()},
    **{f"providers.{folder}": {f"{_STAND_INS}.providers": name} for folder, (_, name) in _ABSENT_PROVIDERS.items()},
    **{
        f"providers.{folder}.{file}": {f"{_STAND_INS}.providers": name}
        for folder, (file, name) in _ABSENT_PROVIDERS.items()
    },
    "serialize": _SERIALIZE,
    "serialize.base": {f"{_API}.serialization": "SerializerBase"},
    "serialize.concretes": {f"{_API}.serialization": "DillCallableSerializer DillSerializer PickleSerializer"},
    "serialize.errors": {
        "parslab.errors": "DeserializationError SerializationError",
        f"{_API}.errors": "DeserializerPluginError",
    },
    "serialize.facade": {
        f"{_API}.serialization": (
            "deserialize pack_apply_message register_method_for_code register_method_for_data serialize "
            "unpack_apply_message"
        ),
    },
    "serialize.proxystore": {f"{_API}.serialization": "ProxyStoreSerializer"},
    "usage_tracking": {},
    "usage_tracking.api": {f"{_API}.monitoring": "UsageInformation"},
    "usage_tracking.levels": {f"{_API}.monitoring": "DISABLED LEVEL_1 LEVEL_2 LEVEL_3"},
    "utils": {
        "parslab.checkpoints": "get_all_checkpoints get_last_checkpoint",
        f"{_API}.conveniences": "RepresentationMixin execute_wait get_std_fname_mode get_version wtime_to_minutes",
        f"{_INTERNALS}.utilities": (
            "AtomicIDCounter AutoCancelTimer Timer sanitize_dns_label_rfc1123 sanitize_dns_subdomain_rfc1123 "
            "setproctitle time_limited_open wait_for_file"
        ),
    },
    "version": {"parslab.version": "VERSION"},
}
"""Modules of Parsl without ``parsl.``; for each, the modules of parslab and the names that are there.

``A=B`` means that Parsl's name A is called B here.
"""


def _targets(sources: dict[str, str]) -> dict[str, tuple[str, str]]:
    found = {}
    for module, words in sources.items():
        for word in words.split():
            name, _, here = word.partition("=")
            found[name] = (module, here or name)
    return found


TARGETS: dict[str, dict[str, tuple[str, str]]] = {module: _targets(sources) for module, sources in MODULES.items()}
"""For each module of Parsl and each of its names: the module of parslab, and the name there."""


def target(module: str, name: str) -> tuple[str, str] | None:
    """Return the module of parslab and the name there for a name of Parsl; None if the table lacks it.

    Examples
    --------
    >>> target("app.app", "AppBase")
    ('parslab.app.base', 'App')
    """
    return TARGETS.get(module, {}).get(name)
