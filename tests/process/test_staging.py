"""Files of remote URLs in real runs: who gets which copy, what runs when, and what the caller sees."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab import Config, File, LowLatencyExecutor, ThreadPoolExecutor, bash_app, join_app, python_app
from parslab.data_provider.file_noop import NoOpFileStaging
from parslab.data_provider.http import HTTPInTaskStaging
from parslab.data_provider.staging import Staging
from parslab.errors import ConfigurationError, DependencyError, StagingError
from parslab.executors import HighThroughputExecutor
from parslab.providers import LocalProvider
from parslab.records.panel import Snapshot, SnapshotRequest
from tests.file_servers import FTPServer, WebServer, serving
from tests.process.sandbox import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from parslab import DataFlowKernel
    from tests.process.sandbox import Sandbox

LIMIT = 60.0


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serving(WebServer()) as server:
        yield server


@pytest.fixture
def ftp() -> Iterator[FTPServer]:
    with serving(FTPServer()) as server:
        yield server


@pytest.fixture
def run(sandbox: Sandbox) -> Iterator[DataFlowKernel]:
    config = Config(executors=[LowLatencyExecutor(workers=2), ThreadPoolExecutor()])
    with parslab.load(config) as dfk:
        yield dfk


@python_app(executors=["llex"])
def content(file: Any, more: Any = None) -> str:
    with open(file) as opened:
        return opened.read()


@python_app(executors=["llex"])
def path_of(file: Any) -> str:
    return str(file.filepath)


@bash_app(executors=["llex"])
def upper(inputs: Any = (), outputs: Any = ()) -> str:
    return f"tr a-z A-Z < '{inputs[0]}' > '{outputs[0]}'"


def counts(dfk: DataFlowKernel) -> dict[str, int]:
    snapshot = dfk.ask(SnapshotRequest(subscribe=False))
    assert isinstance(snapshot, Snapshot)
    return snapshot.overview.counts


def test_one_transfer_serves_all_tasks(run: DataFlowKernel, web: WebServer) -> None:
    url = web.put("/a.txt", b"content")
    futures = [content(File(url)) for _ in range(50)]
    assert {future.result(LIMIT) for future in futures} == {"content"}
    assert content(more=1, file=File(url)).result(LIMIT) == "content"
    assert web.asked("/a.txt") == 1


def test_a_failed_transfer_is_made_again_for_the_next_task(run: DataFlowKernel, web: WebServer) -> None:
    url = f"{web.url}/late.txt"
    first = content(File(url)).exception(LIMIT)
    assert isinstance(first, DependencyError)
    assert isinstance(first.__cause__, StagingError)
    assert f"{url} could not be fetched to {run.run_dir}" in str(first)
    web.put("/late.txt", b"there now")
    assert content(File(url)).result(LIMIT) == "there now"


def test_copies_of_one_name_have_paths_of_their_own(run: DataFlowKernel, web: WebServer) -> None:
    urls = [web.put(f"/{folder}/data.txt", folder.encode()) for folder in ("one", "two")]
    paths = [path_of(File(url)).result(LIMIT) for url in urls]
    assert {os.path.basename(path) for path in paths} == {"data.txt"}
    assert [Path(path).read_text() for path in paths] == ["one", "two"]


def test_a_task_that_transfers_is_staging(run: DataFlowKernel, web: WebServer) -> None:
    web.faults["/slow.txt"] = lambda request, number, content: bool(web.closing.wait(LIMIT)) and False
    url = web.put("/slow.txt", b"at last")
    future = content(File(url))
    until(lambda: counts(run).get("staging") == 1, 30.0)
    assert counts(run)["pending"] == 1
    web.closing.set()
    assert future.result(LIMIT) == "at last"
    until(lambda: counts(run) == {"exec_done": 2}, 30.0)


def test_outputs_go_to_their_urls_and_on_to_the_next_task(run: DataFlowKernel, ftp: FTPServer) -> None:
    ftp.files["in.txt"] = b"content"
    made = upper(inputs=[File(f"{ftp.url}/in.txt")], outputs=[File(f"{ftp.url}/out/made.txt")])
    (output,) = made.outputs
    assert output.tid == made.task_id
    again = upper(inputs=[output], outputs=[File("local.txt")])
    assert output.result(LIMIT) == File(f"{ftp.url}/out/made.txt")
    assert ftp.files["out/made.txt"] == b"CONTENT"
    assert again.outputs[0].result(LIMIT).filepath == "local.txt"
    # The second task has read the copy that the first one wrote.
    assert "RETR out/made.txt" not in ftp.commands


def test_an_output_that_cannot_be_stored_is_an_error(run: DataFlowKernel, ftp: FTPServer) -> None:
    wrong = ftp.url.replace("secret", "guess")
    ftp.files["in.txt"] = b"content"
    made = upper(inputs=[File(f"{ftp.url}/in.txt")], outputs=[File(f"{wrong}/out.txt")])
    assert made.result(LIMIT) == 0
    error = made.outputs[0].exception(LIMIT)
    assert isinstance(error, StagingError)
    assert "530" in str(error)
    assert "guess" not in str(error)


def test_streams_go_to_their_urls(run: DataFlowKernel, ftp: FTPServer) -> None:
    @bash_app(executors=["llex"])
    def talk(stdout: Any = None, stderr: Any = None) -> str:
        return "echo to out; echo to err >&2"

    future = talk(stdout=File(f"{ftp.url}/out.log"), stderr=File(f"{ftp.url}/err.log"))
    assert future.stdout.result(LIMIT).url == f"{ftp.url}/out.log"
    future.stderr.result(LIMIT)
    assert ftp.files["out.log"] == b"to out\n"
    assert ftp.files["err.log"].endswith(b"to err\n")


def test_automatic_names_may_be_urls(sandbox: Sandbox, ftp: FTPServer) -> None:
    config = Config(
        executors=[LowLatencyExecutor(workers=1)],
        std_autopath=lambda call, stream: File(f"{ftp.url}/{call['func_name']}.{stream}"),
    )

    @bash_app
    def talk(stdout: Any = None) -> str:
        return "echo talked"

    with parslab.load(config):
        talk(stdout=parslab.AUTO_LOGNAME).stdout.result(LIMIT)
    assert ftp.files == {"talk.stdout": b"talked\n"}


def test_threads_and_joins_get_files_too(run: DataFlowKernel, web: WebServer) -> None:
    url = web.put("/a.txt", b"content")

    @python_app(executors=["threads"])
    def in_thread(file: Any) -> str:
        with open(file) as opened:
            return opened.read()

    @join_app
    def joined(file: Any) -> Any:
        with open(file) as opened:
            return content(File(url), opened.read())

    assert in_thread(File(url)).result(LIMIT) == "content"
    assert joined(File(url)).result(LIMIT) == "content"
    assert web.asked("/a.txt") == 1


def test_what_nobody_stages_is_refused_at_the_call(run: DataFlowKernel, web: WebServer) -> None:
    with pytest.raises(ValueError, match=r"No staging provider of executor llex fetches File\('nobody://knows/this'\)"):
        content(File("nobody://knows/this"))
    with pytest.raises(ConfigurationError, match="stores"):
        upper(inputs=[], outputs=[File(f"{web.url}/out.txt")])
    with pytest.raises(ConfigurationError, match="cannot be the name of a local copy"):
        content(File(f"{web.url}/a/.."))
    assert content(__file__).result(LIMIT).startswith('"""Files of remote URLs')


