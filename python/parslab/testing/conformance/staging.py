"""The test suite that every staging provider must pass, in a run with a worker of its own.

A member of the family makes a subclass in a test file of its own; pytest finds the rest::

    class TestMine(StagingSuite):
        def provider(self):
            return VaultStaging()

        def put(self, name, content):
            (VAULT / name).write_bytes(content)
            return f"vault:/{name}"

        def get(self, url):
            return (VAULT / url.removeprefix("vault:/")).read_bytes()

This module needs pytest.
"""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from parslab.data_provider.files import File
from parslab.errors import ParslabError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab import DataFlowKernel
    from parslab.app.python import PythonApp
    from parslab.data_provider.staging import Staging

__all__ = ["StagingSuite"]

_LIMIT = 60.0
"""Seconds for one result, on a busy machine."""


def _content(file: Any) -> bytes:
    with open(file, "rb") as opened:
        return opened.read()


def _write(content: bytes, outputs: Any = ()) -> str:
    with open(outputs[0], "wb") as opened:
        opened.write(content)
    return str(outputs[0])


class StagingSuite:
    """The suite of a staging provider.

    Attributes
    ----------
    stores : bool
        Whether the provider stores outputs.
    """

    stores = True

    def provider(self) -> Staging:
        """Return the provider."""
        raise NotImplementedError

    def put(self, name: str, content: bytes) -> str:
        """Put a file where the provider fetches it; return its URL."""
        raise NotImplementedError

    def missing(self, name: str) -> str:
        """Return the URL of a file that does not exist."""
        return self.put(name, b"").replace(name, f"missing-{name}")

    def get(self, url: str) -> bytes:
        """Return the content of a file that the provider has stored."""
        raise NotImplementedError

    @pytest.fixture
    def run(self, tmp_path: Path) -> Iterator[DataFlowKernel]:
        """A run whose only executor has the provider."""
        import parslab

        executor = parslab.LowLatencyExecutor(
            workers=2, storage_access=[self.provider()], working_dir=tmp_path / "working"
        )
        with parslab.load(parslab.Config(executors=[executor], run_dir=str(tmp_path / "runinfo"))) as dfk:
            yield dfk

    @staticmethod
    def app(function: Any) -> PythonApp:
        """Make an app of a function of this module, which workers may not be able to import."""
        from parslab.app.python import PythonApp

        return PythonApp(function)

    def test_it_takes_its_urls(self) -> None:
        """It says what it stages, and another process gets an equal provider."""
        provider, file = self.provider(), File(self.put("a.bin", b"x"))
        assert provider.can_stage_in(file)
        assert provider.can_stage_out(file) is self.stores
        assert not provider.can_stage_in(File("nobody://knows/this"))
        assert pickle.loads(pickle.dumps(provider)) == provider == self.provider()

    @pytest.mark.parametrize("content", [b"", bytes(range(256)) * 5000], ids=len)
    def test_tasks_get_the_file(self, run: DataFlowKernel, content: bytes) -> None:
        """Several tasks get one file at once; the File of the caller stays as it is."""
        file = File(self.put("in put.bin", content))
        futures = [self.app(_content)(file) for _ in range(5)]
        assert [future.result(_LIMIT) for future in futures] == [content] * 5
        assert file.local_path is None

    def test_a_missing_file_fails_the_task(self, run: DataFlowKernel, tmp_path: Path) -> None:
        """The error names the file, and nothing is left of the attempt."""
        future = self.app(_content)(File(self.missing("gone.bin")))
        error = future.exception(_LIMIT)
        assert isinstance(error, ParslabError)
        assert "gone.bin" in str(error)
        left = [name for _, _, names in os.walk(tmp_path / "working") for name in names if not name.endswith(".lock")]
        assert left == []

    def test_outputs_arrive(self, run: DataFlowKernel) -> None:
        """An output is at its URL when its DataFuture is done, and the next task gets it."""
        if not self.stores:
            pytest.skip("the provider does not store files")
        url = self.put("out.bin", b"old")
        future = self.app(_write)(b"new content", outputs=[File(url)])
        (output,) = future.outputs
        following = self.app(_content)(output)
        assert output.result(_LIMIT).url == url
        assert self.get(url) == b"new content"
        assert following.result(_LIMIT) == b"new content"

    def test_a_failed_task_stores_nothing(self, run: DataFlowKernel) -> None:
        """The DataFuture of a task that fails has its error."""
        if not self.stores:
            pytest.skip("the provider does not store files")
        url = self.put("kept.bin", b"old")
        future = self.app(_write)("no bytes", outputs=[File(url)])
        assert future.outputs[0].exception(_LIMIT) is not None
        assert self.get(url) == b"old"
