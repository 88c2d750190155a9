"""A login host as the place of a scheduler's commands: what goes there, and what comes back [shell].

Scripts and the invitations of managers go to a private folder of the run on the login host, which its nodes see.  What
jobs write there comes back into the folder of the run on this host, so that everybody finds it where it always is.

The folder is removed when the run is over.  A run that goes on elsewhere, or is started again, finds it by its token.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import secrets
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from parslab.atomic_files import write_atomically
from parslab.providers.base import Job, SubmitError, exit_file, not_written, worker_init_errors
from parslab.providers.channel.connection import Connection
from parslab.providers.channel.login import LoginOrder
from parslab.providers.commands import CommandHung, CommandResult
from parslab.providers.remote_invitation import is_loopback_address, run_is_over, run_target
from parslab.trust import read_text
from parslab.wire import invitations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from parslab.providers.channel.ssh import SSH

__all__ = ["Findings", "LoginHost"]

log = logging.getLogger(__name__)

_TOKEN = "channel-token"
"""The file of the run that names its folder and its agent on login hosts."""
_WORK = 30.0
"""Seconds within which files are written or read there."""
_ROUNDS = 8
"""Most answers of one call of ``bring`` for one file: an output of gigabytes must not keep the scheduler waiting."""
_MARGIN = 30.0
"""Seconds for which an agent waits longer than managers do."""


class Findings(NamedTuple):
    """What is found on a login host."""

    host: str
    """Its own name."""
    python: str
    """The path and the version of the interpreter of the agent."""
    commands: dict[str, str]
    """The paths of those commands that are there."""
    folder: str
    """The folder for files of the run."""
    relays: list[str]
    """Where managers may connect."""
    trouble: str
    """Why they cannot."""


class LoginHost:
    """The login host of a run.

    Parameters
    ----------
    channel
        Its description.
    folder
        The folder with the files of jobs on this host.
    """

    def __init__(self, channel: SSH, folder: Path) -> None:
        self.name, self.group = channel.host, repr(channel)
        self.advice = (
            f"see that {channel.host} is the host where {{scheduler}} jobs are submitted, or add its folder to PATH "
            "there with SSH(init=...), such as init='module load slurm'"
        )
        self._channel, self._local = channel, folder
        self._shared = _shared(channel, folder)
        self._connection = self._shared.connection
        self._jobs: dict[str, Job] = {}
        """The jobs whose output comes back, by their scripts; threads write one entry each."""

    # ----- what the runner calls

    def run(self, command: Sequence[str], limit: float, stdin: str | None = None) -> CommandResult:
        within = limit + self._channel.timeout
        answer = self._connection.call("run", within, command=list(command), limit=limit, stdin=stdin)
        if "hung" in answer:
            raise CommandHung(f"{answer['hung']} on {self.name}")
        if "error" in answer:
            error = OSError(answer["error"])
            error.errno = answer["number"]
            raise error
        return CommandResult(answer["status"], answer["out"], answer["err"])

    def job(self, job: Job) -> Job:
        return self._there(job, self._connection.agent(self._channel.timeout))

    def write(self, job: Job, files: Mapping[str, str]) -> None:
        self._serve(job)
        try:
            for path, text in files.items():  # for the user, who looks for scripts in the folder of the run
                write_atomically(self._local / os.path.basename(path), text, 0o700)
        except OSError as error:
            raise not_written(job, error) from error
        self._put(self._connection.agent(self._channel.timeout), files, 0o700)
        if job.invitation:
            self._invite(job.invitation)

    def adopt(self, job: Job) -> None:
        self._serve(job)

    def bring(self, jobs: Sequence[Job]) -> None:
        try:
            agent = self._connection.agent(self._channel.timeout)
            wanted: dict[str, str] = {}
            for job in jobs:
                wanted.update(zip(_outputs(self._there(job, agent)), _outputs(job), strict=True))
            for _ in range(_ROUNDS):
                if not wanted:
                    return
                offsets = {there: _size(here) for there, here in wanted.items()}
                answer = self._connection.call("read", _WORK, files=offsets)
                wanted = {there: wanted[there] for there in self._keep(answer, wanted, jobs)}
        except OSError as error:
            log.info("the output of jobs on %s does not come now: %s", self.name, error)

    def examined(self, commands: Sequence[str]) -> Findings:
        """Log in, look for commands, and write into the folder of the run.

        Raises
        ------
        OSError, SubmitError
            The login host cannot be used.
        """
        agent = self._connection.agent(self._channel.timeout)
        answer = self._connection.call("find", _WORK, names=list(commands))
        folder = self._shared.folder(agent)
        self._put(agent, {os.path.join(folder, "doctor"): ""}, 0o600)
        return Findings(
            host=agent["host"],
            python=agent["python"],
            commands=answer["found"],
            folder=folder,
            relays=agent["addresses"],
            trouble=agent["trouble"],
        )

    def close(self) -> None:
        if self._connection.connected:  # the end of a run waits for no login
            self.bring(list(self._jobs.values()))
        self._shared.release()

    # ----- parts

    def _serve(self, job: Job) -> None:
        self._jobs[job.script] = job
        if job.invitation:
            self._shared.invite(job.invitation)

    def _there(self, job: Job, agent: Mapping[str, Any]) -> Job:
        folder = self._shared.folder(agent)
        names = {name: _moved(getattr(job, name), folder) for name in ("script", "stdout", "stderr", "invitation")}
        return msgspec.structs.replace(job, **names)

    def _put(self, agent: Mapping[str, Any], files: Mapping[str, str], mode: int) -> None:
        folder = self._shared.folder(agent)
        answer = self._connection.call("write", _WORK, folder=folder, files=dict(files), mode=mode)
        if "error" in answer:
            raise SubmitError(
                f"The script of a block cannot be written to {folder} on {self.name}: {answer['error']}; free space "
                "there, or choose another folder that the nodes see with SSH(folder=...)."
            )

    def _invite(self, invitation: str) -> None:
        agent = self._connection.agent(self._channel.timeout)
        files = self._shared.invitation_file(invitation, agent)
        if agent["trouble"] and self._channel.route == "relay":
            raise SubmitError(f"{self.name} cannot relay the connections of managers: {agent['trouble']}.")
        self._put(agent, files, 0o600)

    def _keep(self, answer: Mapping[str, Any], wanted: Mapping[str, str], jobs: Sequence[Job]) -> list[str]:
        """Append what has come to the files of this host; return the files that have more."""
        more = []
        for there, text in answer["files"].items():
            data = base64.b64decode(text)
            if data:
                with open(wanted[there], "ab") as file:
                    file.write(data)
            if len(data) == answer["limit"]:
                more.append(there)
        return more


class _Shared:
    """What the executors of a run that use one login host have in common: a connection, and the folder there.

    Parameters
    ----------
    key
        Its place in ``_KNOWN``.
    channel
        The description of the login host.
    token
        The name of the agent and of the folder.
    """

    def __init__(self, key: tuple[str, SSH], channel: SSH, token: str) -> None:
        order = LoginOrder(
            host=channel.host,
            options=tuple(channel.ssh_options),
            python=channel.python,
            init=channel.init,
            timeout=channel.timeout,
            token=token,
        )
        relay = {"relay": channel.route != "direct", "address": channel.relay_address, "port": channel.relay_port}
        self.connection = Connection(order, relay)
        self.connection.on_new_agent = self._new_agent
        self.users = 1
        self._key, self._channel, self._token = key, channel, token
        self._invitations: set[str] = set()

    def folder(self, agent: Mapping[str, Any]) -> str:
        """Return the folder of the run on the login host."""
        base = self._channel.folder
        return os.path.join(agent["home"] + base[1:] if base.startswith("~/") else base, self._token)

    def invite(self, invitation: str) -> None:
        """Keep the connection from now on, because managers with this invitation use it."""
        self._invitations.add(invitation)
        with contextlib.suppress(OSError, ValueError, invitations.RunOver):
            content = invitations.read(invitation)
            self.connection.target = run_target(content["addresses"])
            self.connection.keep()

    def invitation_file(self, invitation: str, agent: Mapping[str, Any]) -> dict[str, str]:
        """Return the invitation as managers of the login host's nodes read it: its text by its path."""
        try:
            content = invitations.read(invitation)
        except invitations.RunOver as over:
            content = {"over": str(over)}
        else:
            inner = self._channel.route == "relay"
            content["addresses"] = (
                [] if inner else [one for one in content["addresses"] if not is_loopback_address(one)]
            )
            content.update(relays=agent["addresses"], socket="")
            settings = content["manager"]
            self.connection.post("stay", seconds=settings["heartbeat_threshold"] + content["reconnect_for"] + _MARGIN)
        return {_moved(invitation, self.folder(agent)): json.dumps(content)}

    def release(self) -> None:
        """Close the connection when its last user has gone; if the run is over, nothing stays on the login host."""
        with _LOCK:
            self.users -= 1
            if self.users:
                return
            _KNOWN.pop(self._key, None)
        over = run_is_over(self._invitations)
        if over and self.connection.connected:
            with contextlib.suppress(OSError):
                agent = self.connection.agent(_WORK)
                self.connection.call("remove", _WORK, folder=self.folder(agent))
        self.connection.close(end_agent=over)

    def _new_agent(self, agent: dict[str, Any]) -> None:
        """Tell managers where they find the run now; the thread of the connection calls this."""
        for invitation in list(self._invitations):
            with contextlib.suppress(OSError, ValueError):
                files = self.invitation_file(invitation, agent)
                self.connection.post("write", folder=self.folder(agent), files=files, mode=0o600)


# Threads of several controllers make and close runners.  Each of two must not make a connection of its own, which a
# queue could not prevent.
_LOCK = threading.Lock()
_KNOWN: dict[tuple[str, SSH], _Shared] = {}


def _shared(channel: SSH, folder: Path) -> _Shared:
    key = (str(folder), channel)
    with _LOCK:
        found = _KNOWN.get(key)
        if found is None:
            found = _KNOWN[key] = _Shared(key, channel, _token(folder))
        else:
            found.users += 1
        return found


def _token(folder: Path) -> str:
    """Return the token of the run, which its next process reads, too."""
    path = folder / _TOKEN
    try:
        return read_text(path).strip()
    except FileNotFoundError:
        token = secrets.token_hex(8)
        write_atomically(path, token)
        return token


def _outputs(job: Job) -> list[str]:
    """Return the files that a job writes."""
    return [job.stdout, job.stderr, worker_init_errors(job.script), exit_file(job.script)]


def _moved(path: str, folder: str) -> str:
    return os.path.join(folder, os.path.basename(path)) if path else ""


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0