def test_a_memoized_call_knows_a_file_by_its_url(run: DataFlowKernel, web: WebServer) -> None:
    url = web.put("/a.txt", b"content")

    @python_app(executors=["llex"], cache=True)
    def counted(file: Any) -> str:
        with open("runs", "a") as runs:
            runs.write("x")
        with open(file) as opened:
            return opened.read()

    assert [counted(File(url)).result(LIMIT) for _ in range(3)] == ["content"] * 3
    assert Path("runs").read_text() == "x"


def test_transfers_inside_tasks_on_nodes(sandbox: Sandbox, web: WebServer, ftp: FTPServer, tmp_path: Path) -> None:
    """Workers of a node share one copy, in the folder that the executor names."""
    url = web.put("/a.txt", b"content")
    executor = HighThroughputExecutor(
        provider=LocalProvider(init_blocks=1, max_blocks=1),
        max_workers_per_node=2,
        storage_access=[NoOpFileStaging(), HTTPInTaskStaging()],
        working_dir=tmp_path / "scratch",
    )

    @python_app
    def read(*files: Any) -> list[str]:
        return [f"{file} {open(file).read()}" for file in files]

    @bash_app
    def copy(inputs: Any = (), outputs: Any = ()) -> str:
        return f"cp '{inputs[0]}' '{outputs[0]}'"

    with parslab.load(Config(executors=[executor])) as dfk:
        futures = [read(File(url), File(url)) for _ in range(20)]
        expected = f"{tmp_path}/scratch/a.txt content"
        assert [future.result(LIMIT) for future in futures] == [[expected] * 2] * 20
        copy(inputs=[File(url)], outputs=[File("copied.txt")]).result(LIMIT)
        assert (tmp_path / "copied.txt").read_text() == "content"
        assert "staging" not in counts(dfk)
    assert web.asked("/a.txt") == 1


