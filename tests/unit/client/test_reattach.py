"""Which run a new kernel goes on with, the sentence that says so, and which process is the kernel of a notebook."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from parslab.client.process import notebook
from parslab.client.process.run_settings import digest
from parslab.client.reattach import ReattachChoice, decide, what_is_left
from parslab.config import Config
from parslab.executors import LowLatencyExecutor
from parslab.wire.messages.client import PriorTasks


@pytest.mark.parametrize(
    ("same", "resume", "shared", "turn"),
    [
        (True, True, False, ReattachChoice.attach),
        (True, True, True, ReattachChoice.attach),
        (False, True, False, ReattachChoice.replace),
        (True, False, False, ReattachChoice.replace),
        (False, True, True, ReattachChoice.beside),
        (True, False, True, ReattachChoice.beside),
    ],
)
def test_the_rule(same: bool, resume: bool, shared: bool, turn: ReattachChoice) -> None:
    assert decide(same, resume, shared) is turn


@pytest.mark.parametrize(
    ("still", "blocks", "text"),
    [
        (PriorTasks(5.0, 40, 0, 8), 3, "3 blocks, 40 results waiting, 8 running"),
        (PriorTasks(5.0, 1, 2, 0, 7), 1, "1 block, 1 result waiting, 2 failed, 7 to run"),
        (PriorTasks(0.0), 0, "no tasks"),
        (None, 0, "no tasks"),
    ],
)
def test_what_is_left_is_said_in_few_words(still: PriorTasks | None, blocks: int, text: str) -> None:
    assert what_is_left(still, blocks) == text


def test_what_each_kernel_says_for_itself_makes_no_other_configuration() -> None:
    def two(**options: Any) -> str:
        return digest(Config(executors=[LowLatencyExecutor(workers=2)], **options))

    assert two() == two(linger=5.0, resume=False, exit_mode="wait", retry_handler=lambda error, task: 1.0)
    assert two() != two(retries=1)
    assert two() != digest(Config(executors=[LowLatencyExecutor(workers=3)]))


# --- notebooks -------------------------------------------------------------------------------------------------------


class FakeShell:
    """What IPython's shell is where it matters here."""

    def __init__(self, kernel: Any, **names: Any) -> None:
        self.kernel = kernel
        self.user_ns = names


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("JPY_SESSION_NAME", "JPY_PARENT_PID", "PARSLAB_RUN", notebook.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(notebook, "_of_launcher", lambda name: "")

    def put(kernel: Any = "a kernel", **names: Any) -> None:
        one = FakeShell(kernel, **names)
        kind = SimpleNamespace(initialized=lambda: True, instance=lambda: one)
        monkeypatch.setitem(sys.modules, "IPython.core.interactiveshell", SimpleNamespace(InteractiveShell=kind))

    return put


def test_jupyters_server_names_the_notebook(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "/books/fit.ipynb")
    shell()
    assert notebook.notebook_path() == "/books/fit.ipynb"
    assert notebook.default_linger("/books/fit.ipynb") == 600.0
    shell(kernel=None)  # IPython in a terminal
    assert notebook.notebook_path() == ""
    assert notebook.default_linger("") == 0.0


def test_what_a_notebook_runs_is_a_script(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "/books/fit.ipynb")
    shell()
    monkeypatch.setattr(notebook, "_of_launcher", lambda name: "/books/fit.ipynb")
    assert notebook.notebook_path() == ""  # `jupyter execute` in a cell: its kernel has only inherited the name
    monkeypatch.setattr(notebook, "_of_launcher", lambda name: "/books/other.ipynb")
    assert notebook.notebook_path() == "/books/fit.ipynb"
    monkeypatch.setenv("PARSLAB_RUN", "000-abc")
    assert notebook.notebook_path() == ""  # a worker


def test_a_fork_of_a_kernel_is_a_script(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "/books/fit.ipynb")
    shell()
    monkeypatch.setattr(notebook, "_forked", [os.getpid()])
    assert notebook.notebook_path() == ""


def test_vs_code_and_others_have_their_own_ways(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shell(__vsc_ipynb_file__="/books/code.ipynb")
    assert notebook.notebook_path() == "/books/code.ipynb"
    shell()
    assert notebook.notebook_path() == ""
    monkeypatch.setenv(notebook.VARIABLE, "nightly")
    assert notebook.notebook_path() == "nightly"


def test_what_the_launcher_has_is_read_from_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_PARENT_PID", str(os.getpid()))
    name, value = next((n, v) for n, v in os.environ.items() if n == "PATH")
    assert notebook._of_launcher(name) == value
    assert notebook._of_launcher("PARSLAB_NOT_THERE") == ""
    monkeypatch.setenv("JPY_PARENT_PID", "999999999")
    assert notebook._of_launcher(name) == ""
