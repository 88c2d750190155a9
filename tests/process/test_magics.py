"""The magics, displays and relay in a real kernel, seen through its messages as a front end sees them."""

from __future__ import annotations

import json
import os
import queue
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 15.0


@dataclass
class Answer:
    """What a cell has answered."""

    number: int = 0
    stdout: str = ""
    stderr: str = ""
    result: str = ""
    error: str = ""
    """``Name: text`` of the exception."""
    traceback: str = ""
    shown: list[str] = field(default_factory=list)
    """Displays of this cell, by id."""
    done: bool = False


class Notebook:
    """A kernel, and what a front end knows of it: displays by id, comms, replies."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.manager = KernelManager(kernel_name="python3", transport="ipc", ip=str(folder / "k"))
        self.manager.start_kernel(cwd=str(folder), env={**os.environ, **variables})
        self.connect()
        self.answers: dict[str, Answer] = {}
        self.displays: dict[str, dict[str, Any]] = {}
        self.updates: dict[str, int] = {}
        self.comms: dict[str, dict[str, Any]] = {}
        self.closed: dict[str, dict[str, Any]] = {}
        self.feed: list[dict[str, Any]] = []

    def connect(self) -> None:
        """Talk to the kernel that there is now."""
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def restart(self, now: bool = False) -> None:
        """As a front end does; ``now``: the kernel is killed."""
        self.client.stop_channels()
        self.manager.restart_kernel(now=now)
        self.connect()

    def start(self, code: str) -> Answer:
        """Send a cell; what comes back is gathered in its answer whenever messages are taken."""
        answer = Answer()
        self.answers[str(self.client.execute(code))] = answer
        return answer

    def run(self, code: str) -> Answer:
        return self.finish(self.start(code))

    def finish(self, answer: Answer) -> Answer:
        self.until(lambda: answer.done)
        return answer

    def until(self, true: Callable[[], object]) -> None:
        """Take messages until something is true."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, f"it did not happen; displays: {self.displays}"
            self.take()

    def take(self) -> None:
        try:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=0.2)
        except queue.Empty:
            return
        kind, content = message["msg_type"], message["content"]
        if kind in ("display_data", "update_display_data"):
            known = content["transient"].get("display_id", "")
            self.displays[known] = content["data"]
            self.updates[known] = self.updates.get(known, -1) + 1
        elif kind == "comm_open":
            self.comms[content["comm_id"]] = content
        elif kind == "comm_msg":
            self.feed += map(json.loads, content["data"]["feed"])
        elif kind == "comm_close":
            self.closed[content["comm_id"]] = content["data"]
        answer = self.answers.get(message["parent_header"].get("msg_id", ""))
        if answer is not None:
            self._note(answer, kind, content)

    @staticmethod
    def _note(answer: Answer, kind: str, content: dict[str, Any]) -> None:
        if kind == "stream":
            setattr(answer, content["name"], getattr(answer, content["name"]) + content["text"])
        elif kind == "execute_result":
            answer.result = content["data"]["text/plain"]
        elif kind == "execute_input":
            answer.number = content["execution_count"]
        elif kind == "error":
            answer.error = f"{content['ename']}: {content['evalue']}"
            answer.traceback = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"]))
        elif kind == "display_data":
            answer.shown.append(content["transient"].get("display_id", ""))
        elif kind == "status":
            answer.done = content["execution_state"] == "idle"

    def text(self, display: str) -> str:
        return str(self.displays[display]["text/plain"])

    def control(self, **content: Any) -> dict[str, Any]:
        """Send a request on the control channel and take its reply, as the panel does."""
        message = self.client.session.msg("parslab_request", content)
        self.client.control_channel.send(message)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            reply = self.client.get_control_msg(timeout=PATIENCE)
            if reply["parent_header"]["msg_id"] == message["header"]["msg_id"]:
                assert reply["msg_type"] == "parslab_reply"
                return dict(reply["content"])
        pytest.fail("no reply on the control channel")

    def stop(self) -> None:
        """End the kernel; twice is safe."""
        if not self.manager.has_kernel:
            return
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    notebook = Notebook(tmp_path_factory.mktemp("k"))
    try:
        notebook.run("%load_ext parslab\nimport parslab")
        config = "Config(executors=[LowLatencyExecutor(workers=2), ThreadPoolExecutor()])"
        assert "Run 000-" in notebook.run(f"%parsl load {config}").stdout
        yield notebook
    finally:
        notebook.stop()