class Written(Staging):
    """A provider as users have written it for Parsl: tasks of its own for inputs and outputs, and a wrapper."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def can_stage_in(self, file: File) -> bool:
        return file.scheme == "mine"

    can_stage_out = can_stage_in

    def stage_in(self, dm: Any, executor: str, file: File, parent_fut: Future[Any] | None) -> Any:
        working_dir = dm.dfk.executors[executor].working_dir
        file.local_path = os.path.join(working_dir, file.filename)
        app = python_app(_copy_in, executors=[executor], data_flow_kernel=dm.dfk)
        future = app(self.folder, outputs=[file], _parsl_staging_inhibit=True, parent_fut=parent_fut)
        return future.outputs[0]

    def stage_out(self, dm: Any, executor: str, file: File, app_fu: Future[Any]) -> Any:
        working_dir = dm.dfk.executors[executor].working_dir
        file.local_path = os.path.join(working_dir, file.filename)
        app = python_app(_copy_out, executors=[executor], data_flow_kernel=dm.dfk)
        return app(self.folder, app_fu, inputs=[file], _parsl_staging_inhibit=True)

    def replace_task(self, dm: Any, executor: str, file: File, f: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return [file.filename, f(*args, **kwargs)]

        return wrapper


def _copy_in(folder: str, outputs: Any = (), parent_fut: Any = None, _parsl_staging_inhibit: bool = True) -> None:
    import shutil

    shutil.copy(os.path.join(folder, outputs[0].filename), outputs[0].filepath)


def _copy_out(folder: str, app_fu: Any, inputs: Any = (), _parsl_staging_inhibit: bool = True) -> None:
    import shutil

    shutil.copy(inputs[0].filepath, os.path.join(folder, inputs[0].filename))


def test_providers_that_were_written_for_parsl_work(sandbox: Sandbox, tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    (there / "a.txt").write_text("content")

    @python_app
    def read(file: Any) -> str:
        with open(file) as opened:
            return opened.read()

    @python_app
    def write(text: str, outputs: Any = ()) -> None:
        with open(outputs[0], "w") as opened:
            opened.write(text)

    executor = LowLatencyExecutor(workers=1, storage_access=[Written(str(there))], working_dir=here)
    with parslab.load(Config(executors=[executor])):
        assert read(File("mine:/a.txt")).result(LIMIT) == ["a.txt", "content"]
        future = write("made", outputs=[File("mine:/b.txt")])
        assert future.outputs[0].result(LIMIT) == File("mine:/b.txt")
        assert (there / "b.txt").read_text() == "made"
        with pytest.raises(ValueError, match="No staging provider of executor llex fetches"):
            read(File("/etc/hostname"))  # the list does not name NoOpFileStaging
