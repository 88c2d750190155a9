"""The sandbox of bash apps: a folder for each call, which inputs reach and from which outputs are moved."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab import Config, File, LowLatencyExecutor, ThreadPoolExecutor, bash_app
from parslab.bodies import sandbox as bodies
from parslab.bodies.bash import SANDBOX, run
from parslab.bodies.sandbox import Sandbox
from parslab.errors import AppBadFormatting, BashExitFailure, ConfigurationError, MissingOutputs
from tests.file_servers import FTPServer, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """The folder in which sandboxes are made."""
    return tmp_path / "boxes"


def left(parent: Path) -> list[str]:
    return sorted(os.listdir(parent)) if parent.exists() else []


# --- on the worker ---------------------------------------------------------------------------------------------------


def test_a_command_runs_in_a_folder_of_its_own_that_goes(tmp_path: Path, parent: Path) -> None:
    seen = tmp_path / "seen"
    for _ in range(2):
        assert run(lambda: f"pwd >> {seen}; touch rest", **{SANDBOX: str(parent)}) == 0
    one, two = seen.read_text().splitlines()
    assert one != two
    assert Path(one).parent == parent
    assert not Path("rest").exists()
    assert left(parent) == []


def test_without_a_folder_the_worker_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run(lambda: f"pwd > {tmp_path}/seen", **{SANDBOX: True})
    assert Path((tmp_path / "seen").read_text()).parent == tmp_path


@pytest.mark.parametrize("absolute", [False, True])
def test_outputs_are_moved_out(tmp_path: Path, parent: Path, absolute: bool) -> None:
    place = str(tmp_path / "out" / "report.txt") if absolute else "out/report.txt"

    def app(outputs: Any = ()) -> str:
        assert outputs[0].filepath.startswith(str(parent))
        return f"echo text > {outputs[0]}; test ! -e {tmp_path}/out/report.txt"

    run(app, outputs=[File(place)], **{SANDBOX: str(parent)})
    assert (tmp_path / "out" / "report.txt").read_text() == "text\n"
    assert left(parent) == []


def test_outputs_with_names_of_the_command_itself(tmp_path: Path, parent: Path) -> None:
    run(lambda: "echo text > report.txt", outputs=[File("report.txt")], **{SANDBOX: str(parent)})
    assert Path("report.txt").read_text() == "text\n"
    final = tmp_path / "direct"
    run(lambda: f"echo text > {final}", outputs=[File(str(final))], **{SANDBOX: str(parent)})
    assert final.read_text() == "text\n"


def test_two_outputs_of_one_name(tmp_path: Path, parent: Path) -> None:
    def app(outputs: Any = ()) -> str:
        return f"echo a > {outputs[0]}; echo b > {outputs[1]}"

    run(app, outputs=[File(str(tmp_path / d / "x")) for d in "ab"], **{SANDBOX: str(parent)})
    assert [(tmp_path / d / "x").read_text() for d in "ab"] == ["a\n", "b\n"]


def test_inputs_are_reachable_by_their_paths(tmp_path: Path, parent: Path) -> None:
    Path("data").mkdir()
    Path("data/a").write_text("a")
    Path("b").write_text("b")
    (tmp_path.parent / "c").write_text("c")
    (tmp_path / "d").write_text("d")

    def app(file: Any, inputs: Any = ()) -> str:
        return f"cat {file} data/a {' '.join(map(str, inputs))} > {tmp_path}/all"

    run(
        app,
        File("b"),
        inputs=["data/a", File("../c"), str(tmp_path / "d")],
        **{SANDBOX: str(parent)},
    )
    assert (tmp_path / "all").read_text() == "baacd"


def test_a_file_that_is_input_and_output_is_changed_in_one_step(parent: Path) -> None:
    Path("x").write_text("old\n")

    def app(code: int, inputs: Any = (), outputs: Any = ()) -> str:
        return f"echo new >> x; exit {code}"

    with pytest.raises(BashExitFailure):
        run(app, 1, inputs=[File("x")], outputs=[File("x")], **{SANDBOX: str(parent)})
    assert Path("x").read_text() == "old\n"
    run(app, 0, inputs=[File("x")], outputs=[File("x")], **{SANDBOX: str(parent)})
    assert Path("x").read_text() == "old\nnew\n"


OUT = File("out")


def test_files_may_be_defaults_and_positional(tmp_path: Path, parent: Path) -> None:
    Path("in").write_text("text")

    def app(outputs: Any = (OUT,), inputs: Any = ("in",)) -> str:
        return f"cp {inputs[0]} {outputs[0]}"

    run(app, **{SANDBOX: str(parent)})
    assert Path("out").read_text() == "text"
    run(app, [File("other")], **{SANDBOX: str(parent)})
    assert Path("other").read_text() == "text"


def test_a_failure_keeps_the_folder_and_names_it(parent: Path) -> None:
    with pytest.raises(BashExitFailure) as failed:
        run(lambda: "echo half > out; exit 3", outputs=[File("out")], **{SANDBOX: str(parent)})
    folder = Path(failed.value.sandbox)
    assert f"exit status 3; its sandbox {folder} stays" in str(failed.value)
    assert (folder / "out").read_text() == "half\n"
    assert not Path("out").exists()
    with pytest.raises(MissingOutputs, match=r"output files out, not; its sandbox .* stays"):
        run(lambda: "echo why > log", outputs=[File("out"), File("not")], **{SANDBOX: str(parent)})
    assert len(left(parent)) == 2


def test_an_output_of_an_earlier_call_does_not_count(tmp_path: Path, parent: Path) -> None:
    (tmp_path / "out").write_text("old")
    with pytest.raises(MissingOutputs):
        run(lambda: "true", outputs=[File(str(tmp_path / "out"))], **{SANDBOX: str(parent)})


def test_a_command_line_that_cannot_be_made_leaves_no_folder(parent: Path) -> None:
    with pytest.raises(AppBadFormatting):
        run(lambda: "%s%s" % tuple("x"), **{SANDBOX: str(parent)})  # noqa: UP031
    assert left(parent) == []


def test_streams_stay_in_the_folder_of_the_worker(parent: Path) -> None:
    run(lambda: "echo text", stdout="log", **{SANDBOX: str(parent)})
    assert Path("log").read_text() == "text\n"


def test_outputs_may_be_folders_and_links(tmp_path: Path, parent: Path) -> None:
    def app(word: str, outputs: Any = ()) -> str:
        return f"mkdir {outputs[0]}; echo {word} > {outputs[0]}/a; echo {word} > real; ln -s real {outputs[1]}"

    for word in ("old", "new"):
        run(app, word, outputs=[File("folder"), File("link")], **{SANDBOX: str(parent)})
        assert Path("folder/a").read_text() == Path("link").read_text() == f"{word}\n"
    assert sorted(os.listdir()) == ["boxes", "folder", "link"]


def test_another_file_system_sees_a_whole_file_or_none(
    tmp_path: Path, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that ends half-way was at the final path."""
    monkeypatch.setattr(bodies, "_same_file_system", lambda *_: False)
    copy = bodies._copy

    def half(source: str, target: str) -> None:
        Path(target).write_text("ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bodies, "_copy", half)
    with pytest.raises(OSError, match="No space left"):
        run(lambda: "echo half > out", outputs=[File("out")], **{SANDBOX: str(parent)})
    assert sorted(os.listdir(tmp_path)) == ["boxes"]
    monkeypatch.setattr(bodies, "_copy", copy)
    run(lambda: "echo whole > out", outputs=[File("out")], **{SANDBOX: str(parent)})
    assert sorted(os.listdir(tmp_path)) == ["boxes", "out"]
    assert Path("out").read_text() == "whole\n"


def test_an_interrupt_keeps_the_folder_and_says_so(parent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        while not list(parent.glob("*/ready")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, name="parslab-test").start()
    with pytest.raises(KeyboardInterrupt):
        run(lambda: "echo half > out; touch ready; sleep 1000", outputs=[File("out")], **{SANDBOX: str(parent)})
    assert capsys.readouterr().err == f"parslab: the sandbox {parent / left(parent)[0]} stays\n"
    assert not Path("out").exists()


def test_a_worker_needs_little_for_it() -> None:
    code = "import sys, parslab.bodies.sandbox; print(*sorted(m for m in sys.modules if m.startswith('parslab')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["parslab", "parslab.bodies", "parslab.bodies.sandbox"]


def test_names_of_apps_are_safe_in_paths(parent: Path) -> None:
    sandbox = Sandbox("<lambda>/..", str(parent))
    assert Path(sandbox.folder).parent == parent
    sandbox.remove()


# --- on a run --------------------------------------------------------------------------------------------------------


@pytest.fixture
def _run(tmp_path: Path, parent: Path) -> Iterator[None]:
    executors = [LowLatencyExecutor(workers=1), ThreadPoolExecutor()]
    with parslab.load(Config(executors=executors, run_dir=tmp_path / "runs", sandbox=parent)):
        yield
    parslab.clear()


@pytest.mark.usefixtures("_run")
@pytest.mark.parametrize("label", ["llex", "threads"])
def test_app_and_configuration_ask_for_it(tmp_path: Path, parent: Path, label: str) -> None:
    def where(inputs: Any = (), outputs: Any = ()) -> str:
        return f"pwd > {outputs[0]}"

    def answer(**options: Any) -> Path:
        app = bash_app(executors=[label], **options)(where)
        made = app(outputs=[File("answer")]).outputs[0].result()
        assert made.filepath == "answer"
        return Path(Path("answer").read_text().strip())

    assert answer().parent == parent
    assert answer(sandbox=False) == tmp_path
    assert answer(sandbox=tmp_path / "mine").parent == tmp_path / "mine"
    assert answer(sandbox=True).parent not in (parent, tmp_path)
    assert left(parent) == left(tmp_path / "mine") == []


@pytest.mark.usefixtures("_run")
def test_a_chain_of_sandboxes(tmp_path: Path, parent: Path) -> None:
    @bash_app(executors=["llex"], cache=True)
    def write(word: str, outputs: Any = ()) -> str:
        return f"echo {word} > {outputs[0]}; echo x >> {tmp_path}/count"

    @bash_app(executors=["llex"])
    def double(inputs: Any = (), outputs: Any = (), **more: Any) -> str:
        assert not more
        return f"cat {inputs[0]} one > {outputs[0]}"

    for _ in range(2):
        first = write("hello", outputs=[File("one")])
        second = double(inputs=first.outputs, outputs=["two"])
        assert second.result() == 0
    assert Path("two").read_text() == "hello\nhello\n"
    assert (tmp_path / "count").read_text() == "x\n"  # the second call was memoized
    assert left(parent) == []


@pytest.mark.usefixtures("_run")
def test_files_of_urls_go_through_a_sandbox(parent: Path) -> None:
    @bash_app(executors=["llex"])
    def upper(inputs: Any = (), outputs: Any = ()) -> str:
        return f"pwd >&2; tr a-z A-Z < '{inputs[0]}' > '{outputs[0]}'"

    with serving(FTPServer()) as ftp:
        ftp.files["in.txt"] = b"content"
        made = upper(inputs=[File(f"{ftp.url}/in.txt")], outputs=[File(f"{ftp.url}/out/made.txt")])
        again = upper(inputs=made.outputs, outputs=[File("local.txt")])
        assert made.outputs[0].result() == File(f"{ftp.url}/out/made.txt")
        assert again.outputs[0].result().filepath == "local.txt"
        assert ftp.files["out/made.txt"] == b"CONTENT"
    assert Path("local.txt").read_text() == "CONTENT"
    assert str(parent) in made.logs("stderr")
    assert left(parent) == []


@pytest.mark.usefixtures("_run")
def test_a_cancelled_task_leaves_no_output_and_keeps_its_folder(parent: Path) -> None:
    @bash_app(executors=["llex"])
    def slow(outputs: Any = ()) -> str:
        return f"echo half > {outputs[0]}; touch ready; sleep 1000"

    @bash_app(executors=["llex"], sandbox=False)
    def after() -> str:
        return "true"

    future = slow(outputs=[File("out")])
    while not list(parent.glob("*/ready")):
        time.sleep(0.01)
    future.cancel()
    assert after().result() == 0  # the worker has left the cancelled task
    assert not Path("out").exists()
    assert [(parent / folder / "out").read_text() for folder in left(parent)] == ["half\n"]


def test_what_is_no_folder_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="sandbox must be True, False or a path of a folder, not 5"):
        bash_app(sandbox=5)(lambda: "true")  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="sandbox"):
        Config(sandbox=5)
