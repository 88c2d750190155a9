"""Errors that Parsl has and parslab never raises, for programs that catch them and for classes that users write.

:mod:`parslab.errors` has the errors that parslab raises; those that Parsl has keep their names there.
"""

from __future__ import annotations

from parslab.errors import ConfigurationError, ExecutorError, LostError, ParslabError, SerializationError

__all__ = [
    "BadCheckpoint",
    "BadLauncher",
    "BadMessage",
    "CommandClientBadError",
    "CommandClientTimeoutError",
    "DataFlowException",
    "DeserializerPluginError",
    "ExecutionProviderException",
    "MonitoringRouterStartError",
    "RadioRequiredError",
    "ScaleOutFailed",
    "ScalingFailed",
    "SchedulerMissingArgs",
    "ScriptPathError",
    "SubmitException",
    "TaskVineManagerFailure",
    "TaskVineTaskFailure",
    "TooManyJobFailuresError",
    "UnsupportedFeatureError",
    "VersionMismatch",
    "WorkQueueFailure",
    "WorkQueueTaskFailure",
]


class DataFlowException(ParslabError):
    """Base of Parsl's errors of the DataFlowKernel."""


class BadCheckpoint(DataFlowException):
    """A checkpoint cannot be read; parslab logs this and runs the tasks instead."""


class ScalingFailed(ExecutorError):
    """An executor could not get or release blocks."""


class UnsupportedFeatureError(ParslabError):
    """An executor lacks a feature."""

    fields = ("feature", "current_executor", "target_executor")
    feature: str
    current_executor: str
    target_executor: str | None

    def __str__(self) -> str:
        other = f"; {self.target_executor} has it" if self.target_executor else ""
        return f"{self.current_executor} does not have the feature {self.feature}{other}."


class BadMessage(ParslabError):
    """A process got a message that it does not understand."""


class VersionMismatch(LostError):
    """A manager has another version of Python; parslab shows this as the failure of its block."""


class CommandClientTimeoutError(LostError):
    """Parsl's interchange did not answer; parslab has no interchange."""


class CommandClientBadError(LostError):
    """Parsl's connection to the interchange is unusable; parslab has no interchange."""


class ExecutionProviderException(ParslabError):
    """Base of the errors that providers of users raise."""


class ScaleOutFailed(ExecutionProviderException):
    """A provider could not submit a job."""

    fields = ("provider", "reason")
    provider: object
    reason: object

    def __str__(self) -> str:
        return f"The provider {self.provider} cannot submit a job: {self.reason}"


class SchedulerMissingArgs(ExecutionProviderException):
    """The template of a job's script lacks values."""

    fields = ("missing_keywords", "sitename")
    missing_keywords: object
    sitename: str

    def __str__(self) -> str:
        return f"The script for {self.sitename} lacks {self.missing_keywords}."


class ScriptPathError(ExecutionProviderException):
    """The script of a job cannot be written."""

    fields = ("script_path", "reason")
    script_path: str
    reason: object

    def __str__(self) -> str:
        return f"The script {self.script_path} cannot be written: {self.reason}"


class SubmitException(ExecutionProviderException):
    """The scheduler did not accept a job.

    Parameters
    ----------
    job_name
        The name of the job.
    message
        What went wrong.
    stdout, stderr, retcode
        Output and exit status of the scheduler's command.
    """

    def __init__(
        self,
        job_name: str,
        message: str,
        stdout: str | None = None,
        stderr: str | None = None,
        retcode: int | None = None,
    ) -> None:
        super().__init__(job_name, message, stdout, stderr, retcode)
        self.job_name = job_name
        self.message = message
        self.stdout = stdout
        self.stderr = stderr
        self.retcode = retcode

    def __str__(self) -> str:
        said = " ".join(text.strip() for text in (self.stdout, self.stderr) if text and text.strip())
        status = "" if self.retcode is None else f", exit status {self.retcode}"
        return f"Job {self.job_name} was not accepted ({self.message}{status}){f': {said}' if said else ''}"


class BadLauncher(ConfigurationError):
    """The launcher of a provider is no launcher; parslab raises ConfigurationError itself."""

    fields = ("launcher",)
    launcher: object

    def __str__(self) -> str:
        return f"{self.launcher!r} is no launcher."


class DeserializerPluginError(SerializationError):
    """Parsl found no deserializer; parslab has one way to pickle."""


class TooManyJobFailuresError(ParslabError):
    """All blocks of an executor failed; parslab fails the tasks with the reason of the blocks."""


class WorkQueueFailure(ParslabError):
    """Work Queue failed; parslab has workers of its own."""


class WorkQueueTaskFailure(ParslabError):
    """Work Queue could not run a task; parslab has workers of its own."""


class TaskVineManagerFailure(ParslabError):
    """TaskVine failed; parslab has workers of its own."""


class TaskVineTaskFailure(ParslabError):
    """TaskVine could not run a task; parslab has workers of its own."""


class MonitoringRouterStartError(ParslabError):
    """Parsl's monitoring could not be started; that of parslab is a part of the DataFlowKernel."""


class RadioRequiredError(ParslabError):
    """An executor has no monitoring radio; parslab needs none."""