# --- %%parsl: what travels and what comes back -----------------------------------------------------------------------


def test_names_travel_and_come_back_as_futures(book: Notebook) -> None:
    book.run("base = [1, 2]\ndef helper(x):\n    return x + base\nimport math")
    book.run(
        "%%parsl -e llex\nimport os\nlonger = helper([0])\nroot = math.sqrt(len(longer) + 1)\n_private = os.getpid()"
    )
    assert book.run("longer.result(), root.result()").result == "([0, 1, 2], 2.0)"
    assert book.run("'_private' in dir(), 'os' in dir()").result == "(False, True)"


def test_futures_that_a_cell_reads_are_dependencies(book: Notebook) -> None:
    book.run("%%parsl -e llex\nimport time\ntime.sleep(0.2)\nfirst = 20")
    book.run("%%parsl -e llex\nsecond = first + 1\nfirst = 0")
    assert book.run("first.result(), second.result()").result == "(0, 21)"


def test_functions_and_classes_of_a_cell_come_back(book: Notebook) -> None:
    book.run(
        "%%parsl -e llex\nclass Box:\n    def __init__(self, v): self.v = v\n"
        "    def twice(self): return self.v * f(2)\ndef f(x): return x\nbox = Box(4)"
    )
    assert book.run("box.result().twice()").result == "8"


def test_what_cannot_travel_back_keeps_nothing_else_back(book: Notebook) -> None:
    cell = book.run("%%parsl -e llex -w\nimport threading\nlock = threading.Lock()\nkept = 1")
    assert "lock stays on the worker" in book.text(cell.shown[0])
    assert book.run("kept.result()").result == "1"
    assert "cannot pickle" in book.run("lock.result()").error
    cell = book.run("%%parsl -e llex -w -o lock\nimport threading\nlock = threading.Lock()")
    assert "the output 'lock' of the cell" in cell.error


def test_outputs_may_be_chosen(book: Notebook) -> None:
    book.run("things = [1]; other = 'mine'")
    book.run("%%parsl -e llex -o things,more\nthings.append(2)\nmore = 3\nother = 4")
    assert book.run("things.result(), more.result(), other").result == "([1, 2], 3, 'mine')"


def test_a_cell_on_threads_leaves_the_display_of_the_kernel_alone(book: Notebook) -> None:
    assert not book.run("%%parsl -w -e threads\nfrom IPython.display import HTML\nHTML('x')").error
    assert book.run("from IPython.display import HTML, display\ndisplay(HTML('y'), display_id='here')").shown == [
        "here"
    ]


def test_a_cell_that_failed_runs_again_without_its_own_old_run(book: Notebook) -> None:
    """It failed with DependencyError: `part` of the first run was one of its arguments."""
    body = "for n in [1, 2]:\n    part = n\n    print('part', part)\n"
    assert "ValueError: no" in book.run(f"%%parsl -e llex -w  # the first time\n{body}raise ValueError('no')").error
    cell = book.run(f"%%parsl -e llex -w\n{body}")
    assert cell.error == ""
    assert book.run("part.result()").result == "2"


def test_what_a_cell_imports_and_names_in_a_string(book: Notebook) -> None:
    assert book.run("%%parsl -e llex -w\nimport fractions\nfrom math import tau as turn\nhalf = 1").error == ""
    assert book.run("fractions.Fraction(1, 2), turn > 6").result == "(Fraction(1, 2), True)"
    book.run("hidden = 4")
    assert book.run("%%parsl -e llex -w\nfour = eval('hidden + half')").error == ""
    assert book.run("four.result()").result == "5"
    shown = book.run("%%parsl -e llex -w\nname = 'hid' + 'den'\neval(name)").error
    assert "NameError: name 'hidden' is not defined" in shown
    assert "a string that is made at run time" in shown


def test_a_cell_on_threads_shares_the_notebooks_objects(book: Notebook) -> None:
    book.run("shared = []")
    book.run("%%parsl -e threads -w\nshared.append(1)")
    assert book.run("shared").result == "[1]"


