"""What the user reads of blocks whose environment is wrong: a mistake in worker_init, a run folder that is gone."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

import parslab
from parslab import Config, HighThroughputExecutor, LocalProvider, python_app
from tests.process.panel import notices, picture
from tests.process.sandbox import until

if TYPE_CHECKING:
    from tests.process.sandbox import Sandbox


@python_app
def number() -> int:
    return 42


def test_a_mistake_in_worker_init_is_shown_although_the_block_starts(sandbox: Sandbox) -> None:
    provider = LocalProvider(worker_init="modul load python\nexport GOOD=1", init_blocks=1)
    executor = HighThroughputExecutor(max_workers_per_node=1, provider=provider)
    with parslab.load(Config(executors=[executor], run_dir=sandbox.runs)) as dfk:
        assert number().result(30) == 42
        until(lambda: any("modul: command not found" in text for text in notices(dfk)), 20)
        (text,) = [text for text in notices(dfk) if "modul" in text]
        assert text.startswith("Block 0 of executor htex works, but its worker_init wrote: htex-0.sh: line ")


def test_a_run_folder_that_is_deleted_is_named(sandbox: Sandbox) -> None:
    executor = HighThroughputExecutor(max_workers_per_node=1, provider=LocalProvider(init_blocks=1))
    with parslab.load(Config(executors=[executor], run_dir=sandbox.runs)) as dfk:
        assert number().result(30) == 42
        shutil.rmtree(dfk.run_dir)
        (manager,) = [row for row in picture(dfk).managers if row.state == "ready"]
        os.kill(manager.pid, signal.SIGKILL)
        # A task that is sent before the loss is noticed is lost with the manager.
        until(lambda: all(row.state != "ready" for row in picture(dfk).managers), 20)
        error = number().exception(40)
        assert error is not None
        text = str(error)
        assert f"the folder {dfk.run_dir}" in text
        assert "is gone" in text
        assert ".htex-" not in text
        assert "worker_init" not in text
