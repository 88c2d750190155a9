"""The text that an instance runs, and what is read from its console."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from parslab.launchers import WrappedLauncher
from parslab.providers.cloud.aws import AWSProvider
from parslab.providers.cloud.start_script import exit_status, own_output, start_script
from parslab.testing.conformance.jobs import a_job

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("options", [{}, {"linger": True}, {"invitation": '{"a": 1}'}])
def test_bash_understands_it(tmp_path: Path, options: dict[str, Any]) -> None:
    text = start_script(a_job(tmp_path), worker_init="\nexport A=1\n", command="start-manager", lease=90.4, **options)
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""
    watcher = re.search("bash -c '\n(.*?)\n' ", text, re.DOTALL)
    assert watcher is not None
    assert subprocess.run(["bash", "-n"], input=watcher[1], text=True, capture_output=True).stderr == ""
    assert text.index("setsid") < text.index("export A=1") < text.index("start-manager")
    assert "+ 90))" in text


def test_what_the_instance_does_with_its_end() -> None:
    text = start_script(a_job_without_folder(), worker_init="", command="x", lease=60)
    assert 'PARSLAB_SHUTDOWN="${PARSLAB_SHUTDOWN:-sync; shutdown -h now || poweroff || halt -p}"' in text


def a_job_without_folder() -> Any:
    from pathlib import Path

    return a_job(Path("/nowhere"))


def test_the_file_in_the_run_folder_has_no_key(tmp_path: Path) -> None:
    from parslab.providers.base import Job

    job = Job("parslab.r.htex.0", "start-manager", "s", "o", "e", "python3", str(tmp_path / "manager.json"))
    provider = AWSProvider(worker_init="module load x", launcher=WrappedLauncher(prepend="nice"), walltime="02:00:00")
    text = provider.script(job)  # the file of the invitation does not even exist
    assert "\nmodule load x\n" in text
    assert "\nnice start-manager\n" in text
    assert "PARSLAB_INVITATION" in text
    assert "+ 7200))" in text


def test_a_console_with_the_prefixes_of_systemd() -> None:
    console = (
        "[    0.0] Linux\r\n[   25.102030] cloud-init[1203]: parslab: begin of a.b\r\n"
        "[   26.1] cloud-init[1203]: No module named parslab\r\n[   26.2] cloud-init[1203]: parslab: exit status 1\r\n"
        "[   27.1] reboot: Power down\r\n"
    )
    assert own_output(console, "a.b") == "No module named parslab\n"
    assert exit_status(console) == 1


def test_a_console_of_which_the_beginning_is_lost() -> None:
    assert own_output("some words\n", "a.b") == "some words\n"
    assert exit_status("some words\n") is None