def test_functions_of_a_cell_become_apps(book: Notebook) -> None:
    assert book.run(
        "%%parsl --app -e llex\ndef cube(x):\n    return x ** 3\ndef half(x):\n    return x / 2"
    ).stdout == ("Apps: cube, half\n")
    assert book.run("half(cube(2)).result()").result == "4.0"


# --- %%parsl: mistakes -----------------------------------------------------------------------------------------------


def test_names_that_do_not_exist_are_shown_at_their_line(book: Notebook) -> None:
    answer = book.run("%%parsl\nx = 1\nprint(no_such_name)")
    assert answer.error == "NameError: name 'no_such_name' is not defined"
    assert "----> 3 print(no_such_name)" in answer.traceback
    assert f"Cell In[{answer.number}], line 3" in answer.traceback
    assert answer.shown == []


@pytest.mark.parametrize(("body", "says"), [("def f(:\n  pass", "invalid syntax"), ("\nreturn 3", "outside function")])
def test_syntax_errors_are_shown_as_those_of_any_cell(book: Notebook, body: str, says: str) -> None:
    answer = book.run(f"%%parsl\n{body}")
    assert says in answer.error
    assert "SyntaxError" in answer.traceback
    assert "parslab" not in answer.traceback


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%%parsl --nonsense\nx = 1", "unrecognized arguments: --nonsense"),
        ("%%parsl -e nowhere\nx = 1", "There is no executor 'nowhere'; this run has llex, threads."),
        ("%%parsl -o y\nx = 1", "The cell neither assigns nor uses 'y'"),
        ("%%parsl\nx = 1\n!ls", "Line 3 of the cell needs the IPython shell"),
        ("%%parsl --app\nx = 1", "The cell defines no function"),
        ("%%parsl --app -w\ndef f(): pass", "--app goes with no other option than --executor"),
        ("%%parsl --bash\necho {no_such}", "The notebook has no name 'no_such'"),
        ("%%parsl --bash\ntrue\nawk '{print $1}' x", "Line 3 of the cell: {print $1} is no name of the notebook."),
        ("%%parsl --bash\ntrue\necho ${parslab}", "Line 3 of the cell: ${parslab} is neither the notebook's name"),
        ("%%parsl --bash\necho {parslab}", "parslab is of type module, which a shell has no form for"),
        ("%%parsl --bash -o x\ntrue", "--bash goes neither with --app nor with --outputs."),
        ("%parsl retry", "%parsl retry TASK... or %parsl retry --failed, each with --app NAME for tasks of that app."),
        ("%parsl retry 1 --failed", "%parsl retry TASK... or %parsl retry --failed"),
        ("%parsl retry 999999", "Task 999999 is not held any more: a task can be tried again while its notebook has"),
        ("%parsl nonsense", "unknown command; there are load, status"),
        ("%parsl tasks --state odd", "invalid choice: 'odd'"),
        ("%parsl cancel", "%parsl cancel TASK..., --all, --app NAME or --cell [N] (the last one that called an app)."),
        ("%parsl wait 123456", "task 123456"),
        ("%parsl load --workers 1", "is loaded with another configuration"),
        ("%parsl load nothing.py", "There is no file nothing.py"),
        ("%parsl load 3", "3 is a int, and a Config is needed"),
    ],
)
def test_wrong_use_is_reported_in_a_line(book: Notebook, cell: str, says: str) -> None:
    answer = book.run(cell)
    assert f"{answer.stderr}{answer.error}".startswith("UsageError: ")
    assert says in f"{answer.stderr}{answer.error}"


def test_a_failed_cell_raises_where_it_was_waited_for(book: Notebook) -> None:
    answer = book.run("%%parsl -w -e llex\ndef div(v):\n    return 1 / v\nq = div(0)")
    assert answer.error == "ZeroDivisionError: division by zero"
    assert "----> 4 q = div(0)" in answer.traceback
    assert f"Cell In [{answer.number}], line 3, in div" in answer.traceback
    assert "ipykernel_" not in answer.traceback
    assert "parslab/bodies" not in answer.traceback
    assert book.run("q.exception()").result == "ZeroDivisionError('division by zero')"


@pytest.mark.parametrize("label", ["llex", "threads"])
def test_a_traceback_names_the_cells_as_the_notebook_does(book: Notebook, label: str) -> None:
    helper = book.run("def helper(v):\n    return 1 / v")
    cell = book.run(f"@parslab.python_app(executors=[{label!r}])\ndef div(v):\n    return helper(v)\nbad = div(0)")
    book.run("bad.exception()")
    shown = book.run("print(bad.traceback())").stdout
    assert f"Cell In [{cell.number}], line 3, in div\n    return helper(v)" in shown
    assert f"Cell In [{helper.number}], line 2, in helper\n    return 1 / v" in shown
    assert "ipykernel_" not in shown


def test_sys_exit_in_a_task_does_not_end_the_cell(book: Notebook) -> None:
    book.run("%%parsl -e llex\nimport sys\ngone = 1\nsys.exit(3)")
    answer = book.run("gone.result()\nprint('not reached')")
    assert answer.error.startswith("AppExit: The task called sys.exit(3)")


# --- output under the cell -------------------------------------------------------------------------------------------


def test_output_comes_live_under_its_cell_while_others_run(book: Notebook, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    book.run(f"import pathlib; gate = pathlib.Path({str(gate)!r})")
    cell = book.run(
        "%%parsl -e llex\nimport time\nprint('waiting')\nwhile not gate.exists(): time.sleep(0.01)\n"
        "print('through')\n6 * 7"
    )
    (display,) = cell.shown
    busy = book.start("import time\nprint('other')\nwhile not gate.exists(): time.sleep(0.01)")
    book.until(lambda: book.text(display).startswith("waiting\n[running"))
    gate.touch()
    other = book.finish(busy)
    assert other.stdout == "other\n"
    book.until(lambda: "through\n42\n[done" in book.text(display))
    assert book.updates[display] < 20


@pytest.mark.parametrize("label", ["llex", "threads"])
def test_a_bash_cell_is_a_script_with_the_names_of_the_notebook(book: Notebook, label: str) -> None:
    book.run("@parslab.python_app\ndef later(x): return x\nword, made = 'a $(b)', [later('c d'), 5]")
    cell = book.run(f"%%parsl --bash -w -e {label}\nprintf '<%s>' {{word}} {{made}} \"{{word}}\" $((1 + 1))\n")
    assert cell.error == ""
    assert book.text(cell.shown[0]).startswith("<a $(b)><c d><5><a $(b)><2>\n[done") or label == "threads"
    assert book.run("_.result(), _.app_name").result == "(0, 'bash cell')"
    cell = book.run(f"%%parsl --bash -w -e {label} -n tool\n\nno-such-command\n")
    assert cell.error.startswith(f"BashExitFailure: bash app In [{cell.number}] ended with exit status 127")
    assert f"In [{cell.number}]: line 3: no-such-command: command not found" in cell.error


def test_output_of_a_bash_cell_comes_live(book: Notebook, tmp_path: Path) -> None:
    book.run(f"gate = {str(tmp_path / 'gate')!r}")
    cell = book.run("%%parsl --bash -e llex\necho waiting\nuntil test -e {gate}; do sleep 0.01; done\necho through >&2")
    (display,) = cell.shown
    book.until(lambda: book.text(display).startswith("waiting\n[running"))
    (tmp_path / "gate").touch()
    book.until(lambda: "waiting\nthrough\n[done" in book.text(display))


def test_much_output_is_bounded_and_marked(book: Notebook) -> None:
    cell = book.run("%%parsl -w -e llex\nfor i in range(3000): print(i, 'x' * 100)")
    text = book.text(cell.shown[0])
    assert "before this cut" in text
    assert "2999 xxx" in text
    assert len(text) < 70_000


def html(book: Notebook, display: str) -> str:
    return str(book.displays[display].get("text/html", ""))


def test_rich_output_of_a_cell_is_shown_in_order(book: Notebook) -> None:
    """A table came as its plain text, and what ``display`` was given, too."""
    cell = book.run(
        "%%parsl -w -e llex\nimport pandas\nprint('before')\n"
        "class Svg:\n    def _repr_svg_(self): return '<svg/>'\n"
        "display(Svg(), {'a': 1})\nprint('between')\npandas.DataFrame({'column': [1, 2]})"
    )
    shown = html(book, cell.shown[0])
    places = [
        shown.index(text) for text in ("before", "data:image/svg+xml;base64,", "{'a': 1}", "between", "<th>column")
    ]
    assert places == sorted(places)
    text = book.text(cell.shown[0])
    assert "   column\n0       1" in text


def test_figures_of_matplotlib_are_shown(book: Notebook) -> None:
    pytest.importorskip("matplotlib")
    cell = book.run(
        "%%parsl -w -e llex\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nprint('one')\n"
        "plt.plot([2, 1]);"
    )
    shown = html(book, cell.shown[0])
    assert shown.count("data:image/png;base64,") == 2
    assert shown.index("data:image/png") < shown.index("one")
    assert "non-interactive" not in shown


def test_ipythons_display_and_clear_output_work_in_a_cell(book: Notebook) -> None:
    cell = book.run(
        "%%parsl -w -e llex\nfrom IPython.display import HTML, clear_output, display\n"
        "print('gone')\nclear_output()\n"
        "for i in range(3):\n    clear_output(wait=True)\n    display(HTML(f'<b>{i}</b>'))"
    )
    shown = html(book, cell.shown[0])
    assert "<b>2</b>" in shown
    assert "gone" not in shown
    assert "<b>1</b>" not in shown


def test_a_representation_that_fails_is_left_out(book: Notebook) -> None:
    cell = book.run(
        "%%parsl -w -e llex\nclass Bad:\n    def _repr_html_(self): raise KeyError('no')\n"
        "    def _repr_mimebundle_(self): return {'application/json': object()}\n"
        "    def __repr__(self): return 'bad but here'\nBad()"
    )
    assert "bad but here" in book.text(cell.shown[0])


def test_a_semicolon_hides_the_last_value(book: Notebook) -> None:
    cell = book.run("%%parsl -w -e llex\n'seen'")
    assert book.text(cell.shown[0]).startswith("'seen'\n")
    cell = book.run("%%parsl -w -e llex\n'hidden';")
    assert book.text(cell.shown[0]).startswith("[done")


def test_futures_show_themselves_live(book: Notebook) -> None:
    book.run("import parslab\n@parslab.python_app(executors=['llex'])\ndef nap():\n    import time; time.sleep(0.3)")
    cell = book.run("nap()")
    assert "nap submitted" in book.text(cell.shown[0])
    book.until(lambda: "nap exec_done" in book.text(cell.shown[0]))
    assert "nap" in book.displays[cell.shown[0]]["text/html"]


def test_a_list_of_ten_thousand_failures_stays_small(book: Notebook) -> None:
    book.run("@parslab.python_app(executors=['llex'])\ndef bad(i): raise ValueError('x' * 1000)")
    book.run("failures = [bad(i) for i in range(10_000)]\nfor future in failures: future.exception()")
    answer = book.run("failures")
    assert "bad failed: ValueError" in answer.result
    assert len(answer.result) < 100_000


# --- %parsl ----------------------------------------------------------------------------------------------------------


def test_status_and_tasks_are_tables(book: Notebook) -> None:
    cell = book.run("%%parsl -w -e llex -n named\npass")
    status = book.displays[book.run("%parsl status").shown[0]]
    assert re.search(r"of 2 workers busy, \d+ task", status["text/plain"])
    assert "<table>" in status["text/html"]
    assert f"In [{cell.number}]" in book.text(cell.shown[0])
    tasks = book.displays[book.run("%parsl tasks --app named --limit 5").shown[0]]["text/plain"]
    assert re.search(rf"named +exec_done .* In \[{cell.number}\]", tasks)


def test_a_report_has_every_task_that_has_ended(book: Notebook, tmp_path: Path) -> None:
    book.run("@parslab.python_app(executors=['llex'])\ndef reported(x): return x")
    book.run("[reported(i).result() for i in range(3)]")
    said = book.run(f"%parsl report -o {tmp_path}").stdout
    html, summary = sorted(tmp_path.iterdir())
    assert said.strip().endswith(f"is {html}; the summary for programs is {summary}")
    found = json.loads(summary.read_text())
    assert found["run"]["status"] == "running"
    assert {app["app"]: app["succeeded"] for app in found["apps"]}["reported"] == 3
    assert "reported" in html.read_text()
    assert "There is no live run nowhere" in book.run("%parsl report nowhere").stderr


def test_retry_calls_what_the_app_is_defined_as_now(book: Notebook) -> None:
    define = "@parslab.python_app(executors=['llex'])\ndef mended(x):\n    "
    book.run(define + "raise ValueError(x)")
    book.run("first, second = mended(1), mended(2)\nfirst.exception(), second.exception()")
    book.run(define + "return 10 * x")
    one = book.run("get_ipython().run_line_magic('parsl', f'retry {first.task_id}')").stdout
    assert one == "1 task runs again; mended as now defined.\n"
    assert book.run("first.result(), second.state").result == "(10, <TaskState.failed: 4>)"
    assert book.run("%parsl retry --failed --app mended").stdout == "1 task runs again; mended as now defined.\n"
    assert book.run("second.result()").result == "20"
    assert book.run("%parsl retry --failed --app mended").stdout == "No task of app mended has failed.\n"


def test_a_cell_that_failed_is_tried_again(book: Notebook, tmp_path: Path) -> None:
    path = tmp_path / "there"
    book.run(f"%%parsl -e llex -o size\nimport os\nsize = os.path.getsize({str(path)!r})")
    assert "FileNotFoundError" in book.run("size.exception()").result
    path.write_text("four")
    assert book.run("size.retry().result()").result == "4"


def test_cancel_and_wait(book: Notebook) -> None:
    cell = book.run("%%parsl -e llex\nwhile True: pass")
    assert "1 task" in book.run("%parsl cancel --all").stdout
    assert book.run("%parsl wait").stdout.endswith("\n")
    book.until(lambda: book.text(cell.shown[0]).startswith("[cancelled"))


def test_loading_twice_gives_the_same_run(book: Notebook) -> None:
    before = book.run("parslab.dfk().run").result
    assert before.startswith("'000-")
    book.run("%parsl load Config(executors=[LowLatencyExecutor(workers=2), ThreadPoolExecutor()])")
    assert book.run("parslab.dfk().run").result == before


# --- the relay -------------------------------------------------------------------------------------------------------


def test_a_panel_is_served_while_a_cell_is_busy(book: Notebook, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    book.run(f"import pathlib; gate = pathlib.Path({str(gate)!r})")
    busy = book.start("import time\nwhile not gate.exists(): time.sleep(0.01)")
    ask = uuid.uuid4().hex
    reply = book.control(request=json.dumps({"type": "SnapshotRequest", "request_id": ask}))
    assert (reply["status"], reply["comm_id"] in book.comms) == ("ok", True)
    assert book.comms[reply["comm_id"]]["target_name"] == "parslab.monitor"
    book.until(lambda: any(text.get("request_id") == ask and text["type"] == "Snapshot" for text in book.feed))
    gate.touch()
    book.finish(busy)


def test_a_run_that_is_started_again_keeps_its_comm(book: Notebook) -> None:
    first = book.control()["comm_id"]
    assert not book.run("import os, signal; os.kill(parslab.dfk().pid, signal.SIGKILL)").error
    assert book.run("nap().result()").error == ""
    status = book.displays[book.run("%parsl status").shown[0]]["text/plain"]
    assert "was killed by SIGKILL; it was started again within" in status
    assert (book.control()["comm_id"], first in book.closed) == (first, False)
    assert "is over" in book.run("%parsl shutdown").stdout
    book.until(lambda: first in book.closed)


def test_a_lost_run_closes_its_comm_and_the_next_one_opens_another(book: Notebook) -> None:
    assert "Run 001-" in book.run("%parsl load Config(resume=False)").stdout
    first = book.control()["comm_id"]
    assert not book.run("os.kill(parslab.dfk().pid, signal.SIGKILL)").error
    book.until(lambda: first in book.closed)
    assert "killed by SIGKILL" in book.closed[first]["reason"]
    assert book.control(request="{}")["status"] == "error"
    shown = book.run("%parsl status").stderr
    assert shown.startswith("UsageError: The DataFlowKernel of run 001-")
    assert "was killed by SIGKILL" in shown
    assert "parslab.load()" in shown
    assert "Run 002-" in book.run("%parsl load").stdout
    second = book.control()["comm_id"]
    assert second not in ("", first)
    assert "is over" in book.run("%parsl shutdown").stdout
    book.until(lambda: second in book.closed)
